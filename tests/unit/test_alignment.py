"""Distributed alignment search on a model whose heads read a known subspace."""

import numpy as np
import pytest
import torch

from musicgen_emotion.causes.alignment import (
    WHOLE_SITE,
    Alignment,
    distributed_alignment,
    random_alignment,
    swap_effects,
)
from musicgen_emotion.causes.pairs import Pairs, pair_prompts, pair_tokens
from musicgen_emotion.causes.patching import activation_patching, patching_summary
from musicgen_emotion.models.load import load_model
from musicgen_emotion.stimuli.prompts import matched_pairs

torch.set_num_threads(1)
LAST = "layer_2"  # the last residual stream of the tiny model
QUIET = dict(progress=False)


def tiny_pairs(model, n=6):
    prompts = pair_prompts(matched_pairs("happy", "sad", n), "happy", "sad")
    return pair_tokens(model, prompts, duration_s=0.4)


@pytest.fixture(scope="module")
def known(tiny_folder):
    "A model whose heads read two directions of the last stream, and these directions."
    model = load_model(tiny_folder, device="cpu")
    width = model.config.d_model
    draw = np.random.default_rng(0).normal(size=(width, 2))
    draw -= draw.mean(0)  # the norm before the heads takes the mean away
    basis = torch.tensor(np.linalg.qr(draw)[0], dtype=torch.float32)
    with torch.no_grad():
        for head in model.hf.decoder.lm_heads:
            head.weight.copy_(20 * head.weight @ basis @ basis.T)
    return model, Alignment(basis.numpy(), LAST, "known")


def restored(table):
    whole = table[(table.codebook == "all") & (table.readout == "cond")]
    return patching_summary(whole, by=("arm",), n_boot=50).set_index("arm").value


def test_the_known_subspace_is_found_and_a_random_one_is_not(known):
    model, truth = known
    pairs = tiny_pairs(model)
    found = distributed_alignment(model, pairs[:4], LAST, k=2, steps=150, lr=0.05, **QUIET)
    assert found.history.loss.iloc[-1] < 0.2 * found.history.loss.iloc[0]
    assert found.overlap(truth) > 0.8
    control = random_alignment(found, seed=1)
    assert control.overlap(truth) < 0.3
    arms = {"found": found, "known": truth, "random": control}
    share = restored(swap_effects(model, pairs[4:], arms, **QUIET))
    assert share["known"] > 0.9 and share["found"] > 0.8
    assert abs(share["random"]) < 0.3
    parts = found.basis.T @ found.direction(rms=1.0).vector
    assert np.linalg.norm(parts) == pytest.approx(found.direction().norm, rel=1e-5)


def test_a_swap_of_all_directions_is_patching(both_tiny):
    pairs = tiny_pairs(both_tiny, 3)
    width = both_tiny.config.d_model
    arms = {"all": Alignment(np.eye(width), "layer_0", "by hand")}
    table = swap_effects(both_tiny, pairs, arms, batch_size=2, **QUIET)
    patched = activation_patching(both_tiny, pairs, ["layer_0"], "patch", batch_size=2, **QUIET)
    for arm in ("all", WHOLE_SITE):
        ours = table[table.arm == arm].reset_index(drop=True)
        for column in ("moved", "gap", "kl_source", "kl_target"):
            np.testing.assert_allclose(ours[column], patched[column], rtol=1e-3, atol=1e-5)


def test_the_search_repeats_and_leaves_the_model_alone(both_tiny):
    pairs = tiny_pairs(both_tiny, 3)
    before = [p.detach().clone() for p in both_tiny.hf.parameters()]
    wants = [p.requires_grad for p in both_tiny.hf.parameters()]
    search = dict(k=2, steps=5, batch_size=2, seed=3, **QUIET)
    first = distributed_alignment(both_tiny, pairs, "layer_0", **search)
    again = distributed_alignment(both_tiny, pairs, "layer_0", **search)
    np.testing.assert_array_equal(first.basis, again.basis)
    other = distributed_alignment(both_tiny, pairs, "layer_0", **(search | dict(seed=4)))
    assert not np.allclose(first.basis, other.basis)
    for old, new in zip(before, both_tiny.hf.parameters(), strict=True):
        assert torch.equal(old, new) and new.grad is None
    assert wants == [p.requires_grad for p in both_tiny.hf.parameters()]
    assert torch.is_grad_enabled()


def test_nothing_is_found_where_nothing_is_read(tiny_folder):
    "A deaf model predicts the same for both prompts: a swap has nothing to bring."
    deaf = load_model(tiny_folder, device="cpu")
    with torch.no_grad():
        for layer in deaf.hf.decoder.model.decoder.layers:
            layer.encoder_attn.out_proj.weight.zero_()
    found = distributed_alignment(deaf, tiny_pairs(deaf, 3), LAST, steps=3, **QUIET)
    assert np.abs(found.history.loss).max() < 1e-6
    with pytest.raises(ValueError, match="do not differ"):
        found.direction()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (dict(site="text"), "decoder site"),
        (dict(site="text_proj"), "decoder site"),
        (dict(k=1000), "at most"),
        (dict(k=0), "k must be"),
        (dict(steps=0), "steps must be"),
        (dict(lr=0), "lr must be"),
        (dict(pairs=Pairs(["a"], ["b"])), "no tokens"),
    ],
)
def test_the_search_refuses_bad_input(tiny, change, error):
    values = dict(pairs=tiny_pairs(tiny, 2), site=LAST, steps=2, **QUIET) | change
    with pytest.raises(ValueError, match=error):
        distributed_alignment(tiny, **values)


def test_subspaces_refuse_bad_input(tiny):
    pairs, width = tiny_pairs(tiny, 2), tiny.config.d_model
    good = Alignment(np.eye(width)[:, :1], LAST, "by hand")
    elsewhere = Alignment(np.eye(width)[:, :1], "layer_0", "by hand")
    narrow = Alignment(np.eye(3)[:, :1], LAST, "by hand")
    with pytest.raises(KeyError, match="layer_9"):
        distributed_alignment(tiny, pairs, "layer_9", steps=1, **QUIET)
    for arms in ({}, {"a": good, "b": elsewhere}, {WHOLE_SITE: good}):
        with pytest.raises(ValueError, match="one or more of one site"):
            swap_effects(tiny, pairs, arms, **QUIET)
    with pytest.raises(ValueError, match="has width 3"):
        swap_effects(tiny, pairs, {"narrow": narrow}, **QUIET)
    for basis in (np.ones((4, 2)), np.zeros((4, 0)), np.eye(4)[:2], np.eye(4)[:, :2] * 2):
        with pytest.raises(ValueError, match=r"basis|orthonormal"):
            Alignment(basis, LAST, "by hand")
    with pytest.raises(ValueError, match="widths of the sites differ"):
        good.overlap(narrow)
