"Repeated studies and their controls: which gates pass how often, and which of them hold."

import json

import nbformat
import pandas as pd
import pytest

from musicgen_emotion.cli import app
from musicgen_emotion.lab.gates import CONTROLS, Criterion
from musicgen_emotion.lab.repeats import (
    gates_over_runs,
    parse_seeds,
    repeat_phase,
    repeats_report,
    run_controls,
    run_gates,
)
from musicgen_emotion.lab.runs import open_run
from musicgen_emotion.studies.control_runs import (
    LEAST_MEASURED,
    control_matrix,
    false_alarms,
    gates_that_hold,
    matrix_text,
    too_many_passes,
    write_control_matrix,
)

KINDS = ("none", *CONTROLS, "planted")


def write_phase(folder, name, *parameters):
    "A phase that passes its gate for odd seeds."
    lines = ['out_dir: str = "results"  # run folder', "seed: int = 3  # seed", *parameters]
    texts = [
        "\n".join(lines),
        "from musicgen_emotion.lab.gates import Criterion\n"
        "from musicgen_emotion.lab.phases import start_phase\n"
        f'run = start_phase("{name}", globals())\n'
        'run.declare([Criterion("odd", 0.5, fails_on=("deaf", "random-weights"))])',
        "score = float(seed % 2)\nrun.gate('odd', score, score, score, n=12)\nrun.close();",
    ]
    cells = [nbformat.v4.new_code_cell(text) for text in texts]
    cells[0].metadata.tags = ["parameters"]
    kernel = dict(name="python3", display_name="Python 3", language="python")
    path = folder / f"{name}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=kernel)), path)
    return path


def command(*words):
    "Exit code and output of the command."
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exit_code, done.output


def test_seeds_are_read_or_refused():
    assert parse_seeds("0-4") == [0, 1, 2, 3, 4]
    assert parse_seeds("21, 31-34") == [21, 31, 32, 33, 34]
    for wrong in ("", "4-0", "-1", "1.5", "0-4,3", "a", "0-100000", "1,"):
        with pytest.raises(ValueError, match="seed"):
            parse_seeds(wrong)


def test_seeds_have_their_own_folders_and_the_second_call_runs_nothing(tmp_path):
    phase = write_phase(tmp_path, "phase9_odd")
    out = tmp_path / "res"
    code, output = command("run", phase, "--seeds", "1-2", "--out", out)
    assert code == 0 and "undecided" in output
    folder = out / "phase9_odd-seeds"
    ends = {name: json.loads((folder / name / "manifest.json").read_text()) for name in SEEDS}
    table = pd.read_parquet(folder / "seeds.parquet")
    assert table.equals(pd.read_csv(folder / "seeds.csv").astype(table.dtypes))
    assert (table.passed.item(), table.runs.item()) == (1, 2)
    assert (table.lowest.item(), table.highest.item()) == (0.0, 1.0)
    repeat_phase(phase, [1, 2], out, progress=False)
    for name in SEEDS:
        assert json.loads((folder / name / "manifest.json").read_text()) == ends[name]
    code, output = command("report", folder)
    assert code == 0 and "Undecided, so no finding: odd (1 of 2)" in output
    assert output.strip() == repeats_report(folder).strip()


SEEDS = ("seed=1", "seed=2")


def test_a_control_is_in_the_name_and_in_the_manifest_of_its_run(tmp_path):
    phase = write_phase(tmp_path, "phase9_kinds", 'control: str = "none"  # control')
    plain = write_phase(tmp_path, "phase9_plain")
    out = tmp_path / "res"
    assert command("run", phase, "--control", "deaf", "--out", out)[0] == 0
    manifest = json.loads((out / "phase9_kinds-deaf" / "manifest.json").read_text())
    assert manifest["parameters"]["control"] == "deaf"
    assert not (out / "phase9_kinds").exists()
    for words, message in [
        ((plain, "--control", "deaf"), "phase9_plain has no parameter 'control'"),
        ((phase, "--control", "deaff"), "--control must be one of"),
        ((phase, "--control", "deaf", "-p", "control=deaf"), "by -p and by --control"),
        ((phase, "--seeds", "1-2", "-p", "seed=1"), "--seeds cannot be given together"),
    ]:
        code, output = command("run", *words, "--out", tmp_path / "never")
        assert code == 2 and message in output and output.count("\n") == 1, output
    assert not (tmp_path / "never").exists()


def test_all_controls_run_once_and_a_limit_of_time_leaves_the_rest(tmp_path):
    phase = write_phase(tmp_path, "phase9_kinds", 'control: str = "none"  # control')
    out = tmp_path / "res"
    assert not run_controls([phase], [1, 2], out, minutes=1e-9, progress=False)
    assert run_gates(out).empty
    assert run_controls([phase], [1], out, progress=False)
    gates = run_gates(out)
    assert sorted(gates.control) == sorted(KINDS) and set(gates.seed) == {1}
    log = (out / "controls.log").read_text()
    assert "left for another time" in log and "all runs are there" in log
    code, output = command("controls", phase, "--seeds", "1", "--out", out)
    assert code == 0 and "phase9_kinds" in output
    matrix = pd.read_csv(out / "matrix" / "matrix.csv")
    assert dict(zip(matrix.control, matrix.runs)) == dict.fromkeys(KINDS, 1)


def made(folder, control, seed, passes):
    "A run with one gate that passes or not; None: it gives no number."
    criterion = Criterion("score", 0.5, fails_on=("random-weights", "deaf"))
    parameters = dict(control=control, seed=seed)
    with open_run(folder / control / str(seed), "phase9_made", parameters) as run:
        run.declare([criterion])
        score = float("nan") if passes is None else 0.9 if passes else 0.1
        run.gate("score", score, score, score, n=12)


def decided(folder, random=0, deaf=0, planted=5):
    "The rule for a gate that passed so often in five runs of each."
    for control, passes in {"random-weights": random, "deaf": deaf, "planted": planted}.items():
        for seed in range(5):
            made(folder, control, seed, seed < passes)
    return gates_that_hold(control_matrix(folder)).iloc[0]


@pytest.mark.parametrize(
    ("counts", "holds"),
    [
        (dict(), "yes"),
        (dict(planted=4), "yes"),
        (dict(planted=3), "no"),
        (dict(random=1), "yes"),
        (dict(random=3), "no"),
        (dict(random=2, deaf=2), "no"),  # 4 of 10 together
        (dict(random=1, deaf=1), "yes"),
    ],
)
def test_a_gate_holds_by_the_rule(tmp_path, counts, holds):
    assert decided(tmp_path, **counts).holds == holds


def test_a_gate_without_a_number_has_not_shown_that_it_can_fail(tmp_path):
    for seed in range(5):
        made(tmp_path, "planted", seed, passes=True)
        made(tmp_path, "deaf", seed, passes=None)
        made(tmp_path, "random-weights", seed, passes=None)
    matrix = control_matrix(tmp_path)
    row = gates_that_hold(matrix).iloc[0]
    assert row.holds == "not shown" and "0 of 10 runs" in row.why
    assert false_alarms(matrix).empty  # nothing was measured, so there is no rate
    assert "fail 0/0 (5 no number)" in matrix_text(matrix)
    for seed in range(5, 5 + LEAST_MEASURED):
        assert gates_that_hold(control_matrix(tmp_path)).holds.item() == "not shown"
        made(tmp_path, "deaf", seed, passes=False)
    matrix = control_matrix(tmp_path)
    row = gates_that_hold(matrix).iloc[0]
    assert row.holds == "yes" and "0 of 5 on its controls (10 more gave no number)" in row.why
    alarms = false_alarms(matrix).set_index("control")
    assert (alarms.runs["all"], alarms.no_number["all"]) == (5, 10)
    assert alarms.runs["an interval"] == 5 and "a p" not in alarms.index


def test_a_gate_without_a_number_where_it_must_pass_is_not_shown(tmp_path):
    for seed in range(5):
        made(tmp_path, "planted", seed, passes=None)
        made(tmp_path, "deaf", seed, passes=False)
        made(tmp_path, "random-weights", seed, passes=False)
    row = gates_that_hold(control_matrix(tmp_path)).iloc[0]
    assert row.holds == "not shown" and row.why == "no run under planted gave a number"


def test_passes_are_counted_among_numbers(tmp_path):
    """Two of two measured runs pass: too many, though five more ran."""
    for seed in range(5):
        made(tmp_path, "planted", seed, passes=True)
        made(tmp_path, "deaf", seed, passes=None if seed > 1 else True)
        made(tmp_path, "random-weights", seed, passes=False)
    assert gates_that_hold(control_matrix(tmp_path)).holds.item() == "no"


def test_four_passes_of_twenty_are_too_many_and_fewer_runs_have_the_same_chance():
    from scipy.stats import binom

    assert too_many_passes(20) == 4
    for runs in (1, 3, 5, 10, 20, 60):
        limit = too_many_passes(runs)
        assert limit > runs or binom.sf(limit - 1, runs, 0.05) <= binom.sf(3, 20, 0.05) * 1.001
        assert limit == 1 or binom.sf(limit - 2, runs, 0.05) > binom.sf(3, 20, 0.05)


def test_the_matrix_says_what_was_expected_what_was_found_and_what_is_missing(tmp_path):
    for seed in range(3):
        made(tmp_path, "random-weights", seed, passes=seed == 0)
        made(tmp_path, "planted", seed, passes=True)
        made(tmp_path, "none", seed, passes=True)
    matrix = control_matrix(tmp_path)
    cells = matrix.set_index("control")
    assert cells.expected.to_dict() == {
        "none": "",
        "random-weights": "fail",
        "shuffled-labels": "",
        "deaf": "fail",
        "no-emotion": "",
        "planted": "pass",
    }
    assert (cells.passed["random-weights"], cells.runs["random-weights"]) == (1, 3)
    assert gates_that_hold(matrix).holds.item() == "not run"  # deaf is missing
    for seed in range(2):
        made(tmp_path, "deaf", seed, passes=False)
    row = gates_that_hold(control_matrix(tmp_path)).iloc[0]
    assert row.holds == "yes" and row.why.endswith("only 2 seeds")
    assert (row.alarms, row.alarm_runs, row.seeds, row.seeds_passed) == (1, 5, 3, 3)
    alarms = false_alarms(control_matrix(tmp_path)).set_index("control")
    assert alarms.passed["all"] == 1 and alarms.runs["all"] == 5
    assert alarms.low["all"] < 0.2 < alarms.high["all"]
    text = matrix_text(control_matrix(tmp_path))
    assert "score (phase9_made) passed under random-weights in 1 of 3 runs" in text
    assert "fail 1/3" in text and "pass 3/3" in text and "fewer than 5" in text


def test_a_gate_without_runs_of_its_controls_does_not_hold(tmp_path):
    made(tmp_path, "none", 0, passes=True)
    assert gates_that_hold(control_matrix(tmp_path)).holds.item() == "not run"
    with pytest.raises(ValueError, match="holds no finished run with criteria"):
        control_matrix(tmp_path / "empty")


def test_runs_of_one_matrix_ask_the_same_and_say_which_code_made_them(tmp_path):
    made(tmp_path, "none", 0, passes=True)
    assert set(run_gates(tmp_path).code) == {"unknown"}  # this run was made by no phase
    manifest = tmp_path / "none" / "0" / "manifest.json"
    manifest.write_text(
        json.dumps(json.loads(manifest.read_text()) | dict(code="0123456789abcdef"))
    )
    assert set(run_gates(tmp_path).code) == {"0123456789ab"}
    made(tmp_path, "none", 1, passes=True)
    path = tmp_path / "none" / "1" / "criteria.json"
    path.write_text(path.read_text().replace("0.5", "0.4"))
    with pytest.raises(ValueError, match=r"declares 'score' otherwise than the runs before it"):
        control_matrix(tmp_path)


def test_unfinished_runs_are_not_counted(tmp_path):
    made(tmp_path, "none", 0, passes=True)
    with pytest.raises(ZeroDivisionError), open_run(tmp_path / "bad", "phase9_made", {}) as run:
        run.gate("score", 1.0, 1.0, 1.0, threshold=0.5)
        raise ZeroDivisionError
    assert len(run_gates(tmp_path)) == 1
    assert gates_over_runs(run_gates(tmp_path)).outcome.item() == "one run"


def test_the_matrix_is_written_into_a_folder_of_its_own(tmp_path):
    decided(tmp_path / "runs")
    write_control_matrix(tmp_path / "runs", tmp_path / "matrix")
    assert (tmp_path / "matrix" / "matrix.md").read_text().startswith("# Expected and found")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "text.txt").write_text("mine")
    with pytest.raises(ValueError, match="not of a matrix of controls"):
        write_control_matrix(tmp_path / "runs", tmp_path / "mine")
