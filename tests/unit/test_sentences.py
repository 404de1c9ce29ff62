"""Sentences of findings pages follow their tables: a table that says the opposite changes them.

Two tests cover all functions of `studies` that return text, and those whose names say that they
do. The first reads their source: a function without a condition prints the same words whatever its
table says. The second feeds tables and their opposites to all of them, and wants other words, not
only other numbers; the tables of Phases 1, 2 and 3 are in `opposites`. A new function fails both
tests until it has a rule and opposite tables, or a reason in `EXEMPT`.
"""

import ast
import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from opposites import (
    AXIS_SLOPES,
    COUNTS,
    HALVES,
    LAYER_COSTS,
    LAYER_SLOPES,
    PHASE_1,
    PHASE_2,
    PHASE_3,
    WORDS,
    beyond_half,
    clap,
    come_back,
    costs,
    cue_changes,
    cues,
    equal_cost,
    feature_step,
    heard_axes,
    moved,
    own_changes,
    recovered_by,
    written,
)

from musicgen_emotion import studies
from musicgen_emotion.lab.files import read_table
from musicgen_emotion.lab.gates import Gate, read_gates
from musicgen_emotion.probes.nested import Best
from musicgen_emotion.stats.estimates import Estimate
from musicgen_emotion.studies.causal_attention import AttentionStudy
from musicgen_emotion.studies.headline import HEADLINE_FORMAT
from musicgen_emotion.studies.started_claims import (
    LAYERS_ENCODE,
    decoder_probe_claim,
    dimensions_claim,
    with_ends,
)
from musicgen_emotion.studies.steering_features import edits_sentence
from musicgen_emotion.studies.units_by_power import CLAIMS

FOLDER = Path(studies.__file__).parent
ENDINGS = ("_sentence", "_sentences", "_claim", "_text", "_note", "_verdict")

# These hold only numbers, or only pass on what others made.
WITHOUT_A_RULE = {
    "claims_sentence",  # counts of verdicts, which have rules
    "estimate_text",  # a number with its interval and n
    "difference_text",  # a difference with its interval
    "with_interval",  # a score with its interval
    "with_ends",  # a number with its interval
    "_budget_text",  # costs in numbers
    "_shares",  # shares in numbers
    "d_text",  # a width
    "without_negative_zero",  # how a number is written
    "provenance_sentence",  # names, dates and the machine of a run
    "keep_sentences",  # keeps sentences that others made
}
EXEMPT = WITHOUT_A_RULE | {
    "summary_sentences",  # Phase 0's: below, and in test_phase0.py
    "report_sentences",  # puts Phase 2's together, needs a run: test_phase2.py
    "read_headline",  # reads what `headline_sentence` says of a file: test_publishing.py
    "summary_of_run",  # leaves a paragraph out of a file: test_publishing.py
    "device_text",  # names a device
    "pairs_name",  # singular and plural
    "words_read",  # what a model's captions list: test_phase0.py
}
PRIVATE = {name for name in EXEMPT if name.startswith("_")}
METHODS = {"summary_sentence": AttentionStudy.summary_sentence}  # not functions of a module


def functions_of_studies():
    "name -> definitions, of all modules."
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                found.setdefault(node.name, []).append(node)
    return found


def names_of_text():
    "Functions that return text, and those whose names say so."
    names = {name for name in functions_of_studies() if name.endswith(ENDINGS)}
    for path in sorted(FOLDER.glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and getattr(node.returns, "id", "") == "str":
                names.add(node.name)
    return names


def has_a_condition(node, functions, seen=()):
    "Does a function, or one that it calls, choose between words?"
    seen = {*seen, node}
    for inside in ast.walk(node):
        if isinstance(inside, (ast.If, ast.IfExp, ast.Match)):
            return True
        if not isinstance(inside, ast.Call):
            continue
        name = getattr(inside.func, "id", getattr(inside.func, "attr", ""))
        for called in functions.get(name, ()):
            if called not in seen and has_a_condition(called, functions, seen):
                return True
    return False


def test_every_sentence_has_a_rule():
    functions = functions_of_studies()
    without = set()
    for name in names_of_text():
        definitions = functions[name]
        if not all(has_a_condition(node, functions) for node in definitions):
            without.add(name)
    assert without == WITHOUT_A_RULE


# ---- tables and their opposites

SCORE = dict(score=0.9, low=0.8, high=0.95, n=20, n_groups=20)
POOR = dict(score=0.4, low=0.1, high=0.6, n=20, n_groups=20)
SHOWN = dict(value=0.9, low=0.85, high=0.95, n=20)
UNSHOWN = dict(value=0.1, low=-0.2, high=0.4, n=20)


def series(**values):
    return pd.Series(values)


def table(*rows):
    return pd.DataFrame(list(rows))


def similar(p, low):
    return series(difference=0.1, low=low, high=0.2, p=p, n=20)


def rule(encodes):
    return series(encodes=encodes, baseline="words", baseline_score=0.5, difference=0.3, **SCORE)


def curve(high):
    rows = [("between", 0.2), ("ceiling", 0.9), ("floor", 0.8)]
    made = [dict(n=8, arm=arm, similarity=s, low=s - 0.1, high=s + 0.1) for arm, s in rows]
    return pd.DataFrame(made).assign(**({} if high is None else dict(high=high)))


def repeats(above_low):
    names = ["same prompt, other seed", "same prompt twice"]
    rows = dict(baseline=names, layer="layer_3", mismatched=0.7, above_low=above_low, **SHOWN)
    return pd.DataFrame(rows)


def layer_rows(encodes):
    row = dict(name="layer_3", baseline="tokens", baseline_score=0.4, difference=0.3)
    return table(row | dict(encodes=encodes, low=0.1, high=0.5, n=20))


def apart(p_max):
    row = dict(arm="free", how="centered", name="layer_3", difference=0.3, low=0.1, high=0.5)
    return table(row | dict(p_max=p_max, n=20))


def shares(share):
    return table(dict(layer="layer_3", share=share, floor=0.1, floor_high=0.3))


def pairs_shares(share, p):
    row = dict(pair="happy-sad", share=share, floor=0.01, floor_high=0.03, p=p, n=28)
    return table(row | dict(threshold=0.1, unit="raw"))


def best_layer(**score):
    return dict(layer="layer_3") | score


def started_similarity(low, p):
    row = dict(states="T5", unit="prompts", how="raw", within=0.56, between=0.49, p=0.001)
    row |= dict(difference=0.1, low=0.05, high=0.15, n=100, draws=1000, R2=0.13)
    words = row | dict(unit="words", how="centered", low=low, p=p, n=50)
    control = words | dict(states="random text encoder", low=-0.1, p=0.5)
    return pd.DataFrame([row, words, control])


def started_rule(encodes):
    rows = dict(folds=["shared words", "words held out"], name="T5", encodes=encodes)
    rows |= dict(baseline="rated words", baseline_score=0.5, difference=0.3)
    return pd.DataFrame(rows | dict(score=[0.94, 0.9], low=0.1, high=0.5, n=50))


def started_pairs(raw):
    rows = dict(pair=["energetic-happy", "happy-sad"], apart=[0.6, 1.7], reported=[0.79, 0.74])
    rows |= dict(raw=raw, raw_low=0.7, raw_high=0.9, centered=[-0.2, -0.4])
    return pd.DataFrame(rows)


def dictionary(kept_test, low, high, selective):
    row = dict(features=6144, l1=1e-3, rows=70, kept_train=0.97, kept_test=kept_test, low=low)
    row |= dict(high=high, n=15, mse=0.009, mse_of_mean=0.011, l0=4.0, dead=0.9)
    return table(row | dict(found_again=0.5, like_a_row=0.9, selective=selective))


def steps(last, every, early, ceiling):
    names = {
        "happy and sad, last step": last,
        "happy and sad, all steps": every,
        "same prompt, other seed, all steps": 0.95,
        "first and last quarter of a clip": early,
        "even and odd steps of a clip": ceiling,
    }
    rows = [dict(pair=name, value=v, low=v, high=v) for name, v in names.items()]
    return pd.DataFrame(rows).assign(how="raw", n=12, layer="layer_2")


def course(drop):
    rows = [dict(similarity=s, low=s - 0.05, high=s + 0.05) for s in (0.9, 0.9 - drop)]
    made = pd.DataFrame(rows).assign(pair="happy-sad", seconds=[0.5, 1.0])
    return made.assign(floor_low=-0.5, floor_high=0.5)


def probes(score):
    return table(dict(arm="inputs", name="text", score=score, low=score, high=score, n_groups=20))


def layers_of(**score):
    return table(dict(arm="free", layer="layer_3", agreement=0.8) | score)


def inputs(*scores):
    rows = dict(name=["codec tokens", "acoustic descriptors"], score=scores, low=0.7, high=0.97)
    return pd.DataFrame(rows)


def gates(passed):
    bar = 0.0 if passed else 1.0
    gate = Gate("claim", 0.5, 0.4, 0.6, n=20, threshold=bar, direction=">", why="why")
    return [gate]


def headline(above_low, unseen=0.1):
    score = dict(name="layer_1", score=0.93, low=0.87, high=0.97)
    control = dict(name="codec tokens", score=0.85, low=0.78, high=0.92)
    return dict(
        format=HEADLINE_FORMAT,
        model="nano",
        n_clips=100,
        n_words=100,
        chance=0.2,
        decoder=score,
        random_weights=control,
        random_music=control,
        inputs=control,
        above=dict(name="codec tokens", difference=0.08, low=above_low, high=0.15),
        unseen=dict(score=0.4, low=unseen, high=0.6, n_words=48, chance=0.25),
    )


def test_the_front_page_says_whether_other_words_are_read():
    assert "does not clearly read the emotion" in studies.headline_sentence(headline(0.01))
    assert "states reads the emotion" in studies.headline_sentence(headline(0.01, unseen=0.3))
    left_out = headline(0.01) | dict(unseen=None)
    assert "captions" not in studies.headline_sentence(left_out)


TOKENS = series(name="tokens", score=0.8)
ABOVE = Estimate(0.1, 0.02, 0.18, 20)  # paired differences
HOLDS_ZERO = Estimate(0.1, -0.01, 0.21, 20)
ESTIMATES = (Estimate(0.9, 0.5, 0.97, 50), Estimate(0.1, -0.5, 0.5, 50))
TEMPO = pd.Series([120.0, 122.0, 80.0, 82.0])
GROUPS = pd.Series(["happy", "happy", "sad", "sad"])
RELATED = dict(a="tempo_bpm", b="level", value=0.6, low=0.4, high=0.8, n=20)
FIGURE = series(name="layer_3", score=0.94)

FEWER = Gate("layers encode emotion beyond tokens and words", -0.03, -0.07, 0.01, 98)
MORE = Gate("layers encode emotion beyond tokens and words", 0.1, 0.04, 0.16, 98)
OPPOSITES = {  # function -> arguments, and arguments that say the opposite
    "similarity_sentence": ((similar(0.01, 0.05),), (similar(0.6, -0.1),)),
    "encodes_sentence": ((rule(True),), (rule(False),)),
    "generalization_sentence": (
        (table(dict(held_out="words", text_encoder="none of these words") | SCORE),),
        (table(dict(held_out="words", text_encoder="all of these words") | POOR),),
    ),
    "centroids_sentence": ((curve(None),), (curve(1.0),)),
    "repeats_sentence": (
        (series(mismatched=0.1, **SHOWN | dict(value=1.0)),),
        (series(mismatched=0.1, **SHOWN),),
    ),
    "circumplex_sentence": ((0.9, 0.01), (0.1, 0.6)),
    "best_sentence": (
        (best_layer(**SCORE), TOKENS, ABOVE, 0.3, ABOVE),
        (best_layer(**SCORE), TOKENS, HOLDS_ZERO, 0.3, ABOVE),
    ),
    "choice_note": ((FIGURE, 0.9), (FIGURE, 0.95)),
    "choice_sentence": (
        (layers_of(**SCORE),),
        (layers_of(**SCORE).assign(agreement=0.2),),
    ),
    "encoding_sentence": ((layer_rows(True),), (layer_rows(False),)),
    "apart_sentence": ((apart(0.01),), (apart(0.6),)),
    "ceilings_sentence": ((repeats(0.1),), (repeats(-0.1),)),
    "dimensions_sentence": ((shares(0.8), 20), (shares(0.2), 20)),
    "silhouette_sentence": (("layer_3", Estimate(**SHOWN)), ("layer_3", Estimate(**UNSHOWN))),
    "tempo_sentence": ((TEMPO, GROUPS, "emotion"), (TEMPO * 0 + 100, GROUPS, "emotion")),
    "related_sentence": (
        (table(RELATED),),
        (table(RELATED | dict(low=-0.2)),),
    ),
    "label_sentence": ((SHOWN, "fitted"), (UNSHOWN, "fitted")),
    "inputs_sentence": (
        (inputs(0.8, 0.5), Estimate(**SHOWN), ABOVE),
        (inputs(0.8, 0.5), Estimate(**SHOWN), HOLDS_ZERO),
    ),
    "gates_sentence": ((gates(True),), (gates(False),)),
    "no_claim_sentence": ((3, "prompts"), (12, "prompts")),
    "headline_sentence": ((headline(0.01),), (headline(-0.01),)),
    "started_similarity_sentence": (
        (started_similarity(0.05, 0.001),),
        (started_similarity(-0.1, 0.6),),
    ),
    "started_probe_sentence": ((started_rule(True),), (started_rule(False),)),
    "started_circle_sentence": (
        (started_pairs([0.88, 0.85]), ESTIMATES[0], 0.04),
        (started_pairs([0.79, 0.74]), ESTIMATES[1], 0.6),
    ),
    "started_dimensions_sentence": (
        (pairs_shares(0.12, 0.001), 768),
        (pairs_shares(0.02, 0.5), 768),
    ),
    "started_dictionary_sentence": (
        (dictionary(0.9, 0.85, 0.95, 60), 40),
        (dictionary(0.1, 0.0, 0.2, 3), 40),
    ),
    "steps_sentence": ((steps(0.999, 0.9, 0.8, 0.99),), (steps(0.8, 0.9, 0.99, 0.99),)),
    "similarity_claim": (
        (started_similarity(0.05, 0.001),),
        (started_similarity(-0.1, 0.6),),
    ),
    "probe_claim": (
        (started_rule(True), started_rule(True)),
        (started_rule(False), started_rule(False)),
    ),
    "circle_claim": (
        (started_pairs([0.79, 0.74]), ESTIMATES[0], 0.01, 12),
        (started_pairs([0.88, 0.85]), ESTIMATES[1], 0.6, 12),
    ),
    "dimensions_claim": ((pairs_shares(0.09, 0.001),), (pairs_shares(0.02, 0.5),)),
    "dictionary_claim": (
        (dictionary(0.9, 0.85, 0.95, 60),),
        (dictionary(0.1, 0.0, 0.2, 3),),
    ),
    "last_step_claim": ((steps(0.999, 0.9, 0.8, 0.99),), (steps(0.8, 0.9, 0.8, 0.99),)),
    "ends_claim": ((steps(0.999, 0.9, 0.8, 0.99),), (steps(0.8, 0.9, 0.99, 0.99),)),
    "course_claim": ((course(0.5), 20), (course(0.01), 20)),
    "decoder_probe_claim": (
        (layers_of(**POOR), layer_rows(False).assign(arm="free"), FEWER),
        (layers_of(**SCORE), layer_rows(True).assign(arm="free"), MORE),
    ),
    "input_claim": (
        (started_pairs([0.88, 0.85]), layers_of(**POOR), probes(0.95)),
        (started_pairs([0.88, 0.85]), layers_of(**SCORE), probes(0.3)),
    ),
}


OPPOSITES |= PHASE_1 | PHASE_2 | PHASE_3
CLAIM = dict(gate="a score", kind="evidence", passed=True, controls="as expected")
CLAIM |= dict(value=0.5, low=0.4, high=0.61, n=20, bar="> 0.3", size="small")
STANDING = table(CLAIM | dict(alarms="0 of 12", other_seeds="2 of 2"))
GRADES = pd.DataFrame([[-9.0, -2.0, 4.0], [-8.0, 1.0, 5.0]], ["sad", "calm"], [0.0, 0.5, 1.0])
OPPOSITES["calibration_sentence"] = ((GRADES, 12), (GRADES.iloc[:, ::-1], 12))
COMPARED = dict(name="phase0", gates=9, flipped=[], values={"a score": [0.5, 0.5]}, clips=20)
COMPARED |= dict(equal=20, activations=3e-7)
OPPOSITES["processors_sentence"] = (
    ([COMPARED],),
    ([COMPARED | dict(flipped=["a score"], values={"a score": [0.5, 0.7]}, equal=3)],),
)
OPPOSITES["own_words_sentence"] = (
    (12, dict(happy=13, sad=12)),
    (12, dict(happy=7, sad=7)),
)
EFFECT = table(dict(measure="probability", scope="all", low=0.01, value=0.02, high=0.03, n=56))
EFFECT = EFFECT.assign(random=0.0)
TURNED = EFFECT.assign(low=-0.03, value=-0.02, high=-0.01)
OPPOSITES["fall_text"] = ((EFFECT,), (TURNED,))
OPPOSITES["falls_by_emotion"] = tuple((rows.assign(scope="sad"),) for rows in (EFFECT, TURNED))
COSINES = pd.DataFrame(dict(cosine=[0.3, 0.5, 0.8], slope=[0.3, 0.5, 0.8]))
OPPOSITES["related_text"] = ((COSINES,), (COSINES.assign(slope=-COSINES.slope),))
REACHED = pd.DataFrame(dict(emotion=["sad", "calm"], before=0.0, pushed=[5.0, 9.0], written=10.0))
OPPOSITES["least_reached"] = ((REACHED,), (REACHED.assign(pushed=[9.0, 5.0]),))
MATRIX = read_table(FOLDER.parents[1] / "evidence" / "controls" / "matrix.csv")
ALARMED = MATRIX.assign(passed=MATRIX.measured.where(MATRIX.expected == "fail", MATRIX.passed))
OPPOSITES["matrix_text"] = ((MATRIX,), (ALARMED,))
OPPOSITES["standing_verdict"] = ((STANDING,), (STANDING.assign(controls="not as expected"),))
BY_P = Gate("gain, p", 0.01, n=20, threshold=0.05, direction="<", draws=99)
BY_COUNT = Gate("selective features", 60.0, 50.0, 70.0, n=20, threshold=50)
OPPOSITES["left_out_sentence"] = (([BY_P],), ([BY_COUNT],))
OPPOSITES["standing_text"] = ((STANDING,), (STANDING.assign(controls="not as expected"),))


def test_claims_that_are_in_doubt_are_named():
    told = studies.standing_text(STANDING)
    assert "1 may be made" in told and "where it must fail" not in told and "luck" not in told
    assert "May be claimed:\n\n- a score: 0.5 (0.4 to 0.61, n = 20), bar > 0.3." in told
    alarmed = studies.standing_text(STANDING.assign(alarms="1 of 12"))
    assert "it passed in 1 of 12 runs where it must fail" in alarmed and "may be chance" in alarmed
    for seeds in ("0 of 2", "3 of 4"):
        doubted = studies.standing_text(STANDING.assign(other_seeds=seeds))
        assert "0 may be made, 0 fell, and 1 cannot" in doubted and "luck" in doubted
        assert "Cannot be decided here:\n\n- a score: 0.5 (0.4 to 0.61, n = 20)" in doubted
        assert f"only {seeds} other seeds pass" in doubted
    for seeds in ("4 of 5", "2 of 2"):
        assert "luck" not in studies.standing_text(STANDING.assign(other_seeds=seeds))
    for controls, why in studies.WHY_UNDECIDED.items():
        unseen = studies.standing_text(STANDING.assign(controls=controls))
        assert "0 may be made" in unseen and f"; {why}." in unseen
    failed = STANDING.assign(passed=False)
    assert "Fell:\n\n- a score" in studies.standing_text(failed)
    assert "2 of 2 other seeds pass" in studies.standing_text(failed)
    assert "other seeds" not in studies.standing_text(failed.assign(other_seeds="0 of 2"))
    assert "luck" not in studies.standing_text(STANDING.assign(other_seeds="not run"))
    unmeasured = failed.assign(value=np.nan, low=np.nan, high=np.nan)
    assert "here:\n\n- a score: not measured." in studies.standing_text(unmeasured)
    few = studies.standing_text(unmeasured.assign(n=4))
    assert "a score: no claim, for n = 4 is below 12." in few
    seldom = STANDING.assign(other_seeds="1 of 5")
    assert "the small size of the controls" in studies.standing_text(seldom)
    in_full = studies.standing_text(seldom.assign(size="full"))
    assert "the size of this run" in in_full and "small size" not in in_full
    broken = studies.standing_text(STANDING.assign(kind="check", passed=False))
    assert "A check failed, so no number counts: a score." in broken


@pytest.mark.parametrize("phase", sorted(CLAIMS))
def test_the_head_of_a_page_is_read_in_short_lines(phase):
    "It was one paragraph without numbers."
    folder = FOLDER.parents[1] / "evidence"
    decided = read_table(folder / "controls" / "gates_that_hold.csv")
    standing = studies.standing_table(read_gates(folder / phase), phase, decided)
    told = studies.standing_text(standing)
    for sentence in re.split(r"\n|(?<=\.) (?=[A-Z])", told):
        assert len(sentence.split()) <= 35, sentence
    lines = [line for line in told.splitlines() if line.startswith("- ")]
    claims = standing[standing.kind == "evidence"]
    assert len(lines) == len(claims)
    for claim in claims.itertuples():
        (line,) = [x for x in lines if x.startswith(f"- {claim.gate.removesuffix(', p')}: ")]
        assert f"n = {claim.n}" in line
        if np.isnan(claim.value):
            assert "no claim" in line
            continue
        assert f"{claim.value:.3g}" in line
        interval = "p = " if claim.gate.endswith(", p") else f"{claim.low:.3g} to {claim.high:.3g}"
        assert interval in line


def test_the_table_of_a_page_has_words_and_intervals():
    check = dict(gate="a no-op", kind="check", passed=False, controls="not run", n=np.nan)
    other = check | dict(alarms="n/a", other_seeds="not run", bar="> 1")
    both = pd.concat([STANDING, pd.DataFrame([other])])
    page = studies.standing_page(both)
    assert page.alarms.tolist() == ["0 of 12", "n/a"]
    assert page.number.tolist() == ["0.5 (0.4 to 0.61)", "not measured, a check"]
    assert page.n.tolist() == ["20", "n/a"] and page.passed.tolist() == ["yes", "no"]
    assert list(page.index) == ["a score", "a no-op"] and page.shape[1] == 7


def test_a_claim_counts_only_with_its_controls():
    check = dict(gate="a no-op", kind="check", passed=True, controls="as expected")
    check["other_seeds"] = "5 of 5"
    claims = [
        CLAIM | dict(gate=name, other_seeds="5 of 5") for name in ("first", "second", "third")
    ]
    standing = table(check, *claims)
    assert studies.standing_verdict(standing) == "GO"
    one = standing.gate == "first"
    for change in (
        dict(controls="not as expected"),
        dict(controls="not run"),
        dict(controls="too few numbers"),
        dict(passed=False),
        dict(other_seeds="3 of 4"),
    ):
        changed = standing.assign(**{k: standing[k].mask(one, v) for k, v in change.items()})
        assert studies.standing_verdict(changed) == "ITERATE"
    two = standing.controls.mask(standing.gate.isin(["first", "second"]), "not run")
    assert studies.standing_verdict(standing.assign(controls=two)) == "PAUSE"
    broken = standing.passed.mask(standing.kind == "check", False)
    assert studies.standing_verdict(standing.assign(passed=broken)) == "PAUSE"


def made_by(name, arguments):
    "What a function says: the verdict of a claim, or its text."
    function = METHODS.get(name) or getattr(studies, name)
    found = function(*arguments)
    if isinstance(found, dict):
        return found["verdict"]
    return " ".join(found) if isinstance(found, list) else found


def words_of(text):
    "Its words without numbers."
    return re.sub(r"[-+]?\d[\d.,%e-]*", "", text)


@pytest.mark.parametrize("name", OPPOSITES)
def test_an_opposite_table_changes_the_words(name):
    texts = [made_by(name, arguments) for arguments in OPPOSITES[name]]
    assert any(texts) and words_of(texts[0]) != words_of(texts[1]), texts


UNDECIDED = {"course_claim"}  # intervals that overlap show nothing either way


def test_verdicts_of_opposite_tables_are_opposite():
    for name, (yes, no) in OPPOSITES.items():
        if name.endswith("_claim") and name not in PHASE_2:  # `without_claim` has no verdict
            function = getattr(studies, name)
            assert function(*yes)["verdict"].startswith("holds"), name
            against = "undecided" if name in UNDECIDED else "falls"
            assert function(*no)["verdict"].startswith(against), name


def test_every_sentence_has_an_opposite_or_a_reason():
    public = {name for name in names_of_text() if not name.startswith("_")}
    assert public - EXEMPT - set(OPPOSITES) == set()
    assert public | PRIVATE >= EXEMPT


def test_moving_is_never_told_without_what_becomes_of_the_music():
    "The push that moved sad's margin on 36 of 36 prompts made calm music."
    told = studies.emotions_sentence(moved(True, True), WORDS, come_back(False))
    assert "2 of 2 emotions: sad, happy" in told
    assert "Sad moves, but under the chosen method the music does not clearly become sad" in told
    assert "on 0% of 36 prompts" in told and "nearest to calm (36 prompts)" in told
    assert told.endswith("Whether music becomes happy was not asked.")
    back = studies.emotions_sentence(moved(True, True), WORDS, come_back(True))
    assert "Sad moves, and under the chosen method the music becomes sad" in back
    for yes in (True, False):
        told = studies.emotions_sentence(moved(yes, yes), WORDS, come_back(yes))
        assert "reported and not claimed" in told and "found a planted effect in fewer than" in told
        assert "(../api/95_studies/25_steering_criteria.ipynb)" in told
    margins = come_back(True).assign(nearest="").drop(columns="hit_mode_score")
    told = studies.emotions_sentence(moved(True, True), WORDS, margins)
    assert "its own margin rises on 100% of 36 prompts" in told and "becomes sad is not" in told


def test_cues_are_told_in_their_units_and_a_cue_that_may_not_change_does_not_move():
    "Tempo under the arousal push: 18.5 beats a minute (-16.5 to 50.6), with a slope above zero."
    both = (*COUNTS, 9, cues(2.0))
    told = studies.descriptors_sentence(*both, cue_changes(18.5, 2.5, 34.5))
    assert "Cues move as listeners expect. At the largest dose tempo rises with arousal, by" in told
    assert "by 18.5 beats a minute (95% interval 2.5 to 34.5, n = 16); level rises" in told
    assert "level rises with arousal, by 18.5 dB (" in told
    holds_zero = cue_changes(18.5, -16.5, 50.6)
    told = studies.descriptors_sentence(*both, holds_zero)
    assert "Cues do not clearly move" in told and "rises" not in told
    assert "tempo does not clearly follow arousal: 18.5 beats a minute (95%" in told
    is_tempo = holds_zero.outcome == "tempo_bpm"
    told = studies.descriptors_sentence(*both, holds_zero.assign(low=[-16.5, 1.6]))
    assert is_tempo.tolist() == [True, False] and "Cues do not all clearly move" in told
    assert "level rises with arousal" in told and "tempo does not clearly follow" in told
    down = cue_changes(-18.5, -34.5, -2.5)
    told = studies.descriptors_sentence(*COUNTS, 9, cues(-2.0), down)
    assert "tempo falls with arousal, by -18.5 beats a minute" in told
    assert "Cues do not clearly move" in told
    up_either_way = studies.descriptors_sentence(*COUNTS, 9, cues(0.5), cue_changes(9.0, 1.0, 17.0))
    assert "rises" not in up_either_way  # the slope over both signs may be zero
    few = studies.descriptors_sentence(*both, cue_changes(18.5, 2.5, 34.5).assign(n=11))
    assert few.endswith("11 prompts carry no claim, which needs 12.") and "rises" not in few
    assert "as listeners expect" not in few and "18.5 beats a minute" in few
    without = studies.descriptors_sentence(*both, holds_zero.assign(outcome="centroid"))
    assert "ues" not in without.split("(n = 16 prompts).")[1]


def test_axes_that_do_not_fall_are_not_said_to_be_pushed_down():
    _, no = PHASE_2["axes_sentence"]
    assert "Downwards valence and arousal does not clearly fall" in studies.axes_sentence(*no)
    assert "comes from pushing down" not in studies.axes_sentence(*no)
    only_up = no[1].assign(high=no[1].value + 0.5)
    told = studies.axes_sentence(no[0], only_up, *no[2:])
    assert told.endswith("so the slope comes from pushing down.")


def test_phase_0_compares_by_the_paired_difference_of_its_gate():
    "Layers .88 (.81 to .94) beside tokens .80 (.70 to .88): the gate can fail on these data."
    layers, tokens = Estimate(0.88, 0.81, 0.94, 20), inputs(0.8, 0.5)
    told = studies.inputs_sentence(tokens, layers, HOLDS_ZERO)
    assert "The layers do not lie clearly above that" in told
    assert "(paired difference 0.10, -0.01 to 0.21)" in told
    assert "The layers lie above that" in studies.inputs_sentence(tokens, layers, ABOVE)
    best = best_layer(score=0.88, low=0.81, high=0.94, n=20)
    told = studies.best_sentence(best, TOKENS, HOLDS_ZERO, 0.8, HOLDS_ZERO)
    assert "not clearly above the strongest baseline, tokens (0.80; paired difference" in told
    assert "random weights reaches 0.80 (paired difference 0.10, -0.01 to 0.21)" in told
    overlapping = studies.best_sentence(best, series(name="tokens", score=0.85), ABOVE, 0.85, ABOVE)
    assert "not clearly" not in overlapping and "random weights" not in overlapping


def test_a_slope_that_random_directions_reach_is_no_agreement():
    "Heard arousal rose by 5.3 (2.8 to 7.9) under its push, which random directions did as well."
    told = studies.listeners_sentence(heard_axes(p=0.1))
    assert "agrees for valence and does not clearly agree for arousal" in told
    assert "an interval above zero and a p below .05" in told
    assert "agrees for valence and arousal" in studies.listeners_sentence(heard_axes())
    below = heard_axes()
    below.loc[below.outcome == "heard_valence", "low"] = -1.0
    assert "agrees for arousal and does not clearly agree for valence" in (
        studies.listeners_sentence(below)
    )
    tie = studies.clap_sentence(clap(0.05))  # a slope outside the interpolated band, not first
    assert "does not clearly hear the push of valence and arousal" in tie
    beside = AXIS_SLOPES.assign(p_random=[0.025, 0.1])
    told = studies.axes_sentence("layer_1", own_changes(0.5), beside, [-0.1, 0.0, 0.1])
    assert told.endswith("Random directions may move arousal as far.")


def test_a_push_that_moves_the_other_heard_axis_further_is_named():
    told = studies.listeners_sentence(heard_axes(crossed=-8.6))
    assert "and moves heard valence further, by -8.6 (-1.0 to 2.0, p = 0.700)" in told
    assert "further" not in studies.listeners_sentence(heard_axes(crossed=-1.9))


def test_few_prompts_carry_no_claim_on_axes_and_judges():
    for told in (
        studies.listeners_sentence(heard_axes(n=11)),
        studies.clap_sentence(clap(0.025).assign(n=11)),
        studies.axes_sentence(
            "layer_1", own_changes(0.5), AXIS_SLOPES.assign(n=11), [-0.1, 0.0, 0.1]
        ),
    ):
        assert told.endswith("11 prompts carry no claim, which needs 12.")
        assert "agree" not in told and "hears" not in told and "Both signs" not in told


def test_three_prompts_carry_no_claim_on_methods_layers_and_pairs():
    "Few pairs gave 'half or more' from the points of the better of two on 3 prompts."
    told = studies.few_pairs_sentence(recovered_by(0.7), beyond_half(0.1), 24, 3)
    assert told.endswith("on 3 prompts. 3 prompts carry no claim, which needs 12.")
    assert "half" not in told
    overlapping = studies.few_pairs_sentence(recovered_by(0.7), beyond_half(-0.1), 24, 16)
    assert "whether few pairs give half of it is not clear" in overlapping
    both = {"2 pairs": Estimate(0.2, 0.1, 0.3, 16), "4 pairs": Estimate(-0.2, -0.3, -0.1, 16)}
    told = studies.few_pairs_sentence(recovered_by(0.7), both, 24, 16)
    assert "2 pairs give half or more of what all pairs give, 4 pairs give less than half" in told
    layers = LAYER_COSTS.assign(n=2)
    told = studies.layer_costs_sentence(layers, costs(0.1, n=3), 0.1, 0.25)
    assert "(n = 2 prompts; 2 prompts carry no claim, which needs 12)" in told
    assert "3 prompts carry no claim on the cost" in told and "reliably" not in told
    told = studies.layer_sentence(LAYER_SLOPES, 1, 2, Estimate(2.0, 1.0, 3.0, 2))
    assert told.endswith("2 prompts carry no claim, which needs 12.") and "more" not in told
    few = dataclasses.replace(equal_cost("AGOP", "LDA", []), n=3)
    for told in (studies.equal_cost_sentence(few), studies.agop_sentence(few, WORDS)):
        assert "3 prompts carry no claim" in told and "best method" not in told
        assert "recovers most" not in told
    assert studies.word_valence_sentence(written(0.6).head(11)) == ""


def test_four_features_carry_no_claim():
    "One of four single features steered, and three prompts told what eight recover together."
    few, enough = feature_step(ABOVE, 4), feature_step(ABOVE, 12)
    told = studies.dictionary_sentence(0.24, 3, 8, 768, few)
    assert "(n = 3 prompts; 3 prompts carry no claim, which needs 12)" in told
    assert "by chance; 4 single features carry no claim, which needs 12), and on" in told
    assert "no claim" not in studies.dictionary_sentence(0.24, 12, 8, 768, enough)
    steers = pd.Series([True, False, False, False])
    told = studies.features_sentence(steers, 8, ABOVE)
    assert "by chance. 4 features carry no claim, which needs 12. On average they raise" in told
    twelve = pd.concat([steers] * 3)
    assert "no claim" not in studies.features_sentence(twelve, 8, ABOVE)


def test_six_shuffled_directions_carry_no_claim():
    shares = pd.Series([0.1, 0.1, -0.1, 0.1, 0.1, 0.1])
    told = studies.shuffled_sentence(shares, Estimate(0.1, 0.1, 0.1, 6))
    assert "do not do the same" not in told and "6 directions carry no claim" in told


def test_shuffled_directions_of_both_signs_do_not_cancel():
    shares = pd.Series([-1.1, 1.0, -0.5, 0.6])
    assert abs(shares.mean()) < 1e-9
    told = studies.shuffled_sentence(shares, Estimate(0.8, 0.5, 1.1, 4))
    assert "4 of 4 move the sound at least half as far" in told
    assert "0.50 to 1.10 times as far" in told and "n = 4 directions" in told


def test_the_summary_of_phase_3_tells_first_when_the_text_acts(tmp_path):
    "The text in the first half restores .98 of the difference, later text .08."

    def said(*_):
        return "Other."

    told = studies.timing_sentence(*HALVES, Estimate(2.3, 1.5, 3.1, 16))
    parts = {}
    for part in ("data", "patched", "heard", "read", "grounded", "mediated", "attended"):
        methods = ("residual", "floor", "borrowed", "sound", "reliability", "summary")
        parts[part] = SimpleNamespace(**{f"{name}_sentence": said for name in methods})
    parts["heard"].timing_sentence = lambda: told
    parts["patched"].inner_layer = said
    arguments = {
        name: PHASE_3[f"{name}_sentence"][0][0]
        for name in ("wiring", "agreement", "grounding", "mediation", "answers")
    }
    parts["data"].construction = arguments["wiring"]
    parts["patched"].agreement = arguments["agreement"]
    parts["grounded"].agreement = arguments["grounding"]
    parts["mediated"].effects = arguments["mediation"]
    log = SimpleNamespace(info=said)
    run = SimpleNamespace(path=tmp_path, log=log, gates=gates(True))
    settings = SimpleNamespace(source="happy", target="sad")
    study = SimpleNamespace(run=run, settings=settings, answers=arguments["answers"], **parts)
    summary = studies.CausalStudy.summary(study)
    assert summary[1] == told
    assert "first 1.5 s alone, the source's text brings 0.90" in told
    assert "(0.80 to 0.99, n = 16 pairs); read after that, it brings 0.08 (-0.10 to 0.99)" in told
    assert "acts at the start" in (tmp_path / "summary.md").read_text()


def test_a_claim_that_a_control_passes_is_undecided():
    found = started_similarity(0.05, 0.001)
    found.loc[found.states == "random text encoder", ["low", "p"]] = [0.02, 0.01]
    assert studies.similarity_claim(found)["verdict"].startswith("undecided: random text encoder")
    assert "passes the same test" in studies.started_similarity_sentence(found)


def test_four_emotions_carry_no_claim():
    row = studies.circle_claim(started_pairs([0.88, 0.85]), ESTIMATES[0], 0.04, 4)
    assert row["verdict"].startswith("undecided: the order agrees, but 4 emotions")


def test_shared_words_join_prompts_of_one_emotion():
    texts = ["calm sea", "calm wood", "slow wood", "sad wood", "sad music", "glad music", "music"]
    emotions = ["calm", "calm", "calm", "sad", "sad", "happy", "calm"]
    assert studies.word_units(texts, emotions).tolist() == [0, 0, 0, 3, 3, 5, 6]
    with pytest.raises(ValueError, match="need one label each"):
        studies.word_units(texts, emotions[:2])


def test_the_earlier_study_on_its_own_states(nano, data_dir):
    "The numbers that the earlier study reported, and what is left of them with words as units."
    study = studies.load_started(nano, data_dir, n_perm=99)
    similarity = study.similarity().table
    reported = similarity.iloc[0]
    assert reported.within == pytest.approx(0.560, abs=5e-4)
    assert reported["between"] == pytest.approx(0.494, abs=5e-4)
    assert study.counts().units.sum() == 50
    verdict = studies.similarity_claim(similarity)["verdict"]
    assert verdict.startswith("holds")  # and the random text encoder does not pass
    dimensions = study.dimensions().table
    assert dimensions.share.between(0.09, 0.14).all()
    assert (dimensions.share > dimensions.floor_high).all()
    assert any("70 rows" in warning for warning in study.warnings())
    circle = study.circle()
    assert studies.circle_claim(circle.table, study.correlation, study.circle_p, 4)[
        "verdict"
    ].startswith(("undecided", "falls"))


def test_shuffled_labels_lose_the_similarity(nano, data_dir):
    "The control of the claim: labels dealt to whole units at random."
    study = studies.load_started(nano, data_dir, n_perm=99)
    order = np.random.default_rng(0).permutation(np.unique(study.units))
    label_of = dict(zip(np.unique(study.units), study.labels[order]))
    study.labels = np.array([label_of[unit] for unit in study.units])
    found = studies.similarity_claim(study.similarity().table)
    assert found["verdict"].startswith("falls")


def test_the_page_of_claims_is_stored_with_its_outputs():
    page = json.loads((FOLDER.parents[1] / "nbs/findings/claim.ipynb").read_text())
    outputs = [output for cell in page["cells"] for output in cell.get("outputs", [])]
    text = json.dumps(outputs, ensure_ascii=False)
    assert "0.560 within and 0.494 between" in text and "Of 11 claims, hold" in text
    assert not re.search(r"/work/|/tmp/|/root/|/home/", text)
    assert not [output for output in outputs if output["output_type"] == "stream"]


def test_without_the_data_an_error_names_the_source(monkeypatch):
    monkeypatch.delenv("MGE_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="MGE_DATA, which is not set"):
        studies.started_folder()


def test_nano_is_asked_what_the_decoder_was_claimed_to_do(tiny):
    step = studies.record_steps(tiny, n=2, duration_s=1.0, n_boot=20)
    assert set(step.table.how) == {"raw", "centered"} and (step.table.n == 2).all()
    for claim in (studies.last_step_claim, studies.ends_claim):
        assert claim(step.table)["on"] == "nano decoder"


def test_summary_of_phase0_follows_its_scores():
    best = Best("layer_1", Estimate(0.8, 0.7, 0.9, 20), 0.01, ["layer_1"])
    arms = {"free": best, "text only": best, "music only": best}
    text = series(**SCORE)
    yes = SimpleNamespace(
        text=text,
        text_baseline=0.4,
        text_above=ABOVE,
        inputs_above=ABOVE,
        text_chance=0.25,
        best=arms,
        random_weights=0.6,
        random_music=0.7,
    )
    no = SimpleNamespace(**vars(yes) | dict(text_above=HOLDS_ZERO, inputs_above=HOLDS_ZERO))
    yes.inputs = no.inputs = inputs(0.5, 0.4)
    yes.highest, no.highest = series(name="layer_1", score=0.7), FIGURE
    for said, contradicted in zip(
        studies.summary_sentences(yes)[:3], studies.summary_sentences(no)
    ):
        assert words_of(said) != words_of(contradicted)


def test_the_share_of_dimensions_is_decided_apart_from_its_existence():
    "68% of dimensions were called a part of 8%."
    row = dict(pair="happy-sad", share=0.68, floor=0.12, floor_high=0.28, p=0.001, n=40)
    found = dimensions_claim(table(row | dict(threshold=0.5, unit="pooled_sd")))
    assert found["verdict"].startswith("falls: 68% differ and not 8%")
    assert "under shuffled labels holds" in found["verdict"]
    near = row | dict(share=0.09, floor=0.03, floor_high=0.05, threshold=0.1, unit="raw")
    assert dimensions_claim(table(near))["verdict"].startswith("holds: ")
    none = near | dict(share=0.04, p=0.4)
    assert dimensions_claim(table(none))["verdict"].startswith("falls: shuffled labels give")


def test_the_claim_page_gives_the_difference_of_the_gate_of_phase_0():
    "It gave that of the layer with the largest one, -0.02, where the other page gave -0.03."
    folder = FOLDER.parents[1] / "evidence" / "phase0_foundation"
    layers, encodes = (read_table(folder / f"{name}.csv") for name in ("best_layers", "encodes"))
    gate = next(gate for gate in read_gates(folder) if gate.name == LAYERS_ENCODE)
    found = decoder_probe_claim(layers, encodes, gate)["found"]
    assert f"difference {with_ends(gate.value, gate.low, gate.high)}, n = {gate.n} stems" in found


def test_edits_on_too_few_prompts_have_no_numbers_in_the_sentence():
    "Two prompts carried no claim, and the sentence gave 95% intervals."
    edit = dict(way="set", kind="feature", value=22.9, low=13.8, high=32.0, n=2)
    told = edits_sentence(table(edit), "sad", 733, 3.0)
    assert "2 prompts carry no claim" in told and "single_features.csv" in told
    assert "22.9" not in told and "interval" not in told
