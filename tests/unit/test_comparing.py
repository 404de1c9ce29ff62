"""The earlier study's snippet and its check of happy against sad."""

import numpy as np
import pytest
import soundfile as sf
import xarray as xr

from musicgen_emotion.activations.extractor import ActivationExtractor
from musicgen_emotion.activations.generation import Generation
from musicgen_emotion.activations.replaying import replay
from musicgen_emotion.models.load import load_model
from musicgen_emotion.models.tiny import write_random_model
from musicgen_emotion.probes.earlier import compare_activations
from musicgen_emotion.probes.similarity import cosine_similarity, mean_state

HAPPY, SAD = "a happy song with piano", "a sad song with piano"


@pytest.fixture(scope="module")
def deep_folder(tmp_path_factory):
    "A random model with the 37 layers that the snippet names."
    folder = tmp_path_factory.mktemp("deep")
    return write_random_model(folder, n_layers=37, d_model=16, d_ff=32, sample_rate=8000)


def test_snippet_of_the_earlier_study(backend, deep_folder, tmp_path):
    model = load_model(deep_folder, backend=backend, device="cpu")

    extractor = ActivationExtractor(model, layers=[12, 24, 36])
    wav = extractor.generate(["happy upbeat music"])
    acts_happy = extractor.get_activations(concatenate=True)
    extractor.clear_activations()
    wav_sad = extractor.generate(["sad music"])
    acts_sad = extractor.get_activations(concatenate=True)
    sim = cosine_similarity(acts_happy["layer_12"], acts_sad["layer_12"])  # one number

    assert isinstance(sim, float) and -1 <= sim <= 1
    assert list(acts_happy) == ["layer_12", "layer_24", "layer_36"]
    assert acts_happy["layer_12"].sizes == dict(timestep=253, branch=2, clip=1, d_model=16)
    assert wav.shape == wav_sad.shape == (1, 4, 250) and wav.audio.shape == (1, 40_000)
    assert len(wav.play().data) > 40_000
    (path,) = wav.save(tmp_path / "clips")
    assert path.suffix == ".flac" and sf.info(path).samplerate == 8000


def test_clips_of_an_extractor_are_their_tokens(both_tiny):
    wav = ActivationExtractor(both_tiny, layers=[0]).generate(["happy", "sad"], duration_s=0.2)
    tokens = np.asarray(wav)
    assert isinstance(wav, Generation) and tokens.dtype == np.int16
    assert (wav.shape, wav.ndim, len(wav)) == (tokens.shape, 3, 2)
    assert (wav[0] == tokens[0]).all() and (wav[..., :3] == tokens[..., :3]).all()
    assert (wav[0, 1] == tokens[0, 1]).all() and (np.stack(list(wav)) == tokens).all()
    assert (wav == tokens).all() and not (wav != tokens).any()
    assert wav[1:].prompts == ["sad"] and wav[[1, 0]].seeds == [1, 0]
    assert wav[np.array([False, True])].audio.shape == (1, *wav.audio.shape[1:])
    np.testing.assert_allclose(wav.audio, both_tiny.decode_audio(tokens))
    bare = Generation(tokens, None, 8000, ["happy", "sad"], [0, 1])
    for ask in (bare.play, lambda: bare.save("nowhere")):
        with pytest.raises(ValueError, match="audio=False"):
            ask()


def labelled(values, **coords):
    dims = ("timestep", "branch", "clip", "d_model")
    return xr.DataArray(values, dict(branch=["cond", "null"]) | coords, dims, name="layer_12")


@pytest.fixture
def three_sets():
    "Happy, the same with another seed, and sad; the null rows are far away from all of them."
    random = np.random.default_rng(0)
    base, emotion = random.normal(size=(2, 32))
    sets = []
    for strength in (0, 0, 1):
        values = base + strength * emotion + 0.5 * random.normal(size=(20, 2, 3, 32))
        values[:, 1] -= 10
        sets.append(labelled(values))
    return sets


def test_cosine_of_labelled_arrays(three_sets):
    happy, _, sad = three_sets
    by_hand = [acts.values[:, 0].mean((0, 1)) for acts in (happy, sad)]
    value = cosine_similarity(happy, sad)
    assert value == pytest.approx(cosine_similarity(*by_hand), abs=1e-12)
    turned = sad.transpose("clip", "d_model", "branch", "timestep")
    assert cosine_similarity(happy, turned.isel(timestep=slice(None, None, -1))) == pytest.approx(
        value
    )
    assert cosine_similarity(happy, sad, branch="null") > 0.9 > value
    assert cosine_similarity(happy.sel(branch="cond"), sad) == pytest.approx(value)
    assert cosine_similarity(happy.mean("timestep"), sad) == pytest.approx(value)
    np.testing.assert_allclose(mean_state(happy), by_hand[0])
    with pytest.raises(ValueError, match="branch must be one of cond, null; got 'guidance'"):
        cosine_similarity(happy, sad, branch="guidance")
    with pytest.raises(ValueError, match="same width"):
        cosine_similarity(happy, sad.isel(d_model=slice(5)))


def test_cosine_of_rows_stays_as_it_was(three_sets):
    happy = three_sets[0].sel(branch="cond").mean("timestep")  # (clip, d_model)
    rows = happy.values
    np.testing.assert_allclose(cosine_similarity(happy), cosine_similarity(rows))
    np.testing.assert_allclose(cosine_similarity(happy.T, rows), cosine_similarity(rows))
    assert cosine_similarity(rows, rows[0]).shape == cosine_similarity(rows[0], rows).shape == (3,)
    assert cosine_similarity(rows[0], rows[0]) == pytest.approx(1)
    with pytest.raises(ValueError, match="must have 2 dimensions"):
        cosine_similarity(three_sets[0].values, three_sets[0].values)


def test_padding_of_texts_has_no_part(tiny):
    tokens, prompts = np.zeros((2, 4, 12), int), ["happy", "sad " * 20]
    text = replay(tiny, tokens, prompts, "text")["text"]
    state = mean_state(text)
    assert np.isfinite(state).all()
    np.testing.assert_allclose(state, np.nanmean(text.values[:, 0], axis=(0, 1)), atol=1e-6)


def test_comparison_beside_its_floor(three_sets):
    happy, other_seed, sad = three_sets
    found = compare_activations(happy, sad, other_seed, threshold=0.3, n_strongest=5)
    between, floor = found.table.to_dict("records")
    assert between["pair"] == "a and b" and floor["pair"] == "same prompt, other seed"
    assert between["similarity"] == pytest.approx(cosine_similarity(happy, sad))
    assert between["similarity"] < floor["similarity"]
    assert between["lowest"] <= between["highest"] < floor["highest"] <= 1
    assert between["differing"] > floor["differing"]
    gaps = mean_state(sad) - mean_state(happy)
    order = np.argsort(-abs(gaps))[:5]
    assert found.strongest.dimension.tolist() == order.tolist()
    np.testing.assert_allclose(found.strongest.difference, gaps[order])
    assert "differ by more than two seeds do" in found.sentence
    assert f"values from {floor['similarity']:.4f} to 1 are plausible" in found.sentence
    assert found.sentence in found._repr_markdown_() and "<table" in found._repr_html_()
    axes = found.plot()
    curves = [line for line in axes.lines if len(line.get_xdata()) == 20]
    assert len(curves) == 2


def test_comparison_without_a_difference(three_sets):
    happy, other_seed, _ = three_sets
    found = compare_activations(happy, happy, other_seed)
    assert "no more than two seeds do" in found.sentence and "run `trace`" in found.sentence
    assert found.table.differing[0] == 0
    assert "has no scale" in compare_activations(happy, happy).sentence


def test_comparison_on_nano(nano):
    extractor, acts = ActivationExtractor(nano, layers=[2]), {}
    for name, prompt, seed in (("happy", HAPPY, 0), ("sad", SAD, 0), ("floor", HAPPY, 1)):
        extractor.generate(prompt, seed=seed, duration_s=1.0 if name == "sad" else 1.2)
        acts[name] = extractor.get_activations()["layer_2"]
        extractor.clear_activations()
    found = compare_activations(acts["happy"], acts["sad"], acts["floor"])
    assert found.table.pair[0] == f"'{HAPPY}' and '{SAD}'"
    assert found.course.groupby("pair").size().tolist() == [53, 63]
    assert found.course.seconds.max() == pytest.approx(62 / 50)
    assert found.table.similarity[0] < found.table.similarity[1]


def test_wrong_comparisons(three_sets):
    happy, other_seed, sad = three_sets
    with pytest.raises(TypeError, match=r"such as acts\['layer_12'\]; got dict"):
        compare_activations({"layer_12": happy}, sad)
    for kwargs, match in (
        (dict(b=sad.rename("layer_0")), "a is of site 'layer_12' and b of site 'layer_0'"),
        (dict(b=sad.isel(clip=[0])), "a has 3 clips and b has 1"),
        (dict(b=sad.mean("timestep")), "b has no timesteps"),
        (dict(branch="guidance"), "branch must be one of"),
        (dict(threshold=0), "threshold must be"),
        (dict(n_strongest=0), "n_strongest must be"),
        (dict(floor=happy), "floor is a itself"),
    ):
        with pytest.raises(ValueError, match=match):
            compare_activations(**(dict(a=happy, b=sad, floor=other_seed) | kwargs))
    prompts = [("clip", [text] * 3) for text in (HAPPY, SAD)]
    with pytest.raises(ValueError, match="floor must be of the prompts of a"):
        compare_activations(
            happy.assign_coords(prompt=prompts[0]), sad, other_seed.assign_coords(prompt=prompts[1])
        )
