"""Build the findings pages from evidence/, in place; the others keep their stored outputs.

    python .ci/findings.py

A page can be built from another run by hand: MGE_RUN=RUN jupyter execute --inplace PAGE."""

import sys

import nbformat
from nbclient import NotebookClient
from nbdev.clean import nbdev_clean
from notebooks import ROOT


def build(page):
    "Run a page and store its outputs, without warnings, times and counts."
    notebook = nbformat.read(page, 4)
    NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": page.parent}}
    ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    nbformat.write(notebook, page)
    nbdev_clean(str(page))


def main():
    phases = sorted(path.stem for path in (ROOT / "nbs" / "phases").glob("phase*.ipynb"))
    for name in (*phases, "controls"):
        page = ROOT / "nbs" / "findings" / f"{name.split('_')[0]}.ipynb"
        if page.exists() and (ROOT / "evidence" / name / "published.json").exists():
            build(page)
            sys.stdout.write(f"{page.relative_to(ROOT)}: from evidence/{name}\n")


if __name__ == "__main__":
    main()
