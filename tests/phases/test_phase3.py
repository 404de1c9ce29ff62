"""Phase 3: parameters are refused before anything runs, bars are fixed, sentences can say no.

Finished stages survive an interruption."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from written import gates_of_the_text

import musicgen_emotion.studies
from musicgen_emotion.causes.attribution import Agreement
from musicgen_emotion.causes.construction import word_parts
from musicgen_emotion.causes.free_generation import patched_generation
from musicgen_emotion.causes.mediation import REFERENCE, held_effects
from musicgen_emotion.causes.pairs import Pairs, pair_prompts, pair_tokens
from musicgen_emotion.causes.site_scores import _random_p, _random_pushes, prediction_slopes
from musicgen_emotion.causes.stages import Stages
from musicgen_emotion.causes.verdicts import BARS, collect_evidence, verdict_table
from musicgen_emotion.lab.parameters import read_parameters
from musicgen_emotion.lab.phase_files import list_phases
from musicgen_emotion.lab.phases import PhaseError, run_phase
from musicgen_emotion.lab.runs import open_run
from musicgen_emotion.models.load import randomized
from musicgen_emotion.models.text import piece_counter
from musicgen_emotion.sound import ListenerModel, listener_agreement, listener_axes, listener_cues
from musicgen_emotion.stats.estimates import Estimate
from musicgen_emotion.stimuli.emotions import EMOTION_WORDS
from musicgen_emotion.stimuli.prompts import study_prompts
from musicgen_emotion.stimuli.word_lists import PLAIN_ADJECTIVES, match_pieces
from musicgen_emotion.studies import (
    BEST_CUES,
    CAUSAL_CRITERIA,
    EVERY_CONTROL,
    HELD_CUES,
    PLANTED_HELD,
    WORD_SHARES,
    AttentionStudy,
    CausalClips,
    CausalSettings,
    CausalStudy,
    PatchingStudy,
    PromptStates,
    agreement_sentence,
    answers_sentence,
    attention_sentence,
    attribution_atlas,
    best_gaining_head,
    borrowed_sentence,
    causal_gate,
    causal_words,
    causal_work,
    decodable_sentence,
    flat_states,
    floor_sentence,
    gates_sentence,
    grounding_sentence,
    halves_sentence,
    loss_sentence,
    lost_sentence,
    mediation_sentence,
    neutral_halves,
    own_words_sentence,
    paired_mean,
    plant,
    plant_held,
    plant_rating,
    plant_words,
    push_sentence,
    reliability_sentence,
    residual_sentence,
    settings_from,
    sound_sentence,
    span_sentence,
    timing_sentence,
    windows_sentence,
    wiring_sentence,
    word_roles,
)

PHASE = list_phases().get("phase3_causal")
needs = pytest.mark.skipif(PHASE is None, reason="no phase notebooks in this checkout")
MODULES = sorted(Path(musicgen_emotion.studies.__file__).parent.glob("causal*.py"))


def bars_of_the_text():
    "Gate -> bar, from the table at the head of the phase notebook."
    return {name: cells[0] for name, cells in gates_of_the_text(PHASE).items()}


# parameters


@needs
@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        (dict(patch_pair=4), ValueError, "did you mean 'patch_pairs'"),
        (dict(patch_pairs=2.5), TypeError, "'patch_pairs' must be int"),
        (dict(random_draws="4"), TypeError, "'random_draws' must be int"),
        (dict(window_s=float("nan")), TypeError, "'window_s' must be float"),
        (dict(emotions="sad"), TypeError, "'emotions' must be list["),
    ],
)
def test_bad_parameters_run_nothing(tmp_path, params, error, message):
    with pytest.raises(error) as raised:
        run_phase("phase3_causal", params, tmp_path / "out", progress=False)
    assert message in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_clips_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match=r"duration_s must be at least 2 s.*got 1\.5"):
        CausalSettings(duration_s=1.5)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (dict(sound_pairs=13), "sound_pairs=13 must be at most patch_pairs=12"),
        (dict(cue_pairs=20), "cue_pairs=20 must be at most patch_pairs=12"),
        (
            dict(patch_pairs=5),
            "sound_pairs=12 and cue_pairs=12 and window_pairs=8 must be at most patch_pairs=5",
        ),
        (dict(patch_pairs=20), "patch_pairs=20 must be at most clips_per_emotion=12"),
    ],
)
def test_more_pairs_than_are_patched_are_refused_and_not_estimated(more, named):
    with pytest.raises(ValueError, match=named):
        CausalSettings(**more)
    with pytest.raises(ValueError, match=named):
        causal_work(vars(CausalSettings()) | more, 4)


def data_of(tiny, folder, **values):
    "Clips and pairs of a short study."
    settings = CausalSettings(duration_s=2.0, patch_s=0.1, **values)
    with open_run(folder, "phase3_test") as run:
        return CausalClips(run.set_model(tiny), settings, tiny)


def test_more_pairs_than_words_are_refused_before_any_clip(tiny, tmp_path):
    "Slicing gave 12 pairs, or pairs that share words, to a study that asked for 20."
    named = r"patch_pairs=20 asks for more pairs.*=20 gives 20,.* give 12 in which.*12 at most"
    with pytest.raises(ValueError, match=named):
        data_of(tiny, tmp_path / "run", clips_per_emotion=20, patch_pairs=20)
    assert not list((tmp_path / "run").rglob("*.npz"))


@pytest.mark.parametrize("control", ["none", *EVERY_CONTROL, "planted"])
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_no_control_makes_fewer_pairs_than_asked(control, seed):
    "The defaults, which control runs keep, without the clips."
    settings = CausalSettings(control=control, seed=seed)
    words = causal_words(control, settings.source, settings.target, seed)
    parts = word_parts(list(settings.emotions), 3, seed, words, WORD_SHARES)
    prompts = study_prompts(
        settings.clips_per_emotion, tuple(settings.emotions), seed, words=parts[2]
    )
    pairs = pair_prompts(prompts, settings.source, settings.target)
    assert len(pairs) >= settings.patch_pairs == 12
    fewest = min(len(set(parts[2][name])) for name in (settings.source, settings.target))
    told = own_words_sentence(12, {"happy": fewest, "sad": fewest})
    if control == "no-emotion":
        assert fewest == 7 and "repeat words, of which there are 7 for happy" in told
    else:
        assert fewest >= 12 and told == "No word is in two of the 12 pairs."


def test_a_missing_parameter_is_named():
    with pytest.raises(KeyError, match="clips_per_emotion"):
        settings_from(CausalSettings, dict(model="nano", backend="auto"))


@needs
def test_settings_are_the_parameters_of_the_notebook():
    defaults = {name: p.default for name, p in read_parameters(PHASE).items()}
    defaults.pop("out_dir")
    settings = vars(CausalSettings())
    assert {name: list(v) if name == "emotions" else v for name, v in settings.items()} == defaults


@needs
def test_every_setting_is_used():
    steps = Path(musicgen_emotion.studies.steps.__file__)  # opens the run, makes the clips
    code = "\n".join(path.read_text() for path in [*MODULES, steps])
    names = list(vars(CausalSettings()))
    used = r"(settings|self)\.{name}\b|values\[\"{name}\"\]"
    assert [name for name in names if not re.search(used.format(name=name), code)] == []


def test_controls_are_those_of_the_protocol():
    settings = CausalSettings()
    assert settings.n_random >= 39
    assert settings.random_draws >= 3
    assert 2 <= settings.window_pairs <= settings.patch_pairs


# gates and rules


@needs
def test_gates_of_the_text_are_those_of_the_code():
    expected = {}
    for one in CAUSAL_CRITERIA:
        controls = ", ".join(one.fails_on)
        expected[one.name] = [f"{one.direction} {one.threshold:g}", one.kind, controls]
    told = {name: [row[0], *row[2:4]] for name, row in gates_of_the_text(PHASE).items()}
    assert told == expected
    assert list(told) == list(expected)


def test_bars_of_gates_and_verdicts_are_the_first_ones():
    bars = {one.name: (one.direction, one.threshold) for one in CAUSAL_CRITERIA}
    assert bars == {
        "what construction implies holds": (">=", 1.0),
        "a no-op restores nothing": ("<", 0.001),
        "text states restore the difference": (">", 0.9),
        "attribution ranks cells as patching does": (">=", 0.8),
        "verdicts agree with construction": (">=", 1.0),
        "another prompt of the target's emotion restores little": ("<", 0.25),
        "patching an inner layer moves the sound": (">", 0.0),
        "the text of the first half moves the sound more than the second's": (">", 0.0),
        "reliability of the mean difference in the text": (">", 0.5),
        "reliability above its floors": (">", 0.0),
        "arousal goes through tempo": (">", 0.0),
        "arousal goes through loudness": (">", 0.0),
        "valence goes through mode": (">", 0.0),
        "the emotion word gains attention, p": ("<", 0.05),
        "renders are heard as labelled": (">", 0.5),
        "energetic renders are more aroused than happy ones": (">", 0.0),
    }
    assert dict(decodable=0.0, p=0.05, reliability=0.5, sufficient=0.5, necessary=0.5) == BARS


def test_every_gate_is_decided_in_the_code():
    code = "\n".join(path.read_text() for path in MODULES)
    for one in CAUSAL_CRITERIA:
        assert code.count(f'"{one.name}"') == 2, one.name  # its criterion, and where it is decided
    assert "run.gate(" not in code.replace("return run.gate(", "")


def test_what_holds_by_construction_is_a_check():
    checks = [one.name for one in CAUSAL_CRITERIA if one.kind == "check"]
    assert len(checks) == 5
    for one in CAUSAL_CRITERIA:
        assert one.expected("planted") == "pass", one.name
        if one.kind == "evidence" and "attention" not in one.name:
            assert one.expected("shuffled-labels") == "fail", one.name


def test_a_gate_can_fail_and_an_unknown_one_is_refused(tmp_path):
    with open_run(tmp_path / "run", "phase3_demo") as run:
        passed = causal_gate(run, "text states restore the difference", 0.95, n=12)
        failed = causal_gate(run, "a no-op restores nothing", 0.2, n=12)
        with pytest.raises(KeyError, match="no such gate"):
            causal_gate(run, "no such gate", 1.0, n=12)
        sentence = gates_sentence(run.gates)
    assert passed.passed
    assert not failed.passed
    assert "The checks that failed: a no-op restores nothing." in sentence


@pytest.mark.parametrize(
    ("low", "n", "passed"), [(0.2, 12, True), (-0.1, 12, False), (0.2, 11, False)]
)
def test_evidence_needs_its_lower_end_and_twelve_units(tmp_path, low, n, passed):
    with open_run(tmp_path / "run", "phase3_demo") as run:
        gate = causal_gate(run, "valence goes through mode", 0.5, low, 0.9, n=n)
    assert gate.passed is passed
    assert ("no claim" in gate.why) is (n < 12)


def test_a_mean_of_a_dozen_differences_keeps_its_level():
    "A percentile bootstrap of 12 excludes zero in about 8% of the studies, a t interval in 5%."
    draws = np.random.default_rng(0).normal(size=(1000, 12))
    found = [paired_mean(row) for row in draws]
    wrong = np.mean([one.low > 0 or one.high < 0 for one in found])
    assert 0.03 < wrong < 0.07
    assert paired_mean([0.0] * 12).low == 0  # a deaf model's clips are equal
    assert np.isnan(paired_mean([1.0, np.nan, np.nan]).value)


@needs
def test_rules_come_before_the_results_and_cells_are_short():
    cells = json.loads(PHASE.read_text())["cells"]
    texts = ["".join(cell["source"]) for cell in cells]

    def place(words):
        return next(number for number, text in enumerate(texts) if words in text)

    steps = ("Rules, fixed", "Gates, fixed", "check_wiring()", "patching.patch(", "study.gates()")
    places = [place(words) for words in steps]
    assert places == sorted(places)
    assert places[0] < places[2]
    for cell, text in zip(cells, texts, strict=True):
        if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", ()):
            assert len(text.splitlines()) <= 10, text


# sentences


def test_wiring_sentence_names_what_fails():
    checks = pd.DataFrame(dict(check=["first", "second"], holds=[True, True]))
    assert "2 of 2 identities" in wiring_sentence(checks)
    assert "token for token" in wiring_sentence(checks)
    broken = wiring_sentence(checks.assign(holds=[True, False]))
    assert broken.startswith("1 of 2 identities")
    assert "These do not: second." in broken


def test_residual_sentence_names_the_strongest_cross_attention():
    rows = pd.DataFrame(
        dict(
            site=["layer_0", "layer_0.cross_attn", "layer_1.cross_attn"],
            kind=["resid", "cross_attn", "cross_attn"],
            value=[0.1, 0.6, 0.3],
            low=0.0,
            high=0.7,
            n=16,
        )
    )
    sentence = residual_sentence(rows, "happy", "sad", 16)
    assert "at no layer: layer_0 0.10 (0.00 to 0.70); n = 16 pairs" in sentence
    assert "layer_0.cross_attn restores most, not clearly any of it (0.60, -0.1" in sentence
    assert "for the largest of 2)." in sentence
    picked = rows.assign(low=[0.0, 0.05, 0.0])  # above zero alone, and not as the larger of two
    assert "not clearly any of it" in residual_sentence(picked, "happy", "sad", 16)
    clear = rows.assign(low=[0.0, 0.3, 0.0])
    assert "a part of it" in residual_sentence(clear, "happy", "sad", 16)
    few = residual_sentence(clear, "happy", "sad", 8)
    assert few.endswith("8 pairs carry no claim, which needs 12.") and "half" not in few


@pytest.mark.parametrize(
    ("noise", "answer"),
    [
        (0.45, "it is no clean floor"),
        (0.05, "does not clearly restore more"),
        (None, "was not measured"),
    ],
)
def test_floor_sentence_follows_the_noise(noise, answer):
    other = pd.Series(dict(value=0.07, low=0.02, high=0.12, n=16))
    if noise is not None:
        noise = pd.Series(dict(value=noise, low=noise - 0.1, high=noise + 0.1, n=16))
    sentence = floor_sentence(other, noise, "happy", "sad")
    assert answer in sentence
    assert "restores 0.07 (0.02 to 0.12, n = 16 pairs)" in sentence


@pytest.mark.parametrize(("ranks", "answer"), [(0.95, "ranks cells as"), (0.4, "does not rank")])
def test_agreement_sentence_follows_the_bar(ranks, answer):
    estimate = Estimate(ranks, ranks - 0.1, ranks + 0.05, 24)
    agreement = Agreement(estimate, estimate, pd.DataFrame(dict(site=["text"] * 24)))
    assert f"Attribution {answer}" in agreement_sentence(agreement)


@pytest.mark.parametrize(("low", "answer"), [(0.9, "layer_2 brings 1.10"), (-0.1, "does not")])
def test_sound_sentence_is_decided_on_the_lower_end(low, answer):
    text = pd.Series(dict(difference=2.5, difference_low=1.7, difference_high=3.5, n=8))
    inner = pd.Series(dict(site="layer_2", restored=1.1, low=low, high=1.5))
    assert answer in sound_sentence(text, inner, "happy", "sad")


def test_borrowed_sentence_follows_the_source_clip():
    borrowed = pd.Series(dict(restored=1.2, low=0.9, high=1.5, n=8))
    own = pd.Series(dict(restored=-0.1, low=-0.3, high=0.1, n=8))
    text = borrowed_sentence("layer_0", borrowed, own)
    assert "the source's music and not its prompt" in text
    assert "(0.90 to 1.50, n = 8 pairs)" in text
    assert "does not clearly add" in borrowed_sentence("layer_0", own, borrowed)


def test_sentences_on_losses_windows_and_halves_say_yes_and_no():
    row = dict(site="text", start=0.0, end=0.5, value=0.8, low=0.7, high=0.9, n=16)
    row |= dict(arm="patch", descriptor="toward", restored=0.8)
    rows = pd.DataFrame([row])
    assert "difference at text. The largest" in lost_sentence(rows, "happy", "sad")
    assert "difference at no site." in lost_sentence(rows.assign(low=0.4), "happy", "sad")
    assert "text states restores a part" in windows_sentence(rows)
    assert "does not clearly restore" in windows_sentence(rows.assign(low=-0.1))
    later = rows.assign(start=0.5, value=0.3, low=-0.1, high=0.7)
    three = [rows.assign(low=0.1), later, later.assign(start=1.0)]
    three = pd.concat(three, ignore_index=True)
    told = windows_sentence(three)  # 0.8 (0.1 to 0.9) alone, and picked from three
    assert "does not clearly restore" in told and "the largest of 3" in told
    assert "may or may not restore" in windows_sentence(rows.assign(n=8))
    assert "from 0 to 0.5 s it brings" in halves_sentence(rows)
    assert "does not clearly bring" in halves_sentence(rows.assign(low=-0.1))


def test_decodable_sentence_names_sites_that_fail():
    encoded = pd.DataFrame(dict(name=["text", "layer_0"], encodes=[True, False], n=[46, 46]))
    assert "1 of 2 sites (n = 46 words). Not at layer_0." in decodable_sentence(encoded)


def test_random_weights_decode_nothing_and_planted_states_do(tiny, tmp_path):
    settings = CausalSettings(
        clips_per_emotion=2, prompts_per_part=24, patch_pairs=2, sound_pairs=2, cue_pairs=2,
        window_pairs=2, duration_s=2.0, patch_s=0.1, n_boot=200, probe_perm=20,
    )  # fmt: skip
    with open_run(tmp_path / "run", "phase3_test") as run:
        states = PromptStates(CausalClips(run.set_model(tiny), settings, tiny))
        sentence = states.decodable().sentence
        table = states.encoded.set_index("name")
        assert not table.encodes.any()
        assert f"0 of {len(table)} sites" in sentence
        last = states.data.layers[-1]
        states.states[last] = plant(states.states[last], states.emotions, 3.0)
        states.decodable()
        table = states.encoded.set_index("name")
        assert table.index[table.encodes].tolist() == [last]
        states.states["layer_0"] = states.states[last]  # what layer_0 has is not the last layer's
        states.decodable()
        table = states.encoded.set_index("name")
        assert table.index[table.encodes].tolist() == ["layer_0"]
        assert table.baseline[last] == "layer_0"
        blank = states._blank_states()  # a site whose random weights read as much has nothing
        states._blank_states = lambda: {**blank, "layer_0, random weights": states.states[last]}
        states.decodable()
        assert not states.encoded.encodes.any()


def test_reliability_sentence_gives_the_reason_when_nothing_was_measured():
    row = dict(value=0.89, low=0.76, high=0.99, n=24, judged=0.85, judged_low=0.7, reason=None)
    row |= dict(margin=0.57, margin_low=0.4, margin_high=0.7)
    assert "is clearly more reliable" in reliability_sentence(pd.Series(row), 0.32)
    unsure = pd.Series(row | dict(margin_low=-0.1))  # the floor is an estimate as well
    assert "is not clearly more reliable" in reliability_sentence(unsure, 0.32)
    assert "0.89 (0.76 to 0.99, n = 24 words)" in reliability_sentence(pd.Series(row), 0.32)
    unread = pd.Series(row | dict(value=np.nan, reason="the oracle is at chance"))
    assert "was not measured: the oracle is at chance." in reliability_sentence(unread, 0.32)


@pytest.mark.parametrize(
    ("low", "p", "n_random", "answer", "used"),
    [
        (0.2, 0.025, 39, "at text (n", "yes"),
        (0.2, 0.05, 39, "at no site (n", "no"),  # one direction is as steep
        (-0.1, 0.025, 39, "at no site (n", "unclear"),
        (0.2, 1 / 21, 20, "20 random pushes are too few", "not measured"),
        (0.2, np.nan, 0, "0 random pushes are too few", "not measured"),
    ],
)
def test_used_needs_the_first_rank_among_39_random_pushes(low, p, n_random, answer, used):
    row = dict(site="text", slope=0.3, low=low, high=0.4, p_random=p, n_random=n_random, n=16)
    assert answer in push_sentence(pd.DataFrame([row]))
    assert used_answer(pd.DataFrame([row])) == used


def used_answer(slopes):
    "The answer to `used` at the text when everything else about it is clear."
    encoded = pd.DataFrame([dict(name="text", difference=0.3, low=0.2, high=0.4, p_max=0.01)])
    sure = dict(site="text", value=0.8, restored=0.8, low=0.7, high=0.9, clear=True, reason="")
    sure |= dict(kind="counterfactual", measure="reliability", intervention="mean difference")
    sure = pd.DataFrame([sure])
    found = verdict_table(collect_evidence(encoded, slopes, sure, sure, sure, sure))
    return found.set_index("question").answer.used


@pytest.mark.parametrize(("with_states", "highest"), [(True, 0.05), (False, 1.0)])
def test_a_direction_of_chance_is_used_in_5_percent_at_most(with_states, highest):
    """Predictions follow the widest axis of the states, which any direction of theirs shares.

    Isotropic directions hardly do, so beside them chance is found in many studies."""
    draw, wins, n_studies = np.random.default_rng(0), 0, 100
    widths = 1 / np.arange(1, 41)  # of the axes of the states
    for study in range(n_studies):
        states = draw.normal(size=(80, 40)) * widths
        target = draw.normal(size=80) @ (states - states.mean(0)) / 80
        given = states if with_states else None
        controls, cosines = _random_pushes("layer_0", target, 39, study, given)
        slopes = np.array([push[0] for push in controls])
        wins += _random_p(target[0], slopes, cosines) < 0.05
    assert wins / n_studies <= highest
    if not with_states:
        assert wins / n_studies > 0.1  # the old control


def test_a_known_direction_is_used_and_one_of_chance_is_not(nano):
    sounds = ("guitar", "piano", "violin", "flute")
    prompts, others = ([f"{word} {sound} music" for sound in sounds] for word in ("happy", "sad"))
    pairs = pair_tokens(nano, Pairs(prompts, others), 0.2)
    texts = [np.asarray(nano.encode_text(side).states.mean(1)) for side in (prompts, others)]
    wanted = (texts[0] - texts[1]).mean(0)
    states = np.random.default_rng(0).normal(size=(200, len(wanted)))
    chance = _random_pushes("text", wanted, 1, 5, states)[0][0]
    still = np.ones_like(states)
    asked = dict(known=(wanted, states), chance=(chance, states), still=(wanted, still))
    found = {}
    for name, (vector, given) in asked.items():
        slopes = prediction_slopes(
            nano, pairs, dict(text=vector), (-1.0, 1.0), n_boot=50, states=dict(text=given)
        )
        found[name] = slopes.iloc[0]
    assert found["known"].low > 0 and found["known"].p_random == 1 / 40
    assert found["chance"].p_random > 0.05 and found["chance"].n_random == 39
    assert found["still"].n_random == 0 and np.isnan(found["still"].p_random)


@pytest.mark.parametrize(("value", "answer"), [(0.5, "Of the erasures"), (-0.1, "No erasure")])
def test_loss_sentence_follows_the_loss(value, answer):
    lost = pd.DataFrame([dict(site="text", how="LEACE", value=value, low=value, high=value, n=16)])
    assert loss_sentence(lost).startswith(answer)


def test_mediation_sentence_follows_the_interval():
    rows = dict(
        outcome=["valence", "valence", "arousal"],
        cue=["mode", "tempo", "tempo"],
        total=[1.2, 1.2, 0.8],
        value=[0.9, 0.2, 0.1],
        low=[0.5, -0.2, -0.3],
        high=[1.3, 0.6, 0.5],
        n=12,
    )
    effects = pd.DataFrame(rows)
    sentence = mediation_sentence(effects, "happy", "sad")
    assert "1.20 points of valence; with a cue held by words there go away: mode 0.90" in sentence
    assert "mode 0.90 (0.50 to 1.30, clearly)" in sentence
    assert "0.80 points of arousal; with a cue held by words there go away: tempo 0.10" in sentence
    assert "tempo 0.10 (-0.30 to 0.50, not clearly)" in sentence
    few = mediation_sentence(effects.assign(n=11), "happy", "sad")
    assert few.endswith("11 pairs carry no claim, which needs 12.") and "clearly" not in few


def test_the_largest_of_three_cues_has_an_interval_that_knows_it():
    "An undeclared cue whose own interval leaves out zero, and the one for the largest does not."
    row = dict(outcome="arousal", total=1.2, n=12)
    rows = [
        row | dict(cue="tempo", value=0.2, low=-0.2, high=0.6),
        row | dict(cue="mode", value=0.5, low=0.05, high=0.95),
    ]
    third = row | dict(cue="loudness", value=0.6, low=0.2, high=1.0)
    sentence = mediation_sentence(pd.DataFrame([*rows, third]), "happy", "sad")
    assert "there go away: tempo 0.20 (-0.20 to 0.60, not clearly), loudness 0.60" in sentence
    assert "most goes away with mode 0.50 (-0.08 to 1.08, not clearly)" in sentence
    clear = pd.DataFrame([*rows, third]).replace(0.05, 0.3)
    assert "mode 0.50 (0.24 to 1.08, clearly)" in mediation_sentence(clear, "happy", "sad")


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [(1.5, 3.1, "acts at the start"), (-3.1, -1.5, "acts late"), (-0.5, 0.6, "Neither half")],
)
def test_timing_sentence_follows_the_difference_of_the_halves(low, high, answer):
    first = pd.Series(dict(end=1.5, restored=0.98, low=0.97, high=1.0, n=12))
    second = pd.Series(dict(end=3.0, restored=0.08, low=-0.15, high=0.34, n=12))
    sentence = timing_sentence(first, second, Estimate((low + high) / 2, low, high, 12))
    assert answer in sentence
    assert "first 1.5 s alone" in sentence and "n = 12 pairs" in sentence


def test_grounding_sentence_names_labels_that_listeners_do_not_hear():
    row = dict(claim="scary is highest", value=0.1, low=0.0, high=0.3, n=20, heard_as="sad")
    table = pd.DataFrame([row | dict(emotion="angry", agrees=False)])
    assert "angry, which it hears most as sad" in grounding_sentence(table)
    assert grounding_sentence(table.assign(agrees=True)).endswith("(angry).")


def test_attention_sentences_count_clear_heads():
    heads = pd.DataFrame(dict(difference=[0.1, -0.2, 0.3], p=[0.01, 0.02, 0.5], n=100))
    neutral = heads.assign(p=[0.3, 0.4, 0.04], n=90)
    sentence = attention_sentence(heads, neutral)
    assert sentence.startswith("1 of 3 heads attend more")
    assert "1 attend less (n = 100 words)" in sentence
    assert sentence.endswith("between two neutral words 1 heads differ (n = 90).")
    assert "That is no sign of emotion" in sentence
    assert attention_sentence(heads, neutral.iloc[:0]).endswith("could be compared.")
    told = span_sentence(pd.DataFrame(dict(p=[0.2, 0.9], n=60)))
    assert "in any of 2 heads (smallest max-T p 0.2, n = 60 prompts)" in told
    differing = span_sentence(pd.DataFrame(dict(p=[0.001, 0.9], n=60)))
    assert "in 1 of 2 heads (smallest max-T p 0.001, n = 60 prompts)" in differing


def test_a_head_that_loses_attention_never_passes():
    heads = pd.DataFrame(dict(difference=[0.1, 0.2, -0.3], p=[0.5, 0.5, 0.001]))
    assert best_gaining_head(heads).difference == 0.2
    assert best_gaining_head(heads.tail(1)).p == 1.0


def test_answers_sentence_says_none():
    answers = pd.DataFrame(dict(site=["text"], question=["decodable"], answer=["yes"]))
    sentence = answers_sentence(answers)
    assert "Decodable: text. Used: none." in sentence


# numbers


def test_attribution_is_weighted_by_the_gap_of_each_pair():
    cell = dict(site="layer_0", kind="resid", layer=0, start=0.0, end=0.5)
    rows = [cell | dict(pair=0, attribution=1.0, gap=3.0), cell | dict(attribution=0.0, gap=1.0)]
    assert attribution_atlas(pd.DataFrame(rows)).attribution.tolist() == [0.75]


def test_flat_states_leave_out_missing_positions():
    positions = np.array([[[1.0], [2.0]], [[3.0], [np.nan]]])
    states, labels = flat_states(positions, np.array(["happy", "sad"]))
    assert states.ravel().tolist() == [1.0, 2.0, 3.0]
    assert labels.tolist() == ["happy", "happy", "sad"]


def test_the_summary_on_attention_has_its_control():
    study = AttentionStudy.__new__(AttentionStudy)
    study.heads = pd.DataFrame(dict(difference=[0.1], p=[0.01], n=60))
    study.neutral_heads = study.heads.assign(p=0.5, n=16)
    study.span = pd.DataFrame(dict(p=[0.2], n=60))
    assert "Between two neutral words 0 heads differ (n = 16)" in study.summary_sentence()


def test_neutral_words_are_left_to_compare_the_partners_with(nano):
    "All partners of many emotion words once took every neutral word of their size."
    count = piece_counter(nano.tokenizer)
    words = [word for listed in EMOTION_WORDS.values() for word in listed]
    near, far = neutral_halves(count)
    assert not set(near) & set(far)
    first = match_pieces(words, count, near, leave_out=True)
    second = match_pieces(list(first.values()), count, far, leave_out=True)
    assert len(first) == len(words)
    assert len(set(second)) >= 12  # units of the control
    assert not set(first.values()) & set(second.values())
    assert all(count(word) == count(partner) for word, partner in {**first, **second}.items())


def test_labels_of_a_control_say_nothing_and_planted_words_do(nano):
    dealt = causal_words("no-emotion", "happy", "sad")
    assert {*dealt["happy"], *dealt["sad"]} == set(EMOTION_WORDS["happy"])
    words = causal_words("planted", "happy", "sad")
    plain = randomized(nano, 0, text=True)
    table = plain.hf.text_encoder.get_input_embeddings().weight
    before = table.detach().clone()
    plant_words(plain, words)
    moved = (table.detach() - before).norm(dim=1)
    changed = {plain.tokenizer.convert_ids_to_tokens(int(i)) for i in moved.nonzero().ravel()}
    assert {"▁happy", "▁sad"} <= changed
    assert not changed & {f"▁{word}" for word in PLAIN_ADJECTIVES}


def test_a_planted_emotion_is_the_same_in_every_prompt_of_its_words(nano):
    prompts = ["happy guitar music", "a joyful slow piano tune", "sad guitar music", "guitar music"]

    def states(plant):
        model = randomized(nano, 0, text=True)
        if plant:
            plant_words(model, causal_words("planted", "happy", "sad"))
        means = []
        for prompt in prompts:
            encoded = model.tokenizer([prompt], return_tensors="pt")
            with torch.no_grad():
                means.append(model.hf.text_encoder(**encoded).last_hidden_state[0].mean(0).numpy())
        return np.stack(means)

    moved = states(True) - states(False)
    happy, joyful, sad, neutral = moved
    assert np.abs(neutral).max() < 1e-6
    lengths = np.linalg.norm(moved, axis=1)
    assert happy @ joyful / (lengths[0] * lengths[1]) > 0.5
    assert happy @ sad / (lengths[0] * lengths[2]) < 0.3


def test_planted_ratings_are_where_the_claim_looks_for_them():
    clips = pd.DataFrame(
        dict(arm=["source", "target", "patch", "patch", "other"], start=[np.nan, np.nan, 0, 1.5, 0])
    )
    planted = plant_rating(clips.assign(toward=0.0), size=0.5)
    assert planted.toward.tolist() == [0.5, 0, 0.5, 0, 0]
    runs = pd.DataFrame(
        dict(side=["source", "source", "target"], held=["reference", "mode", "mode"])
    )
    both = plant_held(runs.assign(valence=0.0, arousal=0.0), dict(valence=1, arousal=-1))
    assert both.valence.tolist() == [PLANTED_HELD["valence"], 0, 0]
    assert both.arousal.tolist() == [-PLANTED_HELD["arousal"], 0, 0]


def test_shares_come_from_runs_and_not_from_the_listeners_weights():
    """The listener reads two cues. Words hold the first alone, and the emotion moves the second.

    Cues times weights would give the first cue its share; the run gives it none."""
    draw, rows = np.random.default_rng(0), []
    for pair in range(12):
        for side in ("source", "target"):
            for held in (REFERENCE, "tempo"):
                tempo = 1.0 * (side == "source") * (held == REFERENCE) + 0.05 * draw.normal()
                kept = 1.0 * (side == "source") * (held != REFERENCE)  # loudness makes up for it
                row = dict(pair=pair, side=side, held=held, value="", rate=tempo, level=kept)
                rows.append(row | dict(arousal=tempo + kept))
    effects = held_effects(pd.DataFrame(rows), dict(tempo="rate"), ["arousal"]).iloc[0]
    assert effects.cue_before > 0.9 and abs(effects.cue_held) < 0.1
    assert effects.low < 0 < effects.high


def test_the_tempo_that_listeners_heard_is_the_onset_rate():
    described = pd.DataFrame(
        dict(register=[60.0] * 2, mode_score=0.2, rms_db=-20.0, articulation=0.7)
    )
    described = described.assign(tempo_bpm=[60.0, 120.0], onset_rate=[4.0, 4.0])
    cues = listener_cues(described)
    assert "tempo_bpm" not in cues and cues.onset_rate.tolist() == [4.0, 4.0]
    assert HELD_CUES["tempo"] == "cue_onset_rate"


def test_the_listener_confirms_labels_at_its_own_cues_and_not_shuffled_ones():
    labels = np.repeat(list(BEST_CUES), 20)
    cues = pd.DataFrame([BEST_CUES[emotion] for emotion in labels])
    ratings = ListenerModel.load().predict(cues)
    ratings = pd.concat([ratings, listener_axes(ratings)], axis=1)
    assert listener_agreement(ratings.assign(emotion=labels)).agrees.all()
    for seed in range(20):
        shuffled = np.random.default_rng(seed).permutation(labels)
        found = listener_agreement(ratings.assign(emotion=shuffled)).set_index("emotion")
        assert not found.agrees.drop("energetic").all()


def test_words_of_instruments_have_a_role():
    assert word_roles(["Merry"], ["Electric guitar"]) == [
        dict(merry="emotion word", electric="instrument", guitar="instrument")
    ]


@pytest.fixture(scope="module")
def small(tiny, tmp_path_factory):
    "A small study on the tiny model, with its clips."
    settings = CausalSettings(
        clips_per_emotion=3,
        patch_pairs=3,
        window_pairs=2,
        sound_pairs=2,
        cue_pairs=3,
        duration_s=2.0,
        patch_s=0.4,
        window_s=0.2,
        n_boot=20,
        random_draws=1,
    )
    run = open_run(tmp_path_factory.mktemp("runs") / "run", "phase3_test")
    study = CausalStudy(run.set_model(tiny), settings, tiny)
    study.clips()
    yield study
    run.close()


def test_pairs_differ_in_one_word_and_share_no_word_with_the_fits(small):
    data = small.data
    assert len(data.pairs) == 3
    assert data.turned.source == data.pairs.target
    words = [set(part["happy"]) for part in data.words]
    assert not words[2] & (words[0] | words[1])
    assert min(len(part["happy"]) for part in data.words[2:]) >= 12  # each of 12 pairs has its own
    for source, target in zip(data.pairs.source, data.pairs.target, strict=True):
        assert len(source.split()) == len(target.split())


def test_construction_holds_on_the_tiny_model(small):
    step = small.data.check_wiring()
    assert step.table.holds.all()
    small.data.gates()
    assert small.run.gates[-1].passed


def test_patching_a_text_restores_all_and_a_no_op_nothing(small):
    patching = small.patching()
    step = patching.patch()
    assert set(patching.restored.arm) == {"patch", "noop", "random", "other"}
    assert patching.text_row("patch").value == pytest.approx(1.0, abs=1e-4)
    assert abs(patching.text_row("noop").value) < 1e-4
    assert patching.inner_layer() == small.data.layers[-2]
    assert "3 pairs carry no claim" in step.sentence
    for name in ("patching.parquet", "patching.csv", "patching_kl.csv"):
        assert (small.run.path / name).exists()


@pytest.mark.parametrize(
    ("value", "low", "high", "passed"),
    [(0.0, -0.1, 0.1, True), (-8.0, -9.0, -7.0, False), (0.0, -0.4, 0.1, False)],
)
def test_another_prompt_restores_little_on_both_sides_of_zero(tmp_path, value, low, high, passed):
    row = pd.Series(dict(value=value, low=low, high=high, n=12))
    with open_run(tmp_path / "run", "phase3_demo") as run:
        stub = SimpleNamespace(
            run=run,
            data=SimpleNamespace(pairs=range(12)),
            effects=pd.DataFrame(dict(gap=[1.0])),
            restored=pd.DataFrame(dict(arm=["noop"], value=[0.0])),
            text_row=lambda arm: row,
            agreement=Agreement(Estimate(0.9, 0.8, 1.0, 24), None, pd.DataFrame(index=range(24))),
        )
        PatchingStudy.gates(stub)
    gates = {gate.name: gate for gate in run.gates}
    gate = gates["another prompt of the target's emotion restores little"]
    assert gate.passed is passed
    assert gate.value == abs(value)


def test_identities_of_patched_clips_join_the_checks(small):
    small.data.check_wiring()
    before = len(small.data.construction)
    sound = small.sound()
    sound.grow()
    seeds = sound.grown.table.groupby("pair").seed.unique()
    assert [len(one) for one in seeds] == [1] * len(seeds)  # all clips of a pair share the noise
    assert len({int(one[0]) for one in seeds}) == len(seeds)  # and no two pairs do
    step = sound.identities()
    assert step.table.holds.all()
    assert len(small.data.construction) == before + len(step.table)


def test_the_caption_of_patched_sound_counts_the_pairs_of_the_clips(small):
    sound = small.sound()
    sound.grow()
    first = sound.sound[sound.sound.pair == 0]
    sound.sound = pd.concat([sound.sound, first.assign(pair=2)], ignore_index=True)
    (figure,) = sound.restored(("toward",)).figures
    assert "n = 3 pairs" in figure.caption and small.settings.sound_pairs == 2


# stages


def test_a_finished_stage_is_read_back_after_an_interruption(tiny, tmp_path):
    """Under the runner's checksum it is read back.

    Other code, other weights or a run by hand make it anew, and a stage that fails keeps
    nothing."""
    made = []

    def make():
        made.append(1)
        return pd.DataFrame(
            dict(
                pair=[0, 1],
                layer=pd.array([None, 2], "Int64"),
                site=["text", "layer_2"],
                restored=[np.nan, 0.1 + 0.2],
            )
        )

    def attempt(code, fail=False):
        with open_run(tmp_path / "run", "phase3_demo", dict(seed=1)) as run:
            run.manifest.update({} if code is None else dict(code=code))
            stages = Stages(run.set_model(tiny))
            table = stages("patched", make)
            if fail:
                stages("next", lambda: 1 / 0)
            return table

    with pytest.raises(ZeroDivisionError):
        attempt("a", fail=True)
    kept = [path.name.split("-")[0] for path in (tmp_path / "run/stages").iterdir()]
    assert kept == ["patched"]
    pd.testing.assert_frame_equal(attempt("a"), make())
    assert len(made) == 2
    for code in ("b", None, None):
        attempt(code)
    assert len(made) == 5


DEMO = [
    'n: int = 3  # rows\nout_dir: str = "r"  # run folder',
    "import os, pandas as pd\nfrom types import SimpleNamespace\n"
    "from musicgen_emotion.lab.phases import start_phase\n"
    "from musicgen_emotion.causes.stages import Stages",
    'run = start_phase("phase8_stages", globals())\n'
    'stages = Stages(run.set_model(SimpleNamespace(name="m", checksum="c")))\n'
    'marks = run.path / "made.txt"',
    "def make():\n"
    '    marks.write_text((marks.read_text() if marks.exists() else "") + "made ")\n'
    "    return pd.DataFrame(dict(x=range(n)))",
    'table = stages("patched", make)',
    'if len(run.manifest["resumed"]) == 0: os._exit(9)',
    'run.gate("rows", len(table), threshold=2, kind="check")\nstages.clear()\nrun.close();',
]


def test_a_killed_phase_goes_on_after_its_last_finished_stage(tmp_path):
    "The runner lends its checksum to the notebook; the second attempt reads what the first made."
    cells = [nbformat.v4.new_code_cell(source) for source in DEMO]
    cells[0].metadata.tags = ["parameters"]
    kernel = dict(name="python3", display_name="python3", language="python")
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=kernel))
    path, out = tmp_path / "phase8_stages.ipynb", tmp_path / "r"
    nbformat.write(notebook, path)
    with pytest.raises(PhaseError):
        run_phase(path, out=out, progress=False)
    assert [file.name[:8] for file in (out / "stages").iterdir()] == ["patched-"]
    done = run_phase(path, out=out, progress=False)
    assert done.gates[0].passed
    assert (out / "made.txt").read_text() == "made "
    assert not (out / "stages").exists()


def test_clips_that_are_read_back_sound_the_same(tiny, tmp_path):
    pairs = Pairs(["a happy song", "merry drums"], ["a sad song", "gloomy drums"])
    made = []

    def make():
        made.append(1)
        sites = ["text", "layer_1"]
        return patched_generation(tiny, pairs, sites, 0.2, 3, guidance=2.0, progress=False)

    with open_run(tmp_path, "phase3_demo", dict(seed=1)) as run:
        run.manifest["code"] = "a"
        stages = Stages(run.set_model(tiny))
        first = stages.clips("grown", tiny, make, 2.0)
        again = stages.clips("grown", tiny, make, 2.0)
        stages.clear()
        assert not (tmp_path / "stages").exists()
    assert len(made) == 1
    pd.testing.assert_frame_equal(first.table, again.table)
    assert (first.made.tokens == again.made.tokens).all()
    assert np.allclose(first.made.audio, again.made.audio, atol=1e-6)
    settings_of = [vars(clips.made).copy() for clips in (first, again)]
    for settings in settings_of:
        for name in ("tokens", "_audio", "_decode"):  # compared above, and how sound is made
            settings.pop(name, None)
    assert settings_of[0] == settings_of[1]
