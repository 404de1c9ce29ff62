"Evidence in the checkout is what was published."

import json
from pathlib import Path

import pytest

from musicgen_emotion.lab.files import read_table
from musicgen_emotion.lab.gates import expected_matrix, read_gates
from musicgen_emotion.studies import (
    CAUSAL_CRITERIA,
    DICTIONARY_CRITERIA,
    FOUNDATION_CRITERIA,
    NO_TOLERANCE,
    PROCESSOR_TOLERANCE,
    RECOVERY_CRITERIA,
    STEERING_CRITERIA,
)
from musicgen_emotion.studies.control_runs import read_criteria
from musicgen_emotion.studies.publishing import PUBLISHED_FILE, evidence_folder, published_files

CRITERIA = {
    "phase0_foundation": FOUNDATION_CRITERIA,
    "phase1_sae": DICTIONARY_CRITERIA,
    "phase2_steering": (*STEERING_CRITERIA, *RECOVERY_CRITERIA),
    "phase3_causal": CAUSAL_CRITERIA,
}
RUNS = sorted(path.parent for path in evidence_folder().glob(f"*/{PUBLISHED_FILE}"))


def test_there_is_evidence_of_every_study_and_of_the_controls():
    names = {path.name for path in RUNS}
    phases = {"phase0_foundation", "phase1_sae", "phase2_steering", "phase3_causal"}
    assert names >= {*phases, "controls"}


@pytest.mark.parametrize("folder", RUNS, ids=lambda path: path.name)
def test_no_file_of_the_evidence_was_changed(folder):
    listed = set(published_files(folder))
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert present - listed <= {PUBLISHED_FILE, "format.json"}


@pytest.mark.parametrize("phase", CRITERIA)
def test_published_gates_are_those_of_the_code_with_the_same_bars(phase):
    declared = {criterion.name: criterion for criterion in CRITERIA[phase]}
    folder = evidence_folder() / phase
    assert read_criteria(folder) == declared
    decided = {gate.name: gate for gate in read_gates(folder)}
    assert set(decided) == set(declared)
    for name, gate in decided.items():
        criterion = declared[name]
        asked = (criterion.threshold, criterion.direction, criterion.kind)
        assert (gate.threshold, gate.direction, gate.kind) == asked, name
    by_run = read_table(evidence_folder() / "controls" / "gates_by_run.csv")
    assert set(by_run[by_run.phase == phase].gate) == set(declared)


@pytest.mark.parametrize("phase", CRITERIA)
def test_the_published_matrix_expects_what_the_code_declares(phase):
    matrix = read_table(evidence_folder() / "controls" / "matrix.csv").fillna({"expected": ""})
    rows = matrix[(matrix.phase == phase) & (matrix.control != "none")]
    published = rows.pivot(index="gate", columns="control", values="expected")
    declared = expected_matrix(CRITERIA[phase]).set_index("gate").drop(columns="kind")
    told = declared[sorted(declared)].to_dict("index")
    assert published[sorted(declared)].to_dict("index") == told


def test_another_processor_changes_no_more_than_the_page_says():
    "The tolerance of the findings page, on what was measured."
    measured = Path(__file__).parents[2] / "benchmarks" / "processors.jsonl"
    compared = set()
    for line in measured.read_text().splitlines():
        entry = json.loads(line)
        compared.add(entry["name"])
        assert entry["activations"] < 1e-6 and entry["equal"] >= 0.95 * entry["clips"]
        assert entry["flipped"] == []
        for gate, (a, b) in entry["values"].items():
            limit = PROCESSOR_TOLERANCE[entry["name"]] * max(abs(a), abs(b))
            assert gate in NO_TOLERANCE or abs(a - b) <= limit, gate
    assert compared == set(PROCESSOR_TOLERANCE)
