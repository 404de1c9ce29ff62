"Phase 2: parameters are refused before anything runs, rules come first, steps do what they say."

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from written import gates_of_the_text, sources, written_files

from musicgen_emotion.lab.parameters import read_parameters
from musicgen_emotion.lab.phase_files import list_phases
from musicgen_emotion.lab.phases import run_phase
from musicgen_emotion.lab.runs import open_run
from musicgen_emotion.models.sampling import sample_tokens
from musicgen_emotion.sae.dictionary import SparseAutoencoder
from musicgen_emotion.show.heatmaps import plot_scores
from musicgen_emotion.stats.estimates import Estimate
from musicgen_emotion.stats.power import FEWEST_UNITS
from musicgen_emotion.steering.arms import Arm
from musicgen_emotion.steering.axes import method_directions
from musicgen_emotion.steering.branches import branch_agreement, branch_arithmetic
from musicgen_emotion.steering.clap import write_random_clap
from musicgen_emotion.steering.costs import (
    at_equal_cost,
    cue_recovery,
    equal_cost_draws,
    recovery_draws,
)
from musicgen_emotion.steering.directions import Direction, load_directions
from musicgen_emotion.steering.doses import dose_response
from musicgen_emotion.steering.judges import SoundJudge
from musicgen_emotion.steering.judging import judge_clips
from musicgen_emotion.steering.methods import mean_difference
from musicgen_emotion.steering.slopes import dose_changes, dose_slopes
from musicgen_emotion.stimuli.emotions import EMOTIONS
from musicgen_emotion.stimuli.prompts import neutral_prompts
from musicgen_emotion.stimuli.synth import SAMPLE_RATE
from musicgen_emotion.studies.steering import SteeringStudy
from musicgen_emotion.studies.steering_balance import (
    balance_sentence,
    balance_table,
    balanced_rows,
)
from musicgen_emotion.studies.steering_cost import (
    full_guard,
    likelihood_cost,
    mean_losses,
    quality_sentence,
)
from musicgen_emotion.studies.steering_criteria import (
    FOLLOWS_COSINE,
    NOTHING_LEFT,
    RANKS_FIRST,
    STEERING_CRITERIA,
)
from musicgen_emotion.studies.steering_directions import (
    cosine_sentence,
    dose_plan,
    dose_sentence,
    held_out_sentence,
    layers_to_fit,
    strongest_dose,
)
from musicgen_emotion.studies.steering_features import (
    FeatureEdit,
    edit_arm,
    edits_sentence,
    rising_features,
)
from musicgen_emotion.studies.steering_hits import (
    RECOVERED,
    RECOVERY_CRITERIA,
    best_method_hits,
    hits_sentence,
)
from musicgen_emotion.studies.steering_judges import (
    SteeringJudge,
    described_renders,
    judges_with_clap,
    rendered_judge,
    with_emotions,
)
from musicgen_emotion.studies.steering_methods import methods_sentence
from musicgen_emotion.studies.steering_moves import (
    ControlShares,
    control_shares_sentence,
    moves_sentence,
    shuffled_sentence,
    words_sentence,
)
from musicgen_emotion.studies.steering_recovery import (
    EqualCost,
    equal_cost_sentence,
    indistinguishable,
)
from musicgen_emotion.studies.steering_report import (
    layer_costs_sentence,
    listening_conditions,
    unchanged_sentence,
    word_valence_sentence,
)
from musicgen_emotion.studies.steering_sentences import (
    EMOTIONS_REPORTED,
    beside_sentence,
    descriptors_sentence,
    emotions_sentence,
    few_pairs_sentence,
    layer_sentence,
    likelihood_sentence,
    no_unit_sentence,
)
from musicgen_emotion.studies.steering_setup import SteeringSettings, steering_prompts
from musicgen_emotion.studies.steering_slopes import (
    arm_lines,
    arm_sentence,
    named_target,
    outcome_sentence,
    own_controls_sentence,
    size_sentence,
)
from musicgen_emotion.studies.steps import Figure, Step, gates_step, without_negative_zero

pytestmark = [  # the short study of these tests has few and short clips
    pytest.mark.filterwarnings("ignore:.*clips have no complete judgement"),
    pytest.mark.filterwarnings("ignore:.*features. a dictionary can memorize them"),
    pytest.mark.filterwarnings("ignore:the mean is .* times as long"),
]

PHASE = list_phases().get("phase2_steering")
needs_notebook = pytest.mark.skipif(PHASE is None, reason="no phase notebooks in this checkout")


# ---- parameters and settings


@needs_notebook
@pytest.mark.parametrize(
    "params,error,message",
    [
        (dict(alpha=[0.1]), ValueError, "did you mean 'alphas'"),
        (dict(alphas=[0.1, float("inf")]), TypeError, "'alphas' must be"),
        (dict(alphas=0.1), TypeError, "'alphas' must be"),
        (dict(layer="2"), TypeError, "'layer' must be int | None"),
        (dict(n_random=20.5), TypeError, "'n_random' must be int"),
        (dict(emotions="sad"), TypeError, "'emotions' must be"),
    ],
)
def test_bad_parameters_run_nothing(tmp_path, params, error, message):
    with pytest.raises(error) as raised:
        run_phase("phase2_steering", params, tmp_path / "out", progress=False)
    assert message in str(raised.value)
    assert not (tmp_path / "out").exists()


@needs_notebook
def test_defaults_have_the_controls_of_the_protocol():
    settings = SteeringSettings()
    assert settings.n_random >= 39
    assert settings.n_shuffled >= 1
    assert settings.test_prompts >= settings.control_prompts >= FEWEST_UNITS
    assert settings.feature_prompts >= FEWEST_UNITS
    assert 5 * settings.held_out_clips >= FEWEST_UNITS
    assert len(settings.emotions) == 5
    assert tuple(settings.feature_density) == (0.01, 0.25)
    assert settings.features_each >= 1
    assert settings.dose_cost == 2 * settings.quality_budget


@needs_notebook
def test_settings_have_the_names_and_defaults_of_the_notebook():
    def plain(value):
        return tuple(value) if isinstance(value, list) else value

    parameters = {name: plain(p.default) for name, p in read_parameters(PHASE).items()}
    del parameters["out_dir"]
    assert dataclasses.asdict(SteeringSettings()) == parameters


@pytest.mark.parametrize(
    "values,message",
    [
        (dict(duration_s=1.9), "at least 2 s"),
        (dict(alphas=[0.5, 1.0]), "both signs"),
        (dict(alphas=[-1.0]), "both signs"),
        (dict(alphas=[]), "both signs"),
    ],
)
def test_settings_that_cannot_work_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SteeringSettings(**values)


# ---- the notebook


@needs_notebook
def test_gates_of_the_text_are_those_of_the_code():
    rows = gates_of_the_text(PHASE)
    found = {}
    for gate, (bar, kind) in rows.items():
        both, _, name = gate.partition(": ")
        for axis in both.split(", ") if name else [""]:
            found[f"{axis}: {name}" if axis else gate] = (bar, kind)
    wanted = {}
    for criterion in (*STEERING_CRITERIA, *RECOVERY_CRITERIA):
        bar = f"{criterion.direction} {criterion.threshold:g}"
        wanted[criterion.name] = (bar, criterion.kind)
    assert found == wanted


@needs_notebook
def test_rules_come_before_the_results():
    sources = ["".join(cell["source"]) for cell in json.loads(PHASE.read_text())["cells"]]

    def place(words):
        return next(number for number, source in enumerate(sources) if words in source)

    rules = place("Rules, fixed before the result")
    assert rules == place("Gates, fixed before the run")
    assert rules < place("study.dose_response(") < place("study.gates(")


@needs_notebook
def test_cells_are_calls():
    steps = [cell for cell in sources(PHASE) if "out_dir" not in cell]
    assert max(len(cell.splitlines()) for cell in steps) <= 10
    assert not any(word in cell for cell in steps for word in ("def ", "lambda", "assert "))


# ---- prompts, doses and directions


PROMPT_SETS = ("fit", "unseen", "test", "tuning", "choice", "spare")


def test_prompts_are_new_and_no_text_is_in_two_sets():
    settings = SteeringSettings()
    prompts = steering_prompts(settings)
    assert len(prompts.choice) == settings.method_prompts
    known = set(neutral_prompts(12, 0).table.prompt) | set(neutral_prompts(11, 0).table.prompt)
    assert settings.seed not in settings.earlier_seeds
    assert not known & {*prompts.test.prompt, *prompts.tuning.prompt, *prompts.choice.prompt}
    assert len(prompts.test) == settings.test_prompts
    assert len(prompts.tuning) == settings.sweep_prompts
    assert len(prompts.spare) >= settings.test_prompts
    sets = [set(getattr(prompts, name).prompt) for name in PROMPT_SETS]
    assert sum(len(texts) for texts in sets) == len(set.union(*sets))
    with pytest.raises(ValueError, match="too few"):
        steering_prompts(SteeringSettings(test_prompts=60))


@pytest.mark.parametrize(
    "cost,dose",
    [
        ((0.1, 0.25, 1.0), 0.08),
        ((0.6, 0.1, 2.0), 0.025),
        ((0.1, 0.2, 0.3), 0.12),
        ((0.9, 1.0, 2.0), 0.017),
    ],
)
def test_strongest_dose_is_where_the_loss_has_risen_by_its_cost(cost, dose):
    rows = [dict(outcome="nll", alpha=0.0, value=0.0)]
    for sign in (-1, 1):
        for alpha, value in zip((0.03, 0.06, 0.12), cost):
            rows.append(dict(outcome="nll", alpha=sign * alpha, value=value))
            rows.append(dict(outcome="valence", alpha=sign * alpha, value=9.0))
    strongest = strongest_dose(pd.DataFrame(rows), dose_cost=0.5, max_dose=0.12)
    assert strongest == pytest.approx(dose, abs=6e-4)


def test_doses_have_zero_and_the_shares_of_the_strongest():
    assert dose_plan([-1.0, -0.5, 0.5, 1.0], 0.075) == [-0.075, -0.0375, 0.0, 0.0375, 0.075]


def test_a_given_layer_is_always_fitted():
    assert layers_to_fit(SteeringSettings(), 4) == [0, 1, 2, 3]
    assert layers_to_fit(SteeringSettings(sweep_layers=[2, 0], layer=3), 4) == [0, 2, 3]


def test_margins_of_emotions_come_from_what_the_judge_has():
    clips = pd.DataFrame(dict(valence=[1.0], arousal=[-1.0]))
    heard = with_emotions(clips, ["happy", "calm"])
    assert heard.m_happy[0] == pytest.approx(0.8 - 0.4)
    assert heard.m_calm[0] == pytest.approx(0.6 + 0.7)
    assert with_emotions(heard, ["happy", "angry"]) is heard
    sure = with_emotions(clips.assign(p_happy=1.0, p_calm=0.0), ["happy", "calm"])
    assert sure.m_happy[0] == -sure.m_calm[0] == pytest.approx(-np.log(1e-6))


# ---- features


def test_features_are_edited_inside_the_dictionary_and_leave_nothing_behind(tiny, tmp_path):
    torch.manual_seed(0)
    sae = SparseAutoencoder(tiny.config.d_model, 2, activation="topk", k=8)
    edits = dict(set=50.0, scale=3.0, ablate=0.0)
    arms = [
        edit_arm(sae, "layer_1", 1.0, FeatureEdit(mode, 3, value), "feature")
        for mode, value in edits.items()
    ]
    arms.append(edit_arm(sae, "layer_1", 1.0, FeatureEdit("set", 4, 50.0), "random feature"))
    settings = dict(
        judge=lambda audio, sample_rate: dict(loud=np.abs(audio).mean(1)),
        duration_s=0.4,
        progress=False,
    )
    prompts = ["a song", "drums"]
    heard = dose_response(tiny, prompts, arms, [0.0, 1.0], folder=tmp_path, **settings)
    assert heard[heard.alpha == 0].clip_id.nunique() == 2
    assert heard[heard.alpha == 1].clip_id.nunique() == 8
    plain = heard[heard.alpha == 0].groupby("prompt").loud.first()
    edited = heard[(heard.arm == "set 3") & (heard.alpha == 1)].set_index("prompt").loud
    assert (edited != plain).all()
    again = dose_response(tiny, prompts, arms[:1], [0.0], folder=tmp_path / "again", **settings)
    assert np.allclose(again.groupby("prompt").loud.first(), plain)
    assert not any(module._forward_hooks for module in tiny.hf.modules())


def test_features_that_fire_too_rarely_or_too_often_are_not_chosen():
    rise, density = np.array([0.1, 0.9, 0.5, 2.0]), np.array([0.05, 0.1, 0.001, 0.9])
    assert rising_features(rise, density, (0.01, 0.25), 2) == [1, 0]


# ---- the whole study on a small model with random weights


@pytest.fixture(scope="module")
def study(tiny, tmp_path_factory):
    "A short study with a judge, a direction, an arm and a method of our own."
    settings = SteeringSettings(
        model="tiny",
        emotions=["happy", "sad", "calm"],
        alphas=[-1.0, 1.0],
        fit_pairs=2,
        held_out_clips=2,
        test_prompts=2,
        control_prompts=2,
        method_prompts=2,
        feature_prompts=2,
        edit_prompts=2,
        n_random=3,
        n_shuffled=1,
        method_emotions=["sad"],
        few_pairs=[1],
        feature_density=[0.0, 1.0],
        features_each=1,
        sae_steps=20,
        sweep_layers=[0, 1],
        duration_s=2.0,
        n_boot=50,
        seed=1,
    )
    run = open_run(tmp_path_factory.mktemp("run"), "phase2_steering")
    study = SteeringStudy(run, settings, tiny)
    study.judge.add(lambda audio, rate: dict(loud=np.abs(audio).mean(1)), "loud")
    study.balance_prompts()
    study.prompts.test["session"] = ["first", "second"]
    study.render_confusion()
    study.judge_calibration()
    fits = study.fit_directions()
    directions = study.directions_at(fits, study.choose_layer(fits).site)
    directions.add("against calm", directions["happy"].unit - directions["calm"].unit)
    doses = study.choose_doses(directions)
    arms = study.targets(directions)
    controls = study.random_controls(directions) + study.shuffled_controls(directions)
    controls += study.other_layer_controls(directions)
    controls += study.both_branches_controls(directions)
    controls += study.all_layers_controls(directions)
    controls += study.held_out_word_controls(directions)
    vector = np.random.default_rng(0).normal(size=tiny.config.d_model)
    controls += [Arm("my own", "own", directions.make(vector))]
    controls += [Arm("against calm shuffled", "own", directions.make(vector[::-1]))]
    result = study.dose_response(arms, controls, doses)
    study.moves(result)
    study.compare_controls(result)
    study.specificity(result)
    study.written_words(result)
    study.branches(result)
    study.side_effects(result)
    study.quality(result, study.costs(result))
    methods = study.methods(directions)
    methods.add("sad", "my method", vector)
    study.best_method_hits(study.compare_methods(methods, result))
    study.single_features(methods, doses)
    study.few_pairs(directions)
    study.held_out_words(directions)
    study.nothing_left(result, directions)
    study.gates()
    yield study
    run.close()


def test_gates_are_decided_and_too_few_units_carry_no_claim(study):
    gates = {gate.name: gate for gate in study.run.gates}
    declared = {criterion.name: criterion for criterion in STEERING_CRITERIA}
    assert set(declared) == set(gates)  # no cues are known, so hits have no gate
    assert list(gates)[:2] == [f"{axis}: {RANKS_FIRST}" for axis in ("valence", "arousal")]
    for name, gate in gates.items():
        if gate.kind == "evidence" and FOLLOWS_COSINE not in name:  # its units are directions
            assert np.isnan(gate.value) and not gate.passed
            assert "no claim: " in gate.why
        if name in declared:
            bar = declared[name]
            assert (gate.threshold, gate.direction) == (bar.threshold, bar.direction)
    assert gates[NOTHING_LEFT].passed
    assert (study.run.path / "criteria.json").exists()


def test_random_controls_are_orthogonal_to_both_axes(study):
    directions = study.found("directions")
    for arm in study.random_controls(directions, n=3):
        for axis in ("valence", "arousal"):
            assert abs(arm.directions[0][0].cosine(directions[axis])) < 1e-5


def test_nothing_is_called_planted_where_nothing_was_planted(study):
    names = [gate.name for gate in study.run.gates]
    assert RECOVERED not in names and not any("margin" in name for name in names)
    about = [gate.name + gate.why for gate in study.run.gates if "planted" in gate.name + gate.why]
    assert not about
    told = [text.replace(EMOTIONS_REPORTED, "") for text in study.summary()]  # on control runs
    said = [text for text in told if "planted" in text]
    assert said in ([], ["No cues are planted in this model."])
    (told,) = [text for text in study.summary() if text.startswith("The method was chosen")]
    assert "The own margin of sad" in told and "reported and not claimed" in told
    recovery = study.found("recovery")
    assert "planted" not in recovery.sentence + "".join(f.caption for f in recovery.figures)
    assert SteeringJudge([], {"sad": {"tempo_bpm": -10.0}}, {}).change_name == "planted"


def test_what_was_added_in_one_line_is_in_the_results(study):
    result = study.found("dose response")
    shown = result.show_arms("my own", "against calm", outcomes=["valence", "loud"]).table
    assert set(shown.arm) == {"my own", "against calm"}
    assert set(shown.outcome) == {"valence", "loud"}
    assert shown.band_high.notna().all()
    counts = result.clips.groupby("arm").prompt.nunique()
    assert counts["my own"] == counts["against calm"] == 2
    assert "my method" in study.found("recovery").table.method.tolist()
    with pytest.raises(KeyError, match="no slope of"):
        result.show_arms("mine")
    with pytest.raises(ValueError, match="occur twice"):
        study.dose_response(result.arms, result.arms, result.doses)


def test_a_direction_a_judge_and_an_arm_are_in_table_figure_and_sentence(study):
    result = study.found("dose response")
    assert result.added == ["against calm", "my own", "against calm shuffled"]
    assert {"valence", "happy", "against calm", "my own"} <= set(result.table.arm)
    assert set(result.table.outcome) == {"valence", "arousal", "loud"}
    assert result.table.groupby("outcome").arm.nunique().nunique() == 1
    for words in ("'against calm'", "'my own'", "loud"):
        assert words in result.sentence
    panels = result.plot()
    lines = [label.get_text() for label in panels[0].get_yticklabels()]
    assert lines == list(dict.fromkeys(result.table.arm))
    assert len(panels) == 3
    assert (study.run.path / "dose_response.png").exists()


def test_a_direction_a_judge_and_an_arm_are_in_the_summary(study):
    sentences = study.summary()
    for name in ("summary.md", "report.md"):
        written = (study.run.path / name).read_text().splitlines()
        for arm in study.found("dose response").added:
            (line,) = [line for line in written if line.startswith(f"The arm {arm!r} ")]
            assert all(outcome in line for outcome in ("valence", "arousal", "loud"))
        (line,) = [line for line in written if "loud (n = 2 prompts, 3 random" in line]
    assert "the rank is one among 3 random directions" in " ".join(sentences)
    assert sentences == [without_negative_zero(sentence) for sentence in sentences]


def test_without_the_guard_no_control_arm_is_read(study, monkeypatch):
    result, files = study.found("dose response"), {}
    for name in ("costs.csv", "distances.csv"):
        files[name] = (study.run.path / name).read_bytes()
    kinds = set(pd.read_csv(study.run.path / "costs.csv").kind)
    unguarded = dataclasses.replace(study.settings, guard="targets")
    monkeypatch.setattr(result.context, "settings", unguarded)
    cost = likelihood_cost(result)
    assert "random" in kinds and set(cost.costs.kind) == {"target", "prompt"}
    assert "random" not in cost.sentence and set(cost.losses) == {"push", "word"}
    guard = full_guard(result, cost)
    assert guard.table.empty and "not asked for" in guard.sentence
    for name, written in files.items():
        (study.run.path / name).write_bytes(written)


def test_the_column_of_a_judge_is_among_the_side_effects(study):
    side, path = study.found("side effects"), study.run.path
    assert side.table.columns[-1] == "loud"
    assert "loud" in pd.read_csv(path / "side_effects.csv")
    assert "loud" in set(pd.read_csv(path / "side_effect_intervals.csv").outcome)
    assert f"Of {len(study.found('dose response').descriptors)} descriptors" in side.sentence
    assert "loud" in [label.get_text() for label in side.plot().get_xticklabels()]


def test_a_control_that_names_its_target_is_compared_with_it(study):
    result, compared = study.found("dose response"), study.found("controls")
    kept = pd.read_csv(study.run.path / "controls.csv")
    own = kept[kept.kind == "own"].set_index("outcome")
    assert set(own.arm) == {"against calm shuffled"}
    assert set(own.target) == {"against calm"}
    assert set(own.index) == {"valence", "arousal", "loud"}
    main = result.main
    same = main[(main.arm == "against calm") & main.prompt.isin(study.control_prompts.prompt)]
    target = study.slopes(same, list(own.index)).set_index("outcome")
    is_clear = target.low * target.high > 0
    assert is_clear.any()
    assert np.allclose(
        own.share, (own.slope / target.slope)[own.index].where(is_clear), equal_nan=True
    )
    assert "of the slope of 'against calm'" in compared.sentence
    assert "my own: not compared" in compared.sentence


def test_a_new_column_of_the_prompts_makes_groups(study):
    result = study.found("dose response")
    assert set(result.clips.session) == {"first", "second"}
    assert set(pd.read_csv(study.run.path / "clips.csv").session) == {"first", "second"}
    step = result.by_column("session")
    assert set(step.table.session) == {"first", "second"}
    added = {"against calm", "my own", "against calm shuffled"}
    assert set(step.table.arm) == {"valence", "arousal"} | added
    assert "does not clearly move valence at session first, second" in step.sentence
    step.plot()
    assert (study.run.path / "slopes_by_session.png").exists()
    assert (study.run.path / "slopes_by_session.csv").exists()
    with pytest.raises(KeyError, match="no column of"):
        result.by_column("sesion")


def test_a_gate_and_a_step_of_our_own_are_kept_like_the_others(study):
    before = list(study.run.gates)
    evidence = [gate for gate in before if gate.kind == "evidence"]
    claims, passed = len(evidence), sum(gate.passed for gate in evidence)
    study.run.gate("my gate", 0.7, 0.6, 0.8, threshold=0.5, n=12, why="decided in the notebook")
    gates = gates_step(study.run, "Phase 2")
    assert "my gate" in gates.table.gate.tolist()
    assert f"{passed + 1} of {claims + 1} claims passed" in gates.sentence
    loud = study.found("dose response").clips.groupby("kind", as_index=False).loud.mean()
    figure = Figure("loudness", lambda: plot_scores(loud, "kind", "loud"), "Loudness.", "Bars.")
    step = Step(
        sentence="Random pushes are as loud as the others.",
        table=study.run.table(loud, "loudness.csv"),
        folder=study.run.path,
        figures=(figure,),
    )
    step.plot()
    for name in ("loudness.csv", "loudness.png", "loudness.figure.json"):
        assert (study.run.path / name).exists()
    study.run.gates = before
    for path in study.run.path.glob("loudness.*"):
        path.unlink()


def test_errors_come_before_the_first_clip_and_say_what_to_do(study):
    result, width = study.found("dose response"), study.model.config.d_model
    vector, directions = np.ones(width), study.found("directions")
    n_clips = len(study.store.table)
    with pytest.raises(TypeError, match=r"write Arm\('mine', 'own', directions.make"):
        study.dose_response(result.arms, [Arm("mine", "own", vector)], result.doses)
    with pytest.raises(TypeError, match=rf"not an array of shape \({width},\)"):
        Arm("mine", "own", vector)
    with pytest.raises(TypeError, match="needs a Direction, not float"):
        study.dose_response(result.arms, [Arm("mine", "own", [1.0, 2.0])], result.doses)
    elsewhere = Direction(vector, "layer_9", "elsewhere", 1.0)
    with pytest.raises(ValueError, match="arm 'mine' cannot be pushed"):
        study.dose_response(result.arms, [Arm("mine", "own", elsewhere)], result.doses)
    with pytest.raises(ValueError, match=str(width)):
        directions.add("too wide", np.ones(width + 1))
    with pytest.raises(ValueError, match=r"run the cell with study.directions_at"):
        directions.add("against calm", vector)
    assert len(study.store.table) == n_clips


def test_a_judge_is_tried_when_it_is_added(study):
    def level(audio, rate):
        return dict(level_db=20 * np.log10(np.abs(audio).mean(1)))

    judge = SteeringJudge([SoundJudge()], {}, {})
    with pytest.raises(ValueError, match="name the judge's columns"):
        judge.add(level)
    with pytest.raises(ValueError, match=r"returns the columns \['level_db'\]"):
        judge.add(level, "level")
    with pytest.raises(ValueError, match="fails on two seconds of noise"):
        judge.add(lambda audio: 1.0, "score")
    with pytest.raises(ValueError, match=r"column 'rms_db', which judge '.*' returns too"):
        judge.add(lambda audio, rate: dict(rms_db=np.abs(audio).mean(1)), "rms_db")
    with pytest.raises(ValueError, match="'alpha', which the table keeps for itself"):
        judge.add(lambda audio, rate: dict(alpha=np.abs(audio).mean(1)), "alpha")
    with pytest.raises(ValueError, match=r"returns text in \['mood'\]"):
        judge.add(lambda audio, rate: dict(mood=["sad"] * len(audio)), "mood")
    assert judge.own_outcomes == []
    judge.add(level, "level_db")
    judge.add(level, "level_db")
    assert (len(judge.judges), judge.own_outcomes) == (2, ["level_db"])
    with pytest.raises(ValueError, match="a judge named 'level' already"):
        judge.add(level, "other")


def test_every_table_and_figure_is_told_from_the_source(study):
    "So that the check of the findings pages knows all names, and only those."
    import musicgen_emotion.studies as studies

    folder = Path(studies.__file__).parent
    modules = [folder / "steps.py", *folder.glob("steering*.py")]
    written = set().union(*(written_files(path.read_text()) for path in modules))
    tables = {path.name for path in study.run.path.glob("*.csv")}
    assert {name for name in tables if not name.startswith("slopes_by_")} <= written
    not_here = {
        "planted.csv",
        "render_confusion.csv",
        "judge_calibration.csv",
        "listening_clips.csv",
    }  # nano alone, and a later step
    assert {name for name in written if name.endswith(".csv")} - tables <= not_here


def test_directions_of_every_arm_are_saved_with_their_sources(study):
    saved = load_directions(study.run.path / "other_directions")
    assert {"random 0", "shuffled valence 0", "my own", "sad, ridge", "sad, 1 pair"} <= set(saved)
    assert not any("both branches" in name for name in saved)
    for name in ("sad, ridge", "shuffled arousal 0", "valence from held-out words"):
        assert saved[name].sources, name
        assert saved[name].seeds, name


def test_summary_and_figures_are_kept_and_listeners_get_a_page(study):
    sentences = study.summary()
    assert (study.run.path / "report.md").read_text() == "\n\n".join(sentences) + "\n"
    assert sentences[0].startswith("Verdict: ")
    study.listening_test(study.found("dose response"))
    assert (study.run.path / "listening_test.html").exists()
    drawn = {"layer": ["layers"], "moves": ["axes", "emotions"], "recovery": ["frontier"]}
    for step, figures in drawn.items():
        for name in figures:
            study.found(step).plot(name)
            assert (study.run.path / f"{name}.png").exists()


def test_a_step_that_has_not_run_is_named(study):
    with pytest.raises(KeyError, match="'nothing here' has not run"):
        study.found("nothing here")


def test_directions_of_methods_have_sources():
    generator = np.random.default_rng(0)
    made = method_directions(
        generator.normal(size=(6, 9)) + 1,
        generator.normal(size=(6, 9)),
        "layer_0",
        1.0,
        SparseAutoencoder(9, 2, activation="topk", k=3),
        (generator.random((6, 18)), generator.random((6, 18))),
        2,
        [f"c{number}" for number in range(12)],
        (5,),
    )
    assert len(made) == 7
    for direction in made.values():
        assert direction.sources == tuple(f"c{number}" for number in range(12))
        assert direction.seeds == (5,)


@pytest.mark.parametrize("second", [True, False], ids=["nano", "other"])
def test_clap_is_a_judge_with_columns_of_its_own(tmp_path, second):
    clap = write_random_clap(tmp_path / "clap", max_length_s=1)
    judges = judges_with_clap([SoundJudge()], clap, second)
    noise = np.random.default_rng(0).normal(size=(2, 16000)).astype(np.float32) * 0.1
    heard = judge_clips(judges, noise, 8000)
    assert (heard.failure == "").all()
    assert heard.columns.is_unique
    assert {"valence", "arousal", "tempo_bpm", "heard_valence"} <= set(heard)
    assert ("clap_valence" in heard) == second
    assert ("p_happy" in heard) != second


# ---- does an emotion come back?


@pytest.fixture(scope="module")
def known_study(nano):
    "What `best_method_hits` needs, with planted vectors along single dimensions."
    settings = SteeringSettings(method_emotions=["sad", "energetic"], duration_s=2.0)
    judge = rendered_judge(12, EMOTIONS, 0, settings.duration_s, nano.config.sample_rate)
    vectors = dict(zip((*EMOTIONS, "neutral"), np.eye(16)))
    return SimpleNamespace(
        settings=settings,
        judge=judge,
        planted=vectors,
        prompts=steering_prompts(settings),
        outcome_of={emotion: f"m_{emotion}" for emotion in EMOTIONS},
        run=SimpleNamespace(table=lambda table, name: table, path=None),
    )


def chosen_method(vector_of, dose):
    "A comparison of methods that chose one, at a dose."
    by_emotion = {}
    for emotion in ("sad", "energetic"):
        direction = Direction(vector_of(emotion), "layer_0", "made", 1.0)
        by_emotion[emotion] = {"ridge": direction}
    return SimpleNamespace(
        chosen="ridge",
        methods=SimpleNamespace(by_emotion=by_emotion),
        dose_of=lambda emotion: dose,
        equal_cost=SimpleNamespace(n=3),
    )


def recovers(study, vector_of, dose=0.12):
    "Whether the gate passes."
    step = best_method_hits(study, chosen_method(vector_of, dose))
    (number,) = step.criteria
    criterion = next(bar for bar in RECOVERY_CRITERIA if bar.name == number.name)
    assert number.name == RECOVERED and number.n == 12
    return criterion.gate(number.value, number.low, number.high, number.n).passed


def test_a_planted_emotion_is_recovered_and_another_one_is_not(known_study):
    planted = known_study.planted
    assert recovers(known_study, planted.get)
    assert not recovers(known_study, lambda emotion: planted["calm"])
    assert not recovers(known_study, lambda emotion: -planted[emotion])
    assert not recovers(known_study, planted.get, dose=0.0)


def test_pushes_that_move_cues_by_chance_recover_nothing(known_study):
    draw = np.random.default_rng(0)

    def push(prompts, arms, doses):
        "Neutral music at every dose."
        renders = described_renders(12, int(draw.integers(1000)), 2.0, SAMPLE_RATE)
        tables = []
        for dose, part in zip(doses, (renders.neutral[:12], renders.neutral[12:])):
            tables.append(part.assign(prompt=prompts.prompt.tolist(), alpha=dose, m_sad=0.0))
        return pd.concat(tables, ignore_index=True).assign(m_energetic=0.0)

    study = SimpleNamespace(**{**vars(known_study), "planted": {}, "push": push})
    assert not recovers(study, known_study.planted.get)
    assert not recovers(study, known_study.planted.get, dose=0.0)


@pytest.mark.parametrize(("rise", "passes"), [(1.0, True), (-1.0, False)])
def test_a_judge_without_cues_is_asked_for_margins_where_vectors_are_planted(
    known_study, rise, passes
):
    """No cue is known of other models, so rendered clips cannot stand for what is heard."""

    def push(prompts, arms, doses):
        "The margins rise with the dose."
        tables = [
            pd.DataFrame(dict(prompt=prompts.prompt, alpha=dose, m_sad=rise * dose))
            for dose in doses
        ]
        heard = pd.concat(tables, ignore_index=True)
        return heard.assign(m_energetic=heard.m_sad)

    judge = dataclasses.replace(known_study.judge, space=None)
    study = SimpleNamespace(**{**vars(known_study), "judge": judge, "push": push})
    step = best_method_hits(study, chosen_method(known_study.planted.get, 0.12))
    assert step.criteria == () and step.answers.recovered.all() == passes
    answer = "rises on 12 of 12" if passes else "does not clearly rise: it does on 0 of 12"
    assert f"The own margin of sad {answer} test prompts" in step.sentence
    assert step.sentence.endswith("no control was run with a judge that knows no cues.")
    assert "comes back" not in step.sentence and "own margin rises" in step.figures[0].caption


def test_sentence_on_hits_names_the_emotion_that_comes_instead():
    answers = pd.DataFrame(dict(unit=range(12), emotion="sad", nearest="calm", hit_tempo=1.0))
    no = hits_sentence(answers.assign(recovered=False, hit_mode_score=0.0), "PCA", 3)
    assert "does not clearly come back: it does on 0 of 12" in no
    assert "nearest to calm 12; mode_score moves the right way on 0%" in no
    assert "Sad comes back on 12 of 12" in hits_sentence(answers.assign(recovered=True), "PCA", 3)


def test_test_prompts_are_balanced_where_the_pool_allows():
    cells = pd.DataFrame(dict(fast=[True] * 9 + [False] * 4, major=[True] * 8 + [False] * 5))
    chosen = balanced_rows(cells, 8)
    assert len(chosen) == len(set(chosen)) == 8
    assert cells.iloc[chosen].fast.sum() == 4
    assert balanced_rows(cells, 8) == chosen
    assert balanced_rows(cells, 99) == list(range(13))


def balance_of(fast, n):
    "Balance of clips of which so many are fast, and every second one is in major."
    cells = pd.DataFrame(dict(fast=np.arange(n) < fast, major=np.arange(n) % 2 == 0))
    return balance_table(cells).assign(set="test")


@pytest.mark.parametrize("fast,n", [(33, 48), (39, 48), (9, 12), (15, 48), (3, 12), (8, 12)])
def test_a_share_outside_its_bounds_is_not_balanced_whatever_its_interval(fast, n):
    "The intervals of 9 of 12 and of 8 of 12 hold one half."
    table = balance_of(fast, n)
    assert table.balanced.tolist() == [False, True]
    told = balance_sentence(table)
    assert "are not balanced (the share lies outside 40% to 60%: fast)" in told
    assert f"{fast / n:.0%} fast" in told and f"(n = {n} prompts)" in told
    both = balance_sentence(table.assign(balanced=False))
    assert "(the shares lie outside 40% to 60%: fast, major)" in both


@pytest.mark.parametrize("fast,n", [(6, 12), (7, 12), (5, 12), (24, 48), (4, 10), (6, 10)])
def test_a_share_within_its_bounds_is_balanced(fast, n):
    table = balance_of(fast, n)
    assert table.balanced.all()
    told = balance_sentence(table)
    assert "are balanced (each share lies within 40% to 60%)" in told and "not" not in told
    assert f"{fast / n:.0%} fast" in told and f"(n = {n} prompts)" in told


# ---- sentences say no where the numbers do


def test_sentences_of_the_choice_say_what_was_chosen():
    slopes = pd.Series({0: 9.0, 1: 11.0})
    above = Estimate(2.0, 1.0, 3.0, 12)
    assert "0, has 9.0, and layer 1 has more" in layer_sentence(slopes, 1, 12, above)
    below = Estimate(-2.0, -3.0, -1.0, 12)
    assert "1, has 11.0, and layer 0 has less" in layer_sentence(slopes, 0, 12, below)
    for tie in (Estimate(2.0, -1.0, 3.0, 12), Estimate(0.04, 0.03, 0.05, 12)):
        assert "do not clearly differ" in layer_sentence(slopes, 1, 12, tie)
    assert "no other layer was tried" in layer_sentence(slopes[[1]], 1, 2)
    assert "No dose up to 0.12 RMS" in dose_sentence(0.12, 0.5, 0.12, 2)
    assert dose_sentence(0.075, 0.5, 0.12, 2).startswith("At 0.075 RMS the loss has risen")


def test_sentences_on_moves_say_yes_and_no():
    moves = pd.DataFrame(dict(arm=["happy", "sad"], moves=[True, False], n=12, n_random=39))
    assert moves_sentence(moves).startswith("1 of 2 directions move")
    assert "For emotions this is reported and not claimed" in moves_sentence(moves)
    on_axes = moves.assign(arm=["valence", "arousal"])
    assert "not claimed" not in moves_sentence(on_axes)
    assert "carry no claim" in moves_sentence(moves.assign(n=11))
    assert moves_sentence(moves.assign(moves=False)).startswith("No direction moves")
    words = pd.DataFrame(dict(before=[0.2], pushed=[0.7], written=[0.8], n=[6]))
    answers = pd.DataFrame(dict(emotion="happy", recovered=False, nearest=["calm"] * 12))
    assert "1 of 2 emotions: happy (n = 12" in emotions_sentence(moves, words, answers)
    assert "0 of 2 emotions (n" in emotions_sentence(moves.assign(moves=False), words, answers)
    assert "reaches the word" in words_sentence(words, 1.2, 1.1, 1.3)
    assert "may reach the word" in words_sentence(words, 0.9, 0.8, 1.1)
    assert "does not reach the word" in words_sentence(words, 0.7, 0.6, 0.8)
    assert "no share" in words_sentence(words, np.nan, np.nan, np.nan)
    two = pd.concat([words.assign(emotion="happy"), words.assign(emotion="sad", pushed=0.4)])
    assert "least for sad, 0.33" in words_sentence(two.reset_index(drop=True), 1.2, 1.1, 1.3)
    shares = pd.Series([-1.1, 0.5, 0.6, -0.1] * 3)
    far = shuffled_sentence(shares, Estimate(0.58, 0.3, 0.9, 12))
    assert "may do much of the same" in far and "9 of 12 move" in far
    still = shuffled_sentence(shares * np.nan, Estimate(np.nan, np.nan, np.nan, 12))
    assert still.startswith("The target does not move")
    near = shuffled_sentence(shares / 4, Estimate(0.14, 0.08, 0.22, 12))
    assert "do not do the same" in near and "none of 12 moves" in near


def test_sentences_on_words_and_costs_say_yes_and_no():
    weakest = pd.Series(dict(axis="valence", value=0.6, low=0.4, high=0.8, n=16))
    weakest["text_encoder"] = "lists none of them"
    assert "lie along valence" in held_out_sentence(weakest)
    weakest["low"] = -0.1
    assert "do not clearly lie" in held_out_sentence(weakest)
    counts, none = pd.Series(dict(valence=7, arousal=6)), pd.Series(dict(valence=0, arousal=0))
    assert beside_sentence(none, none, 9, 6).startswith("Nothing else moves")
    assert beside_sentence(counts, none, 9, 6).startswith("Other things move too")
    assert beside_sentence(none, counts, 9, 6).startswith("Other things move too")
    assert "0 (valence) and 0 (arousal) move more" in beside_sentence(none, counts, 9, 6)
    slopes = pd.DataFrame(dict(arm="arousal", outcome=["tempo_bpm"], low=[1.0], high=3.0, n=12))
    changes = slopes.assign(value=2.0)
    assert "Cues move as" in descriptors_sentence(counts, none, 9, slopes, changes)
    for tables in ((slopes.assign(low=-1), changes), (slopes, changes.assign(low=-1))):
        unclear = descriptors_sentence(counts, none, 9, *tables)
        assert (
            "Cues do not clearly move" in unclear
            and "does not clearly follow arousal: 2.0" in unclear
        )
    beat = "tempo rises with arousal, by 2.0 beats a minute (95% interval 1.0 to 3.0, n = 12"
    assert beat in descriptors_sentence(counts, none, 9, slopes, changes)
    rises = dict(word=Estimate(-0.02, -0.1, 0.1, 6), push=Estimate(0.48, 0.3, 0.6, 6))
    assert "raises the loss" in likelihood_sentence(rises)
    assert "by 0.48 (0.30 to 0.60, n = 6 prompts)" in likelihood_sentence(rises)
    assert "random" not in likelihood_sentence(rises)
    rises |= dict(push=Estimate(0.1, -0.1, 0.3, 6), random=Estimate(0.2, 0.1, 0.3, 2))
    assert "does not clearly raise" in likelihood_sentence(rises)
    assert "random direction by 0.20 (0.10 to 0.30, n = 2" in likelihood_sentence(rises)
    effects = pd.DataFrame(dict(tempo_bpm=[1.0], onset_rate=[np.nan]))
    assert no_unit_sentence(effects).startswith("Empty column: onset rate (notes a second).")
    assert no_unit_sentence(effects[["tempo_bpm"]]) == ""
    assert unchanged_sentence(1.0, 2, 3.0).startswith("Nothing stays behind")
    assert unchanged_sentence(0.9, 2, 3.0).startswith("Something stays behind")


def test_the_rise_of_the_loss_is_the_mean_of_the_changes():
    generator, rows = np.random.default_rng(0), []
    arms = [("target", "sad", 0.1), ("prompt", "word sad", 1.0)]
    arms += [("random", f"random {number}", dose) for number in (0, 1) for dose in (-0.1, 0.1)]
    for kind, arm, alpha in arms:
        for prompt in ("a", "b", "c"):
            for dose in (0.0, alpha):
                row = dict(kind=kind, arm=arm, prompt=prompt, seed=0, alpha=dose)
                rows.append(row | dict(nll=generator.normal() if dose else float(len(rows) % 2)))
    clips = pd.DataFrame(rows).drop_duplicates(["arm", "prompt", "alpha"])
    changes = dose_changes(clips, "nll", n_boot=20)
    changes = changes[changes.alpha != 0].groupby("kind").value.mean()
    losses = mean_losses(clips, ["sad"], 0.1, n_boot=20, seed=0)
    for name, kind in dict(word="prompt", push="target", random="random").items():
        assert np.isclose(losses[name].value, changes[kind])
        assert losses[name].low < losses[name].value < losses[name].high
        assert losses[name].n == 3
    assert "random" not in mean_losses(clips[clips.kind != "random"], ["sad"], 0.1, n_boot=20)


def slope_rows():
    "Slopes of two arms on two outcomes; the first arm moves both."
    return pd.DataFrame(
        dict(
            arm=["a", "b", "a", "b"],
            outcome=["valence", "valence", "loud", "loud"],
            slope=[9.0, 1.0, 99.1, -0.001],
            low=[7.0, -1.0, 90.0, -1.0],
            high=[11.0, 3.0, 110.0, 1.0],
            band_low=-2.0,
            band_high=2.0,
            p_random=[0.025, 0.5, 0.025, 0.9],
            n=12,
            n_random=39,
        )
    )


def test_lines_on_arms_say_yes_and_no_and_the_change_at_the_largest_dose():
    rows = slope_rows()
    moves, does_not = arm_lines(rows, top=0.068)
    assert moves.startswith("The arm 'a' moves valence: ")
    assert "It moves loud: a slope of 99.10 per unit of dose" in moves
    assert "which is 6.74 at the largest dose 0.068" in moves
    assert "The arm 'b' does not clearly move valence" in does_not
    assert "largest dose" not in arm_sentence(rows.iloc[0])
    zero = rows.iloc[1].copy()
    zero["slope"] = 1e-7
    assert "which is 0.00 at the largest dose 0.1" in arm_sentence(zero, top=0.1)
    small = rows.iloc[0].copy()
    small[["slope", "low", "high"]] = 0.0123, 0.0111, 0.0144
    assert "a slope of 0.012 per unit of dose (0.011 to 0.014" in arm_sentence(small)
    one = rows.iloc[0].copy()
    one[["low", "high", "n"]] = np.nan, np.nan, 1
    assert "does not clearly move" in arm_sentence(one)
    assert "n = 1 prompt, which has no interval" in arm_sentence(one)
    assert "1 of 2 arms move valence (n = 12" in outcome_sentence(rows.iloc[:2])
    assert outcome_sentence(rows.iloc[1:2]).startswith("No arm of 1 clearly moves")


def test_a_run_with_few_prompts_or_random_directions_is_called_too_small():
    rows = slope_rows()
    assert size_sentence(rows) == ""
    small = size_sentence(rows.assign(n=2, n_random=4))
    assert "read no effect from them: an interval over 2 prompts is no 95% interval" in small
    assert "one among 4 random directions" in small
    assert "one among 9 random directions" in size_sentence(rows.assign(n_random=9))
    assert "over 11 prompts" in size_sentence(rows.assign(n=11))
    assert "an effect of b: an interval over 2" in size_sentence(rows.assign(n=[12, 2, 12, 2]))


def test_own_controls_name_their_target():
    assert named_target("mine shuffled", ["mine", "happy"]) == "mine"
    assert named_target("mine too shuffled", ["mine", "mine too"]) == "mine too"
    assert named_target("mineral", ["mine"]) is None
    shares = pd.DataFrame(dict(arm="mine 0", target="mine", outcome=["valence"], share=0.4, n=2))
    assert "slope of 'mine' (n = 2 prompts): mine 0 0.40" in own_controls_sentence(shares, [])
    still = own_controls_sentence(shares.assign(share=np.nan), [])
    assert still.startswith("'mine' has no clear slope of valence")
    assert own_controls_sentence(shares.iloc[:0], ["x"]).startswith("x: not compared")
    assert own_controls_sentence(shares.iloc[:0], []) == ""


def test_a_range_is_called_a_range():
    kinds = ["shuffled", "shuffled", "other layer", "held-out words", "both branches", "all layers"]
    shares = pd.DataFrame(dict(kind=kinds, share=[-0.46, 1.0, 0.9, 0.9, 0.5, 0.9]))
    shares = shares.assign(low=1.0, high=2.0, n=12)
    mean = Estimate(0.53, 0.09, 0.86, 6)
    controls = ControlShares(sentence="", table=shares, shares=shares, shuffled_share=mean)
    sentence = control_shares_sentence(controls, "layer_0", 4)
    assert "0.53 (0.09 to 0.86, n = 6 directions)" in sentence
    assert "1 of 2 move the sound at least half as far" in sentence
    assert "0.46 to 1.00 times as far" in sentence
    assert "the wrong way" not in sentence
    backwards = shares.assign(share=shares.share.where(shares.kind != "held-out words", -0.7))
    turned = dataclasses.replace(controls, shares=backwards)
    told = control_shares_sentence(turned, "layer_0", 4)
    assert told.endswith("The valence axis of held-out words moves the sound the wrong way.")
    for unclear in (backwards.assign(low=-3.0), backwards.assign(n=6)):
        turned = dataclasses.replace(controls, shares=unclear)
        assert "the wrong way" not in control_shares_sentence(turned, "layer_0", 4)


def test_sentence_on_edits_has_intervals_and_says_yes_and_no():
    edits = pd.DataFrame(
        dict(way=["set", "scale", "ablate"] * 2, value=0.3, low=0.1, high=0.5, n=12)
    )
    edits["kind"] = ["feature"] * 3 + ["random feature"] * 3
    sentence = edits_sentence(edits, "sad", 5, 3.0)
    assert "feature 5 changes the margin of sad: by 0.30 (0.10 to 0.50) when set" in sentence
    assert "n = 12 prompts" in sentence
    assert "may or may not change" in edits_sentence(edits.assign(n=2), "sad", 5, 3.0)
    assert "0.30 (range 0.30 to 0.30)" in sentence
    assert "does not clearly change" in edits_sentence(edits.assign(low=-0.1), "sad", 5, 3.0)
    assert "-0.00" not in edits_sentence(edits.assign(value=-0.001), "sad", 5, 3.0)


def test_sentence_on_few_pairs_says_when_there_are_none():
    at_top = pd.Series({"2 pairs": 0.7, "mean difference": 0.95})
    beyond_half = {"2 pairs": Estimate(0.22, 0.1, 0.3, 3)}
    assert "is 0.70 from 2 pairs and 0.95 from all 8" in few_pairs_sentence(
        at_top, beyond_half, 8, 3
    )
    none = few_pairs_sentence(at_top, {}, 2, 2)
    assert "is 0.95 from all 2 pairs, on 2 prompts; no direction from fewer" in none


def test_zero_has_no_sign():
    assert without_negative_zero("-0.00 (-0.05 to -0.0), -0") == "0.00 (-0.05 to 0.0), 0"
    assert without_negative_zero("-0.001, layer-0, x_-0.5") == "-0.001, layer-0, x_-0.5"
    step = Step(sentence="by -0.00", table=pd.DataFrame(dict(x=[-0.0001], yes=[False])))
    assert "-0" not in repr(step) + step._repr_html_()
    assert "False" in repr(step)


def test_sentences_on_quality_methods_and_cosines_say_yes_and_no():
    row = dict(axis="valence", alpha=0.1, difference=0.7, difference_low=0.3, difference_high=1.1)
    assert quality_sentence(pd.DataFrame([row | dict(n=6)])).startswith("1 of 1 directions")
    row["difference_low"] = -0.1
    assert quality_sentence(pd.DataFrame([row | dict(n=6)])).startswith("None of 1")
    table = pd.DataFrame(dict(method=["mean difference", "PCA", "LDA"], sad=[1.0, 0.9, 0.7]))
    assert methods_sentence(table, 8).startswith("All methods find")
    table["sad"] = [1.0, 0.9, 0.2]
    assert methods_sentence(table, 8).startswith("1 of 2 methods do not find")
    names = ["valence", "arousal"]
    cosines = pd.DataFrame([[1.0, 0.1], [0.1, 1.0]], names, names)
    assert "far from parallel" in cosine_sentence(cosines, 48)
    assert "share much" in cosine_sentence(cosines + 0.6, 48)


def test_sentence_on_methods_names_those_that_cannot_be_told_apart():
    best, budget = pd.Series(dict(PCA=0.8, LDA=0.7, ridge=0.4)), dict(sad=0.25)
    found = EqualCost(best, ["LDA"], 0.9, budget, "planted", 12)
    sentence = equal_cost_sentence(found)
    assert "0.25 (sad) nats a token" in sentence
    assert "cannot be told apart from LDA" in sentence
    assert sentence.endswith("it lies above ridge.")
    alone = dataclasses.replace(found, tied=[])
    assert equal_cost_sentence(alone).endswith("of the 12 prompts.")
    few = equal_cost_sentence(dataclasses.replace(found, n=3))
    assert few.endswith("3 prompts carry no claim, which needs 12.")
    generator = np.random.default_rng(0)
    drawn = pd.DataFrame(dict(PCA=generator.normal(0.8, 0.05, 500)))
    drawn["LDA"] = drawn.PCA - generator.normal(0.05, 0.05, 500)
    drawn["ridge"] = drawn.PCA - 0.4
    assert indistinguishable(drawn) == ["LDA"]


def test_sentences_of_the_report_say_yes_and_no():
    slopes = pd.DataFrame(dict(layer=[0, 1], slope=[9.0, 11.0], n=12))
    costs = pd.DataFrame(dict(kind="target", outcome="nll", alpha=[-0.1, 0.05], low=[0.4, 0.1]))
    costs = costs.assign(n=12)
    assert "2 directions and doses 1 cost reliably" in layer_costs_sentence(
        slopes, costs, 0.1, 0.25
    )
    assert "no dose up to 0.1 RMS" in layer_costs_sentence(slopes, costs, 0.1, 0.5)
    mean = {"word calm": 0.6, "word sad": -0.45, "word happy": 0.7, "word angry": -0.2}
    noise = np.random.default_rng(0).normal(0, 0.1, (12, 4))
    valence = pd.DataFrame(noise, columns=list(mean)) + pd.Series(mean)
    assert "is stronger at low arousal" in word_valence_sentence(valence)
    assert "is weaker" in word_valence_sentence(valence * [0.1, 0.1, 1, 1])
    assert "is not clearly weaker" in word_valence_sentence(valence * [0.75, 0.75, 1, 1])
    assert "n = 12 prompts" in word_valence_sentence(valence)
    assert word_valence_sentence(valence.drop(columns="word calm")) == ""


def test_listeners_hear_the_smallest_dose_in_both_signs():
    conditions = listening_conditions([-0.1, -0.05, 0.0, 0.05, 0.1])
    assert conditions["arousal +"] == ("arousal", 0.05)
    assert conditions["arousal -"] == ("arousal", -0.05)
    assert listening_conditions([-0.1, 0.0, 0.05])["valence -"] == ("valence", -0.1)


# ---- what the study counts on in lower modules


def dose_table(slope):
    "Six prompts at three doses of one push, with a known slope of the tempo."
    rows = []
    for alpha in (-1.0, 0.0, 1.0):
        for number in range(6):
            row = dict(arm="push", kind="target", alpha=alpha, prompt=f"p{number}", seed=number)
            row |= dict(clip_id=f"{alpha} {number}", level=-20.0 + number)
            rows.append(row | dict(tempo_bpm=100.0 + 10 * number + slope * alpha))
    return pd.DataFrame(rows)


def test_changes_are_paired_with_the_unsteered_clip():
    changes = dose_changes(dose_table(5.0)).set_index(["alpha", "outcome"])
    assert np.isclose(changes.value[1.0, "tempo_bpm"], 5)
    assert np.isclose(changes.value[-1.0, "tempo_bpm"], -5)
    assert changes.value[1.0, "level"] == 0
    assert changes.n[1.0, "tempo_bpm"] == 6


def test_a_clip_without_a_judgement_leaves_its_prompt_out_only():
    table = dose_table(5.0)
    table.loc[(table.alpha == 1) & (table.prompt == "p0"), "tempo_bpm"] = np.nan
    changes = dose_changes(table, "tempo_bpm").set_index("alpha")
    assert np.isclose(changes.value[1.0], 5)
    assert changes.n[1.0] == 5
    assert changes.n[-1.0] == 6


def test_recovery_of_a_change_that_is_known():
    changes = dose_changes(dose_table(5.0))
    table = cue_recovery(changes, dict(tempo_bpm=10.0, level=0.0), dict(tempo_bpm=2.0, level=1.0))
    recovered = table.set_index(["alpha", "outcome"]).recovered
    assert np.isclose(recovered[1.0, "tempo_bpm"], 0.5)
    assert np.isclose(recovered[1.0, "all"], 0.5)
    assert np.isclose(recovered[1.0, "beside"], 0)
    assert np.isnan(recovered[1.0, "level"])
    assert np.isclose(recovered[-1.0, "all"], -0.5)


def test_an_arm_that_only_costs_gains_nothing():
    table = pd.DataFrame(
        dict(
            arm=["bad", "bad", "free"],
            alpha=[0.1, 0.2, 0.1],
            recovered=[-0.2, -0.5, 0.3],
            cost=[0.5, 1.0, -0.1],
        )
    )
    fair = at_equal_cost(table, 0.2).set_index("arm")
    assert fair.recovered["bad"] == 0
    assert fair.alpha["bad"] == 0
    assert fair.recovered["free"] == 0.3


def test_a_judge_that_is_sure_has_no_effect_size():
    table = dose_table(5.0)
    table = table.assign(p=np.where(table.alpha > 0, 0.9, 1e-24 * (1 + table.seed)))
    slopes = dose_slopes(table, ["p", "tempo_bpm"], n_boot=50).set_index("outcome")
    sure, tempo = slopes.loc["p"], slopes.loc["tempo_bpm"]
    assert np.isnan(sure.effect) and np.isnan(sure.effect_high)
    assert sure.slope > 0
    assert (sure.floor, sure.ceiling) == (1.0, 0.0)
    assert tempo.effect == pytest.approx(5 / table[table.alpha == 0].tempo_bpm.std())
    assert tempo.effect_low <= tempo.effect <= tempo.effect_high
    assert tempo.floor < 0.5


def test_draws_agree_with_what_they_are_draws_of():
    tables = []
    for arm, slope, cost in (("weak", 2.0, 0.1), ("strong", 8.0, 0.4)):
        part = dose_table(slope)
        tables.append(part.assign(arm=arm, nll=cost * part.alpha.abs() + 0.01 * part.seed))
    table = pd.concat(tables, ignore_index=True)
    noise = np.random.default_rng(0).normal(size=len(table))
    table["tempo_bpm"] += noise * (table.alpha != 0)
    first = (table.arm == "weak") & (table.alpha == 1) & (table.prompt == "p0")
    table.loc[first, "level"] = np.nan
    planted, spread = dict(tempo_bpm=10.0, level=1.0), dict(tempo_bpm=2.0, level=1.0)
    draws = recovery_draws(table, planted, spread, n_boot=4000)
    recovery = cue_recovery(dose_changes(table), planted, spread)
    recovered = recovery.set_index(["arm", "alpha", "outcome"]).recovered
    for (arm, alpha), drawn in draws.items():
        assert drawn["all"].mean() == pytest.approx(recovered[arm, alpha, "all"], abs=0.02)
        loss = table[(table.arm == arm) & (table.alpha == alpha)].nll.mean() - 0.025
        assert drawn["cost"].mean() == pytest.approx(loss, abs=0.01)
        assert alpha == 0 or np.isfinite(drawn["beside"]).all()
    whole = pd.DataFrame(
        dict(
            arm=["weak", "strong"],
            alpha=1.0,
            recovered=[recovered[arm, 1.0, "all"] for arm in ("weak", "strong")],
            cost=[0.1, 0.4],
        )
    )
    fair = at_equal_cost(whole, 0.2).set_index("arm").recovered
    pushed = {key: drawn for key, drawn in draws.items() if key[1] > 0}
    resamples = equal_cost_draws(pushed, 0.2)
    for arm in fair.index:
        low, high = resamples[arm].quantile([0.025, 0.975])
        assert low < fair[arm] < high


@pytest.mark.parametrize("guidance", [2.0, 4.0])
def test_the_branch_ratio_is_that_of_the_agreement(tiny, guidance):
    prompts = ["a song", "fast loud drums and a flute", "sad"]
    codes = sample_tokens(tiny, prompts, 3, 12)
    width = tiny.config.d_model
    states = np.random.default_rng(0).normal(size=(4, width))
    direction = mean_difference(states, np.zeros((4, width)), "layer_0", 1.0)
    whole = branch_arithmetic(tiny, codes, prompts, direction, 0.01, guidance)
    by_clip = branch_arithmetic(tiny, codes, prompts, direction, 0.01, guidance, per_clip=True)
    by_clip = by_clip.query("branch == 'cond'")
    answers = branch_agreement(whole, guidance)
    along = whole.set_index("branch").along["cond"]
    cosine, null = answers["cosine"], (1 - guidance) * answers["size"]
    both = guidance**2 + null**2 + 2 * guidance * null * cosine
    assert (guidance**2 + guidance * null * cosine) / both == pytest.approx(along, rel=1e-3)
    assert by_clip["clip"].tolist() == [0, 1, 2]
    weighted = np.average(by_clip.along, weights=by_clip.weight)
    assert weighted == pytest.approx(along, rel=1e-6)
    for number, alone in enumerate(by_clip.along):
        single = branch_arithmetic(
            tiny, codes[[number]], [prompts[number]], direction, 0.01, guidance
        )
        assert single.along[0] == pytest.approx(alone, rel=1e-3)
