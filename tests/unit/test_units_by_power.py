"Numbers of units follow from the published runs, and the files of parameters say so."

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from musicgen_emotion.lab.files import write_json
from musicgen_emotion.lab.gates import Gate
from musicgen_emotion.studies.units_by_power import CLAIMS, sample_sizes, units_lines

ROOT = Path(__file__).parents[2]
GATE = "arousal goes through tempo"


def run_with(folder, low, high, n):
    write_json(folder / "gates.json", [Gate(GATE, (low + high) / 2, low, high, n).entry()])
    return folder


def test_the_files_of_parameters_say_what_follows_from_the_published_runs():
    runs = [ROOT / "evidence" / phase for phase in CLAIMS]
    lines = units_lines(pd.concat([sample_sizes(run) for run in runs]))
    assert len(lines) == sum(map(len, CLAIMS.values()))
    for name in ("full", "small", "large"):
        text = (ROOT / "params" / f"{name}.yaml").read_text()
        for line in lines:
            assert f"# - {line}\n" in text, f"params/{name}.yaml lacks: {line}"


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
