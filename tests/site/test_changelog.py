"The changelog's tables: every module of 0.1.0 is named, and every new path can be imported."

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

import musicgen_emotion

CHANGELOG = Path(musicgen_emotion.__path__[0]).parent / "CHANGELOG.md"
if not CHANGELOG.exists():
    pytest.skip("needs a checkout of the project: CHANGELOG.md", allow_module_level=True)
MODULES_OF_0_1_0 = [
    "acoustics",
    "attention",
    "audiocraft",
    "cli",
    "core",
    "datasets",
    "directions",
    "emotions",
    "extraction",
    "feature_cards",
    "feature_effects",
    "feature_recovery",
    "features",
    "generation",
    "hooks",
    "judges",
    "listening",
    "melody",
    "models",
    "nano",
    "patching",
    "phases",
    "plots",
    "probes",
    "prompts",
    "sae",
    "sae_sweeps",
    "sae_training",
    "similarity",
    "stats",
    "steering",
    "text",
    "verdicts",
]


def rows_of(heading):
    "Pairs of an old name and its new paths, from the table below a heading."
    text = CHANGELOG.read_text()
    section = text.split(f"### {heading}\n", 1)[1].split("\n#", 1)[0]
    rows = []
    for line in section.splitlines():
        if line.startswith("| `"):
            old, new = line.strip("| ").split(" | ")
            rows.append((old.strip("`"), re.findall(r"`([\w.]+)`", new)))
    return rows


MOVED = rows_of("Where modules are now")
RENAMED = [(old, new) for old, [new] in rows_of("Names that changed")]


def test_every_module_of_the_first_version_is_in_the_table():
    assert [old for old, _ in MOVED] == MODULES_OF_0_1_0


@pytest.mark.parametrize("old, new", MOVED, ids=[old for old, _ in MOVED])
def test_modules_are_where_the_table_says(old, new):
    assert new
    for path in new:
        assert importlib.util.find_spec(f"musicgen_emotion.{path}"), path


@pytest.mark.parametrize("old, new", RENAMED, ids=[old for old, _ in RENAMED])
def test_names_are_where_the_table_says(old, new):
    assert old.split(".")[0] in MODULES_OF_0_1_0
    module, _, name = new.rpartition(".")
    found = importlib.import_module(f"musicgen_emotion.{module}")
    assert name in found.__all__, "a public name of its module"
