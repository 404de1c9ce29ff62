"What the studies write into a run folder, and what a page reads from it, told from their source."

import ast
import json
import re

KEPT = (".csv", ".parquet", ".md", ".npy", ".html")
WRITERS = ("atomic_path", "write_text", "save", "write_feature_page", "write_listening_test")


def sources(path, kind="code"):
    "Sources of a notebook's cells."
    cells = json.loads(path.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def gates_of_the_text(path):
    "Rows of the table of gates at the head of a phase notebook: gate -> the other cells."
    for text in sources(path, "markdown"):
        if "Gates, fixed before the run" in text:
            lines = [line.strip("|").split("|") for line in text.splitlines() if line[:2] == "| "]
            return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in lines[2:]}
    raise AssertionError(f"{path.name} has no table of gates")


def written_files(source):
    "Files that code writes: tables, texts, and a png per figure, by their literal names."
    names = set()
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        called = getattr(call.func, "attr", getattr(call.func, "id", ""))
        texts = [node.value for node in call.args if _is_text(node)]
        if called in ("Figure", "slopes_figure"):
            texts += [word.value.value for word in call.keywords if _is_name(word)]
            names |= {f"{text}.png" for text in texts[:1]}
        elif called in ("table", "keep_sentences"):
            names |= {text for text in texts if text.endswith(KEPT)}
        elif called in WRITERS:
            names |= _files_in_the_run(call)
    return names


def _is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_name(keyword):
    return keyword.arg == "name" and _is_text(keyword.value)


def _files_in_the_run(call):
    "Names in `run.path / name` inside a call."
    found = set()
    for node in ast.walk(call):
        is_path = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
        if is_path and _is_text(node.right) and node.right.value.endswith(KEPT):
            found.add(node.right.value)
    return found


def read_files(page):
    "Files of the run folder that the code of a findings page reads."
    tables = set(re.findall(r"""(?:read\(|run / )["'](\w+\.\w+)["']""", page))
    return tables | {f"{name}.png" for name in re.findall(r"""figure\(["'](\w+)["']\)""", page)}
