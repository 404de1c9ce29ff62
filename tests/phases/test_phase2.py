"Phase 2: its parameters are refused by name before anything runs, and its rules stand before its numbers."

import ast
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch

from musicgen_emotion.lab.parameters import read_parameters
from musicgen_emotion.lab.phase_files import list_phases
from musicgen_emotion.lab.phases import run_phase
from musicgen_emotion.sae.dictionary import SparseAutoencoder
from musicgen_emotion.steering.arms import Arm
from musicgen_emotion.steering.axes import method_directions
from musicgen_emotion.steering.branches import branch_agreement, branch_arithmetic
from musicgen_emotion.steering.clap import ClapJudge, write_random_clap
from musicgen_emotion.steering.costs import (
    at_equal_cost,
    cue_recovery,
    equal_cost_draws,
    recovery_draws,
)
from musicgen_emotion.steering.doses import dose_response
from musicgen_emotion.steering.feature_push import steer_features
from musicgen_emotion.steering.judges import SoundJudge
from musicgen_emotion.steering.judging import judge_clips, renamed
from musicgen_emotion.steering.methods import mean_difference, sae_direction
from musicgen_emotion.steering.slopes import dose_changes, dose_slopes
from musicgen_emotion.stimuli.prompts import neutral_prompts

PHASE = list_phases().get("phase2_steering")
needs = pytest.mark.skipif(PHASE is None, reason="no phase notebooks in this checkout")


@needs
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
    with pytest.raises(error) as e:
        run_phase("phase2_steering", params, tmp_path / "out", progress=False)
    assert message in str(e.value) and not (tmp_path / "out").exists()


def cells(kind="code"):
    return [
        "".join(c["source"])
        for c in json.loads(PHASE.read_text())["cells"]
        if c["cell_type"] == kind
    ]


def defaults():
    return {k: v.default for k, v in read_parameters(PHASE).items()}


def statements(*names):
    "Source of the notebook's statements that make these names, in order."
    made = lambda n: (
        {n.name}
        if isinstance(n, (ast.ClassDef, ast.FunctionDef))
        else {
            m.id for t in getattr(n, "targets", []) for m in ast.walk(t) if isinstance(m, ast.Name)
        }
    )
    return "\n".join(
        ast.unparse(n) for c in cells() for n in ast.parse(c).body if made(n) & set(names)
    )


@needs
def test_defaults_have_the_controls_of_the_protocol():
    p = defaults()
    assert (
        p["n_random"] >= 20
        and min(p["alphas"]) < 0 < max(p["alphas"])
        and p["n_shuffled"] >= 1
        and p["test_prompts"] >= p["control_prompts"] >= 2
    )
    assert (
        len(p["emotions"]) == 5
        and p["feature_density"] == [0.01, 0.25]
        and p["features_each"] >= 1
        and p["dose_cost"] == 2 * p["quality_budget"]
    )


@needs
def test_gates_of_the_text_are_those_of_the_code():
    text = next(c for c in cells("markdown") if "Gates, fixed before the run" in c)
    rows = {
        r[0].strip(): r[1].strip()
        for r in (l.strip("|").split("|") for l in text.splitlines() if l.startswith("|"))
    }
    calls = [
        n
        for c in cells()
        for n in ast.walk(ast.parse(c))
        if isinstance(n, ast.Call) and ast.unparse(n.func) == "run.gate"
    ]
    assert len(calls) == len(rows) - 2 == 12
    for n in calls:
        first = n.args[0].body if isinstance(n.args[0], ast.IfExp) else n.args[0]
        name = (
            first.value
            if isinstance(first, ast.Constant)
            else "".join(v.value for v in first.values if isinstance(v, ast.Constant)).strip(": ")
        )
        (bar,) = [v for k, v in rows.items() if name in k]
        given = {k.arg: ast.unparse(k.value) for k in n.keywords}
        if m := re.fullmatch(r"(>=|>|<) ([\d.]+)", bar):
            assert m[1] == ast.literal_eval(given.get("direction", "'>'")) and float(m[2]) == float(
                given["threshold"]
            ), name
        else:
            assert (bar, given["threshold"]) in {
                ("all but one", "len(emotions) - 1"),
                ("all", "1.0"),
            }, name
        assert re.search("first design|rule for uses|requirement", given["why"]), (
            f"{name}: its why does not say where the bar comes from"
        )


@needs
def test_prompts_are_new_and_no_text_is_in_two_sets():
    ns = defaults() | {"pd": pd}
    exec(
        "from musicgen_emotion.stimuli.prompts import held_out_prompts, matched_pairs, neutral_prompts, study_prompts",
        ns,
    )
    exec(next(c for c in cells() if "fit_set =" in c), ns)
    known = set(neutral_prompts(12, 0).table.prompt) | set(neutral_prompts(11, 0).table.prompt)
    assert ns["seed"] not in ns["earlier_seeds"] and not known & {
        *ns["test"].prompt,
        *ns["dev"].prompt,
    }
    assert len(ns["test"]) == ns["test_prompts"] and len(ns["dev"]) == ns["sweep_prompts"]
    ns |= dict(test_prompts=60)
    with pytest.raises(AssertionError, match="too few"):
        exec(next(c for c in cells() if "fit_set =" in c), ns)


@needs
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
    graded = pd.DataFrame(
        [
            dict(outcome=o, alpha=s * a, value=c if o == "nll" else 9.0)
            for o in ("nll", "valence")
            for s in (-1, 1)
            for a, c in zip((0.03, 0.06, 0.12), cost)
        ]
        + [dict(outcome="nll", alpha=0.0, value=0.0)]
    )
    ns = dict(np=np, pd=pd, graded=graded, dose_cost=0.5, max_dose=0.12)
    exec(statements("risen", "strongest").split("\nstrongest = gains")[0], ns)
    assert ns["strongest"] == pytest.approx(dose, abs=6e-4)


@needs
def test_features_are_edited_inside_the_dictionary_and_leave_nothing_behind(tiny, tmp_path):
    torch.manual_seed(0)
    sae = SparseAutoencoder(tiny.config.d_model, 2, activation="topk", k=8)
    ns = dict(Arm=Arm, steer_features=steer_features, sae=sae, site="layer_1")
    exec(statements("FeatureArm"), ns)
    arms = [
        ns["FeatureArm"](
            f"{m} 3",
            "feature",
            sae_direction(sae, 3, "layer_1", rms=1.0),
            dict(mode=m, features={3: v}),
        )
        for m, v in (("set", 50.0), ("scale", 3.0), ("ablate", 0.0))
    ]
    arms += [
        ns["FeatureArm"](
            "set 4",
            "random feature",
            sae_direction(sae, 4, "layer_1", rms=1.0),
            dict(mode="set", features={4: 50.0}),
        )
    ]
    how = dict(
        judge=lambda audio, sr: dict(loud=np.abs(audio).mean(1)),
        folder=tmp_path,
        duration_s=0.4,
        progress=False,
    )
    t = dose_response(tiny, ["a song", "drums"], arms, [0.0, 1.0], **how)
    assert t[t.alpha == 0].clip_id.nunique() == 2 and t[t.alpha == 1].clip_id.nunique() == 8
    plain = t[t.alpha == 0].groupby("prompt").loud.first()
    assert (t[t.arm == "set 3"].query("alpha == 1").set_index("prompt").loud != plain).all()
    again = dose_response(
        tiny, ["a song", "drums"], arms[:1], [0.0], **(how | dict(folder=tmp_path / "again"))
    )
    assert np.allclose(again.groupby("prompt").loud.first(), plain) and not any(
        m._forward_hooks for m in tiny.hf.modules()
    )


@needs
def test_rules_stand_before_the_results_and_functions_are_short():
    all_cells = json.loads(PHASE.read_text())["cells"]
    at = {
        w: next(i for i, c in enumerate(all_cells) if w in "".join(c["source"]))
        for w in ("Rules, fixed before the result", "dose_response(", "run.gate(")
    }
    assert at["Rules, fixed before the result"] == next(
        i for i, c in enumerate(all_cells) if "Gates, fixed before the run" in "".join(c["source"])
    )
    assert at["Rules, fixed before the result"] < at["dose_response("] < at["run.gate("]
    code = [ast.parse(c) for c in cells()]
    assert (
        max(
            [
                n.end_lineno - n.lineno + 1
                for t in code
                for n in ast.walk(t)
                if isinstance(n, ast.FunctionDef)
            ]
            or [0]
        )
        <= 6
    )


def study(slope):
    rows = [
        dict(
            arm="push",
            kind="target",
            alpha=a,
            prompt=f"p{p}",
            seed=p,
            clip_id=f"{a} {p}",
            tempo=100.0 + 10 * p + slope * a,
            level=-20.0 + p,
        )
        for a in (-1.0, 0.0, 1.0)
        for p in range(6)
    ]
    return pd.DataFrame(rows)


def test_changes_are_paired_with_the_unsteered_clip():
    c = dose_changes(study(5.0)).set_index(["alpha", "outcome"])
    assert (
        np.allclose(c.value[1.0, "tempo"], 5)
        and np.allclose(c.value[-1.0, "tempo"], -5)
        and c.value[1.0, "level"] == 0
        and c.n[1.0, "tempo"] == 6
    )


def test_a_clip_without_a_judgement_leaves_its_prompt_out_only():
    t = study(5.0)
    t.loc[(t.alpha == 1) & (t.prompt == "p0"), "tempo"] = np.nan
    c = dose_changes(t, "tempo").set_index("alpha")
    assert np.isclose(c.value[1.0], 5) and c.n[1.0] == 5 and c.n[-1.0] == 6


def test_recovery_of_a_change_that_is_known():
    r = (
        cue_recovery(
            dose_changes(study(5.0)), dict(tempo=10.0, level=0.0), dict(tempo=2.0, level=1.0)
        )
        .set_index(["alpha", "outcome"])
        .recovered
    )
    assert (
        np.isclose(r[1.0, "tempo"], 0.5)
        and np.isclose(r[1.0, "all"], 0.5)
        and np.isclose(r[1.0, "beside"], 0)
        and np.isnan(r[1.0, "level"])
        and np.isclose(r[-1.0, "all"], -0.5)
    )


def test_an_arm_that_only_costs_gains_nothing():
    t = pd.DataFrame(
        dict(
            arm=["bad", "bad", "free"],
            alpha=[0.1, 0.2, 0.1],
            recovered=[-0.2, -0.5, 0.3],
            cost=[0.5, 1.0, -0.1],
        )
    )
    f = at_equal_cost(t, 0.2).set_index("arm")
    assert f.recovered["bad"] == 0 and f.alpha["bad"] == 0 and f.recovered["free"] == 0.3


@needs
def test_nothing_is_called_planted_where_nothing_was_planted():
    code = "\n".join(cells())
    names = [
        n.args[0]
        for n in ast.walk(ast.parse(code))
        if isinstance(n, ast.Call)
        and ast.unparse(n.func) == "run.gate"
        and isinstance(n.args[0], ast.IfExp)
    ]
    assert [(ast.unparse(n.test), n.body.value, n.orelse.value) for n in names] == [
        ("planted", "planted change recovered at equal cost", "own score raised at equal cost")
    ]
    assert [
        n.value
        for n in ast.walk(ast.parse(code))
        if isinstance(n, ast.Constant) and "planted change" in str(n.value)
    ] == ["planted change recovered at equal cost"]


@needs
@pytest.mark.parametrize("planted", [True, False], ids=["nano", "other"])
def test_clap_is_a_judge_with_columns_of_its_own(tmp_path, planted):
    ns = dict(
        clap=write_random_clap(tmp_path / "clap", max_length_s=1),
        judge=SoundJudge(),
        planted=planted,
        SoundJudge=SoundJudge,
        ClapJudge=ClapJudge,
        renamed=renamed,
    )
    exec(
        next(
            ast.unparse(n)
            for c in cells()
            for n in ast.parse(c).body
            if isinstance(n, ast.If) and ast.unparse(n.test) == "clap"
        ),
        ns,
    )
    t = judge_clips(
        ns["judge"], np.random.default_rng(0).normal(size=(2, 16000)).astype(np.float32) * 0.1, 8000
    )
    assert (
        (t.failure == "").all()
        and t.columns.is_unique
        and {"valence", "arousal", "tempo", "heard_valence"} <= set(t)
        and ("clap_valence" in t) == planted
        and ("p_happy" in t) != planted
    )


@needs
def test_directions_of_every_arm_are_saved_with_their_sources():
    code = "\n".join(cells())
    assert (
        "save_directions(run.path/'other_directions'" in code and "sources=[*order(ids, e)" in code
    )
    g = np.random.default_rng(0)
    made = method_directions(
        g.normal(size=(6, 9)) + 1,
        g.normal(size=(6, 9)),
        "layer_0",
        1.0,
        SparseAutoencoder(9, 2, activation="topk", k=3),
        (g.random((6, 18)), g.random((6, 18))),
        2,
        [f"c{i}" for i in range(12)],
        (5,),
    )
    assert len(made) == 7 and all(
        d.sources == tuple(f"c{i}" for i in range(12)) and d.seeds == (5,) for d in made.values()
    )


def test_a_judge_that_is_sure_has_no_effect_size():
    t = study(5.0).assign(
        p=lambda d: np.where(d.alpha > 0, 0.9, 1e-24 * (1 + d.seed)), level=lambda d: d.level
    )
    s = dose_slopes(t, ["p", "tempo"], n_boot=50).set_index("outcome")
    assert (
        np.isnan(s.effect["p"])
        and np.isnan(s.effect_high["p"])
        and s.slope["p"] > 0
        and (s.floor["p"], s.ceiling["p"]) == (1.0, 0.0)
    )
    assert (
        s.effect["tempo"] == pytest.approx(5 / t[t.alpha == 0].tempo.std())
        and s.effect_low["tempo"] <= s.effect["tempo"] <= s.effect_high["tempo"]
        and s.floor["tempo"] < 0.5
    )


def test_draws_agree_with_what_they_are_draws_of():
    g = np.random.default_rng(0)
    t = pd.concat(
        [
            study(b).assign(arm=a, nll=lambda d: c * d.alpha.abs() + 0.01 * d.seed)
            for a, b, c in (("weak", 2.0, 0.1), ("strong", 8.0, 0.4))
        ],
        ignore_index=True,
    )
    t["tempo"] += g.normal(size=len(t)) * (t.alpha != 0)
    t.loc[(t.arm == "weak") & (t.alpha == 1) & (t.prompt == "p0"), "level"] = np.nan
    want, spread = dict(tempo=10.0, level=1.0), dict(tempo=2.0, level=1.0)
    draws, r = (
        recovery_draws(t, want, spread, n_boot=4000),
        cue_recovery(dose_changes(t), want, spread)
        .set_index(["arm", "alpha", "outcome"])
        .recovered,
    )
    for k, d in draws.items():
        assert d["all"].mean() == pytest.approx(r[(*k, "all")], abs=0.02) and d[
            "cost"
        ].mean() == pytest.approx(
            t[(t.arm == k[0]) & (t.alpha == k[1])].nll.mean() - 0.025, abs=0.01
        )
        assert k[1] == 0 or np.isfinite(d["beside"]).all()
    whole = pd.DataFrame(
        [
            dict(arm=a, alpha=x, recovered=r[a, x, "all"], cost=0.1 if a == "weak" else 0.4)
            for a in ("weak", "strong")
            for x in (1.0,)
        ]
    )
    fair, boot = (
        at_equal_cost(whole, 0.2).set_index("arm").recovered,
        equal_cost_draws({k: v for k, v in draws.items() if k[1] > 0}, 0.2),
    )
    for a in fair.index:
        assert boot[a].quantile(0.025) < fair[a] < boot[a].quantile(0.975)


def test_the_branch_ratio_is_that_of_the_agreement(tiny):
    from musicgen_emotion.models.sampling import sample_tokens

    prompts = ["a song", "fast loud drums and a flute", "sad"]
    codes, d = (
        sample_tokens(tiny, prompts, 3, 12),
        mean_difference(
            np.random.default_rng(0).normal(size=(4, tiny.config.d_model)),
            np.zeros((4, tiny.config.d_model)),
            "layer_0",
            1.0,
        ),
    )
    for g in (2.0, 4.0):
        whole, each = (
            branch_arithmetic(tiny, codes, prompts, d, 0.01, g),
            branch_arithmetic(tiny, codes, prompts, d, 0.01, g, per_clip=True).query(
                "branch == 'cond'"
            ),
        )
        c, along = branch_agreement(whole, g), whole.set_index("branch").along["cond"]
        n = (1 - g) * c["size"]
        assert (g**2 + g * n * c["cosine"]) / (
            g**2 + n**2 + 2 * g * n * c["cosine"]
        ) == pytest.approx(along, rel=1e-3)
        assert each["clip"].tolist() == [0, 1, 2] and np.average(
            each.along, weights=each.weight
        ) == pytest.approx(along, rel=1e-6)
        for i in range(3):
            assert branch_arithmetic(tiny, codes[[i]], [prompts[i]], d, 0.01, g).along[
                0
            ] == pytest.approx(each.along.iloc[i], rel=1e-3)
