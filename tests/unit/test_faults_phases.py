"""Parameters, YAML and sweeps are read as they are meant or refused; work too large is refused."""

import inspect
import itertools
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest

import musicgen_emotion
from musicgen_emotion.lab import sizes
from musicgen_emotion.lab.parameter_rules import check_rules, parse_rules
from musicgen_emotion.lab.parameter_types import value_from_text, value_from_yaml
from musicgen_emotion.lab.parameters import (
    check_parameters,
    parse_parameters,
    read_parameters,
    resolve_parameters,
)
from musicgen_emotion.lab.phase_files import list_phases
from musicgen_emotion.lab.phases import run_phase, start_phase
from musicgen_emotion.lab.plans import PlannedRun, plan, run_phases, run_plan
from musicgen_emotion.lab.sizes import (
    ALLOW_LARGE,
    free_memory,
    large_is_allowed,
    listed,
    may_be_large,
    require_room,
    size_text,
    time_text,
)
from musicgen_emotion.lab.yaml_files import load_bounded_yaml, read_yaml
from musicgen_emotion.stimuli.emotions import EMOTIONS

HUGE = 10**9
TOO_LARGE = r"would take about|holds more than"
PHASES = list(list_phases())
SPECS = {phase: read_parameters(phase) for phase in PHASES}


def write_phase(folder, name, parameters, *cells):
    "A phase notebook."
    texts = [parameters, *cells]
    cells = [nbformat.v4.new_code_cell(text) for text in texts]
    cells[0].metadata.tags = ["parameters"]
    kernel = dict(name="python3", display_name="python3", language="python")
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=kernel))
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


@pytest.fixture
def demo(tmp_path):
    return write_phase(
        tmp_path,
        "phase8_demo",
        'out_dir: str = "r"  # folder\n'
        "n_perm: int = 10  # permutations [1 or more]\n"
        "rate: float = 0.5  # rate [above 0 to 1]\n"
        'words: list[str] = ["slow"]  # words [1 or more]\n'
        "ks: list[int] = [8]  # sizes [each 1 or more]\n"
        "rates: list[float] = [0.5]  # rates\n"
        "clap: str | None = None  # folder\n"
        "fresh: bool = False  # a switch\n"
        "note: str = 'x'  # text",
        "from musicgen_emotion.lab.phases import start_phase\n"
        'run = start_phase("phase8_demo", globals())\n'
        "run.close();",
    )


# ---- phase parameters


@pytest.mark.parametrize("phase", PHASES)
def test_every_parameter_of_a_phase_has_a_rule_or_choices(phase):
    open_ended = [
        name
        for name, parameter in SPECS[phase].items()
        if not parameter.rules and "Literal" not in parameter.kind
    ]
    assert open_ended == []


def bad_values(parameter):
    "Values that a parameter cannot have, by its type and rules."
    kind = parameter.kind
    yield {}
    if "str" not in kind and "Literal" not in kind:
        yield "many"
    if kind.startswith("list"):
        item = (parameter.default or [0])[0]
        yield [item, item]
        yield [None]
    if kind == "int":
        yield from (-1, -(10**12), 1.5, 2**70)
    if kind == "float":
        yield from (float("nan"), float("inf"), -1.0)
    if kind.startswith("list[Literal"):
        yield from ([], ["hapy", "sad"], ["happy", float("nan")])
    if kind.startswith("Literal"):
        yield from ("hapy", 3)
    if kind.startswith("str"):
        yield from ("", "  ", 3)


CASES = []
for phase_name, phase_spec in SPECS.items():
    for parameter_name, one_parameter in phase_spec.items():
        for bad in bad_values(one_parameter):
            CASES.append((phase_name, parameter_name, bad))


@pytest.mark.parametrize("phase,name,value", CASES)
def test_a_bad_value_is_refused_by_name(phase, name, value):
    with pytest.raises((ValueError, TypeError), match=f"parameter '{name}'"):
        SPECS[phase][name].check(value)
    with pytest.raises((ValueError, TypeError), match="parameter '"):
        check_parameters(SPECS[phase], {name: value})


def test_the_cases_are_many():
    assert len(CASES) > 400


@pytest.mark.parametrize("phase", PHASES)
def test_defaults_and_edges_are_accepted(phase):
    spec = SPECS[phase]
    defaults = {name: parameter.default for name, parameter in spec.items()}
    assert check_parameters(spec, {}) == defaults
    edges = dict(seed=2**63 - 1, batch_size=1, top_k=0, temperature=0, guidance=1, n_boot=10**6)
    given = {name: value for name, value in edges.items() if name in spec}
    assert check_parameters(spec, given)["seed"] == 2**63 - 1


def test_emotions_of_the_notebooks_are_those_of_the_package():
    kinds = {p.kind for spec in SPECS.values() for p in spec.values() if "'happy'" in p.kind}
    names = ", ".join(repr(name) for name in EMOTIONS)
    assert kinds == {f"list[Literal[{names}]]", f"Literal[{names}]"}


ON_THE_COMMAND_LINE = [
    ("emotions=happy,hapy", "'emotions'.*did you mean 'happy'"),
    ("emotions=happy,happy", "'emotions'.*each value once; got 'happy' twice"),
    ("emotions=", "'emotions' must hold 2 to 5 values; got"),
    ("n_perm=-1", "'n_perm' must be 1 or more; got -1"),
    ("batch_size=0", "'batch_size' must be 1 or more; got 0"),
    ("top_k=-3", "'top_k' must be 0 or more; got -3"),
    ("temperature=nan", "'temperature' must be float; got nan"),
    ("n_perm=1000000000", "'n_perm' is 1000000000, above 1,000,000"),
    ("seed=-1", "'seed' must be a whole number 0"),
    ("duration_s=1", "'duration_s' must be 2 to 600; got 1.0"),
    ("n_prem=3", "did you mean 'n_perm'"),
    ("model=", "'model' must not be empty"),
]


@pytest.mark.parametrize("text,message", ON_THE_COMMAND_LINE)
def test_the_command_line_refuses_before_a_cell_runs(cli, tmp_path, text, message):
    out = tmp_path / "out"
    result = cli("run", "phase0", "-p", text, "--out", str(out))
    assert result.exit_code == 2, result.output
    assert re.search(message, result.output), result.output
    assert not out.exists()


@pytest.fixture
def cli():
    "The command in this process: exit code and all that it writes."
    from typer.testing import CliRunner

    from musicgen_emotion.cli import app

    return lambda *words: CliRunner().invoke(app, list(words))


def test_help_shows_the_rules(cli):
    shown = cli("run").output
    assert "n_perm: int = 200  # permutations and bootstrap resamples [1 or more]" in shown
    refused = cli("run", "-p", "n_perm=-1")
    assert refused.exit_code == 2 and "name the phases to run" in refused.output


def test_every_door_checks_the_same(demo, tmp_path):
    bad = dict(n_perm=-1)
    message = "parameter 'n_perm' must be 1 or more; got -1"
    (tmp_path / "p.yaml").write_text("n_perm: -1")
    doors = [
        lambda: run_phase(demo, bad, tmp_path / "a"),
        lambda: run_phases([demo], tmp_path / "b", overrides={"n_perm": "-1"}),
        lambda: run_phases([demo], tmp_path / "c", files=[tmp_path / "p.yaml"]),
        lambda: plan(demo, dict(n_perm=[3, -1])),
        lambda: run_plan([PlannedRun(demo.resolve(), "one", bad)], tmp_path / "d"),
        lambda: start_phase(str(demo), dict(bad, out_dir=str(tmp_path / "e"))),
    ]
    for door in doors:
        with pytest.raises(ValueError, match=message):
            door()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_papermill_alone_stops_in_the_first_cell_of_the_study(tmp_path):
    values = {name: p.default for name, p in SPECS["phase3_causal"].items()}
    values.update(source="sad", target="sad", out_dir=str(tmp_path / "out"))
    with pytest.raises(ValueError, match="'target' must differ from source; both are 'sad'"):
        start_phase("phase3_causal", values)
    values.update(source="happy", emotions=["sad", "calm"])
    with pytest.raises(ValueError, match=r"'source' must be in emotions \(sad, calm\); got"):
        start_phase("phase3_causal", values)
    assert not (tmp_path / "out").exists()


def test_permission_lifts_the_limit_of_counts_only(demo, monkeypatch):
    spec = read_parameters(demo)
    assert check_parameters(spec, dict(n_perm=HUGE), allow_large=True)["n_perm"] == HUGE
    with pytest.raises(ValueError, match="must be above 0 to 1"):
        check_parameters(spec, dict(rate=2.0), allow_large=True)
    monkeypatch.setenv(ALLOW_LARGE, "1")
    assert check_parameters(spec, dict(n_perm=HUGE))["n_perm"] == HUGE


RULES = [
    ("[1 or more]", 0, "must be 1 or more; got 0"),
    ("[above 0]", 0.0, "must be above 0; got 0.0"),
    ("[0 to 1]", 1.1, "must be 0 to 1; got 1.1"),
    ("[each above 0]", [1.0, 0.0], "must hold values above 0; got"),
    ("[exactly 2]", [1.0], "must hold exactly 2 values"),
    ("[rising]", [2.0, 1.0], "must rise"),
    ("[both signs]", [0.5, 1.0], "both signs"),
    ("[both signs]", [], "both signs"),
    ("[seed]", 2**63, r"2\*\*63 - 1"),
    ("[each seed]", [0, -1], r"2\*\*63 - 1"),
    ("[not empty]", " ", "must not be empty"),
    ("[0 to top]", 5, r"must be 0 to top \(top = 4\); got 5"),
    ("[in names]", "c", "must be in names"),
    ("[not top]", 4, "must differ from top"),
]


@pytest.mark.parametrize("rule,value,message", RULES)
def test_a_rule_refuses_what_it_says(rule, value, message):
    with pytest.raises(ValueError, match=f"parameter 'p' .*{message}"):
        check_rules("p", value, parse_rules(f"meaning {rule}"), dict(top=4, names=["a", "b"]))


def test_comments_that_are_no_rules_stay_comments():
    for comment in (
        "rate [1/s]",
        "one [of many]",
        "a [b, c]",
        "",
        "text [seconds]",
        "n [3 samples]",
    ):
        assert parse_rules(comment) == ()
    for comment in ("[1 or les]", "[above x y]", "[1 or more, rizing]"):
        with pytest.raises(ValueError, match="cannot be read at"):
            parse_rules(comment)


def test_a_rule_about_no_parameter_and_a_default_that_breaks_its_rule():
    with pytest.raises(ValueError, match="about 'm', which is no parameter"):
        parse_parameters("n: int = 1  # n [0 to m]")
    with pytest.raises(ValueError, match="'n' must be 1 or more; got 0"):
        parse_parameters("n: int = 0  # n [1 or more]")


# ---- YAML


MEANT = [
    ("rates: [1e-3, 2, .5]", dict(rates=[0.001, 2.0, 0.5])),
    ("rate: 1e-3", dict(rate=0.001)),
    ("ks: [8, 16]", dict(ks=[8, 16])),
    ("ks: 8, 16", dict(ks=[8, 16])),
    ("clap: None", dict(clap=None)),
    ("clap: null", dict(clap=None)),
    ("clap: ~", dict(clap=None)),
    ("clap: 'None'", dict(clap="None")),
    ("fresh: yes", dict(fresh=True)),
    ("fresh: off", dict(fresh=False)),
    ("note: yes", dict(note="yes")),
    ("note: 012", dict(note="012")),
    ("note: 1:30", dict(note="1:30")),
    ("note: 2024-02-01", dict(note="2024-02-01")),
    ("words: [yes, no, 1:30, 2024-02-01]", dict(words=["yes", "no", "1:30", "2024-02-01"])),
    ("words: ['slow, sad', fast]", dict(words=["slow, sad", "fast"])),
    ("n_perm: 1_000", dict(n_perm=1000)),
    ("n_perm: 0x10", dict(n_perm=16)),
    ("n_perm: '12'", dict(n_perm=12)),
    ("\ufeffn_perm: 3", dict(n_perm=3)),
    ("# nothing but a comment", {}),
    ("phase8_demo:\n  n_perm: 4", dict(n_perm=4)),
]


@pytest.mark.parametrize("text,expected", MEANT)
def test_yaml_is_read_as_it_is_meant(demo, tmp_path, text, expected):
    file = tmp_path / "é p.yaml"
    for encoding in ("utf-8", "utf-16"):
        file.write_bytes(text.encode(encoding))
        [values] = resolve_parameters([demo], [str(file)]).values()
        assert {name: values[name] for name in expected} == expected


REFUSED = [
    ("n_perm: 012", "p.yaml, line 1: parameter 'n_perm' must be int; got '012'"),
    ("note: a\nrate: 1:30", "p.yaml, line 2: parameter 'rate' must be float; got '1:30'"),
    ("rates: [1, 012]", "p.yaml, line 1: parameter 'rates' must be float; got '012'"),
    ("n_perm: 2024-02-01", "line 1: parameter 'n_perm' must be int"),
    ("n_perm: yes", "'n_perm' must be int; got 'yes'"),
    ("n_perm: 1\nnote: a\nn_perm: 2", "p.yaml.*line 3: 'n_perm' is given twice, first in line 1"),
    ("phase8_demo:\n  n_perm: 1\n  n_perm: 2", "line 3: 'n_perm' is given twice"),
    ("note: null", "'note' must be str; got 'null'"),
    ("note:", "'note' must be str"),
    ("[1, 2]: 3", "line 1: before the colon must be a name"),
    ("? \n: 3", "before the colon must be a name"),
    ("1: 3", "parameter '1' is not known"),
    ("", "p.yaml is empty"),
    (" \n\n", "p.yaml is empty"),
    ("- n_perm\n- 2", "must hold lines of the form `name: value`; got a list"),
    ("just text", "must hold lines of the form `name: value`; got a single value"),
    ("n_perm: [1", "is not valid YAML: line 1"),
    ("n_perm: 1\n---\nn_perm: 2", "is not valid YAML: line 2"),
    ("n_perm:\t1\n\tx: 2", "is not valid YAML: line"),
    ("n_perm: !!python/object/apply:os.getpid []", "is not valid YAML: line 1: the tag"),
    ("note: !foo x", "is not valid YAML: line 1: the tag"),
    ("words: {a: 1}", "'words'"),
    ("ks: [[1], [2]]", "'ks'"),
    ("rates: [.nan]", "'rates'"),
    ("words: [a, ]\nks: [8, 8]", "line 2: parameter 'ks' must hold each value once"),
    ("phase8_demo:\n  m: 1", "parameter 'm' is not known to phase8_demo"),
    ("phase0:\n  n_prem: 1", "parameter 'n_prem' is not known to phase0_foundation"),
    ("phase0:\n  n_perm: 3\nphase0_foundation:\n  n_perm: 4\nn_perm: 0", "'n_perm' must be 1"),
    ("[" * 3000, "nested too deeply"),
]


@pytest.mark.parametrize("text,message", REFUSED)
def test_yaml_that_has_two_meanings_is_refused_with_its_place(demo, tmp_path, text, message):
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        resolve_parameters([demo], [file])
    for word in ("Constructor", "Scanner", "yaml.", "unicode string", "Traceback"):
        assert word not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "p.yaml").write_bytes(b"note: caf\xe9")
    with pytest.raises(ValueError, match=r"p\.yaml is not text in UTF-8 \(byte 9\)"):
        read_yaml(tmp_path / "p.yaml")


def test_one_reader_for_all_yaml_of_the_package():
    package = Path(musicgen_emotion.__file__).parent
    readers = []
    for path in package.rglob("*.py"):
        if re.search(r"yaml\.(safe_|full_)?load|Loader\b.*yaml|yaml\.SafeLoader", path.read_text()):
            readers.append(path.name)
    assert readers == ["yaml_files.py"]


def test_values_without_a_type_keep_their_look():
    text = (
        "a: 1e-3\nb: 012\nc: 1:30\nd: no\ne: 2024-02-01\nf: 0x10\ng: ~\nh: true\ni: -1.5\nj: .inf"
    )
    found = load_bounded_yaml(text)
    assert list(found.values()) == [
        *(0.001, "012", "1:30", "no", "2024-02-01", 16, None, True, -1.5, float("inf"))
    ]


LISTS = [
    ("['slow, sad','fast']", ["slow, sad", "fast"]),
    ('["slow, sad", fast]', ["slow, sad", "fast"]),
    ("slow sad,fast", ["slow sad", "fast"]),
    ("don't,can't", ["don't", "can't"]),
    ("''", [""]),
    ("", []),
    ("[]", []),
    ("a [b,c]", ["a [b", "c]"]),
]


@pytest.mark.parametrize("text,items", LISTS)
def test_lists_on_the_command_line(text, items):
    assert value_from_text("words", "list[str]", text) == items


@pytest.mark.parametrize("text", ["a,,b", "a,", ",", "['a", "[a, b", "'a' b", "'a,b"])
def test_lists_that_cannot_be_read(text):
    with pytest.raises(TypeError, match=re.escape(f"'words' must be list[str]; got {text!r}")):
        value_from_text("words", "list[str]", text)


def test_none_on_the_command_line_is_none(demo):
    [values] = resolve_parameters([demo], overrides={"clap": "None"}).values()
    assert values["clap"] is None
    assert value_from_yaml("clap", "str | None", "None") == "None"  # in quotes


# ---- sweeps and plans


def test_equal_names_are_told_apart(tmp_path):
    phase = write_phase(
        tmp_path,
        "phase8_names",
        "a: int | float = 1  # number\nnote: str = 'x'  # text\nout_dir: str = 'r'  # folder",
    )
    values = ["a/b", "a_b", "A_B", "a b", "ab", "x" * 400, "x" * 401, "\x00", "..", "a\nb"]
    runs = plan(phase, dict(note=values))
    names = [run.name for run in runs]
    assert len({name.casefold() for name in names}) == len(values)
    assert all(len(name.encode()) <= 255 and name.isprintable() for name in names)
    assert [run.params["note"] for run in runs] == values
    assert [run.name for run in plan(phase, dict(a=[1, 2], note=["p"]))] == [
        "a=1-note=p",
        "a=2-note=p",
    ]
    assert plan(phase, dict(note=values))[5].name == names[5]


@pytest.mark.parametrize(
    "grid,message",
    [
        (dict(n_perm=[1, 1]), "'n_perm' of the grid holds 1 twice"),
        (dict(rate=[1, 1.0]), "'rate' of the grid holds 1.0 twice"),
        (dict(n_prem=[1]), "did you mean 'n_perm'"),
        (dict(out_dir=["a"]), "parameter 'out_dir' is not known"),
        (dict(n_perm=[]), "at least one value"),
        (dict(n_perm="12"), "at least one value"),
        (dict(n_perm=12), "at least one value"),
        (dict(n_perm=range(5, 1)), "at least one value"),
        (dict(n_perm=range(1, 10**6 + 1)), "a sweep of 1000000 runs .* would take"),
        (dict(n_perm=range(1, 10**30)), "a sweep of"),
        (dict(n_perm=range(1, 1001), ks=[[k] for k in range(1, 1001)]), "a sweep of 1000000 runs"),
    ],
)
def test_grids_that_cannot_be_run(demo, grid, message):
    start = time.monotonic()
    with pytest.raises(ValueError, match=message):
        plan(demo, grid)
    assert time.monotonic() - start < 2


def test_arrays_and_tuples_are_axes(demo):
    runs = plan(demo, dict(n_perm=np.array([1, 2]), rate=(0.1, 0.2)))
    assert [run.params["n_perm"] for run in runs] == [1, 1, 2, 2]


def test_plans_that_cannot_be_run(demo, tmp_path):
    run = plan(demo, dict(n_perm=[3]))[0]
    with pytest.raises(ValueError, match="'n_perm=3' is there twice"):
        run_plan([run, run], tmp_path / "out")
    with pytest.raises(ValueError, match="at least one planned run"):
        run_plan([], tmp_path / "out")
    with pytest.raises(ValueError, match="a plan of 1000000 runs would take"):
        run_plan(list(itertools.repeat(run, 10**6)), tmp_path / "out")
    (tmp_path / "b").mkdir()
    other = write_phase(tmp_path / "b", "phase8_demo", "n: int = 1")
    with pytest.raises(ValueError, match="have the same name, and so the same run folder"):
        run_phases([demo, other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


SWEEPS = [
    (["--sweep", "seed=1,1"], "holds 1 twice"),
    (["--sweep", "sed=1"], "did you mean 'seed'"),
    (["--sweep", "seed="], "names no value"),
    (["--sweep", "seed"], "--sweep must read name=value"),
    (["--sweep", "guidance=1,1.0"], "holds 1.0 twice"),
    (["--sweep", "emotions=happy,sad"], "'emotions' must hold 2 to 5 values"),
    (["--sweep", "emotions=[happy,sad],[calm,hapy]"], "did you mean 'happy'"),
    (["--sweep", "seed=1,2", "-p", "seed=3"], "given by -p and by --sweep"),
    (["--sweep", "seed=1,2", "--sweep", "seed=3"], "--sweep seed is given twice"),
    (["--sweep", "n_perm=1,-1"], "'n_perm' must be 1 or more; got -1"),
    (["--sweep", "seed=1,'2"], "--sweep seed=1,'2 cannot be read"),
    (["--sweep", "seed=1,,2"], "cannot be read"),
]


@pytest.mark.parametrize("words,message", SWEEPS)
def test_sweeps_of_the_command_line_are_refused_before_they_start(cli, tmp_path, words, message):
    result = cli("run", "phase0", *words, "--out", str(tmp_path / "out"))
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert not (tmp_path / "out").exists()


# ---- work that is too large


def test_free_memory_is_that_of_the_container(tmp_path, monkeypatch):
    machine = free_memory()
    assert 0 < machine < 2**60
    groups = [(2**30, 2**29, "inactive_file 1000", "inactive_file")]
    monkeypatch.setattr(sizes, "_memory_groups", lambda: groups)
    assert free_memory() == 2**29 + 1000
    monkeypatch.setattr(sizes, "_memory_groups", lambda: [(2**62, 5, "", "inactive_file")])
    assert abs(free_memory() - machine) < 2**31


def test_groups_without_a_limit_are_skipped(tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5\n")
    (tmp_path / "memory.stat").write_text("inactive_file 3\n")
    names = ("memory.max", "memory.current", "inactive_file")
    assert sizes._memory_group(tmp_path, *names) == []
    (tmp_path / "memory.max").write_text("100\n")
    assert sizes._memory_group(tmp_path, *names) == [(100, 5, "inactive_file 3\n", "inactive_file")]


def test_room_is_four_fifths_and_a_day(monkeypatch):
    monkeypatch.setattr(sizes, "free_memory", lambda device=None: 10**9)
    require_room("work", 8 * 10**8, hours=24)
    with pytest.raises(ValueError, match=r"work would take about .* of memory, more than 80%"):
        require_room("work", 8 * 10**8 + 1)
    with pytest.raises(ValueError, match="work would take about 1 days, more than 24 hours"):
        require_room("work", 0, hours=24.01)
    with pytest.raises(ValueError, match=r"10\^300 or more"):
        require_room("work", 10**400)
    for hours in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="more than 24 hours"):
            require_room("work", 0, hours=hours)
    require_room("work", 10**400, hours=10**400, allow_large=True)
    assert (size_text(0), time_text(0.5)) == ("0 bytes", "0.5 hours")


def test_permission_reaches_inner_functions_and_ends():
    @may_be_large
    def outer(fail, allow_large=False):
        require_room("inner work", 10**30)
        if fail:
            raise KeyError("x")
        return large_is_allowed()

    with pytest.raises(ValueError, match="inner work"):
        outer(False)
    assert outer(False, allow_large=True)
    assert outer(False, True)
    with pytest.raises(ValueError, match="inner work"):
        outer(False, False)
    with pytest.raises(KeyError):
        outer(True, allow_large=True)
    assert not large_is_allowed()


def test_long_ranges_are_not_written_out():
    start = time.monotonic()
    for values in (range(10**30), itertools.count()):
        with pytest.raises(ValueError, match="seeds holds more than 1000 values"):
            listed("seeds", values, most=1000)
    assert time.monotonic() - start < 1
    assert listed("seeds", np.arange(3)) == [0, 1, 2]


def doors():
    "Public functions of the package that take `allow_large`."
    import importlib

    found = {}
    for folder in ("stats", "stimuli", "sound", "models", "activations", "probes", "sae"):
        found |= doors_of(importlib.import_module(f"musicgen_emotion.{folder}"))
    for folder in ("steering", "causes"):
        found |= doors_of(importlib.import_module(f"musicgen_emotion.{folder}"))
    return found


def doors_of(package):
    found = {}
    for name, value in vars(package).items():
        if inspect.isfunction(value) and "allow_large" in inspect.signature(value).parameters:
            found[f"{package.__name__}.{name}"] = value
    return found


COUNTS = {"n_perm", "n_boot", "n_resamples", "n_draws", "n_sims", "n_random"}


def test_every_public_function_with_draws_takes_allow_large():
    import importlib

    folders = ["stats", "stimuli", "sound", "models", "activations", "probes", "sae"]
    folders += ["steering", "causes"]
    without = []
    for folder in folders:
        package = importlib.import_module(f"musicgen_emotion.{folder}")
        for name, value in vars(package).items():
            if inspect.isfunction(value) and not name.startswith("_"):
                names = set(inspect.signature(value).parameters)
                if names & COUNTS and "allow_large" not in names:
                    without.append(name)
    assert without == []
    assert len(doors()) > 80


rows = np.random.default_rng(0).normal(size=(24, 6))
pair_rows = np.random.default_rng(1).normal(size=(24, 6))
labels = np.repeat(["happy", "sad"], 12)
groups = np.repeat(np.arange(12), 2)
values = rows[:, 0]


def large_calls():
    "Functions with a count of a thousand millions, by name."
    from musicgen_emotion import probes, sae, sound, stats, steering, stimuli

    def distance(how):
        clips = rows.reshape(12, 2, 6)
        return steering.distribution_distance(clips, clips + 0.1, **how)

    direction = steering.mean_difference(rows[:12], rows[12:], "dec.0.resid")
    return {
        "bootstrap_weights": lambda: stats.bootstrap_weights(24, n_boot=HUGE),
        "bootstrap": lambda: stats.bootstrap(values, n_boot=HUGE),
        "permute_labels": lambda: stats.permute_labels(labels, n_perm=HUGE),
        "permutation_test": lambda: stats.permutation_test(len, labels, n_perm=HUGE),
        "paired_difference": lambda: stats.paired_difference(values, values + 1, n_perm=HUGE),
        "cliffs_delta": lambda: stats.cliffs_delta(values, values, n_boot=HUGE),
        "eta_squared": lambda: stats.eta_squared(values, labels, n_boot=HUGE),
        "balanced_accuracy": lambda: stats.balanced_accuracy(labels, labels, n_boot=HUGE),
        "correlation": lambda: stats.correlation(values, rows[:, 1], n_boot=HUGE),
        "partial_correlation": lambda: stats.partial_correlation(
            values, rows[:, 1], rows[:, 2], n_boot=HUGE
        ),
        "ratio_of_medians": lambda: stats.ratio_of_medians(
            abs(values) + 1, abs(values) + 2, n_boot=HUGE
        ),
        "trend_test": lambda: stats.trend_test(values, np.tile([0.0, 1.0], 12), n_perm=HUGE),
        "judge_accuracy": lambda: sound.judge_accuracy(labels, labels, n_boot=HUGE),
        "listening_power": lambda: sound.listening_power(20, 20, 0.5, n_sims=HUGE),
        "listening_power of many": lambda: sound.listening_power(HUGE, 20, 0.5),
        "power_table": lambda: sound.power_table(20, 20, 0.5, n_sims=HUGE),
        "study_prompts": lambda: stimuli.study_prompts(HUGE),
        "held_out_prompts": lambda: stimuli.held_out_prompts(HUGE),
        "matched_pairs": lambda: stimuli.matched_pairs("happy", "sad", HUGE),
        "neutral_prompts": lambda: stimuli.neutral_prompts(HUGE),
        "cue_prompts": lambda: stimuli.cue_prompts(HUGE),
        "conflict_prompts": lambda: stimuli.conflict_prompts(n_per_cell=HUGE),
        "render_music": lambda: stimuli.render_music(stimuli.NEUTRAL_CUES, duration_s=1e9),
        "probe_layers": lambda: probes.probe_layers(rows, labels, n_perm=HUGE),
        "within_between": lambda: probes.within_between(rows, labels, n_perm=HUGE),
        "silhouette": lambda: probes.silhouette(rows, labels, n_perm=HUGE),
        "centroid_curve": lambda: probes.centroid_curve(rows, labels, ns=(1, 2), n_resamples=HUGE),
        "distribution_distance": lambda: distance(dict(n_perm=HUGE)),
        "distribution_distance in halves": lambda: distance(dict(n_split=HUGE)),
        "pairs_curve": lambda: steering.pairs_curve(rows, pair_rows, n_draws=HUGE),
        "random_arms": lambda: steering.random_arms(direction, n=HUGE),
        "shuffled_arms": lambda: steering.shuffled_arms(rows, pair_rows, direction, n=HUGE),
        "SparseAutoencoder": lambda: sae.SparseAutoencoder(6, d_sae=HUGE),
        "train_sae": lambda: sae.train_sae(rows, sae.SAEConfig(6, d_sae=HUGE)),
        "train_sae in steps": lambda: sae.train_sae(
            rows, sae.SAEConfig(6, 2), sae.TrainConfig(steps=HUGE)
        ),
        "train_sae in batches": lambda: sae.train_sae(
            rows, sae.SAEConfig(6, 2), sae.TrainConfig(batch_size=HUGE * 100)
        ),
        "sweep": lambda: sae.sweep(rows, dict(seed=range(HUGE)), sae.SAEConfig(6, 2)),
        "sweep of combinations": lambda: sae.sweep(
            rows, dict(seed=range(10**4), k=range(10**4)), sae.SAEConfig(6, 2)
        ),
        "train_seeds": lambda: sae.train_seeds(
            rows, sae.SAEConfig(6, 2), seeds=range(HUGE), progress=False
        ),
    }


@pytest.mark.parametrize("name", large_calls())
def test_a_thousand_millions_are_refused_at_once(name):
    call = large_calls()[name]
    start = time.process_time()
    with pytest.raises(ValueError, match=TOO_LARGE) as caught:
        call()
    assert time.process_time() - start < 5
    assert "allow_large=True" in str(caught.value)


def test_generation_of_a_thousand_millions_is_refused(tiny_model):
    from musicgen_emotion.activations import ActivationExtractor, generate, generate_clips
    from musicgen_emotion.activations.clip_plans import plan_clips
    from musicgen_emotion.models.sampling import require_generation_room

    model = tiny_model
    start = time.monotonic()
    for call in (
        lambda: plan_clips(model, ["a"], seeds=range(HUGE)),
        lambda: plan_clips(model, ["a"] * 1000, seeds=range(10**6)),
        lambda: generate(model, ["a"], range(HUGE), 0.2),
        lambda: require_generation_room(model, HUGE, 50),
        lambda: require_generation_room(model, 10**6, 1500, audio=True),
        lambda: require_generation_room(model, HUGE, 1, batch_size=HUGE),
    ):
        with pytest.raises(ValueError, match=TOO_LARGE):
            call()
    assert time.monotonic() - start < 10
    with pytest.raises(ValueError, match="would take about"):
        generate_clips(model, ["a"] * 1000, "never", seeds=range(10**6))
    assert not Path("never").exists()
    made = generate(model, ["a"], 0, 0.1, batch_size=HUGE, audio=False)
    assert made.tokens.shape[0] == 1
    with ActivationExtractor(model, layers=[0]) as extractor:
        extractor.generate(["a"], duration_s=0.1)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    from musicgen_emotion.models.load import load_model
    from musicgen_emotion.models.tiny import write_random_model

    folder = tmp_path_factory.mktemp("tiny")
    return load_model(write_random_model(folder / "model"), device="cpu")


def test_windows_and_states_that_are_too_many(tiny_model, monkeypatch):
    from musicgen_emotion.activations.positions import time_windows
    from musicgen_emotion.activations.replaying import replay

    with pytest.raises(ValueError, match="windows of step_s=1e-12 would take about"):
        time_windows(5.0, 1e-12)
    tokens = np.zeros((2, tiny_model.config.n_codebooks, 4), np.int16)
    assert replay(tiny_model, tokens, ["a", "b"]).sizes["clip"] == 2
    monkeypatch.setattr(sizes, "_SMALL", 0)
    monkeypatch.setattr(sizes, "free_memory", lambda device=None: 1000)
    with pytest.raises(ValueError, match=r"the states of 2 clips at .* sites would take about"):
        replay(tiny_model, tokens, ["a", "b"])


def test_allow_large_changes_no_number():
    from musicgen_emotion import stats

    plain = stats.permutation_test(lambda shuffled: float((shuffled == "sad")[:6].sum()), labels)
    large = stats.permutation_test(
        lambda shuffled: float((shuffled == "sad")[:6].sum()), labels, allow_large=True
    )
    assert plain.p == large.p and (plain.null == large.null).all()


def test_the_worker_gets_the_permission(demo, tmp_path):
    phase = write_phase(
        tmp_path,
        "phase8_large",
        'out_dir: str = "r"  # folder\nn: int = 1  # count [1 or more]',
        "from musicgen_emotion.lab.sizes import require_room\n"
        'require_room("large work", 10**30)\n'
        "from musicgen_emotion.lab.phases import start_phase\n"
        'run = start_phase("phase8_large", globals())\nrun.close();',
    )
    result = run_phase(phase, dict(n=HUGE), tmp_path / "out", progress=False, allow_large=True)
    assert result.status == "finished"
    parameters = json.loads((tmp_path / "out/manifest.json").read_text())["parameters"]
    assert parameters["n"] == HUGE


def test_sizes_and_yaml_need_no_heavy_library():
    code = (
        "import sys, musicgen_emotion.lab.sizes, musicgen_emotion.lab.yaml_files\n"
        "print([name for name in ('torch', 'pandas', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
