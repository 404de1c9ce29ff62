"A pass whose numbers overflow stops and names the site and the clip, in every kind of pass."

import contextlib

import numpy as np
import pytest
import torch

from musicgen_emotion.activations.extractor import ActivationExtractor
from musicgen_emotion.activations.generation import generate
from musicgen_emotion.activations.replaying import replay, token_nll
from musicgen_emotion.activations.tracing import trace
from musicgen_emotion.causes.passes import next_token_logits
from musicgen_emotion.models.finite import NotFiniteError, clips_named
from musicgen_emotion.models.sampling import sample_tokens

PROMPTS = ["a happy song", "a sad song"]


@contextlib.contextmanager
def broken(model, site, value):
    "One output of a site's module is replaced for every row."

    def spoil(module, arguments, output):
        states = model.site(site).get(output).clone()
        states[..., 0] = value
        return model.site(site).put(output, states)

    handle = model.module(site).register_forward_hook(spoil)
    try:
        yield
    finally:
        handle.remove()


def tokens_of(model, n=2, frames=5):
    numbers = np.random.default_rng(0).integers(
        0, model.config.vocab_size, (n, model.config.n_codebooks, frames)
    )
    return numbers.astype(np.int16)


PASSES = {
    "sample_tokens": lambda model: sample_tokens(model, PROMPTS, 0, 4),
    "generate": lambda model: generate(model, PROMPTS, 0, 0.1, audio=False, progress=False),
    "extractor": lambda model: ActivationExtractor(model, layers=[0]).generate(
        PROMPTS, duration_s=0.1
    ),
    "replay": lambda model: replay(model, tokens_of(model), PROMPTS, ["layer_2"]),
    "replay of both branches": lambda model: replay(
        model, tokens_of(model), PROMPTS, ["layer_1.mlp"], branches=("cond", "null"), pool="mean"
    ),
    "token_nll": lambda model: token_nll(model, tokens_of(model), PROMPTS),
    "next_token_logits": lambda model: next_token_logits(model, tokens_of(model), PROMPTS),
    "trace": lambda model: trace(model, PROMPTS[0]),
}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", PASSES)
def test_every_pass_stops_and_names_the_site(both_tiny, name, value):
    with (
        broken(both_tiny, "layer_1.mlp", value),
        pytest.raises(NotFiniteError, match=r"layer_1(.mlp)? is NaN or infinite in"),
    ):
        PASSES[name](both_tiny)


@pytest.mark.parametrize("name", ["sample_tokens", "replay", "token_nll"])
def test_the_clip_is_named(both_tiny, name):
    with (
        broken(both_tiny, "layer_0", float("nan")),
        pytest.raises(NotFiniteError, match=r"a (happy|sad) song"),
    ):
        PASSES[name](both_tiny)


@pytest.mark.parametrize("name", PASSES)
def test_finite_passes_are_left_alone(both_tiny, name):
    PASSES[name](both_tiny)


def test_only_the_clip_that_overflowed_is_named(tiny):
    def spoil(module, arguments, output):
        states = output.clone()
        states[1] = float("nan")
        return states

    handle = tiny.module("layer_1.mlp").register_forward_hook(spoil)
    try:
        with pytest.raises(NotFiniteError, match=PROMPTS[1]) as caught:
            replay(tiny, tokens_of(tiny), PROMPTS, ["layer_2"])
    finally:
        handle.remove()
    assert PROMPTS[0] not in str(caught.value)


def test_float16_overflow_says_what_to_do(tiny_folder):
    from musicgen_emotion.models.load import load_model

    model = load_model(tiny_folder, device="cpu", dtype="float16")
    model.module("layer_1.mlp").weight.data.mul_(6e4)
    with pytest.raises(NotFiniteError, match=r"float16 ends at 65,504.*float32"):
        sample_tokens(model, PROMPTS, 0, 4)


def test_edited_states_that_overflow_stop(both_tiny):
    from musicgen_emotion.activations.hooks import hooked

    def explode(states, now):
        return states * torch.inf

    with hooked(both_tiny, {"layer_0": explode}), pytest.raises(NotFiniteError, match="layer_"):
        sample_tokens(both_tiny, PROMPTS, 0, 4)


def test_unknown_clips_keep_their_number():
    with pytest.raises(NotFiniteError, match="clip 3 of the pass"), clips_named(["a"]):
        raise NotFiniteError("layer_0", 3)
