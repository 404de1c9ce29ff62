"Numbers of units follow from the published runs, and the files of parameters say so."

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from musicgen_emotion.causes.construction import word_parts
from musicgen_emotion.lab.files import write_json
from musicgen_emotion.lab.gates import Gate, read_gates
from musicgen_emotion.stimuli.emotions import EMOTION_WORDS
from musicgen_emotion.studies.causal_setup import WORD_SHARES, CausalSettings
from musicgen_emotion.studies.units_by_power import (
    CLAIMS,
    LEFT_OUT,
    PAIR_LIMIT,
    WORD_LIMIT,
    ZERO_SHARE,
    left_out_sentence,
    sample_sizes,
    units_lines,
)

ROOT = Path(__file__).parents[2]
GATE = "arousal goes through tempo"


def run_with(folder, low, high, n):
    write_json(folder / "gates.json", [Gate(GATE, (low + high) / 2, low, high, n).entry()])
    return folder


def test_the_files_of_parameters_say_what_follows_from_the_published_runs():
    runs = [ROOT / "evidence" / phase for phase in CLAIMS]
    lines = units_lines(pd.concat([sample_sizes(run) for run in runs]))
    assert len(lines) == sum(map(len, CLAIMS.values()))
    lines_left_out = left_out_sentence([gate for run in runs for gate in read_gates(run)])
    for name in ("full", "small", "large"):
        text = (ROOT / "params" / f"{name}.yaml").read_text()
        for line in lines:
            assert f"# - {line}\n" in text, f"params/{name}.yaml lacks: {line}"
        assert text.count("# - ") == len(lines)
        assert f"# {lines_left_out}\n" in text, f"params/{name}.yaml lacks: {lines_left_out}"


def test_every_claim_has_a_number_of_units_or_a_reason():
    "Ten of 31 gates with an interval were listed, and nothing told of the others."
    listed = {phase: {claim.gate for claim in claims} for phase, claims in CLAIMS.items()}
    for phase, claims in listed.items():
        evidence = [gate for gate in read_gates(ROOT / "evidence" / phase)]
        evidence = [gate for gate in evidence if gate.kind == "evidence"]
        by_rank = [gate.name for gate in evidence if gate.name.endswith(", p")]
        by_interval = {gate.name for gate in evidence} - {*by_rank}
        assert claims == by_interval - set(LEFT_OUT), phase
        shares = [gate for gate in evidence if LEFT_OUT.get(gate.name) == ZERO_SHARE]
        assert not any(gate.value for gate in shares), "a share above zero has a spread"
    assert all(claim.why for claims in CLAIMS.values() for claim in claims)
    unknown = Gate("a new claim", 1.0, 0.5, 1.5, 12)
    with pytest.raises(KeyError, match="a new claim"):
        left_out_sentence([unknown])


def test_limits_of_words_and_pairs_are_those_of_the_lists():
    settings = CausalSettings()
    words = word_parts(list(settings.emotions), 3, settings.seed, EMOTION_WORDS, WORD_SHARES)[2]
    fewest = min(len(words[settings.source]), len(words[settings.target]))
    assert f"the lists give {fewest} pairs" in PAIR_LIMIT
    assert f"the lists give {fewest} words" in WORD_LIMIT


def test_needed_units_find_the_effect_as_often_as_they_say(tmp_path):
    (size,) = sample_sizes(run_with(tmp_path, -0.5, 0.5, 20)).itertuples()
    draw = np.random.default_rng(1)
    studies = draw.normal(size.effect, size.spread, size=(4000, size.needed))
    error = studies.std(1, ddof=1) / np.sqrt(size.needed)
    found = studies.mean(1) / error > 2.0  # t of so many units
    assert 0.76 < found.mean() < 0.86
    # as many units as the pilot had find the effect that `finds` names, about as often
    pilots = draw.normal(size.finds, size.spread, size=(4000, 20))
    assert 0.72 < (pilots.mean(1) / (pilots.std(1, ddof=1) / np.sqrt(20)) > 2.09).mean() < 0.86


def test_a_run_says_whether_its_units_are_enough(tmp_path):
    (tmp_path / "many").mkdir()
    (tmp_path / "few").mkdir()
    many = units_lines(sample_sizes(run_with(tmp_path / "many", -0.1, 0.1, 400)))
    few = units_lines(sample_sizes(run_with(tmp_path / "few", -2.0, 2.0, 12)))
    assert "enough" in many[0] and "finds" not in many[0]
    assert "finds 2.9" in few[0] and "enough" not in few[0]


def test_a_run_without_such_a_gate_is_refused(tmp_path):
    write_json(tmp_path / "gates.json", [Gate("something else", 1.0, 0.5, 1.5, 12).entry()])
    with pytest.raises(ValueError, match="no gate with an interval"):
        sample_sizes(tmp_path)
