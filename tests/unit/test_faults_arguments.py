"""Arguments mean what they say: every public function, from its signature."""

import importlib
import inspect
import pkgutil
import re

import numpy as np
import pandas as pd
import pytest

import musicgen_emotion
from musicgen_emotion.lab.arguments import argument_check, zero_or_more
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
FRACTIONS = np.array([0.37, 1.0])
NO_LABELS = (
    ["sad", None],
    np.array([0.0, NAN]),
    FRACTIONS,
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
    ActivationComparison ProbeResult Direction ParameterRule Criterion SampleSize
    PlantedTruth VectorTruth
    """.split()  # noqa: SIM905
)
INNER_FUNCTIONS = {
    "claim_folder": "its version is written in the code that calls it",
    "claim_names": "its version is written in the code that calls it",
    "listed": "its limit is written in the code that calls it",
    "require_model_room": "takes numbers that were checked",
    "require_room": "takes estimates, also infinite ones",
    "require_generation_room": "takes numbers that were checked",
    "require_training_room": "takes settings that were checked",
    "size_text": "writes an estimate, also an infinite one",
    "time_text": "writes an estimate, also an infinite one",
    "blocks_within_memory": "splits an array that is already there",
    "centroid_cosines": "inner product of class means",
    "clip_names": "names of rows for an error",
    "check_loss": "its numbers may be NaN: that is what it looks for",
    "count_ends": "interval of a count, from draws that are there",
    "deal_groups": "deals the groups of `grouped_folds`",
    "drum_track": "a step of `render_music`",
    "found_again": "draws of `count_selective`",
    "check_codebooks": "an inner step, fed by a public function",
    "marker_version": "an inner step, fed by a public function",
    "redrawn": "an inner step, fed by a public function",
    "write_batch": "an inner step, fed by a public function",
    "write_sealed": "an inner step, fed by a public function",
    "jump": "an activation function, called at every step",
    "keep_attention_weights": "a hook",
    "keep_batch_topk": "an activation function, called at every step",
    "keep_topk": "an activation function, called at every step",
    "kept_features": "counts of `count_selective`",
    "merge_guidance": "called at every step of sampling",
    "nested_predictions": "a step of `run_probe`",
    "pair_mask": "a step of `within_between`",
    "pass_progress": "a bar",
    "pick_tokens": "called at every step of sampling",
    "selectivity_ratio": "a step of `selectivity`",
    "score_notes": "a step of `render_music`",
    "tone": "a step of `render_music`",
    "unit_column": "a column of ones",
}
# functions with a check of their own: folders below `lab.arguments`, and the command line
OWN_CHECKS = {"check_disk", "compare_folders", "compare_runs", "folder_lock", "markdown_table"} | {
    "claim_folder",
    "listed",
    "require_generation_room",
    "require_room",
    "require_training_room",
    "size_text",
    "time_text",
    "run_phases",
    "run_plan",
    "run_report",
    "verdict",
    "bench_command",
    "compare_command",
    "controls_command",
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
    listed = "Sequence[str]" in annotation or "list[str]" in annotation
    return listed and "Mapping" not in annotation and "DataFrame" not in annotation


def is_label(name, annotation, function):
    words = ("labels", "groups", "strata", "sources", "words", "labels_new", "groups_new")
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
        if (bad is None and optional) or (parameter == "rms" and bad == {}):
            continue  # the RMS of several sites is a mapping
        if (function.__name__, parameter) in OWN_RANGE and isinstance(bad, float):
            continue  # NaN or infinity says there that a number is not known, or has no end
        assert parameter in refused(function, parameter, bad)


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
        if signature.default != 0 and parameter not in MAY_BE_NOUGHT and check is not zero_or_more:
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
        if bad is FRACTIONS and not parameter.startswith(("labels", "words")):
            continue  # groups may be numbered by doses
        assert parameter in refused(function, parameter, bad)
    for good in (["a", "b"], np.array([0, 1]), pd.Series([True, False]), np.array([0.0, 1.0])):
        assert check(parameter, good) is good


def is_array(name, annotation, function):
    return kinds_of(annotation) == {"np.ndarray"} and not is_label(name, annotation, function)


@pytest.mark.parametrize("function, parameter, optional, check", cases(is_array))
def test_no_complex_arrays(function, parameter, optional, check):
    one_row = parameter in ("wave",)
    message = refused(function, parameter, np.ones(3 if one_row else (2, 3, 4), complex))
    assert parameter in message and "complex" in message
    values = np.ones(3 if one_row else (2, 3), np.float32)
    values.flags.writeable = False
    assert check(parameter, values) is values


def test_defaults_are_accepted():
    n_checked = 0
    for _, _, _, function in FUNCTIONS:
        for _, parameter, optional, check in plan_of(function):
            default = inspect.signature(function).parameters[parameter].default
            if default is inspect.Parameter.empty or (default is None and optional):
                continue
            if "FACTORY" in type(default).__name__:
                continue  # a dataclass makes it when nothing is given
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
    ("permutation_p", "observed"): "refuses NaN itself",
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


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from musicgen_emotion.models import load_model, write_random_model

    return load_model(write_random_model(tmp_path_factory.mktemp("args") / "tiny"))


PROMPTS = ["sad piano", "happy flute"]
GOOD_PROMPTS = (PROMPTS, tuple(PROMPTS), pd.Series(PROMPTS), np.array(PROMPTS), "sad piano")


def takes_prompts(model, tokens):
    "Functions of prompts, by name; most of them say in their annotation what they take."
    from musicgen_emotion import activations, causes, probes, sae
    from musicgen_emotion.models import sample_tokens

    return {
        "generate": lambda given: activations.generate(model, given, 0, 0.1, progress=False),
        "sample_tokens": lambda given: sample_tokens(model, given, 0, 4),
        "tokenize": lambda given: model.tokenize(given),
        "encode_text": lambda given: model.encode_text(given),
        "text_rows": lambda given: activations.text_rows(model, given),
        "replay": lambda given: activations.replay(model, tokens, given),
        "token_nll": lambda given: activations.token_nll(model, tokens, given),
        "next_token_logits": lambda given: causes.next_token_logits(model, tokens, given),
        "word_attention": lambda given: probes.word_attention(model, tokens, given),
        "token_rows": lambda given: sae.token_rows(model, given),
    }


@pytest.mark.filterwarnings("ignore:.* unknown to the tokenizer")
def test_prompts_mean_the_same_everywhere(tiny):
    from musicgen_emotion.models import sample_tokens

    tokens = np.asarray(sample_tokens(tiny, PROMPTS, [0, 1], 4))
    for call in takes_prompts(tiny, tokens).values():
        for good in GOOD_PROMPTS:
            call(good)
        for bad in NO_TEXTS:
            with pytest.raises(TypeError, match="prompts"):
                call(bad)


def test_tables_are_tables_where_they_are_documented(tiny):
    from musicgen_emotion.activations import plan_clips, prompt_table
    from musicgen_emotion.causes import Pairs, pair_prompts

    table = pd.DataFrame(dict(prompt=PROMPTS, emotion=["sad", "happy"]))
    assert plan_clips(tiny, table).prompt.tolist() == PROMPTS
    for bad in (dict(a="sad"), {"sad"}, iter(PROMPTS), b"sad", [NAN], pd.DataFrame()):
        with pytest.raises((TypeError, ValueError), match="prompt"):
            prompt_table(bad)
    with pytest.raises(TypeError, match="prompts must be a prompt set or a table"):
        pair_prompts(PROMPTS, "sad", "happy")
    assert Pairs("sad", "happy").source == ["sad"]
    with pytest.raises(TypeError, match="source must be a list of texts"):
        Pairs(table, PROMPTS)


@pytest.mark.filterwarnings("ignore:.* unknown to the tokenizer")
def test_tokens_are_whole_numbers_of_the_codebook(tiny):
    from musicgen_emotion.activations import replay, token_counts, token_nll
    from musicgen_emotion.causes import Pairs
    from musicgen_emotion.models import delay_tokens, sample_tokens, undelay_tokens
    from musicgen_emotion.steering import repetition

    tokens = np.asarray(sample_tokens(tiny, PROMPTS, [0, 1], 4)).astype(int)
    calls = {
        "replay": lambda given: replay(tiny, given, PROMPTS),
        "token_nll": lambda given: token_nll(tiny, given, PROMPTS),
        "decode_audio": lambda given: tiny.decode_audio(given),
        "delay_tokens": lambda given: delay_tokens(given, tiny.config),
        "undelay_tokens": lambda given: undelay_tokens(np.tile(given, (1, 1, 3)), tiny.config),
        "pairs": lambda given: Pairs(PROMPTS, ["a", "b"], given),
        "repetition": lambda given: repetition(np.tile(given, (1, 1, 5))),
        "token_counts": lambda given: token_counts(given, tiny.config.vocab_size + 1),
    }
    missing = np.where(tokens == tokens.max(), NAN, tokens)
    for call in calls.values():
        call(tokens)
        call(tokens.astype(float))
        for bad in (tokens + 0.9, missing, tokens + 0j, tokens > 2, tokens.astype(str)):
            with pytest.raises((TypeError, ValueError), match=r"must hold|holds"):
                call(bad)
    for name in ("replay", "token_nll", "decode_audio", "delay_tokens"):
        with pytest.raises(ValueError, match="tokens"):
            calls[name](tokens + 10**6)
        with pytest.raises(ValueError, match="tokens"):
            calls[name](tokens - 10**6)


def data_calls():
    "Cheap valid calls of functions of data: function, its arguments."
    from musicgen_emotion import causes, probes, sae, stats

    rng = np.random.default_rng(0)
    states = rng.normal(size=(30, 6))
    labels = np.array(["sad", "happy"] * 15)
    words = np.array([f"word {row % 10}" for row in range(30)])
    first, second = states[:, 0], states[:, 1]
    dictionary = sae.SparseAutoencoder(6, d_sae=12, activation="relu").eval()
    quick = dict(n_perm=5, progress=False)
    return [
        (stats.cohens_d, dict(a=first, b=second)),
        (stats.cliffs_delta, dict(a=first, b=second, n_boot=20)),
        (stats.eta_squared, dict(values=first, labels=labels)),
        (stats.correlation, dict(x=first, y=second, n_boot=20)),
        (stats.partial_correlation, dict(x=first, y=second, given=states[:, 2], n_boot=20)),
        (stats.participation_ratio, dict(X=states)),
        (stats.paired_difference, dict(a=first, b=second, n_perm=20)),
        (stats.fdr, dict(p=np.linspace(0.1, 0.9, 9))),
        (probes.within_between, dict(X=states, labels=labels, n_perm=20)),
        (probes.transform, dict(X=states)),
        (probes.centroid_similarity, dict(X=states, labels=labels)),
        (probes.embed_2d, dict(X=states)),
        (probes.cosine_similarity, dict(a=states, b=states)),
        (probes.probe_layers, dict(X=states, y=labels, groups=words, **quick)),
        (probes.probe_regression, dict(X=states, y=first, groups=words, **quick)),
        (probes.grouped_folds, dict(labels=labels, groups=words)),
        (probes.leave_word_out, dict(labels=labels, words=words)),
        (sae.selectivity, dict(acts=abs(states), labels=labels)),
        (sae.sae_metrics, dict(sae=dictionary, x=states)),
        (sae.feature_density, dict(sae=dictionary, x=states)),
        (sae.ablate_features, dict(sae=dictionary, x=states, features=[1])),
        (sae.pca_features, dict(states=states, n=3)),
        (causes.leace, dict(states=states, concept=(labels == "sad").astype(float))),
        (causes.inlp, dict(states=states, concept=labels, n_iter=2)),
        (causes.project_out, dict(directions=states[:2])),
        (causes.fit_oracle, dict(states=states, labels=labels)),
    ]


@pytest.mark.parametrize("call", data_calls(), ids=lambda call: call[0].__name__)
def test_data_are_real_and_finite(call):
    function, given = call
    function(**given)
    for name, values in given.items():
        if not isinstance(values, np.ndarray):
            continue
        bad = [values + 0j] if values.dtype.kind == "f" else []
        if values.dtype.kind == "f":
            bad += [with_entry(values, NAN), with_entry(values, INF), values.astype(str)]
        else:
            bad += [with_entry(values.astype(object), None)]
        if name == "concept" and values.dtype.kind == "f":
            bad.pop()  # texts name classes
        for wrong in bad:
            with pytest.raises((TypeError, ValueError)) as caught:
                function(**{**given, name: wrong})
            assert "ufunc" not in str(caught.value)


def with_entry(values, entry):
    "A copy whose third entry is another."
    changed = values.copy()
    changed.flat[3] = entry
    return changed


def test_no_wrong_batch_gives_a_result():
    from musicgen_emotion import sae

    dictionary = sae.SparseAutoencoder(6, d_sae=12, activation="relu").eval()
    states = np.random.default_rng(0).normal(size=(30, 6))
    assert "explained_variance" in sae.sae_metrics(dictionary, states, batch_size=7.0)
    for function in (sae.sae_metrics, sae.feature_density):
        for bad in (-1, 0, 1.7, NAN, INF, "12", None, True):
            with pytest.raises((TypeError, ValueError), match="batch_size"):
                function(dictionary, states, batch_size=bad)


def test_gates_are_numbers():
    from musicgen_emotion.lab.gates import Gate, verdict

    assert not Gate("share", NAN, threshold=0.5).passed
    assert Gate("share", np.float32(0.75), np.float64(0.6), 1, threshold=0.5).passed
    for bad in (dict(value=INF), dict(value=1, low=-INF), dict(value=1, threshold=INF)):
        with pytest.raises(ValueError, match="must be finite"):
            Gate("share", **bad)
    for bad in ("12", b"1", 1j, [1]):
        with pytest.raises(TypeError, match="value of gate 'share' must be a number"):
            Gate("share", bad)
    with pytest.raises(ValueError, match="pause_below"):
        verdict([], pause_below=2)


def test_exports_keep_the_order_of_labels(tmp_path):
    from musicgen_emotion.activations import export_t5_embeddings, load_embeddings

    vectors = np.random.default_rng(0).normal(size=(2, 5))
    for good in (["sad", "happy"], [1, 0], np.array([1.0, 0.0]), pd.Series(["sad", "happy"])):
        folder = export_t5_embeddings(tmp_path / "good", vectors, good)
        assert load_embeddings(folder).labels.tolist() == ["sad", "happy"]
    for bad in (["sad", None], [NAN, 1.0], [0.5, 1.0], "sad", dict(a="sad"), ["sad", "glad"]):
        with pytest.raises((TypeError, ValueError), match=r"label|emotion"):
            export_t5_embeddings(tmp_path / "bad", vectors, bad)
    with pytest.raises(ValueError, match="label_names must be"):
        export_t5_embeddings(tmp_path / "bad", vectors, [0, 1], label_names=["sad", "happy"])
    assert not (tmp_path / "bad").exists()


def test_words_and_emotions_are_lists():
    from musicgen_emotion.stimuli import crossed_prompts, study_prompts

    one = study_prompts(2, emotions="happy", words=dict(happy="glad"))
    assert set(one.table.word) == {"glad"} and set(one.table.emotion) == {"happy"}
    assert len(crossed_prompts(dict(sad=["sad"]), instruments="piano").table) == 3
    for bad in (dict(emotions={"happy"}), dict(emotions=[NAN]), dict(words=["glad"])):
        with pytest.raises(TypeError, match=next(iter(bad))):
            study_prompts(2, **bad)
    with pytest.raises(TypeError, match=r"words\['happy'\]"):
        study_prompts(2, words=dict(happy={"glad"}))


def test_an_unknown_annotation_has_no_check():
    assert argument_check("model", "MusicModel") is None
    assert argument_check("path", "Path | str") is None
