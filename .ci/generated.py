"""Bring every generated file up to date and fail, naming them, if any was not.

    python .ci/generated.py

Exported modules, README.md, the package's copies of phase notebooks and parameter files, clean notebooks, and the site's
processed pages with their links."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def readme():
    "Text of README.md: the markdown of nbs/index.ipynb, links to notebooks taken from the root"
    cells = json.loads((ROOT / "nbs/index.ipynb").read_text())["cells"]
    text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return (
        "<!-- made from nbs/index.ipynb by `make current` -->\n\n"
        + re.sub(r"\]\((?!https?:)([^)]+\.ipynb)\)", r"](nbs/\1)", text)
        + "\n"
    )


def snapshot():
    files = [
        *(ROOT / "musicgen_emotion").rglob("*"),
        *(ROOT / "nbs").rglob("*.ipynb"),
        ROOT / "README.md",
    ]
    return {
        str(f.relative_to(ROOT)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in files
        if f.is_file() and "__pycache__" not in f.parts and ".ipynb_checkpoints" not in f.parts
    }


def main():
    before = snapshot()
    subprocess.run(
        [sys.executable, "-c", "from nbdev.doclinks import nbdev_export; nbdev_export()"],
        cwd=ROOT,
        check=True,
    )
    subprocess.run(
        [sys.executable, "-c", "from nbdev.clean import nbdev_clean; nbdev_clean()"],
        cwd=ROOT,
        check=True,
    )
    subprocess.run(
        [
            sys.executable,
            "-c",
            "from musicgen_emotion.lab.phase_files import sync_phases; sync_phases()",
        ],
        cwd=ROOT,
        check=True,
    )
    (ROOT / "README.md").write_text(readme())
    after = snapshot()
    stale = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    if stale:
        sys.exit("not current (now rewritten; commit them): " + ", ".join(stale))


if __name__ == "__main__":
    main()
