"""Arguments mean what they say: every public function, from its signature."""

import importlib
import inspect
import pkgutil
import re

import numpy as np
import pandas as pd
import pytest

import musicgen_emotion
from musicgen_emotion.lab.arguments import argument_check
from musicgen_emotion.lab.checks import as_prompts, check_texts

NAN, INF = float("nan"), float("inf")
NO_NUMBERS = (NAN, INF, -INF, "12", True, None, 1 + 2j, [[1]], {})
NO_SEEDS = (-1, 1.7, NAN, INF, "12", None, True, 2**63, 2**70, {})
NO_TEXTS = (
    pd.DataFrame(dict(prompt=["sad piano"], emotion=["sad"])),
    dict(sad="sad piano"),
    {"sad piano"},
    (text for text in ["sad piano"]),
    b"sad piano",
    NAN,
    3,
    [NAN],
    [None],
    [b"sad piano"],
    np.array([1.0]),
    np.array([["sad piano"]], object),
)
NO_LABELS = (
    ["sad", None],
    np.array([0.0, NAN]),
    np.array([0.37, 1.0]),
    pd.Series(["sad", None]),
    np.array([1 + 2j]),
    "sad",
    dict(a="sad"),
    3,
)

# inner steps and results, which get numbers that a public function has checked
INNER_CLASSES = set(
    """
    ArmSources CardData DataReport Estimate FeatureCard FiringTracker Gate HeldOut LabelJudge
    ListenerModel ListeningTest Match NotFiniteError Oracle Pass PassRecorder Permanova PhaseResult
    ProbePlan ReluGradient RecordedBatch ReplayRequest RowPlan SelectivityCells Site Spectrum
    StateCopy Tested TextEncoder TokenSite TokenSpan TrainResult Watcher Best CsvTable
    ActivationComparison ProbeResult Direction
    """.split()  # noqa: SIM905
)
INNER_FUNCTIONS = {
    "blocks_within_memory": "splits an array that is already there",
    "centroid_cosines": "inner product of class means",
    "clip_names": "names of rows for an error",
    "check_loss": "its numbers may be NaN: that is what it looks for",
    "count_ends": "interval of a count, from draws that are there",
    "deal_groups": "deals the groups of `grouped_folds`",
    "drum_track": "a step of `render_music`",
    "found_again": "draws of `count_selective`",
    "jump": "an activation function, called at every step",
    "keep_attention_weights": "a hook",
    "keep_batch_topk": "an activation function, called at every step",
    "keep_topk": "an activation function, called at every step",
    "merge_guidance": "called at every step of sampling",
    "nested_predictions": "a step of `run_probe`",
    "pair_mask": "a step of `within_between`",
    "pass_progress": "a bar",
    "pick_tokens": "called at every step of sampling",
    "score_notes": "a step of `render_music`",
    "tone": "a step of `render_music`",
    "unit_column": "a column of ones",
}
# functions with a check of their own: folders below `lab.arguments`, and the command line
OWN_CHECKS = {"check_disk", "compare_folders", "compare_runs", "folder_lock", "markdown_table"} | {
    "run_phases",
    "run_plan",
    "run_report",
    "verdict",
    "compare_command",
    "generate_command",
    "run",
    "gate",
}
NUMBER = re.compile(r"\b(int|float)\b")


def public_functions():
    "Name and function of everything public, methods and constructors included."
    for module in pkgutil.walk_packages(musicgen_emotion.__path__, "musicgen_emotion."):
        if module.ispkg or module.name.endswith("_modidx"):
            continue
        contents = importlib.import_module(module.name)
        folder = module.name.split(".")[1]
        for name in getattr(contents, "__all__", []):
            found = getattr(contents, name)
            if getattr(found, "__module__", None) != module.name:
                continue
            if inspect.isfunction(found):
                yield folder, None, name, found
            elif inspect.isclass(found):
                yield from methods(folder, found)


def methods(folder, owner):
    for name, value in vars(owner).items():
        function = getattr(value, "__func__", value)
        if inspect.isfunction(function) and (name == "__init__" or not name.startswith("_")):
            yield folder, owner.__name__, name, function


FUNCTIONS = list(public_functions())


def plan_of(function):
    return getattr(function, "argument_plan", [])


def cases(kind):
    "Functions with a parameter of a kind, as pytest parameters."
    found = []
    for folder, owner, name, function in FUNCTIONS:
        for _, parameter, optional, check in plan_of(function):
            annotation = str(inspect.signature(function).parameters[parameter].annotation)
            if kind(parameter, annotation, function):
                where = ".".join(filter(None, (folder, owner, name)))
                found.append(
                    pytest.param(function, parameter, optional, check, id=f"{where}-{parameter}")
                )
    return found


def is_seed(name, annotation, function):
    return name in ("seed", "seeds") and annotation in ("int", "", "int | list[int]", *SEED_LISTS)


SEED_LISTS = ("int | Sequence[int]", "list[int]", "Sequence[int]", "Iterable[int]")


def kinds_of(annotation):
    return {kind.strip() for kind in annotation.split("|")} - {"None"}


def is_number(name, annotation, function):
    return name not in ("seed", "seeds") and kinds_of(annotation) in ({"int"}, {"float"})


def is_text_list(name, annotation, function):
    return any(kind in annotation for kind in ("[str]",)) and "Mapping" not in annotation


def is_label(name, annotation, function):
    words = ("labels", "groups", "strata", "sources", "labels_new", "groups_new")
    return name in words and kinds_of(annotation) <= {"np.ndarray", "Sequence", "Iterable"}


def refused(function, parameter, value):
    "The message with which a value is refused, before anything else happens."
    with pytest.raises((TypeError, ValueError)) as caught:
        function(**{parameter: value})
    return str(caught.value)


@pytest.mark.parametrize("function, parameter, optional, check", cases(is_seed))
def test_seeds(function, parameter, optional, check):
    for bad in NO_SEEDS:
        if bad is None and optional:
            continue
        assert parameter in refused(function, parameter, bad)
    assert check(parameter, 4.0) == 4
    assert check(parameter, np.int64(2**62)) == 2**62


@pytest.mark.parametrize("function, parameter, optional, check", cases(is_number))
def test_numbers(function, parameter, optional, check):
    for bad in NO_NUMBERS:
        if bad is None and optional:
            continue
        if isinstance(bad, float) and parameter in NAN_ALLOWED:
            continue
        assert parameter in refused(function, parameter, bad)


NAN_ALLOWED = ()


@pytest.mark.parametrize("function, parameter, optional, check", cases(is_number))
def test_whole_numbers_and_counts(function, parameter, optional, check):
    signature = inspect.signature(function).parameters[parameter]
    if kinds_of(str(signature.annotation)) != {"int"}:
        fraction = 0.5 if parameter not in ("lr",) else 0.001
        assert isinstance(accepted(check, parameter, (fraction, 1.0, 100.0)), float)
        return
    assert parameter in refused(function, parameter, 1.7)
    assert parameter in refused(function, parameter, 2**70)
    assert type(accepted(check, parameter, (np.int64(3), np.float64(8000.0)))) is int
    if is_count(parameter):
        assert parameter in refused(function, parameter, -1)
        if signature.default != 0 and parameter not in MAY_BE_NOUGHT:
            assert parameter in refused(function, parameter, 0)


MAY_BE_NOUGHT = {"n_special", "n_perm", "top_k"}  # n_perm: probes score without a test as well


def is_count(name):
    words = ("batch_size", "steps", "epochs", "hidden", "k", "bins", "rows", "top_k", "size")
    return name == "n" or name.startswith(("n_", "max_", "d_")) or name in words


def accepted(check, parameter, values):
    "The first of some values that a check accepts."
    for value in values:
        try:
            return check(parameter, value)
        except ValueError:
            continue
    raise AssertionError(f"{parameter} accepts none of {values}")


@pytest.mark.parametrize("function, parameter, optional, check", cases(is_text_list))
def test_lists_of_text(function, parameter, optional, check):
    for bad in NO_TEXTS:
        assert parameter in refused(function, parameter, bad)
    for good in (["a", "b"], ("a", "b"), pd.Series(["a", "b"]), np.array(["a", "b"])):
        assert list(check(parameter, good)) == ["a", "b"]
    assert check(parameter, "a") in ("a", ["a"])


@pytest.mark.parametrize("function, parameter, optional, check", cases(is_label))
def test_labels(function, parameter, optional, check):
    for bad in NO_LABELS:
        assert parameter in refused(function, parameter, bad)
    for good in (["a", "b"], np.array([0, 1]), pd.Series([True, False]), np.array([0.0, 1.0])):
        assert check(parameter, good) is good


def is_array(name, annotation, function):
    return kinds_of(annotation) == {"np.ndarray"} and not is_label(name, annotation, function)


@pytest.mark.parametrize("function, parameter, optional, check", cases(is_array))
def test_no_complex_arrays(function, parameter, optional, check):
    message = refused(function, parameter, np.ones((2, 3, 4), complex))
    assert parameter in message and "complex" in message
    values = np.ones((2, 3), np.float32)
    values.flags.writeable = False
    assert check(parameter, values) is values


def test_defaults_are_accepted():
    n_checked = 0
    for _, _, _, function in FUNCTIONS:
        for _, parameter, optional, check in plan_of(function):
            default = inspect.signature(function).parameters[parameter].default
            if default is inspect.Parameter.empty or (default is None and optional):
                continue
            check(parameter, default)
            n_checked += 1
    assert n_checked > 500


def test_every_public_function_is_marked_or_named_here():
    unmarked = []
    for folder, owner, name, function in FUNCTIONS:
        if owner in INNER_CLASSES or name in INNER_FUNCTIONS or name in OWN_CHECKS:
            continue
        if folder == "studies" or (folder == "lab" and name in LAB_CHECKS):
            continue  # the steps of a phase get numbers from its settings, which are checked
        checked = {parameter for _, parameter, _, _ in plan_of(function)}
        for parameter in inspect.signature(function).parameters.values():
            if not wants_check(parameter) or parameter.name in checked:
                continue
            if (name, parameter.name) not in OWN_RANGE:
                unmarked.append((folder, owner, name, parameter.name))
    assert unmarked == []


LAB_CHECKS = {name for _, _, name, f in FUNCTIONS if f.__module__.endswith(("checks", "arguments"))}
OWN_RANGE = {  # (function, parameter) -> why the mark does not look at it
    ("__init__", "end_s"): "a schedule may end never, inf",
    ("articulation", "tempo"): "NaN: the tempo is not known",
    ("brightness", "pitch"): "NaN: the pitch is not known",
    ("interval", "value"): "NaN: a statistic may be undefined",
    ("excludes", "x"): "inf is a number to compare with",
    ("penalty_grid", "values"): "checks each itself",
    ("prompt_arm", "words"): "a mapping by dose",
    ("mean_differences", "rms"): "a mapping by site",
    ("unit_of_dose", "rms"): "looks the number up and checks it",
    ("steer_features", "features"): "numbers of features, checked against the dictionary",
    ("collect_evidence", "bars"): "a mapping",
    ("index", "name"): "a name or its number",
    ("correct", "name"): "a name or its number",
    ("confusion", "name"): "a name or its number",
    ("resolve_sites", "layers"): "checks each against the model",
    ("attention_weights", "layers"): "numbers that `attention_pass` has checked",
    ("run_probe", "predictor"): "a function",
    ("__init__", "shape"): "shape of an array",
    ("clip_seeds", "seeds"): "checks one or several itself",
    ("labelled_states", "ndim"): "number of axes",
    ("state_rows", "ndim"): "number of axes",
}


def wants_check(parameter):
    annotation = str(parameter.annotation)
    if "Callable" in annotation or annotation.startswith(("dict", "Mapping")):
        return False
    return bool(NUMBER.search(annotation)) or parameter.name in ("seed", "seeds")


def test_settings_of_phases_are_marked():
    from musicgen_emotion.studies.causal_setup import CausalSettings
    from musicgen_emotion.studies.dictionaries_data import DictionarySettings
    from musicgen_emotion.studies.foundation import FoundationSettings
    from musicgen_emotion.studies.steering_setup import SteeringSettings

    for settings in (CausalSettings, DictionarySettings, FoundationSettings, SteeringSettings):
        assert settings().batch_size >= 1
        for bad in (dict(batch_size=0), dict(seed=2**70), dict(duration_s=NAN), dict(seed=True)):
            with pytest.raises((TypeError, ValueError), match=next(iter(bad))):
                settings(**bad)


def test_a_mark_costs_little():
    import timeit

    from musicgen_emotion.lab.arguments import checked

    def plain(n_boot: int = 1000, level: float = 0.95, seed: int = 0):
        return seed

    marked = checked(plain)
    seconds = min(timeit.repeat(lambda: marked(200, 0.9, seed=3), number=200, repeat=5)) / 200
    assert seconds < 1e-4


def test_remedies_are_named():
    table = pd.DataFrame(dict(emotion=["sad"], prompt=["sad piano"]))
    with pytest.raises(TypeError, match=r"take a column, for example prompts=...\['prompt'\]"):
        as_prompts(table)
    with pytest.raises(TypeError, match="has no order"):
        check_texts("words", {"sad"})
    with pytest.raises(TypeError, match=r"\.decode\(\)"):
        as_prompts(b"sad")
    with pytest.raises(TypeError, match=r"make a list of it with list\(...\)"):
        as_prompts(iter(["sad"]))
    assert as_prompts(table.prompt) == ["sad piano"]
    assert as_prompts("sad piano") == as_prompts(np.array(["sad piano"])) == ["sad piano"]


def test_an_unknown_annotation_has_no_check():
    assert argument_check("model", "MusicModel") is None
    assert argument_check("path", "Path | str") is None
