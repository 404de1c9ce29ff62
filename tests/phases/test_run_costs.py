"What a study will cost, against what it did."

import pytest
import torch

from musicgen_emotion.activations import replaying
from musicgen_emotion.lab.parameters import check_parameters, read_parameters
from musicgen_emotion.lab.runs import open_run
from musicgen_emotion.studies import (
    HELD_CUES,
    CausalSettings,
    CausalStudy,
    DictionarySettings,
    DictionaryStudy,
    FoundationSettings,
    FoundationStudy,
)
from musicgen_emotion.studies import foundation_arms as layers_module
from musicgen_emotion.studies.run_costs import (
    PLANS,
    POOL_SHARE,
    PassCosts,
    causal_work,
    dictionary_work,
    estimate_run,
    foundation_work,
    steering_work,
)
from musicgen_emotion.studies.steering_setup import SPARE_SHARE


def defaults(phase, **changed):
    return check_parameters(read_parameters(phase), changed, phase)


def test_phase_0_makes_as_many_clips_and_passes_as_planned(tiny, tmp_path, monkeypatch):
    settings = dict(clips_per_emotion=4, emotions=["happy", "sad"], arm_clips=2, duration_s=2.0)
    plan = foundation_work(defaults("phase0_foundation", **settings), 2)
    rows = []

    def counted(model, tokens, prompts, branches=("cond",), **options):
        rows.append(len(prompts) * len(branches))
        return replaying.replay(model, tokens, prompts, branches=branches, **options)

    monkeypatch.setattr(layers_module, "replay", counted)
    with open_run(tmp_path / "run", "phase0_test") as run:
        study = FoundationStudy(run, FoundationSettings(model="tiny", n_perm=20, **settings), tiny)
        clips = study.clips()
        made = clips.store.table.clip_id.nunique()
        clips.descriptors()
        layers = study.activations(clips)
        layers.repeats()
    assert plan.clips == made + 2  # two clips of the check of capture
    windows, capture = len(clips.clips), 4
    assert plan.replayed == sum(rows) + windows + capture


def test_phase_2_makes_about_as_many_clips_as_a_run_that_was_counted():
    """A finished run with the defaults on nano: clips in `fit_clips` and `doses`, by step.

    The balanced pool found 31 of 36 prompts; the other steps made what was planned."""
    counted = dict(
        fit=78,  # 6 labels by 8 prompts, 5 emotions by 6 held-out words
        unsteered=31 + 2 + 3,  # pool, choice of the dose, comparison of methods
        layer_and_dose=32 + 16,
        targets=96 + 120,  # two axes at four doses, five emotions at two
        words=60 + 60 + 6,  # in place of a push, with the prompt's own noise, and for methods
        random=39 * 2 * 12,
        shuffled=6 * 2 * 12,
        other_controls=4 * 2 * 2 * 12,
        methods=2 * 9 * 2 * 3 + 24,  # two emotions, 9 methods, and the best on test prompts
        features=12 * 12 + 3 * 3 * 2,
    )
    assert sum(counted.values()) == 78 + 1992
    plan = steering_work(defaults("phase2_steering"), 4)
    assert plan.clips == pytest.approx(sum(counted.values()), rel=0.1)
    # a whole run on the tiny model, whose decoder passes were counted by step
    small = dict(emotions=["happy", "sad", "calm"], method_emotions=["sad"], alphas=[-1.0, 1.0])
    small |= dict(fit_pairs=3, few_pairs=[2], held_out_clips=2, test_prompts=3, control_prompts=2)
    small |= dict(method_prompts=2, n_random=4, n_shuffled=1, features_each=1, feature_prompts=2)
    plan_of_tiny = steering_work(defaults("phase2_steering", edit_prompts=1, **small), 3)
    assert plan_of_tiny.clips == pytest.approx(18 + 190, rel=0.1)  # `fit_clips` and `doses`
    passes = dict(fit=27, methods=12, strength=26, branches=144, costs=98, quality=180)
    assert plan_of_tiny.replayed == sum(passes.values()) + 40 + 8  # compared, features
    unguarded = steering_work(
        defaults("phase2_steering", edit_prompts=1, guard="targets", **small), 3
    )
    controls = 2 * (4 + 2 * 1 + 8) * 2  # both ends, arms, prompts
    assert unguarded.replayed == plan_of_tiny.replayed - passes["quality"] - controls
    more = steering_work(defaults("phase2_steering", n_random=40), 4)
    assert more.clips == plan.clips + 2 * 12
    assert more.replayed == plan.replayed + 2 * 12
    assert POOL_SHARE == SPARE_SHARE


def test_phases_1_and_3_agree_with_runs_that_were_counted():
    "Finished runs with the defaults on nano: clips stored, edited, patched and with a cue held."
    plan = dictionary_work(defaults("phase1_sae"), 4)
    assert plan.clips == 180 + 504  # rows of clips.parquet and of edited_clips.csv
    steps = 18 * 200 + 200 + 7 * 700 + 3 * 4 * 600  # sweep twice, baseline, twins, layers
    assert plan.trained == steps * 1024 + 200 * 128
    plan = causal_work(defaults("phase3_causal"), 4)
    listed = 64 + 204 + 168  # rows of clips.parquet, patched_clips.csv and held_clips.csv
    unlisted = 12 * 9 + 12 * 3 + 12 * 2  # followers; clean clips of strangers and of borrowers
    assert plan.clips == listed + unlisted


@pytest.fixture
def counted(tiny, monkeypatch):
    "Rows times positions that the decoder reads, one at a time and in parallel."
    decoder = type(tiny.decoder)
    found = dict(generated=0, replayed=0)

    def call(self, *args, **options):
        ids = options.get("input_ids", args[0] if args else None)
        if ids is None:
            rows, positions = options["inputs_embeds"].shape[:2]
        else:
            rows, positions = ids.shape[0] / tiny.config.n_codebooks, ids.shape[-1]
        found["generated" if positions == 1 else "replayed"] += rows * positions
        return torch.nn.Module.__call__(self, *args, **options)

    monkeypatch.setattr(decoder, "__call__", call)
    return found


def clips_of(found, model, duration_s):
    "Clips that were generated, each with and without text."
    return found["generated"] / 2 / model.config.positions(model.config.frames(duration_s))


def passes_of(found, model, duration_s):
    "Rows that were replayed, in passes over so much music."
    return found["replayed"] / model.config.positions(model.config.frames(duration_s))


@pytest.mark.filterwarnings("ignore::UserWarning")  # there is little data on purpose
def test_phase_1_makes_as_many_clips_and_passes_as_planned(tiny, tmp_path, counted):
    small = dict(study_prompts=60, dictionary_size=80, sweep_l1=[0.01], sweep_k=[4], sweep_steps=5)
    small |= dict(steps=10, batch_size=64, seeds=2, clips=20, duration_s=2.0, layer_steps=5)
    small |= dict(edit_clips=2, n_perm=20, n_boot=20, jobs=1, expansion=2.0)
    plan = dictionary_work(defaults("phase1_sae", **small), tiny.config.n_layers)
    with open_run(tmp_path / "run", "phase1_test") as run:
        study = DictionaryStudy(run, DictionarySettings(model="tiny", **small), tiny)
        texts = study.texts()
        texts.sweep()
        trained = study.train(texts)
        layers = study.layers(trained)
        layers.loss()
    kept = plan.clips - small["edit_clips"] * (3 + defaults("phase1_sae")["n_random"])
    assert clips_of(counted, tiny, 2.0) == kept == 20
    assert plan.replayed == passes_of(counted, tiny, 2.0)
    settings, short, long = len(texts.sweep_table), 5 * 64, 10 * 64
    of_layers = 5 * 64 * len(trained.layers) * (1 + 3)
    assert plan.trained == short * (1 + 2 * settings) + 5 * 128 + long * (2 + 2) + of_layers


def test_phase_3_makes_as_many_clips_and_passes_as_planned(tiny, tmp_path, counted):
    small = dict(clips_per_emotion=4, patch_pairs=3, sound_pairs=2, cue_pairs=3, duration_s=2.0)
    small |= dict(patch_s=0.4, window_s=0.2, sample_cells=4, window_pairs=2, random_draws=1)
    small |= dict(n_boot=20)
    plan = causal_work(defaults("phase3_causal", **small), tiny.config.n_layers)
    settings = CausalSettings(model="tiny", **small)
    with open_run(tmp_path / "run", "phase3_test") as run:
        study = CausalStudy(run.set_model(tiny), settings, tiny)
        study.clips()
        made = clips_of(counted, tiny, 2.0)
        study.clips().check_wiring()
        counted.update(generated=0, replayed=0)
        patching = study.patching()
        patching.patch()
        patching.turn_round()
        patching.attribution()
        patching.windows()
        patched = passes_of(counted, tiny, 0.4)
        study.sound().grow()
        study.mediation(cues=dict(HELD_CUES)).hold()
        made += clips_of(counted, tiny, 2.0)
    assert plan.clips == made
    n_layers, windows = tiny.config.n_layers, 2
    per_pair = 3 * (2 + 4 * n_layers) + 8 + (2 + 2 * n_layers + 3) + (4 + 4)
    in_windows = 3 * (windows * (2 + 2 * n_layers) + 4) + 2 * (windows * (1 + 2 * n_layers) + 2)
    assert patched == pytest.approx(3 * per_pair + in_windows, rel=0.1)
    assert plan.replayed > patched


def test_the_hours_follow_from_clips_passes_and_costs(tiny):
    values = defaults("phase0_foundation", duration_s=2.0, batch_size=5)
    costs = PassCosts(step_s=0.01, replay_s=0.001, batch_size=5)
    table = estimate_run("phase0_foundation", values, tiny, costs).set_index("quantity").value
    plan = foundation_work(values, tiny.config.n_layers)
    steps = -(-plan.clips // 5) * tiny.config.positions(tiny.config.frames(2.0))
    assert table.generation == steps
    assert table.time == pytest.approx((steps * 0.01 + plan.replayed * 2 * 0.001) / 3600)
    assert table.disk > 0 and table.memory > 0
    twice = estimate_run("phase0_foundation", values | dict(duration_s=4.0), tiny, costs)
    assert twice.set_index("quantity").value.time > 1.9 * table.time


def test_the_command_prints_the_plan_and_writes_nothing(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from musicgen_emotion.cli import app

    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["run", "phase0", "--estimate", "-p", "batch_size=2"])
    assert done.exit_code == 0, done.output
    assert "clips of 5 s" in done.output and "hours of the model on cpu" in done.output
    done = CliRunner().invoke(app, ["run", *sorted(PLANS)[1:], "--estimate"])
    assert done.exit_code == 0, done.output
    for quantity in ("clips", "generation", "replay", "disk", "memory", "time"):
        assert done.output.count(f"\n{quantity} ") == 3
    assert "rows that dictionaries read" in done.output and "states and caches" in done.output
    assert not list(tmp_path.iterdir())
