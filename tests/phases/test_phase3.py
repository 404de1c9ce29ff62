"Phase 3: parameters are refused by name before anything runs, rules and bars stand before the numbers, and finished stages survive an interruption."

import ast
import json
import re

import nbformat
import numpy as np
import pandas as pd
import pytest

from musicgen_emotion.causes.free_generation import patched_generation
from musicgen_emotion.causes.pairs import Pairs
from musicgen_emotion.causes.stages import Stages
from musicgen_emotion.causes.verdicts import BARS
from musicgen_emotion.lab.parameters import read_parameters
from musicgen_emotion.lab.phase_files import list_phases
from musicgen_emotion.lab.phases import PhaseError, run_phase
from musicgen_emotion.lab.runs import open_run

PHASE = list_phases().get("phase3_causal")
needs = pytest.mark.skipif(PHASE is None, reason="no phase notebooks in this checkout")


def cells(kind="code", path=PHASE):
    return [
        "".join(c["source"])
        for c in json.loads(path.read_text())["cells"]
        if c["cell_type"] == kind
    ]


def page():
    return PHASE.parent.parent / "findings" / "phase3.ipynb"


def bars():
    return {
        r[0].strip(): r[1].strip()
        for r in (
            l.strip("|").split("|")
            for l in next(
                c for c in cells("markdown") if "Gates, fixed before the run" in c
            ).splitlines()
            if l.startswith("| ")
        )
    }


@needs
@pytest.mark.parametrize(
    "params,error,message",
    [
        (dict(patch_pair=4), ValueError, "did you mean 'patch_pairs'"),
        (dict(patch_pairs=2.5), TypeError, "'patch_pairs' must be int"),
        (dict(random_draws="4"), TypeError, "'random_draws' must be int"),
        (dict(window_s=float("nan")), TypeError, "'window_s' must be float"),
        (dict(emotions="sad"), TypeError, "'emotions' must be list[str]"),
    ],
)
def test_bad_parameters_run_nothing(tmp_path, params, error, message):
    with pytest.raises(error) as e:
        run_phase("phase3_causal", params, tmp_path / "out", progress=False)
    assert message in str(e.value) and not (tmp_path / "out").exists()


@needs
def test_gates_of_the_text_are_those_of_the_code():
    rows = bars()
    calls = [
        n
        for c in cells()
        for n in ast.walk(ast.parse(c))
        if isinstance(n, ast.Call) and ast.unparse(n.func) == "run.gate"
    ]
    assert [n.args[0].value for n in calls] == [
        k for k in rows if k not in ("gate", "---")
    ] and len(calls) == 13
    for n in calls:
        given = {
            k.arg: ast.literal_eval(k.value)
            for k in n.keywords
            if k.arg in ("threshold", "direction")
        }
        assert rows[n.args[0].value] == f"{given.get('direction', '>')} {given['threshold']:g}", (
            n.args[0].value
        )


@needs
def test_bars_of_gates_and_verdicts_are_the_first_ones():
    assert bars() == {
        "gate": "bar",
        "---": "---",
        "what construction implies holds": ">= 1",
        "a no-op restores nothing": "< 0.001",
        "text states restore the difference": "> 0.9",
        "another prompt of the target's emotion restores little": "< 0.25",
        "attribution ranks cells as patching does": ">= 0.8",
        "patching an inner layer moves the sound": "> 0",
        "reliability of the mean difference in the text": "> 0.5",
        "reliability above its floors": "> 0",
        "arousal goes through tempo": "> 0",
        "arousal goes through loudness": "> 0",
        "valence goes through mode": "> 0",
        "the emotion word gains attention, p": "< 0.05",
        "verdicts agree with construction": ">= 1",
    }
    assert dict(decodable=0.0, p=0.05, reliability=0.5, sufficient=0.5, necessary=0.5) == BARS


@needs
def test_rules_stand_before_the_results_and_functions_are_short():
    every = json.loads(PHASE.read_text())["cells"]
    at = {
        w: next(i for i, c in enumerate(every) if w in "".join(c["source"]))
        for w in (
            "Rules, fixed before the result",
            "Gates, fixed before the run",
            "construction_checks(net",
            "activation_patching(net",
            "run.gate(",
        )
    }
    assert (
        list(at.values()) == sorted(at.values())
        and at["Rules, fixed before the result"] < at["construction_checks(net"]
    )
    assert (
        max(
            n.end_lineno - n.lineno + 1
            for c in cells()
            for n in ast.walk(ast.parse(c))
            if isinstance(n, ast.FunctionDef)
        )
        <= 6
    )


@needs
def test_every_parameter_is_used_and_controls_are_those_of_the_protocol():
    p, code = (
        {k: v.default for k, v in read_parameters(PHASE).items()},
        "\n".join(c for c in cells() if "out_dir: str" not in c),
    )
    assert [k for k in p if k not in ("out_dir",) and not re.search(rf"\b{k}\b", code)] == []
    assert (
        p["n_random"] >= 20
        and p["random_draws"] >= 3
        and 2 <= p["window_pairs"] <= p["patch_pairs"]
    )


@needs
def test_findings_read_only_what_the_phase_writes():
    text = "\n".join(cells(path=page()))
    wanted = (
        set(re.findall(r"read\('([\w.]+)'\)", text))
        | {f"{n}.png" for n in re.findall(r"figure\('(\w+)'\)", text)}
        | set(re.findall(r"run/'([\w.]+)'", text))
    )
    written = set(re.findall(r"'(\w+\.(?:csv|parquet|png|md|npy))'", "\n".join(cells())))
    assert len(wanted) > 15 and wanted <= written, wanted - written


def test_a_finished_stage_is_read_back_after_an_interruption(tiny, tmp_path):
    "Under the runner's checksum; another code, other weights or a run by hand make it anew, and a stage that fails leaves nothing."
    made = []

    def make():
        return made.append(1) or pd.DataFrame(
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
    assert [f.name.split("-")[0] for f in (tmp_path / "run/stages").iterdir()] == ["patched"]
    pd.testing.assert_frame_equal(attempt("a"), make())
    assert len(made) == 2
    for code in ("b", None, None):
        attempt(code)
    assert len(made) == 5


def test_a_killed_phase_goes_on_after_its_last_finished_stage(tmp_path):
    "The runner lends the checksum of package and cells to the notebook; the second attempt reads what the first had finished."
    demo = [
        'n: int = 3  # rows\nout_dir: str = "r"  # run folder',
        "import os, pandas as pd\nfrom types import SimpleNamespace\nfrom musicgen_emotion.lab.phases import start_phase\nfrom musicgen_emotion.causes.stages import Stages",
        'run = start_phase("phase8_stages", globals())\nstages = Stages(run.set_model(SimpleNamespace(name="m", checksum="c")))\nmarks = run.path/"made.txt"',
        'def make():\n    marks.write_text((marks.read_text() if marks.exists() else "") + "made ")\n    return pd.DataFrame(dict(x=range(n)))',
        'table = stages("patched", make)',
        'if len(run.manifest["resumed"]) == 0: os._exit(9)',
        'run.gate("rows", len(table), threshold=2)\nstages.clear()\nrun.close();',
    ]
    new = [
        nbformat.v4.new_code_cell(c, metadata=dict(tags=["parameters"]) if not i else {})
        for i, c in enumerate(demo)
    ]
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=new,
            metadata=dict(
                kernelspec=dict(name="python3", display_name="python3", language="python")
            ),
        ),
        tmp_path / "phase8_stages.ipynb",
    )
    with pytest.raises(PhaseError):
        run_phase(tmp_path / "phase8_stages.ipynb", out=tmp_path / "r", progress=False)
    assert [f.name[:8] for f in (tmp_path / "r/stages").iterdir()] == ["patched-"]
    done = run_phase(tmp_path / "phase8_stages.ipynb", out=tmp_path / "r", progress=False)
    assert (
        done.gates[0].passed
        and (tmp_path / "r/made.txt").read_text() == "made "
        and not (tmp_path / "r/stages").exists()
    )


def test_clips_that_are_read_back_sound_the_same(tiny, tmp_path):
    pairs, made = Pairs(["a happy song", "merry drums"], ["a sad song", "gloomy drums"]), []

    def make():
        return made.append(1) or patched_generation(
            tiny, pairs, ["text", "layer_1"], 0.2, 3, guidance=2.0, progress=False
        )

    with open_run(tmp_path, "phase3_demo", dict(seed=1)) as run:
        run.manifest["code"] = "a"
        stages = Stages(run.set_model(tiny))
        first, again = (stages.clips("grown", tiny, make, 2.0) for _ in range(2))
        stages.clear()
        assert not (tmp_path / "stages").exists()
    pd.testing.assert_frame_equal(first.table, again.table)
    assert (
        len(made) == 1
        and (first.made.tokens == again.made.tokens).all()
        and np.allclose(first.made.audio, again.made.audio, atol=1e-6)
    )
    assert {k: v for k, v in vars(first.made).items() if k not in ("tokens", "audio")} == {
        k: v for k, v in vars(again.made).items() if k not in ("tokens", "audio")
    }
