"""Broken links, unknown keys and lost text of the processed pages; exits with 1 if there are any.

    python .ci/links.py _proc

The preview's checker also names `output-file`, a key that nbdev writes for Quarto and that the preview need not read.
Text is lost where it shares a cell with a page's title: nbdev keeps the title and the description of that cell only."""

import json
import re
import subprocess
import sys
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parents[1] / "nbs"


def prose(notebook):
    "Lines of text cells, as plain words: without marks, and without the targets of links."
    text = [
        line
        for c in json.loads(notebook.read_text())["cells"]
        if c["cell_type"] != "code"
        for line in "".join(c["source"]).splitlines()
    ]
    return [
        words
        for line in text
        if (words := re.sub(r"\W+", " ", re.sub(r"\]\([^)]*\)", "]", line)).strip())
    ]


def lost(folder):
    "Lines of the notebooks that their processed pages do not have."
    for source in sorted(NOTEBOOKS.rglob("*.ipynb")):
        page = Path(folder) / source.relative_to(NOTEBOOKS)
        if ".ipynb_checkpoints" in source.parts or source.name.startswith("_"):
            continue
        if not page.exists():
            yield f"{page}: there is no such page"
            continue
        whole = f" {' '.join(prose(page))} "
        yield from (f'{page}: lost "{line}"' for line in prose(source) if f" {line} " not in whole)


def main(folder):
    tool = Path(sys.executable).with_name("smalldocs")
    lines = subprocess.run(
        [tool, "check", folder], capture_output=True, text=True
    ).stdout.splitlines()
    found = [*(l for l in lines if ": " in l and "output-file is not read" not in l), *lost(folder)]
    sys.stdout.write("\n".join(found or [f"{folder}: links, keys and text hold"]) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "_proc"))
