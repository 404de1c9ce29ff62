"""Bring every generated file up to date and fail, naming them, if any was not.

    python .ci/generated.py

Generated are the exported modules, README.md, and clean notebooks."""

import hashlib
import json
import re
import subprocess
import sys

from notebooks import ROOT


def readme():
    "Text of README.md: nbs/index.ipynb with its code and text output, links taken from the root."
    parts = []
    for cell in json.loads((ROOT / "nbs/index.ipynb").read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif not source.startswith("#|"):
            parts += [f"```python\n{source}\n```", *text_outputs(cell)]
    pages = r"\]\((?!https?:)([^)]+\.(?:ipynb|png|svg))\)"
    text = re.sub(pages, r"](nbs/\1)", "\n\n".join(parts))
    return f"<!-- made from nbs/index.ipynb by `make export` -->\n\n{text}\n"


def text_outputs(cell):
    "Plain outputs of a cell, as quoted text."
    found = []
    for output in cell.get("outputs", []):
        text = "".join(output.get("data", {}).get("text/plain", ""))
        if text:
            found.append("> " + text.strip("'\"\n"))
    return found


def snapshot():
    "Checksum of every file that may be generated."
    files = [
        *(ROOT / "musicgen_emotion").rglob("*"),
        *(ROOT / "nbs").rglob("*.ipynb"),
        ROOT / "README.md",
    ]
    checksums = {}
    for file in files:
        if file.is_file() and not {"__pycache__", ".ipynb_checkpoints"} & set(file.parts):
            name = str(file.relative_to(ROOT))
            checksums[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return checksums


def main():
    before = snapshot()
    clean = "from nbdev.clean import nbdev_clean; nbdev_clean()"
    for command in ([".ci/export.py"], ["-c", clean]):
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    (ROOT / "README.md").write_text(readme())
    after = snapshot()
    names = sorted({*before, *after})
    stale = [name for name in names if before.get(name) != after.get(name)]
    if stale:
        sys.exit("not current (now rewritten; commit them): " + ", ".join(stale))


if __name__ == "__main__":
    main()
