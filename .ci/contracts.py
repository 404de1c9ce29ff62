"""Write `.importlinter` from the numbers of the notebooks: imports go one way.

python .ci/contracts.py
"""

from notebooks import ROOT, notebook_folders, numbered

TORCH_FREE = ("lab", "stats", "stimuli", "sound", "show")
START = """\
# made by `make export` from the numbers of the notebooks; `make check` reads it
[importlinter]
root_package = musicgen_emotion
include_external_packages = True
exclude_type_checking_imports = True
"""
LAYERS = """
[importlinter:contract:{key}]
name = {name}
type = layers
containers = {container}
layers =
{layers}
"""
TORCH = """
[importlinter:contract:no_torch]
name = Folders below models import no torch
type = forbidden
source_modules =
{sources}
forbidden_modules =
    torch
    transformers
    audiocraft
allow_indirect_imports = True
"""


def indented(lines):
    return "\n".join(f"    {line}" for line in lines)


def contracts():
    "Text of `.importlinter`."
    folders = {folder.name: path for path, folder in notebook_folders().items()}
    house = LAYERS.format(
        key="house",
        name="A folder imports only from folders before it",
        container="musicgen_emotion",
        layers=indented(reversed(folders)),
    )
    inside = []
    for name, path in folders.items():
        modules = [notebook.stem[3:] for notebook in numbered(path)]
        text = LAYERS.format(
            key=name,
            name=f"A module of {name} imports only from modules before it",
            container=f"musicgen_emotion.{name}",
            layers=indented(reversed(modules)),
        )
        inside.append(text)
    sources = indented(f"musicgen_emotion.{name}" for name in TORCH_FREE)
    return START + house + "".join(inside) + TORCH.format(sources=sources)


if __name__ == "__main__":
    (ROOT / ".importlinter").write_text(contracts())
