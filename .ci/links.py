"""Broken links, unknown keys and lost text of the processed pages; exits with 1 if there are any.

    python .ci/links.py _proc

The preview's checker also names `output-file`, a key that nbdev writes for Quarto and that the
preview need not read. Text is lost where it shares a cell with a title: nbdev keeps the title
and the description of that cell only."""

import json
import re
import subprocess
import sys
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parents[1] / "nbs"


def prose(notebook):
    "Lines of text cells, as plain words: without marks, and without the targets of links."
    found = []
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            continue
        for line in "".join(cell["source"]).splitlines():
            without_targets = re.sub(r"\]\([^)]*\)", "]", line)
            words = re.sub(r"\W+", " ", without_targets).strip()
            if words:
                found.append(words)
    return found


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
        for line in prose(source):
            if f" {line} " not in whole:
                yield f'{page}: lost "{line}"'


def main(folder):
    tool = Path(sys.executable).with_name("smalldocs")
    checked = subprocess.run([tool, "check", folder], capture_output=True, text=True).stdout
    found = []
    for line in checked.splitlines():
        if ": " in line and "output-file is not read" not in line:
            found.append(line)
    found += lost(folder)
    sys.stdout.write("\n".join(found or [f"{folder}: links, keys and text hold"]) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "_proc"))
