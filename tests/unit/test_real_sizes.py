"""The published sizes of MusicGen.

Shapes, layer counts, site names and weights come from configurations alone. The formulas of the
benchmark are tested as well, and (slow) small through the public path.
"""

import importlib.util
import json
import subprocess
import sys
from itertools import product
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
    config = MusicgenConfig(text_encoder=text, audio_encoder=codec, decoder=decoder)
    with torch.device("meta"):
        return request.param, Musicgen(config)


def test_shapes_and_sites_are_the_published_ones(on_meta, bench):
    size, hf = on_meta
    layers, d_model, heads, d_head, d_ff, _ = PUBLISHED[size]
    model = wrap_transformers(hf, tokenizer=object())
    assert model.config == ModelConfig(
        layers, d_model, 768, 4, 2048, 50, 32000, d_ff, heads, 1, 2048
    )
    assert d_model // heads == d_head
    assert len(model.sites) == 3 + 4 * layers
    assert model.sites[-1] == f"layer_{layers - 1}"
    assert f"layer_{layers // 2}.cross_attn" in model.sites
    assert all(model.module(site) is not None for site in model.sites)
    widths = [model.site_width(site) for site in ("text", "text_proj", "layer_0")]
    assert widths == [768, d_model, d_model]
    bench.check_shapes(model, size)
    row = model_registry().set_index("name").loc[f"facebook/musicgen-{size}"]
    assert row[["n_layers", "d_model", "n_heads"]].tolist() == [layers, d_model, heads]


def test_weights_by_part(on_meta, bench):
    size, _ = on_meta
    counts = bench.counts(size)
    layers, d_model, *_, millions = PUBLISHED[size]
    by_formula = 16 * layers * d_model**2 + 4 * d_model * (2049 + 2048)
    assert counts["decoder"] == pytest.approx(by_formula, rel=0.002)
    assert counts["decoder"] / 1e6 == pytest.approx(millions, rel=0.02)
    assert 109e6 < counts["text_encoder"] < 110e6
    assert 55e6 < counts["audio_encoder"] < 60e6
    listed_gb = model_registry().set_index("name").size_gb[f"facebook/musicgen-{size}"]
    assert 4e-9 * sum(counts.values()) == pytest.approx(listed_gb, rel=0.01)


def test_text_encoder_and_codec_are_the_published_ones(bench):
    text, codec, _ = bench.published("small")
    assert (text.num_layers, text.d_model, text.d_ff) == (12, 768, 3072)
    assert (text.d_kv, text.num_heads, text.vocab_size) == (64, 12, 32128)
    assert (codec.sampling_rate, codec.frame_rate) == (32000, 50)
    assert (codec.codebook_size, codec.num_quantizers) == (2048, 4)
    assert codec.upsampling_ratios == [8, 5, 4, 4]


def test_prediction_follows_its_formula(bench):
    gpu = dict(name="test", bandwidth=1e12, flops=1e15, of_bandwidth=1.0, of_flops=1.0, layer_s=0.0)
    predicted = bench.predict("small", n_clips=32, seconds=8.0, batch=16, gpu=gpu)
    weights = bench.counts("small")["decoder"]
    step = (2 * weights + 4 * 24 * 1024 * 32 * 403 / 2) / 1e12
    assert predicted["bound_by"] == "memory"
    assert predicted["step_ms"] == pytest.approx(1e3 * step, abs=0.01)
    assert predicted["generate_h"] == pytest.approx(2 * 403 * step / 3600, abs=1e-3)
    assert predicted["all_layers_gb_per_branch"] == round(32 * 24 * 403 * 1024 * 2 / 1e9, 1)
    slow_launches = bench.predict("small", gpu=gpu | dict(layer_s=1.0))
    assert slow_launches["bound_by"] == "launches"
    slow_arithmetic = bench.predict("small", batch=4096, gpu=gpu | dict(flops=1e12))
    assert slow_arithmetic["bound_by"] == "arithmetic"


def run_script(folder, size, seconds):
    "The benchmark's numbers of one size, from one round."
    options = ["--size", size, "--seconds", seconds, "--rounds", "1", "--json"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options, "--folder", str(folder)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_script_runs_from_end_to_end(tmp_path):
    "At a toy size; every stage, in processes of their own."
    found = run_script(tmp_path, "tiny", "0.2")
    assert found["largest_gap"] < 1e-4
    assert found["store_bytes"] == pytest.approx(found["formula_bytes"], rel=0.05, abs=3 * 500)
    assert found["tokens_shape"] == [1, 4, 10]
    assert not list(tmp_path.iterdir()), "the weights are removed"


@pytest.mark.parametrize("name", ["small", "large"])
def test_parameter_files_of_hub_models(name):
    from musicgen_emotion.lab.parameters import resolve_parameters
    from musicgen_emotion.lab.phase_files import list_phases

    resolved = resolve_parameters(list(list_phases()), [name])
    plans = {notebook.stem: plan for notebook, plan in resolved.items()}
    assert {plan["model"] for plan in plans.values()} == {f"facebook/musicgen-{name}"}
    assert plans["phase1_sae"]["batch_size"] == 1024
    assert plans["phase0_foundation"]["batch_size"] < 16


def test_results_are_of_the_published_shapes(bench):
    lines = (SCRIPT.parent / "real_sizes.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    cases = [(row["size"], row["backend"]) for row in rows]
    assert len(set(cases)) == len(rows)
    assert rows[0]["size"] == "small"
    assert set(cases) >= set(product(PUBLISHED, ("transformers", "audiocraft")))
    for row in rows:
        layers, d_model, *_ = PUBLISHED[row["size"]]
        assert row["formula_bytes"] == layers * d_model * 2 * (row["frames"] + 3)
        assert row["predicted"] == bench.predict(row["size"])
        counts = bench.counts(row["size"])
        assert row["weights"] == {part: round(n / 1e6, 1) for part, n in counts.items()}
        assert row["largest_gap"] <= REPLAY_TOLERANCE[row["dtype"]]


@pytest.mark.slow
def test_small_goes_the_public_path(tmp_path):
    found = run_script(tmp_path, "small", "0.5")
    assert found["largest_gap"] < 1e-4
    assert found["store_bytes"] >= found["formula_bytes"] == 24 * 28 * 1024 * 2
    assert 2.3 < found["disk_gb"] < 2.5
    assert found["anon_gb"] < 4
