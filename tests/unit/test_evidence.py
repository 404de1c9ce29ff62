"Evidence in the checkout is what was published."

import pytest

from musicgen_emotion.studies.publishing import PUBLISHED_FILE, evidence_folder, published_files

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
