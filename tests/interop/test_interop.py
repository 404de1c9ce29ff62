"""Our dictionaries in the real SAELens, dictionary_learning and sparsify, and theirs here.

Features and reconstructions must be the same on both sides. `make interop` builds an environment
that has the three libraries; elsewhere each test skips and names the package that is missing."""

import json

import numpy as np
import pytest
import torch

from musicgen_emotion.sae.dictionary import SparseAutoencoder
from musicgen_emotion.sae.formats import (
    load_dictionary,
    to_dictionary_learning,
    to_saelens,
    to_sparsify,
)
from musicgen_emotion.sae.settings import ACTIVATIONS, SAEConfig, TrainConfig
from musicgen_emotion.sae.training import train_sae

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*features. a dictionary can memorize them.*"),
    pytest.mark.filterwarnings("ignore:the mean is .* times as long"),
    pytest.mark.filterwarnings("ignore:the rows vary in about"),
    pytest.mark.filterwarnings("ignore::UserWarning:sae_lens"),
]
D, F, K, CLOSE = 48, 192, 6, 1e-5
META = dict(model="nano", site="layer_2", branch="cond", seed=3)


def package(name, has):
    def load():
        module = pytest.importorskip(
            name,
            reason=f"{name} is not installed here; `make interop` installs it",
            exc_type=ImportError,
        )
        if not hasattr(module, has):
            pytest.skip(f"the installed {name} is another package: it has no {has}")
        return module

    return pytest.fixture(scope="module", name=name)(load)


lens, dl, eai = (
    package("sae_lens", "SAE"),
    package("dictionary_learning", "AutoEncoder"),
    package("sparsify", "SparseCoder"),
)


@pytest.fixture(scope="module")
def x():
    "Sparse sums of directions around a mean that is longer than their spread."
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((96, D))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    codes = rng.exponential(size=(1024, 96)) * (rng.random((1024, 96)) < 0.05)
    return torch.tensor(
        codes @ rows + 4 * rng.standard_normal(D) / D**0.5 + 0.02 * rng.standard_normal((1024, D)),
        dtype=torch.float32,
    )


@pytest.fixture(scope="module")
def ours(x):
    "Every activation, trained for a few steps; with scale 1, with another scale, and tied."
    out = {}
    for a in ACTIVATIONS:
        for variant, more in dict(
            plain={}, scaled=dict(normalize=True), tied=dict(tied=True)
        ).items():
            cfg = SAEConfig(D, d_sae=F, activation=a, k=K, l1=1e-3, metadata=META, **more)
            out[a, variant] = train_sae(
                x,
                cfg,
                TrainConfig(
                    steps=25, batch_size=128, warmup=5, l1_warmup=5, window=10, eval_every=25
                ),
                progress=False,
            ).sae
    return out


def same(name, theirs, mine):
    gap = float(
        (theirs.detach().double() - mine.detach().double()).abs().max()
        / mine.detach().double().abs().max()
    )
    assert gap < CLOSE, f"{name} differ by {gap:.1e} of the largest"


def agree(x, features, reconstruction, mine):
    f = mine.encode(x)
    assert int((f > 0).sum()) > 0 and f.shape == (len(x), mine.d_sae)
    same("features", features, f)
    same("reconstructions", reconstruction, mine(x))


def shaken(module, seed=0):
    "Random weights, so that no bias, norm or threshold has a value that hides a mistake."
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "threshold" in name:
                parameter.copy_(torch.rand(parameter.shape, generator=g) * 0.5)
            else:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=g))
        if getattr(module, "threshold", None) is not None and module.threshold.ndim == 0:
            module.threshold.fill_(0.4)
    return module


CASES = [(a, v) for a in ACTIVATIONS for v in ("plain", "scaled", "tied")]

# SAELens


@pytest.mark.parametrize("activation,variant", CASES)
def test_saelens_loads_ours(sae_lens, ours, x, tmp_path, activation, variant):
    mine = ours[activation, variant]
    theirs = sae_lens.SAE.load_from_disk(to_saelens(mine, tmp_path))
    agree(x, theirs.encode(x), theirs(x), mine)
    assert theirs.cfg.architecture() == dict(relu="standard", batch_topk="jumprelu").get(
        activation, activation
    )
    assert {
        k: theirs.cfg.metadata[k] for k in META
    } == META and theirs.cfg.metadata.hook_name == "layer_2"


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_saelens_saves_ours_and_we_load_it(sae_lens, ours, x, tmp_path, activation):
    mine = ours[activation, "scaled"]
    sae_lens.SAE.load_from_disk(to_saelens(mine, tmp_path / "a")).save_model(tmp_path / "b")
    back = load_dictionary(tmp_path / "b")
    agree(x, mine.encode(x), mine(x), back)
    assert {k: back.cfg.metadata[k] for k in META} == META


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize(
    "kind,more",
    [
        ("Standard", {}),
        ("TopK", dict(k=K)),
        ("TopK", dict(k=K, rescale_acts_by_decoder_norm=True)),
        ("JumpReLU", {}),
        ("Gated", {}),
    ],
)
def test_we_load_a_fresh_one_of_saelens(sae_lens, x, tmp_path, kind, more, subtract):
    config = getattr(sae_lens, f"{kind}SAEConfig")(
        d_in=D, d_sae=F, apply_b_dec_to_input=subtract, **more
    )
    theirs = shaken(getattr(sae_lens, f"{kind}SAE")(config))
    theirs.save_model(tmp_path)
    agree(x, theirs.encode(x), theirs(x), load_dictionary(tmp_path))


TRAINED = [
    ("Standard", dict(l1_coefficient=0.05)),
    ("TopK", dict(k=K)),
    ("BatchTopK", dict(k=K)),
    ("MatryoshkaBatchTopK", dict(k=K, matryoshka_widths=[F // 4, F])),
    ("JumpReLU", dict(l0_coefficient=0.01)),
    ("Gated", dict(l1_coefficient=0.05)),
]


@pytest.mark.parametrize("kind,more", TRAINED, ids=[k for k, _ in TRAINED])
def test_we_load_what_the_trainer_of_saelens_trained(sae_lens, x, tmp_path, kind, more):
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(0)
    sae = getattr(sae_lens, f"{kind}TrainingSAE")(
        getattr(sae_lens, f"{kind}TrainingSAEConfig")(d_in=D, d_sae=F, **more)
    )
    order = np.random.default_rng(0)

    def batches():
        while True:
            yield x[order.choice(len(x), 128)]

    before = sae.W_dec.detach().clone()
    SAETrainer(
        SAETrainerConfig(
            total_training_samples=128 * 30, train_batch_size_samples=128, lr=1e-3, lr_end=1e-3
        ),
        sae,
        batches(),
    ).fit()
    assert (sae.W_dec - before).abs().max() > 1e-3
    sae.save_inference_model(tmp_path / "inference")
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "inference")
    mine = load_dictionary(tmp_path / "inference")
    agree(x, theirs.encode(x), theirs(x), mine)
    sae.save_model(tmp_path / "training")
    again = load_dictionary(tmp_path / "training")
    agree(x, theirs.encode(x), theirs(x), again)
    assert again.cfg.activation == dict(
        Standard="relu", TopK="topk", JumpReLU="jumprelu", Gated="gated"
    ).get(kind, "batch_topk")


OLDER = dict(  # of SAELens 5: settings of the activation beside an architecture
    d_in=D,
    d_sae=F,
    dtype="float32",
    device="cpu",
    model_name="gpt2-small",
    hook_name="blocks.5.hook_resid_pre",
    hook_layer=5,
    hook_head_index=None,
    activation_fn_str="relu",
    activation_fn_kwargs={},
    apply_b_dec_to_input=True,
    finetuning_scaling_factor=False,
    sae_lens_training_version="5.11.0",
    prepend_bos=True,
    dataset_path="text",
    dataset_trust_remote_code=True,
    context_size=128,
    normalize_activations="none",
    neuronpedia_id=None,
    model_from_pretrained_kwargs={},
    seqpos_slice=[None],
)


@pytest.mark.parametrize(
    "change",
    [
        dict(architecture="standard"),
        dict(architecture="standard", apply_b_dec_to_input=False),
        dict(
            architecture="standard",
            activation_fn_str="topk",
            activation_fn_kwargs=dict(k=K),
        ),
        dict(architecture="topk", activation_fn_str="topk", activation_fn_kwargs=dict(k=K)),
        dict(architecture="jumprelu"),
        dict(architecture="gated"),
        dict(hook_point="blocks.5.hook_resid_pre", hook_point_layer=5, activation_fn="relu"),
    ],
)
def test_we_load_the_older_versions_of_saelens(sae_lens, x, tmp_path, change):
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    shapes = dict(W_enc=(D, F), b_enc=(F,), W_dec=(F, D), b_dec=(D,))
    if change.get("architecture") == "jumprelu":
        shapes |= dict(threshold=(F,))
    if change.get("architecture") == "gated":
        del shapes["b_enc"]
        shapes |= dict(b_gate=(F,), r_mag=(F,), b_mag=(F,))
    tensors = {
        name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()
    }
    config = OLDER | change
    if "hook_point" in change:
        config = {name: config[name] for name in config if name not in ("hook_name", "hook_layer")}
        del config["activation_fn_str"]
    save_file(tensors, tmp_path / "sae_weights.safetensors")
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    theirs = sae_lens.SAE.load_from_disk(tmp_path)
    mine = load_dictionary(tmp_path)
    with torch.no_grad():
        agree(x, theirs.encode(x), theirs(x), mine)
    assert mine.cfg.metadata["site"] == theirs.cfg.metadata.hook_name
    assert mine.cfg.metadata["model"] == theirs.cfg.metadata.model_name


def test_what_saelens_has_and_we_do_not_is_refused(sae_lens, tmp_path):
    sae_lens.SkipTranscoder(
        sae_lens.SkipTranscoderConfig(d_in=D, d_sae=F, d_out=D, apply_b_dec_to_input=False)
    ).save_model(tmp_path / "transcoder")
    with pytest.raises(ValueError, match="architecture 'skip_transcoder'"):
        load_dictionary(tmp_path / "transcoder")
    sae_lens.StandardSAE(
        sae_lens.StandardSAEConfig(d_in=D, d_sae=F, normalize_activations="layer_norm")
    ).save_model(tmp_path / "norm")
    with pytest.raises(ValueError, match="normalize_activations 'layer_norm'"):
        load_dictionary(tmp_path / "norm")
    sae_lens.StandardSAE(
        sae_lens.StandardSAEConfig(d_in=D, d_sae=F, reshape_activations="hook_z")
    ).save_model(tmp_path / "heads")
    with pytest.raises(ValueError, match="reshape_activations 'hook_z'"):
        load_dictionary(tmp_path / "heads")
    sae_lens.TopKSAE(sae_lens.TopKSAEConfig(d_in=D, d_sae=F, k=K)).save_model(tmp_path / "topk")
    config = json.loads((tmp_path / "topk" / "cfg.json").read_text())
    for change, match in (
        (dict(k=None), "'k', the number of active features a row, is missing"),
        (dict(d_in=D + 1), rf"'W_enc' has shape \({D}, {F}\), expected \({D + 1}, {F}\)"),
    ):
        (tmp_path / "topk" / "cfg.json").write_text(json.dumps(config | change))
        with pytest.raises(ValueError, match=match):
            load_dictionary(tmp_path / "topk")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_features_of_a_small_spread_far_from_zero_are_the_same_in_saelens(
    sae_lens, x, tmp_path, activation
):
    far = 50 + 1e-3 * x
    mine = (
        SparseAutoencoder(D, d_sae=F, activation=activation, k=K, normalize=True)
        .start_at(far)
        .eval()
    )
    theirs = sae_lens.SAE.load_from_disk(to_saelens(mine, tmp_path))
    with torch.no_grad():
        same("features", theirs.encode(far), mine.encode(far))
        same("reconstructions", theirs(far), mine(far))


# dictionary_learning


@pytest.mark.parametrize("activation,variant", CASES)
def test_dictionary_learning_loads_ours(
    dictionary_learning, ours, x, tmp_path, activation, variant
):
    from dictionary_learning.utils import load_dictionary as load_theirs

    mine = ours[activation, variant]
    theirs, config = load_theirs(str(to_dictionary_learning(mine, tmp_path)), "cpu")
    with torch.no_grad():
        agree(x, theirs.encode(x), theirs(x), mine)
    assert config["trainer"]["layer"] == "layer_2" and config["metadata"] == META


CLASSES = (
    "AutoEncoder",
    "AutoEncoderNew",
    "GatedAutoEncoder",
    "JumpReluAutoEncoder",
    "AutoEncoderTopK",
    "BatchTopKSAE",
    "MatryoshkaBatchTopKSAE",
)


def their_class(name):
    import importlib

    for module in (
        "dictionary",
        "trainers.top_k",
        "trainers.batch_top_k",
        "trainers.matryoshka_batch_top_k",
    ):
        if found := getattr(importlib.import_module(f"dictionary_learning.{module}"), name, None):
            return found


@pytest.mark.parametrize("name", CLASSES)
def test_we_load_a_fresh_one_of_dictionary_learning(dictionary_learning, x, tmp_path, name):
    from dictionary_learning.utils import load_dictionary as load_theirs

    more = (
        () if "K" not in name else (K,) if "Matryoshka" not in name else (K, [F // 4, F - F // 4])
    )
    torch.manual_seed(0)
    torch.save(shaken(their_class(name)(D, F, *more)).state_dict(), tmp_path / "ae.pt")
    (tmp_path / "config.json").write_text(
        json.dumps(dict(trainer=dict(dict_class=name, **(dict(k=K) if more else {}))))
    )
    theirs, _ = load_theirs(str(tmp_path), "cpu")
    with torch.no_grad():
        agree(x, theirs.encode(x), theirs(x), load_dictionary(tmp_path))


@pytest.mark.parametrize(
    "trainer,more",
    [
        ("StandardTrainer", dict(l1_penalty=0.01, sparsity_warmup_steps=2, lr=1e-3)),
        ("TopKTrainer", dict(k=K, lr=1e-3)),
        ("BatchTopKTrainer", dict(k=K, lr=1e-3, threshold_start_step=2)),
    ],
)
def test_we_load_what_the_trainers_of_dictionary_learning_trained(
    dictionary_learning, x, tmp_path, trainer, more
):
    from dictionary_learning import trainers
    from dictionary_learning.training import trainSAE
    from dictionary_learning.utils import load_dictionary as load_theirs

    order = np.random.default_rng(0)
    data = (x[order.choice(len(x), 128)] for _ in range(30))
    config = dict(
        trainer=getattr(trainers, trainer),
        steps=30,
        activation_dim=D,
        dict_size=F,
        layer=2,
        lm_name="nano",
        warmup_steps=2,
        seed=0,
        device="cpu",
        **more,
    )
    trainSAE(data, [config], steps=30, save_dir=str(tmp_path), device="cpu")
    theirs, _ = load_theirs(str(tmp_path / "trainer_0"), "cpu")
    mine = load_dictionary(tmp_path / "trainer_0")
    with torch.no_grad():
        agree(x, theirs.encode(x), theirs(x), mine)
    assert (mine.cfg.metadata["model"], mine.cfg.metadata["site"]) == ("nano", 2)


# sparsify


def sparse_features(coder, x):
    values, at, _ = coder.encode(x)
    return torch.zeros(len(x), coder.num_latents).scatter(1, at, values)


@pytest.mark.parametrize("variant", ["plain", "scaled", "tied"])
def test_sparsify_loads_ours(sparsify, ours, x, tmp_path, variant):
    mine = ours["topk", variant]
    theirs = sparsify.SparseCoder.load_from_disk(to_sparsify(mine, tmp_path))
    with torch.no_grad():
        agree(x, sparse_features(theirs, x), theirs(x).sae_out, mine)


@pytest.mark.parametrize("latents", [0, 100])
def test_we_load_one_of_sparsify(sparsify, x, tmp_path, latents):
    torch.manual_seed(0)
    theirs = shaken(
        sparsify.SparseCoder(
            D, sparsify.SparseCoderConfig(expansion_factor=4, num_latents=latents, k=K)
        )
    )
    opt = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    for i in range(20):
        theirs(x[50 * i : 50 * i + 50]).fvu.backward()
        opt.step()
        opt.zero_grad()
    theirs.save_to_disk(tmp_path)
    with torch.no_grad():
        agree(x, sparse_features(theirs, x), theirs(x).sae_out, load_dictionary(tmp_path))


def test_what_sparsify_has_and_we_do_not_is_refused(sparsify, ours, tmp_path):
    for name, config, match in (
        ("groups", dict(activation="groupmax", k=8), "activation 'groupmax'"),
        ("skip", dict(skip_connection=True), "skip_connection True"),
        ("across", dict(transcode=True), "transcode True"),
    ):
        sparsify.SparseCoder(
            D, sparsify.SparseCoderConfig(expansion_factor=4, **config)
        ).save_to_disk(tmp_path / name)
        with pytest.raises(ValueError, match=match):
            load_dictionary(tmp_path / name)
    with pytest.raises(ValueError, match="this one is 'relu'"):
        to_sparsify(ours["relu", "plain"], tmp_path / "relu")


# one after the other


def test_a_topk_dictionary_goes_through_all_three_and_back(
    sae_lens, dictionary_learning, sparsify, ours, x, tmp_path
):
    first = now = ours["topk", "scaled"]
    for step, write in enumerate((to_saelens, to_dictionary_learning, to_sparsify)):
        now = load_dictionary(write(now, tmp_path / str(step)))
    agree(x, first.encode(x), first(x), now)
    own = SparseAutoencoder.from_pretrained(now.save_pretrained(tmp_path / "own"))
    agree(x, now.encode(x), now(x), own)
