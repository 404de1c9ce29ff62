"""Hostile values by the kind of an argument, and what a refusal must look like.

A value is (label, value, must it be refused?). Values that need not be refused must give a result
without new NaN, or a proper error.
"""

import inspect
import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

ERRORS = (ValueError, TypeError, LookupError, OSError)  # what a refusal may be
NAN, INF = float("nan"), float("inf")
HUGE = 10**18

# text of Python and of libraries that a user must not meet
INTERNALS = re.compile(
    r"object is not|NoneType|unexpected keyword|not subscriptable|has no attribute|"
    r"unsupported operand|not supported between|positional argument|truth value of|"
    r"could not be broadcast|cannot be interpreted as|setting an array element|"
    r"invalid literal|could not convert string|ufunc|out of bounds for axis|"
    r"must be real number|unhashable type|embedded null|expected str, bytes|"
    r"<class '|<function|object at 0x|Length mismatch|zero-size array|"
    r"a bytes-like object|IndexError|only integer|Label\(s\)|None of \[|"
    r"operands could not|matmul|mat1 and mat2|the array at index|too many indices|"
    r"No axis named|Expected \dD array|must be numeric|argument of type|unpack"
)

# texts that may say anything; everything else that is annotated `str` is a name from a list
FREE_TEXT = {
    "about", "alt", "caption", "content", "data", "farewell", "instructions", "judge_name",
    "label", "lang", "mask", "meaning", "model_checksum", "name", "origin", "other",
    "phase", "prefix", "split",
    "prompt", "question", "rater", "revision", "target_name", "text", "title", "value", "why",
    "word", "cell", "test_id", "where", "what",
}  # fmt: skip

# helpers that get the name of an argument from the function that calls them
NAMED_BY_CALLERS = {
    "check_between", "check_count", "check_finite", "check_number", "check_positive",
    "chosen_rows", "factor_codes", "finite_array", "penalty_grid",
}  # fmt: skip

LABELS = {"labels", "labels_new", "y", "emotions", "words", "concept", "predicted"}
UNITS = {"groups", "groups_new", "groups_a", "groups_b", "strata", "units", "pairs"}
SHARES = {"level", "confidence", "alpha", "dead", "pause_below"}
# counts whose work or memory grows with them: absurd ones are refused before work starts
GROWING = {
    "n_boot", "n_perm", "n_sims", "n_draws", "n_random", "n_resamples", "n_shuffles", "epochs",
    "hidden", "n_iter", "n_split", "n_frames", "steps", "d_sae", "n_mels", "n_bpm", "n_per_cell",
    "n_per_emotion", "d_model", "n_layers", "n_raters", "n_tracks", "n_folds", "control",
}  # fmt: skip
TEXT_SEQUENCES = re.compile(r"Sequence\[str\]|list\[str\]|Iterable\[str\]|tuple\[str")
PATHS = re.compile(r"\bPath\b")


def kind_of(function, parameter, value):
    "Kind of an argument by its name, its annotation and the value of the valid call."
    name, note = parameter.name, str(parameter.annotation)
    if name == "self" or parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return None
    if name == "name" and function.__name__ in NAMED_BY_CALLERS:
        return None
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        return None
    if name in ("seed", "seeds") and "tuple" not in note:
        return "seed"
    if name == "prompts" and "DataFrame" not in note:
        return "prompts"
    if PATHS.search(note) and isinstance(value, (str, Path)):
        return "path"
    if isinstance(value, pd.DataFrame):
        return "table"
    if name in ("tokens", "reference_tokens", "sequence") and isinstance(value, np.ndarray):
        return "tokens"
    if name in LABELS and _is_many(value):
        are_names = isinstance(value, (list, tuple)) and len(set(value)) == len(value)
        return "names" if are_names else "labels"
    if name in UNITS and _is_many(value):
        return "units"
    if isinstance(value, np.ndarray):
        return "array"
    if name == "model" and note != "str":
        return "model"
    if note in ("bool", "<class 'bool'>"):
        return None
    if re.fullmatch(r"int( \| None)?", note):
        return "count"
    if re.fullmatch(r"float( \| None)?", note):
        return "number"
    if re.fullmatch(r"str( \| None)?", note):
        return "text" if name in FREE_TEXT else "name"
    if isinstance(value, Mapping):
        return "mapping"
    if isinstance(value, (list, tuple)) and value:
        if all(isinstance(item, str) for item in value):
            return "names"
        if all(isinstance(item, (int, float)) for item in value):
            return "numbers"
    return "other"


def _is_many(value):
    if not isinstance(value, (np.ndarray, list, tuple)) or len(value) < 2:
        return False
    return isinstance(value[0], (str, int, float, np.generic))


def is_optional(parameter):
    return parameter.default is None or "None" in str(parameter.annotation)


# arguments that are not for users, that take what looks hostile, or that this call does not read
LEFT_OUT = {
    "check_between": ("low", "high"),
    "check_count": ("least", "most"),
    "check_finite": ("values",),
    "chosen_rows": ("n_rows",),
    "write_json": ("value",),
    "open_run": ("params",),
    "excludes": ("x",),
    "interval": ("samples", "value"),
    "atomic_write": ("data",),
    "finite_array": ("ndim",),
    "named_judges": ("judge",),
    "is_locked": ("name",),
    "folder_lock": ("name",),
    "split_assignments": ("option",),
    "load_dictionary": ("activation", "k"),
    "cosine_similarity": ("branch",),
    "model_folder": ("backend",),
    "plot_scores": ("low", "high"),
    "plot_layers": ("low", "high"),
    "plot_time": ("low", "high"),
    "from_tensors": ("source",),
    "dose_slopes": ("band",),
    "edit_effects": ("control",),
    "plot_dose": ("control",),
    "SAEConfig": ("d_sae",),
    "TrainConfig": ("steps",),
    "clip_id": ("duration_s",),
}
# single values that are right where they stand: (function, argument, label)
LEGAL = {
    ("Gate", "value", "nan"),  # could not be measured
    ("Gate", "value", "None"),  # as `gates.json` writes NaN
    ("gate", "value", "nan"),
    ("gate", "value", "None"),
    ("table", "df", "nan in a"),  # it writes and returns what it is given
    ("Gate", "low", "nan"),
    ("Gate", "high", "nan"),
    ("Gate", "low", "None"),
    ("Gate", "high", "None"),
    ("gate", "low", "nan"),
    ("gate", "high", "nan"),
    ("verdict", "pause_below", "0"),
    ("partial_correlation", "given", "None"),
    ("permutation_p", "observed", "3"),
    ("permutation_p", "null", "inf in it"),
    ("fdr", "p", "nan in it"),
    ("make_prompt", "instrument", "'no such'"),
    ("split_by_group", "groups", "shorter"),
    ("group_split", "groups", "shorter"),
    ("method_directions", "seeds", "[]"),
    ("write_listening_test", "lang", "'no such'"),
    ("make_prompt", "instrument", "''"),  # a sentence may leave a part out, as it may the word
    ("rank_correlation", "x", "nan in it"),  # not rated
    ("rank_correlation", "y", "nan in it"),
    ("rank_correlation", "y", "one class"),  # no correlation, documented as NaN
    ("attack_time", "onsets", "empty"),  # no note, documented as NaN
    ("describe_table", "names", "3 in it"),  # clips may be numbered
    ("beats_controls", "table", "without rows"),  # all controls are listed as missing
    ("edit_changes", "table", "nan in tempo_bpm"),  # of a silent clip
    # it renames columns and returns what it is given
    ("current_descriptors", "table", "without columns"),
    ("current_descriptors", "table", "nan in clip"),
    ("current_descriptors", "table", "nan in tempo_bpm"),
    ("current_descriptors", "table", "nan in pulse_clarity"),
    ("current_descriptors", "table", "nan in onset_rate"),
    ("current_descriptors", "table", "nan in mode_score"),
    ("current_descriptors", "table", "nan in third_score"),
    ("judge_clips", "taken", "a table"),  # its columns are taken
    ("repetition", "tokens", "too large"),  # it knows no codebook, any number is a token
    ("data_report", "d_sae", "10**18"),  # a plan: nothing of this size is made
    ("ArrayBatches", "x", "nan in it"),  # `train_sae` has checked all rows once
    ("ArrayBatches", "x", "inf in it"),
    ("cue_recovery", "changes", "nan in value"),  # a dose whose clips were not judged
    ("cue_recovery", "changes", "nan in low"),
    ("cue_recovery", "changes", "nan in high"),
    ("dataset_summary", "songs", "nan in valence"),  # not rated
    ("dataset_summary", "songs", "nan in arousal"),
    # clips that cannot be judged are reported one by one
    ("run_judge", "audio", "nan in it"),
    ("run_judge", "audio", "inf in it"),
    ("judge_clips", "audio", "nan in it"),
    ("judge_clips", "audio", "inf in it"),
    ("text_embeddings", "prompts", "a DataFrame"),  # a table with a column `prompt` is accepted
    ("replay_bytes", "n_frames", "10**18"),  # a number of bytes; nothing of that size is made
    ("inlp", "n_iter", "10**18"),  # at most so many; it ends when no probe finds anything
    ("fit_oracle", "n_folds", "10**18"),  # at most the groups of the rarest class
    ("causal_reliability", "n_boot", "10**18"),  # this call's oracle may not judge: no draws
    ("attribution_agreement", "table", "nan in attribution"),  # a pair whose prompts do not differ
    # outcomes of clips that were not judged stay NaN, and so do columns that it does not read
    ("with_planted", "table", "nan in seed"),
    ("with_planted", "table", "nan in replicate"),
    ("with_planted", "table", "nan in valence"),
    ("with_planted", "table", "nan in tempo_bpm"),
    ("with_emotions", "clips", "nan in valence"),  # a clip that was not judged
    ("with_emotions", "clips", "nan in arousal"),
    ("patching_summary", "table", "text in pair"),  # one pair of that name, so no interval
    ("listener_ratings", "table", "nan in clip"),  # not read
    ("listener_ratings", "table", "nan in tempo_bpm"),  # not read
    ("listener_ratings", "table", "nan in pulse_clarity"),  # not read
    ("listener_ratings", "table", "nan in third_score"),  # not read
    ("listener_ratings", "table", "nan in onset_rate"),  # not measured, so no rating either
    ("listener_ratings", "table", "nan in mode_score"),  # not measured, so no rating either
}
# sequences of texts in which any text is right
FREE_TEXTS = {
    "clips", "instruments", "negative", "positive", "source", "taken", "target", "templates",
    "words", "neutral", "neutral_words", "candidates", "avoid",
}  # fmt: skip

# NaN in these columns stands for what a silent clip does not have, and stays NaN
NOT_MEASURED = {
    ("listener_cues", "table"),
    ("listener_codes", "cues"),
    ("predict", "cues"),
    ("listener_axes", "ratings"),
}


def hostile_values(function, parameter, value):
    "Rows (label, value, must it be refused?) for one argument of a valid call."
    kind = kind_of(function, parameter, value)
    if kind is None or parameter.name in LEFT_OUT.get(function.__name__, ()):
        return None, []
    rows = []
    for row in _all_values(kind, parameter, value):
        place = (function.__name__, parameter.name)
        is_gap = place in NOT_MEASURED and row[0].startswith("nan in ")
        if not is_gap and (*place, row[0]) not in LEGAL:
            rows.append(row)
    return kind, rows


def _all_values(kind, parameter, value):
    rows = list(MAKERS[kind](parameter, value))
    if kind not in ("other", "seed") and not is_optional(parameter):
        rows.append(("None", None, kind != "text"))
    return rows


def counts(parameter, value):
    yield "-1", -1, parameter.name not in ("pair", "layer", "start", "stop", "step", "position")
    yield "1.5", 1.5, True
    yield "nan", NAN, True
    yield "inf", INF, True
    yield "'12'", "12", True
    yield "True", True, True
    yield "[1]", [1], True
    if parameter.name in GROWING:
        yield "10**18", HUGE, True


def seeds(parameter, value):
    yield "None", None, True
    yield "'12'", "12", True
    yield "1.7", 1.7, True
    yield "nan", NAN, True
    yield "-1", -1, True
    yield "2**70", 2**70, True
    yield "True", True, True
    yield "1j", 1j, True
    if isinstance(value, (list, tuple)):
        yield "[]", [], True
        yield "[0, 1.5]", [0, 1.5], True
        yield "['0', '1']", ["0", "1"], True
        yield "[0, -1]", [0, -1], True
        yield "range(10**9)", range(10**9), True


def numbers_of_one(parameter, value):
    name = parameter.name
    nan_means_none = isinstance(parameter.default, float) and math.isnan(parameter.default)
    yield "nan", NAN, not nan_means_none
    yield "inf", INF, name not in ("end_s", "high", "low")
    yield "'0.5'", "0.5", True
    yield "True", True, True
    yield "1j", 1j, True
    yield "[0.5, 0.6]", [0.5, 0.6], name not in ("value", "rms", "alpha", "observed", "effect")
    is_share = isinstance(parameter.default, float) and 0 < parameter.default < 1
    if name in SHARES and name != "alpha" and is_share:
        yield "2", 2, True
        yield "0", 0, name != "dead"
        yield "-0.1", -0.1, True
    if name.endswith("_s") or name in ("temperature", "guidance", "lr", "rms"):
        yield "-1", -1.0, True
    if name == "duration_s":
        yield "0", 0, True
        yield "1e12", 1e12, True


def texts(parameter, value):
    yield "3", 3, parameter.name in ("prompt", "word", "text")
    yield "['a']", ["a"], parameter.name in ("prompt", "word", "text")


def names(parameter, value):
    yield "'no such'", "no such", parameter.name != "site"
    yield "''", "", True
    yield "3", 3, True
    yield "1.5", 1.5, True


def names_of_many(parameter, value):
    "Sequences of names: an unknown one, and what is no sequence of names."
    may_be_any = "names" in parameter.name or parameter.name in FREE_TEXTS
    yield "'no such' in it", [*value[:-1], "no such"], not may_be_any
    yield "3 in it", [*value[:-1], 3], True
    yield "None in it", [*value[:-1], None], True
    yield "nan in it", [*value[:-1], NAN], True
    yield "3", 3, True
    yield "a table", pd.DataFrame(dict(prompt=list(value), emotion="sad")), True


def numbers_of_many(parameter, value):
    yield "nan in it", [*value[:-1], NAN], True
    yield "inf in it", [*value[:-1], INF], True
    yield "'x' in it", [*value[:-1], "x"], True
    yield "None in it", [*value[:-1], None], True
    yield "1j in it", [*value[:-1], 1j], True
    yield "text", "abc", True


def prompts(parameter, value):
    "What is no list, tuple or Series of text."
    table = pd.DataFrame(dict(prompt=["a", "b"], emotion=["sad", "happy"]))
    takes_tables = "DataFrame" in str(parameter.annotation) or (
        parameter.annotation is inspect.Parameter.empty
    )
    yield "3", 3, True
    yield "a dict", {"a sad song": 1, "a happy song": 2}, True
    yield "a generator", (text for text in ["a", "b"]), True
    yield "bytes", b"a song", True
    yield "[b'a song']", [b"a song"], True
    yield "[3]", [3], True
    yield "[None]", [None], True
    yield "[nan]", [NAN], True
    yield "Series with NaN", pd.Series(["a song", None]), True
    yield "[['a', 'b']]", [["a", "b"]], True
    yield "a set", {"a song", "another"}, True
    yield "[]", [], False
    if not takes_tables:
        yield "a DataFrame", table, True
    else:
        yield "a DataFrame without prompt", table.drop(columns="prompt"), True
        yield "a DataFrame with a NaN prompt", table.assign(prompt=["a", None]), True


def tokens(parameter, value):
    fractions = value + 0.9
    holes = value.astype(float)
    holes.flat[0] = NAN
    yield "1.9 in it", fractions, True
    yield "nan in it", holes, True
    yield "complex", value + 1j, True
    yield "text", np.full(value.shape, "abc"), True
    yield "too large", np.full_like(value, 30000), True
    yield "-5 in it", np.full_like(value, -5), True
    yield "wrong ndim", value[0, 0] if value.ndim == 3 else value[0], True
    yield "empty", value[:0], False
    yield "bool", value.astype(bool), False


def labels(parameter, value):
    listed = list(value)
    if all(isinstance(item, (str, np.str_)) for item in listed):
        yield "nan in it", np.array([*listed[:-1], NAN], object), True
        yield "None in it", np.array([*listed[:-1], None], object), True
    else:
        yield "nan in it", np.array([*listed[:-1], NAN], float), True
    yield "shorter", value[:-1], True
    yield "2-D", np.array([listed, listed]).T, True
    yield "text", "happy", True
    yield "one class", np.array([listed[0]] * len(listed)), False


def units(parameter, value):
    listed = list(value)
    are_numbers = not isinstance(listed[0], (str, np.str_))
    with_nan = [*listed[:-1], NAN]
    yield "nan in it", np.array(with_nan, float if are_numbers else object), True
    yield "None in it", np.array([*listed[:-1], None], object), True
    yield "shorter", value[:-1], True
    yield "2-D", np.array([listed, listed]).T, True
    yield "text", "abc", True


def arrays(parameter, value):
    if value.dtype.kind in "fiu":
        for label, bad in (("nan in it", NAN), ("inf in it", INF)):
            spoiled = value.astype(float)
            spoiled.flat[0] = bad
            yield label, spoiled, True
        yield "complex", value + 1j, True
        yield "text", np.full(value.shape, "abc"), True
        spoiled = value.astype(object)
        spoiled.flat[0] = None
        yield "objects", spoiled, True
    yield "empty", value[:0], False
    yield "0-d", np.float64(1.0), True
    yield "wrong ndim", value[None, None], False
    yield "a dict", dict(a=1), True


def tables(parameter, value):
    yield "3", 3, True
    yield "text", "a table", True
    yield "without columns", pd.DataFrame(index=range(3)), True
    yield "without rows", value.iloc[:0], False
    for column in value.columns:
        yield f"without {column}", value.drop(columns=column), False
    numeric = value.select_dtypes("number").columns
    for column in numeric[:6]:
        yield f"text in {column}", value.assign(**{str(column): "x"}), False
        spoiled = value[column].astype(float).to_numpy().copy()
        spoiled[0] = NAN
        yield f"nan in {column}", value.assign(**{str(column): spoiled}), False
        spoiled = spoiled.copy()
        spoiled[0] = INF
        yield f"inf in {column}", value.assign(**{str(column): spoiled}), False


def models(parameter, value):
    yield "3", 3, True
    yield "'no such model'", "no such model", True
    yield "a dict", {}, True


def mappings(parameter, value):
    yield "3", 3, True
    yield "text", "abc", True
    yield "a list", [1, 2], True
    if any(isinstance(item, (int, float)) for item in value.values()):
        for label, bad in (("nan", NAN), ("inf", INF), ("'x'", "x"), ("None", None)):
            yield f"{label} in it", {key: bad for key in value}, True


def others(parameter, value):
    "Objects of the package, and sequences of unclear content."
    is_needed = parameter.default is inspect.Parameter.empty and not is_optional(parameter)
    if is_needed and "Any" not in str(parameter.annotation):
        yield "None", None, True
        yield "3", 3, True


def paths(parameter, value):
    "Paths; folders with somebody's files are tried apart."
    yield "''", "", True
    yield "NUL", "a\0b", True
    yield "3", 3, True
    yield "bytes", b"abc", True
    if isinstance(value, Path) and value.exists():
        yield "absent", value.parent / "no such place", False


MAKERS = dict(
    count=counts,
    seed=seeds,
    number=numbers_of_one,
    text=texts,
    name=names,
    names=names_of_many,
    numbers=numbers_of_many,
    prompts=prompts,
    tokens=tokens,
    labels=labels,
    units=units,
    array=arrays,
    table=tables,
    model=models,
    mapping=mappings,
    other=others,
    path=paths,
)


def nan_count(result, depth=0):
    "NaN in a result: numbers, arrays, tables, and those in containers and dataclasses."
    if depth > 4 or result is None or isinstance(result, (str, bytes, bool, Path)):
        return 0
    if isinstance(result, (float, np.floating)):
        return int(math.isnan(result))
    if isinstance(result, np.ndarray):
        return int(np.isnan(result).sum()) if result.dtype.kind in "fc" else 0
    if isinstance(result, pd.DataFrame):
        return int(result.select_dtypes("number").isna().to_numpy().sum())
    if isinstance(result, pd.Series):
        return int(result.isna().sum()) if result.dtype.kind == "f" else 0
    if isinstance(result, Mapping):
        return sum(nan_count(item, depth + 1) for item in result.values())
    if isinstance(result, (list, tuple)):
        return sum(nan_count(item, depth + 1) for item in result)
    if hasattr(result, "__dataclass_fields__"):
        return sum(nan_count(getattr(result, name), depth + 1) for name in _fields(result))
    if type(result).__name__ in ("Tensor", "Parameter"):
        return int(result.isnan().sum()) if result.is_floating_point() else 0
    if type(result).__name__ == "DataArray":
        return nan_count(result.values, depth + 1)
    if type(result).__name__ == "Dataset":
        return sum(nan_count(part.values, depth + 1) for part in result.values())
    return 0


def _fields(result):
    return [name for name in result.__dataclass_fields__ if not name.startswith("_")]


def wrong_refusal(error, name, value, must_refuse=True):
    "What is wrong with an error, or None."
    kind = type(error).__name__
    if not isinstance(error, ERRORS):
        return f"{kind}: {_short(error)}"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if INTERNALS.search(text.replace("got None of type NoneType", "got None")):
        return f"{kind} shows internals: {_short(text)}"
    if len(text.split()) < 3:
        return f"{kind} is no sentence: {_short(text)}"
    if must_refuse and not names_it(text, name, value):
        return f"{kind} names neither the argument nor the value: {_short(text)}"
    return None


def _short(text):
    return " ".join(str(text).split())[:140]


# words that say what is wrong inside an array or a table
ABOUT_VALUES = re.compile(
    r"NaN|suffix|infinit|finite|complex|empty|column|row|text|shape|missing|dimension|length|"
    r"got \("
)
SYNONYMS = dict(
    prompts=("prompt",), seeds=("seed",), tokens=("token", "codes"), table=("column", "columns"),
    X=("rows", "states", "activations"), y=("labels",), folder=("folder",), path=("file",),
    model=("model",), wave=("sound", "clip", "audio"), labels=("label", "emotion"),
)  # fmt: skip


def names_it(text, name, value):
    "Does the text hold the argument's name, a usual word for it, or the value?"
    low = text.lower()
    if "would take" in low:  # what a refused size would need
        return True
    words = {name.lower(), name.lower().rstrip("s"), name.lower().replace("_", " ")}
    words |= {name.lower().removesuffix("es")} | set(SYNONYMS.get(name, ()))
    words |= {re.sub("ies$", "y", name.lower())}
    if any(re.search(rf"\b{re.escape(word)}", low) for word in words if word):
        return True
    if (
        isinstance(value, (str, int, float, complex))
        and str(value)
        and value != "a\0b"
        and str(value) in text
    ):
        return True
    if isinstance(value, str) and not value and "''" in text:  # a name is shown in quotes
        return True
    if isinstance(value, Path) and str(value) in text:
        return True
    if isinstance(value, (list, tuple)) and value and repr(value[-1]) in text:
        return True
    if value is None and re.search(r"\bNone\b", text):
        return True
    is_odd_text = isinstance(value, str) and (not value or "\0" in value)
    if isinstance(value, (Path, bytes)) or is_odd_text:
        return bool(re.search(r"path|suffix|folder", low))
    if isinstance(value, (np.ndarray, pd.DataFrame, list, tuple, Mapping)):
        return bool(ABOUT_VALUES.search(text))
    return False
