"""Valid forms of the arguments of the valid calls: none may be refused.

`forms` gives the same value in other types that are accepted everywhere: NumPy's scalars, `4.0` as
a count, arrays that are read-only or not contiguous, Series, tuples, categories, `Path` and `str`,
names with spaces and letters of any script. The result must be the same.
"""

import inspect
import re
from pathlib import Path

import numpy as np
import pandas as pd
from kinds import kind_of

UNICODE = "größe of 音楽 ☂"


def counts(parameter, value):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        return
    yield "np.int64", np.int64(value)
    yield "np.int32", np.int32(value)
    yield "float", float(value)
    yield "np.float64", np.float64(value)


def seeds(parameter, value):
    if isinstance(value, (int, np.integer)):
        yield "np.int64", np.int64(value)
        yield "np.uint32", np.uint32(value)
    elif isinstance(value, (list, tuple)) and value:
        yield "array", np.array(value)
        yield "tuple", tuple(value)
        yield "NumPy scalars", [np.int64(seed) for seed in value]


def numbers_of_one(parameter, value):
    if not isinstance(value, (int, float, np.number)):
        return
    yield "np.float64", np.float64(value)
    if np.isfinite(value) and float(value).is_integer():
        yield "int", int(value)
        yield "np.int64", np.int64(value)
    if float(np.float32(value)) == value:
        yield "np.float32", np.float32(value)


def texts(parameter, value):
    if isinstance(value, str):
        yield "np.str_", np.str_(value)


def prompts(parameter, value):
    if not isinstance(value, list):
        return
    yield "tuple", tuple(value)
    yield "Series", pd.Series(value)
    yield "Series of strings", pd.Series(value, dtype="string")
    yield "Series with another index", pd.Series(value, index=range(7, 7 + len(value)))
    yield "np.str_", [np.str_(text) for text in value]
    if "DataFrame" in str(parameter.annotation) or parameter.annotation is inspect._empty:
        yield "DataFrame", pd.DataFrame(dict(prompt=value))


def arrays(parameter, value):
    if not isinstance(value, np.ndarray):
        return
    yield "contiguous copy", value.copy()
    frozen = value.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen
    yield "columns first", np.asfortranarray(value)
    apart = np.zeros((2 * len(value), *value.shape[1:]), value.dtype)
    apart[::2] = value
    yield "not contiguous", apart[::2]
    yield "reversed twice", value[::-1].copy()[::-1]
    if value.dtype == np.int16:
        yield "int64", value.astype(np.int64)


def labels(parameter, value):
    listed = list(value)
    yield "list", [item.item() if hasattr(item, "item") else item for item in listed]
    if not isinstance(value, np.ndarray):
        yield "tuple", tuple(value)
        return
    frozen = value.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen
    if value.dtype.kind == "U":
        yield "objects", np.array([str(item) for item in listed], object)
    yield "Series", pd.Series(value)
    yield "Series with another index", pd.Series(value, index=range(5, 5 + len(value)))
    yield "categories", pd.Series(value).astype("category")
    if value.dtype.kind == "U":
        yield "Series of strings", pd.Series(value, dtype="string")
    if value.dtype.kind == "i":
        yield "int32", value.astype(np.int32)


def tables(parameter, value):
    yield "another index", value.set_index(np.arange(len(value)) + 5)
    yield "columns turned round", value[value.columns[::-1]]
    yield "a further column", value.assign(**{"a note": "x"})
    text = [name for name in value if value[name].dtype.kind not in "iufb"]
    hashable = [name for name in text if value[name].map(type).eq(str).all()]
    if hashable:
        yield "strings", value.astype(dict.fromkeys(hashable, "string"))
        yield "objects", value.astype(dict.fromkeys(hashable, object))


def sequences(parameter, value):
    yield "tuple", tuple(value)
    yield "list", list(value)


def number_sequences(parameter, value):
    yield from sequences(parameter, value)
    yield "array", np.array(value)
    yield "NumPy scalars", [np.asarray(item)[()] for item in value]


def paths(parameter, value):
    path = Path(value)
    yield "str", str(path)
    yield "Path", path
    if not path.exists():
        odd = path.parent / UNICODE / f"made here{path.suffix}"
        odd.parent.mkdir(exist_ok=True)
        yield "Unicode and spaces", odd
        yield "Unicode and spaces as str", str(odd.with_name(f"again{path.suffix}"))
    elif path.is_dir():
        yield "with a slash at the end", f"{path}/"


FORMS = dict(
    count=counts,
    seed=seeds,
    number=numbers_of_one,
    text=texts,
    name=texts,
    prompts=prompts,
    array=arrays,
    tokens=arrays,
    labels=labels,
    units=labels,
    table=tables,
    names=sequences,
    numbers=number_sequences,
    path=paths,
)


# arguments whose other forms mean something else: names of phases, tables read by their index
LEFT_OUT = {
    ("find_params", "name"), ("find_phase", "phase"), ("plan", "phase"),
    ("circumplex_test", "similarity"), ("plot_confusion", "table"), ("plot_heatmap", "table"),
    ("read_params_file", "name"), ("read_parameters", "notebook"), ("relabel", "labels"),
    ("plot_correlations", "table"), ("check_columns", "table"), ("edit_test", "changes"),
    ("best_setting", "table"), ("balanced_setting", "table"), ("recovery_table", "truth"),
    ("recovered_emotions", "changes"),
}  # fmt: skip
# optional arguments that may not be left out beside the others of the call
NEEDED = {
    ("load_prompt_embeddings", "labels"), ("trim_special", "n_special"), ("spliced_logits", "fn"),
    ("describe_table", "sr"), ("write_listening_test", "sample_rate"), ("audio_table", "sr"),
    ("count_selective", "labels"), ("steer", "alpha"), ("gate", "low"), ("gate", "threshold"),
    ("gate", "n"),
}  # fmt: skip


def forms(function, parameter, value):
    "Rows (label, the same value in another form)."
    place = (function.__name__, parameter.name)
    if place in LEFT_OUT:
        return []
    if value is inspect.Parameter.empty:
        return []
    kind = kind_of(function, parameter, value)
    rows = list(FORMS[kind](parameter, value)) if kind in FORMS and value is not None else []
    if parameter.default is None and "None" in str(parameter.annotation) and place not in NEEDED:
        rows.append(("None", None))
    return rows


def is_same(first, second):
    "Are two results equal, as far as they hold numbers and text? Paths count as equal."
    if isinstance(first, (Path, str)):
        return isinstance(second, (Path, str))
    if isinstance(first, pd.DataFrame):
        return _same_tables(first, second)
    if isinstance(first, np.ndarray) and first.dtype.kind in "iufb":
        return np.shape(first) == np.shape(second) and np.allclose(
            first, np.asarray(second, first.dtype), equal_nan=True, rtol=1e-4, atol=1e-6
        )
    if isinstance(first, (int, float, np.number)) and not isinstance(first, bool):
        return bool(np.isclose(first, second, equal_nan=True, rtol=1e-4))
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(is_same, first, second))
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(
            is_same(first[name], second[name]) for name in first
        )
    return type(first) is type(second)


def _same_tables(first, second):
    shared = [name for name in first if name in second and first[name].dtype.kind in "iufb"]
    shared = [
        name for name in shared if not re.search("second|time|path|per_s|rate|wall", str(name))
    ]
    if len(first) != len(second):
        return False
    ours, theirs = first[shared].to_numpy(float), second[shared].to_numpy(float)
    return bool(np.allclose(ours, theirs, equal_nan=True, rtol=1e-4, atol=1e-6))
