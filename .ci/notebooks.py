"""The folders of `nbs/api` and their notebooks, in their order."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, NOTEBOOKS = ROOT / "musicgen_emotion", ROOT / "nbs" / "api"


def notebook_folders(wanted=()):
    "Folder of notebooks -> folder of the package, in order; all of them when none is wanted."
    folders = {path: PACKAGE / path.name[3:] for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*"))}
    names = [folder.name for folder in folders.values()]
    unknown = set(wanted) - set(names)
    if unknown:
        sys.exit(f"no such folder: {sorted(unknown)}; there are {names}")
    return {path: folder for path, folder in folders.items() if not wanted or folder.name in wanted}


def numbered(folder):
    "A folder's notebooks, by number."
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))
