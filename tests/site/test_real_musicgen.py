"Messages that the page `Using a real MusicGen` lists by hand are those of the code."

import ast
import json
import re
from pathlib import Path

import pytest

import musicgen_emotion

PACKAGE = Path(musicgen_emotion.__path__[0])
PAGE = PACKAGE.parent / "nbs" / "learn" / "real_musicgen.ipynb"
if not PAGE.exists():
    pytest.skip("needs a checkout of the project: nbs/", allow_module_level=True)
OF_OTHERS = ("CUDA out of memory",)  # messages of torch


def listed_messages():
    "Messages of the table `Faults of other machines`."
    sources = ["".join(cell["source"]) for cell in json.loads(PAGE.read_text())["cells"]]
    [table] = [text for text in sources if text.startswith("Faults of other machines")]
    messages = re.findall(r"^\| `(.+?)` \|", table, re.M)
    return [message for message in messages if message not in OF_OTHERS]


def texts_of(path):
    "Texts of a module's strings, with a blank for every value."
    texts = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = [getattr(part, "value", "") for part in node.values]
            texts.append(" ".join(part for part in parts if isinstance(part, str)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return "\n".join(texts)


@pytest.fixture(scope="module")
def modules():
    return [texts_of(path) for path in PACKAGE.rglob("*.py")]


@pytest.mark.parametrize("message", listed_messages())
def test_a_listed_message_is_in_the_code(modules, message):
    "Dots are values; a module may put its message together from two strings."
    pieces = [piece.strip() for piece in message.split("...") if piece.strip()]
    assert any(all(piece in text for piece in pieces) for text in modules), message
