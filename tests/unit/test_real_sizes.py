"The published sizes: shapes, layer counts, site names and weights from configurations alone, the formulas of the benchmark, and (slow) small through the public path."

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import musicgen_emotion
from musicgen_emotion.activations.replaying import REPLAY_TOLERANCE
from musicgen_emotion.models.registry import model_registry
from musicgen_emotion.models.shapes import ModelConfig
from musicgen_emotion.models.transformers_backend import wrap_transformers

ROOT = Path(musicgen_emotion.__path__[0]).parent
SCRIPT = ROOT / "benchmarks" / "real_sizes.py"
if not SCRIPT.exists():
    pytest.skip(
        "needs a checkout of the project: there is no benchmarks/ beside the package",
        allow_module_level=True,
    )
# millions of weights of the decoder, from the model cards: 300 M, 1.5 B and 3.3 B in all
PUBLISHED = dict(
    small=(24, 1024, 16, 64, 4096, 420),
    medium=(48, 1536, 24, 64, 6144, 1_837),
    large=(48, 2048, 32, 64, 8192, 3_255),
)


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        spec = importlib.util.spec_from_file_location("real_sizes", SCRIPT)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(SCRIPT.parent))
    return module


@pytest.fixture(scope="module", params=["small", "medium", "large"])
def on_meta(request, bench):
    "The raw model without memory for its weights."
    from transformers import MusicgenConfig
    from transformers import MusicgenForConditionalGeneration as Musicgen

    text, codec, decoder = bench.published(request.param)
    with torch.device("meta"):
        return request.param, Musicgen(
            MusicgenConfig(text_encoder=text, audio_encoder=codec, decoder=decoder)
        )


def test_shapes_and_sites_are_the_published_ones(on_meta, bench):
    size, hf = on_meta
    layers, d, heads, d_head, d_ff, millions = PUBLISHED[size]
    model = wrap_transformers(hf, tokenizer=object())
    assert (
        model.config == ModelConfig(layers, d, 768, 4, 2048, 50, 32000, d_ff, heads, 1, 2048)
        and d // heads == d_head
    )
    assert (
        len(model.sites) == 3 + 4 * layers
        and model.sites[-1] == f"layer_{layers - 1}"
        and f"layer_{layers // 2}.cross_attn" in model.sites
    )
    assert all(model.module(s) is not None for s in model.sites)
    assert [model.site_width(s) for s in ("text", "text_proj", "layer_0")] == [768, d, d]
    bench.check_shapes(model, size)
    assert model_registry().set_index("name").loc[
        f"facebook/musicgen-{size}", ["n_layers", "d_model", "n_heads"]
    ].tolist() == [layers, d, heads]


def test_weights_by_part(on_meta, bench):
    size, hf = on_meta
    n, millions = bench.counts(size), PUBLISHED[size][-1]
    layers, d = PUBLISHED[size][:2]
    assert abs(n["decoder"] / (16 * layers * d**2 + 4 * d * (2049 + 2048)) - 1) < 0.002
    assert abs(n["decoder"] / 1e6 / millions - 1) < 0.02
    assert 109e6 < n["text_encoder"] < 110e6 and 55e6 < n["audio_encoder"] < 60e6
    assert (
        abs(
            4e-9
            * sum(n.values())
            / model_registry().set_index("name").size_gb[f"facebook/musicgen-{size}"]
            - 1
        )
        < 0.01
    )


def test_text_encoder_and_codec_are_the_published_ones(bench):
    text, codec, _ = bench.published("small")
    assert (
        text.num_layers,
        text.d_model,
        text.d_ff,
        text.d_kv,
        text.num_heads,
        text.vocab_size,
    ) == (12, 768, 3072, 64, 12, 32128)
    assert (
        codec.sampling_rate,
        codec.frame_rate,
        codec.codebook_size,
        codec.num_quantizers,
        codec.upsampling_ratios,
    ) == (32000, 50, 2048, 4, [8, 5, 4, 4])


def test_prediction_follows_its_formula(bench):
    gpu = dict(name="test", bandwidth=1e12, flops=1e15, of_bandwidth=1.0, of_flops=1.0, layer_s=0.0)
    p = bench.predict("small", n_clips=32, seconds=8.0, batch=16, gpu=gpu)
    weights = bench.counts("small")["decoder"]
    step = (2 * weights + 4 * 24 * 1024 * 32 * 403 / 2) / 1e12
    assert (
        p["bound_by"] == "memory"
        and p["step_ms"] == pytest.approx(1e3 * step, abs=0.01)
        and p["generate_h"] == pytest.approx(2 * 403 * step / 3600, abs=1e-3)
    )
    assert p["all_layers_gb_per_branch"] == round(32 * 24 * 403 * 1024 * 2 / 1e9, 1)
    assert bench.predict("small", gpu=gpu | dict(layer_s=1.0))["bound_by"] == "launches"
    assert (
        bench.predict("small", batch=4096, gpu=gpu | dict(flops=1e12))["bound_by"] == "arithmetic"
    )


def test_the_script_runs_from_end_to_end(tmp_path):
    "At a toy size; every stage, in processes of their own."
    done = subprocess.run(
        [
            sys.executable,
            str(SCRIPT),
            "--size",
            "tiny",
            "--seconds",
            "0.2",
            "--rounds",
            "1",
            "--json",
            "--folder",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    r = json.loads(done.stdout.splitlines()[-1])
    assert (
        r["largest_gap"] < 1e-4
        and r["store_bytes"] == pytest.approx(r["formula_bytes"], rel=0.05, abs=3 * 500)
        and r["tokens_shape"] == [1, 4, 10]
    )
    assert not list(tmp_path.iterdir()), "the weights are removed"


@pytest.mark.parametrize("name", ["small", "large"])
def test_parameter_files_of_hub_models(name):
    from musicgen_emotion.lab.parameters import resolve_parameters
    from musicgen_emotion.lab.phase_files import list_phases

    plans = {nb.stem: p for nb, p in resolve_parameters(list(list_phases()), [name]).items()}
    assert (
        {p["model"] for p in plans.values()} == {f"facebook/musicgen-{name}"}
        and plans["phase1_sae"]["batch_size"] == 1024
        and plans["phase0_foundation"]["batch_size"] < 16
    )


def test_results_are_of_the_published_shapes(bench):
    rows = [json.loads(x) for x in (SCRIPT.parent / "real_sizes.jsonl").read_text().splitlines()]
    assert (
        len({(r["size"], r["backend"]) for r in rows}) == len(rows) and rows[0]["size"] == "small"
    )
    assert {(r["size"], r["backend"]) for r in rows} >= {(s, "transformers") for s in PUBLISHED} | {
        (s, "audiocraft") for s in PUBLISHED
    }
    for r in rows:
        layers, d, *_ = PUBLISHED[r["size"]]
        assert r["formula_bytes"] == layers * d * 2 * (r["frames"] + 3) and r[
            "predicted"
        ] == bench.predict(r["size"])
        assert r["weights"] == {k: round(v / 1e6, 1) for k, v in bench.counts(r["size"]).items()}
        assert r["largest_gap"] <= REPLAY_TOLERANCE[r["dtype"]]


@pytest.mark.slow
def test_small_goes_the_public_path(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            str(SCRIPT),
            "--size",
            "small",
            "--seconds",
            "0.5",
            "--rounds",
            "1",
            "--json",
            "--folder",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    r = json.loads(done.stdout.splitlines()[-1])
    assert (
        r["largest_gap"] < 1e-4
        and r["store_bytes"] >= r["formula_bytes"] == 24 * 28 * 1024 * 2
        and 2.3 < r["disk_gb"] < 2.5
        and r["anon_gb"] < 4
    )
