"""Write the package from its notebooks: nbdev's export, each folder's `__init__`, ruff's format.

A whole export also writes README.md and the import contracts.

python .ci/export.py                   # everything
python .ci/export.py models sae        # these folders only, without nbdev's index
"""

import ast
import json
import subprocess
import sys

from contracts import contracts
from generated import readme
from notebooks import ROOT, notebook_folders, numbered

HEAD = '"""{purpose}"""\n\n# made by `make export` from the modules of this folder\n'


def public_names(module):
    "Names in a module's `__all__`."
    for node in ast.parse(module.read_text()).body:
        targets = [ast.unparse(target) for target in getattr(node, "targets", [])]
        if targets == ["__all__"]:
            return ast.literal_eval(node.value)
    return []


def folder_init(folder, modules, purpose):
    "Text of a folder's `__init__`: the public names of its modules, in their order."
    lines, origin = [HEAD.format(purpose=purpose)], {}
    for module in modules:
        names = public_names(folder / f"{module}.py")
        clash = [name for name in names if name in origin]
        if clash:
            sys.exit(f"{folder.name}: {clash} are in {module} and in {origin[clash[0]]}")
        origin.update(dict.fromkeys(names, module))
        if names:
            handed_on = ", ".join(f"{name} as {name}" for name in names)
            lines.append(f"from .{module} import {handed_on}")
    hidden = sorted(set(origin) & set(modules))
    if hidden:
        sys.exit(f"{folder.name}: {hidden} name a module and a public object")
    return "\n".join(lines) + "\n"


def remove_stale(folders):
    "Modules whose notebook is gone."
    for path, folder in folders.items():
        wanted = {notebook.stem[3:] for notebook in numbered(path)} | {"__init__", "__main__"}
        for module in folder.glob("*.py"):
            if module.stem not in wanted:
                module.unlink()


def write_inits(folders):
    "The `__init__` of every folder."
    purposes = json.loads((ROOT / "nbs" / "folders.json").read_text())
    for path, folder in folders.items():
        modules = [notebook.stem[3:] for notebook in numbered(path)]
        (folder / "__init__.py").write_text(folder_init(folder, modules, purposes[folder.name]))


def export(wanted):
    "nbdev's export of everything, or of some folders."
    from nbdev.doclinks import nbdev_export
    from nbdev.export import nb_export

    if not wanted:
        nbdev_export()
    for path in notebook_folders(wanted) if wanted else ():
        for notebook in numbered(path):
            nb_export(notebook)


def main(wanted):
    folders = notebook_folders(wanted)
    remove_stale(folders)
    export(wanted)
    write_inits(folders)
    places = [str(place) for pair in folders.items() for place in pair] if wanted else ["."]
    code = [str(folder) for folder in folders.values()]
    ruff = [sys.executable, "-m", "ruff"]
    subprocess.run([*ruff, "check", "-q", "--select", "I,RUF022", "--fix", *code], cwd=ROOT)
    subprocess.run([*ruff, "format", "-q", *places], cwd=ROOT, check=True)
    if not wanted:
        (ROOT / ".importlinter").write_text(contracts())
        (ROOT / "README.md").write_text(readme())


if __name__ == "__main__":
    main(sys.argv[1:])
