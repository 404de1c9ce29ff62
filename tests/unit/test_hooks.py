"""Hooks leave nothing behind; the extractor keeps every position; trace finds planted faults."""

import numpy as np
import pytest
import torch

from musicgen_emotion.activations.extractor import ActivationExtractor, PassRecorder
from musicgen_emotion.activations.hooks import count_hooks, hooked
from musicgen_emotion.activations.positions import trim_special
from musicgen_emotion.activations.tracing import trace
from musicgen_emotion.models.load import load_model
from musicgen_emotion.models.model import Pass
from musicgen_emotion.models.sampling import sample_tokens

PROMPTS = ["happy upbeat pop song", "sad slow piano ballad"]


def test_nothing_stays_after_an_exception(both_tiny):
    def boom(x, now):
        raise ZeroDivisionError

    with (
        pytest.raises(ZeroDivisionError),
        hooked(both_tiny, {"layer_1": boom, "text": lambda x, now: None}),
    ):
        sample_tokens(both_tiny, PROMPTS, 0, 2)
    with pytest.raises(KeyError), ActivationExtractor(both_tiny, layers=[0]):
        raise KeyError("inside")
    extractor = ActivationExtractor(both_tiny, layers=[0])
    with (
        hooked(both_tiny, {"layer_2": lambda x, now: 1 / 0 if now.position == 3 else None}),
        pytest.raises(ZeroDivisionError),
    ):
        extractor.generate(PROMPTS, duration_s=0.2)
    assert count_hooks(both_tiny) == 0
    with pytest.raises(ValueError, match="nothing was recorded"):
        extractor.get_activations()
    extractor.generate(PROMPTS, duration_s=0.1)
    assert extractor.get_activations()["layer_0"].sizes["clip"] == 2 and count_hooks(both_tiny) == 0


def test_reading_changes_no_token_on_nano(both_nano):
    extractor = ActivationExtractor(
        both_nano, sites=("text", "text_proj", "embed", "resid", "self_attn", "cross_attn", "mlp")
    )
    tokens = extractor.generate(PROMPTS, seed=[4, 9], duration_s=0.3)
    np.testing.assert_array_equal(tokens, sample_tokens(both_nano, PROMPTS, [4, 9], 15))
    acts = extractor.get_activations()
    assert list(acts) == both_nano.sites
    assert acts["layer_0"].sizes == dict(
        timestep=18, branch=2, clip=2, d_model=both_nano.config.d_model
    )
    assert all(np.isfinite(a).all() for a in acts.values())


def test_an_edit_reaches_later_layers_only(both_tiny):
    seen = []

    def watch(x, now):
        seen.append(x.clone())

    for fn in (lambda x, now: None, lambda x, now: x + 1):
        with hooked(both_tiny, {"layer_1": fn, "layer_0": watch, "layer_2": watch}):
            both_tiny.step(
                both_tiny.begin(both_tiny.encode_text("happy")), torch.full((1, 4, 1), 64)
            )
    assert torch.equal(seen[0], seen[2]) and not torch.equal(seen[1], seen[3])


@pytest.mark.parametrize(
    "site",
    [
        "text",
        "text_proj",
        "embed",
        "layer_0.self_attn",
        "layer_0.cross_attn",
        "layer_0.mlp",
        "layer_0",
    ],
)
def test_every_kind_of_site_can_be_edited(both_tiny, site):
    def shift(x, now):
        return x + torch.linspace(-3, 3, x.shape[-1])

    ids, text = torch.full((1, 4, 1), 64), lambda: both_tiny.encode_text("happy song")
    plain = both_tiny.step(both_tiny.begin(text()), ids)
    with hooked(both_tiny, {site: shift}):
        edited = both_tiny.step(both_tiny.begin(text()), ids)
    with hooked(both_tiny, {site: lambda x, now: x.clone()}):
        same = both_tiny.step(both_tiny.begin(text()), ids)
    assert torch.equal(plain, same) and not torch.allclose(plain[0], edited[0])


@pytest.mark.parametrize(
    "new", [lambda x, now: x[:1], lambda x, now: 3.0, lambda x, now: x.numpy()]
)
def test_wrong_replacements(both_tiny, new):
    match = "site 'layer_1' must return None or a tensor of shape"
    with pytest.raises(ValueError, match=match), hooked(both_tiny, {"layer_1": new}):
        sample_tokens(both_tiny, PROMPTS, 0, 1)
    assert count_hooks(both_tiny) == 0


def test_wrong_extractor_arguments(both_tiny):
    for kwargs, error in (
        (dict(layers=[0, 12, 24]), ValueError),
        (dict(layers=["a"]), TypeError),
        (dict(sites="residual"), KeyError),
        (dict(pool="median"), ValueError),
        (dict(layers=[]), ValueError),
    ):
        with pytest.raises(error):
            ActivationExtractor(both_tiny, **kwargs)
    extractor = ActivationExtractor(both_tiny, layers=[0])
    for kwargs, error in (
        (dict(prompts=[]), ValueError),
        (dict(prompts=[3]), TypeError),
        (dict(prompts="a", duration_s=0), ValueError),
        (dict(prompts="a", seed=[1, 2]), ValueError),
        (dict(prompts="a", seed="x"), TypeError),
    ):
        with pytest.raises(error):
            extractor.generate(**kwargs)
    assert count_hooks(both_tiny) == 0


def test_batches_come_back_in_prompt_order(both_tiny):
    long = (
        "melancholic lo-fi hip hop beat with vinyl crackle, sorrowful gloomy cello solo, very slow"
    )
    prompts = [long, "happy", long, "sad", "calm"]
    one, many = (
        ActivationExtractor(both_tiny, layers=[2], sites=("text", "text_proj", "resid"))
        for _ in range(2)
    )
    a, b = (
        one.generate(prompts, seed=7, duration_s=0.1, batch_size=1),
        many.generate(prompts, seed=7, duration_s=0.1),
    )
    np.testing.assert_array_equal(a, b)
    for site in ("text", "text_proj", "layer_2"):
        x, y = one.get_activations()[site], many.get_activations()[site]
        assert list(x["clip"]) == list(range(5)) and list(x.prompt.values) == prompts
        np.testing.assert_allclose(x, y, atol=1e-4)


def test_library_generate_gives_one_entry_a_position(tiny):
    with ActivationExtractor(tiny, layers=[0, 2]) as extractor, torch.no_grad():
        for _ in range(2):
            tiny.hf.generate(
                **tiny.tokenize(PROMPTS), do_sample=False, guidance_scale=3.0, max_length=14
            )
    runs = extractor.get_activations(concatenate=False)["layer_2"]
    assert [r.sizes["timestep"] for r in runs] == [13, 13] and list(runs[1]["clip"]) == [2, 3]
    np.testing.assert_allclose(runs[0], runs[1], atol=1e-5)
    ours = ActivationExtractor(tiny, layers=[2])
    ours.generate(PROMPTS, temperature=0, duration_s=0.2)
    np.testing.assert_allclose(ours.get_activations()["layer_2"], runs[0], atol=1e-4)


def test_runs_of_different_length_need_a_list(both_tiny):
    extractor = ActivationExtractor(both_tiny, layers=[0])
    extractor.generate("happy", duration_s=0.1)
    extractor.generate("happy", duration_s=0.2)
    with pytest.raises(ValueError, match="concatenate=False"):
        extractor.get_activations()
    assert len(extractor.get_activations(concatenate=False)["layer_0"]) == 2
    extractor.clear_activations()
    with pytest.raises(ValueError, match="nothing was recorded"):
        extractor.get_activations()


def test_without_guidance_there_is_one_branch(both_tiny):
    extractor = ActivationExtractor(both_tiny, layers=[0], pool=lambda x: x.amax(0))
    extractor.generate(PROMPTS, duration_s=0.1, guidance=1)
    acts = extractor.get_activations()["layer_0"]
    assert acts.dims == ("branch", "clip", "d_model") and list(acts.branch) == ["cond"]


@pytest.mark.parametrize(
    "layers, what",
    [
        (1.5, "1.5"),
        ("all", "'all'"),
        ([0, 1.5], "1.5"),
        (True, "True"),
    ],
)
def test_layers_that_are_no_integers_are_named(both_tiny, layers, what):
    import re

    with pytest.raises((TypeError, ValueError), match=f"layers.* must be .*{re.escape(what)}"):
        ActivationExtractor(both_tiny, layers=layers)


class Elsewhere:
    "A mask on another device: there is nothing to do with it but to fetch it."

    def __init__(self, mask):
        self.mask = mask

    def __len__(self):
        return len(self.mask)

    def cpu(self):
        return self.mask


def test_text_is_pooled_where_the_records_are(tiny):
    recorder = PassRecorder(3, "mean")
    mask = Elsewhere(torch.tensor([[1, 1, 0]]))
    now = Pass(tiny.site("text"), 0, 5, n_clips=1, text_mask=mask, restart=True)
    recorder(torch.arange(3.0)[None, :, None], now)
    recorder.follow(None, now)
    recorder.finish()
    assert recorder.batches[0].arrays["text"].tolist() == [[[0.5]]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_text_is_pooled_on_a_gpu(tiny, tiny_folder):
    pooled = []
    for model in (tiny, load_model(tiny_folder, device="cuda")):
        ex = ActivationExtractor(model, sites=("text", "text_proj"), pool="mean")
        ex.generate(PROMPTS, duration_s=0.1)
        pooled.append(ex.get_activations())
    for s in pooled[0]:
        np.testing.assert_allclose(pooled[0][s], pooled[1][s], atol=1e-3)


def test_trim_special_refuses_short_runs(both_tiny):
    extractor = ActivationExtractor(both_tiny, layers=[0])
    extractor.generate("happy", duration_s=0.06)
    acts = extractor.get_activations()
    with pytest.raises(ValueError, match="leave nothing"):
        trim_special(acts)


class KeepsLast(ActivationExtractor):
    def get_activations(self):
        return {s: a[-1:] for s, a in super().get_activations().items()}


class AveragesBranches(ActivationExtractor):
    def get_activations(self):
        return {s: a * 0 + a.mean("branch") for s, a in super().get_activations().items()}


class SwapsBranches(ActivationExtractor):
    def get_activations(self):
        return {s: a[:, ::-1] for s, a in super().get_activations().items()}


class SwapsAxes(ActivationExtractor):
    def get_activations(self):
        return {s: a.values.swapaxes(1, 2) for s, a in super().get_activations().items()}


class MergesBranches(ActivationExtractor):
    def get_activations(self):
        return {s: a.mean("branch", keepdims=True) for s, a in super().get_activations().items()}


class ReadsTheLayerBelow(ActivationExtractor):
    def __init__(self, model, layers):
        super().__init__(model, layers, sites=("resid", "embed"))

    def get_activations(self):
        acts = super().get_activations()
        return {"layer_0": acts["embed"], "layer_1": acts["layer_0"], "layer_2": acts["layer_1"]}


@pytest.mark.parametrize(
    "fault, check, words",
    [
        (KeepsLast, "every timestep kept", "keeps 1 of 8 timesteps: it overwrites"),
        (AveragesBranches, "branches apart", "mean of cond and null"),
        (SwapsBranches, "branches apart", "swapped"),
        (SwapsAxes, "branches apart", "branches and clips are mixed"),
        (MergesBranches, "branches apart", "1 branches instead of 2"),
        (ReadsTheLayerBelow, "right layer", "layer_2: holds layer_1: it reads the wrong layer"),
    ],
)
def test_trace_finds_planted_faults(both_tiny, fault, check, words):
    report = trace(both_tiny, PROMPTS[0], extractor=fault, duration_s=0.1)
    assert not report.ok and check in report.checks[~report.checks.passed].name.tolist()
    assert words in report.verdict and "Do not trust" in report.verdict
    assert count_hooks(both_tiny) == 0


def test_trace_passes_a_sound_extractor(both_nano):
    report = trace(both_nano, PROMPTS[0], duration_s=0.1)
    assert report.ok, report.verdict
    assert report.verdict in report._repr_markdown_() and report.table.text_changes_null.max() == 0
