"What a study will cost, against what it did."

import pytest

from musicgen_emotion.activations import replaying
from musicgen_emotion.lab.parameters import check_parameters, read_parameters
from musicgen_emotion.lab.runs import open_run
from musicgen_emotion.studies import FoundationSettings, FoundationStudy
from musicgen_emotion.studies import foundation_arms as layers_module
from musicgen_emotion.studies.run_costs import (
    PLANS,
    PassCosts,
    estimate_run,
    foundation_work,
    steering_work,
)


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
    plan = steering_work(defaults("phase2_steering"), 4)
    counted = 528 + 68  # clips in `doses` and `fit_clips` of a run with the defaults
    assert plan.clips == pytest.approx(counted, rel=0.1)
    assert steering_work(defaults("phase2_steering", n_random=40), 4).clips > plan.clips


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
    assert not list(tmp_path.iterdir())
    absent = next(name for name in ("phase1_sae", "phase3_causal") if name not in PLANS)
    done = CliRunner().invoke(app, ["run", absent, "--estimate"])
    assert done.exit_code == 2 and "phase with a plan must be one of" in done.output
