"""The controls that evidence must fail: deaf models, dealt words, gates that cannot fail."""

import numpy as np
import pytest

from musicgen_emotion.activations.replaying import replay
from musicgen_emotion.lab.gates import FEWEST_UNITS, Criterion, Gate, verdict
from musicgen_emotion.lab.runs import open_run
from musicgen_emotion.models.load import deafened, randomized
from musicgen_emotion.stats.power import units_needed
from musicgen_emotion.stats.ratios import ratio_of_means
from musicgen_emotion.stimuli.emotions import EMOTION_WORDS
from musicgen_emotion.stimuli.word_lists import control_words, share_stem, stem_groups


def states(model, prompts, tokens):
    "States of layer 1 for one music under several prompts, (prompt, d_model)."
    tokens = np.repeat(tokens[None], len(prompts), 0)
    found = replay(model, tokens, prompts, sites=["layer_1"], branches=("cond",), pool="mean")
    return found["layer_1"].sel(branch="cond").values


def test_a_deaf_model_does_not_read_its_text(both_tiny):
    rng = np.random.default_rng(0)
    config = both_tiny.config
    tokens = rng.integers(0, config.vocab_size, (config.n_codebooks, 30))
    prompts = ["a happy song", "a sad song with a long text"]
    heard = states(both_tiny, prompts, tokens)
    assert np.abs(heard[0] - heard[1]).max() > 1e-4
    deaf = deafened(both_tiny)
    silent = states(deaf, prompts, tokens)
    np.testing.assert_array_equal(silent[0], silent[1])
    again = states(both_tiny, prompts, tokens)
    np.testing.assert_array_equal(again, heard)  # the model itself is as it was
    assert deaf.checksum != both_tiny.checksum != randomized(both_tiny).checksum
    assert "deaf" in deaf.name


@pytest.mark.parametrize("control", ["shuffled-labels", "no-emotion"])
@pytest.mark.parametrize("seed", range(5))
def test_dealt_words_say_nothing_of_an_emotion(control, seed):
    dealt = control_words(control, seed=seed)
    assert list(dealt) == list(EMOTION_WORDS)
    emotion_of = {}
    for emotion, words in dealt.items():
        emotion_of.update(dict.fromkeys(words, emotion))
    pool = [word for words in dealt.values() for word in words]
    assert len(pool) == len(set(pool))
    for a in pool:
        for b in pool:
            assert not share_stem(a, b) or emotion_of[a] == emotion_of[b]
    sizes = [len(words) for words in dealt.values()]
    assert max(sizes) - min(sizes) <= 2


def test_stems_join_by_way_of_a_third_word():
    assert stem_groups(["relaxing", "relaxed", "relation"]) == ["relaxed", "relaxed", "relaxed"]
    assert stem_groups(["b", "bad", "badly", "c"]) == ["b", "b", "b", "c"]
    assert len(set(stem_groups(["tens", "tender", "tensor"]))) == 2


ENDS = [
    (">", 0.5, (0.4, 0.9), False),
    (">", 0.5, (0.51, 0.9), True),
    (">=", 0.5, (0.5, 0.9), True),
    ("<", 0.5, (0.1, 0.6), False),
    ("<", 0.5, (0.1, 0.49), True),
    ("<=", 0.5, (0.1, 0.5), True),
]


@pytest.mark.parametrize("direction, threshold, ends, passed", ENDS)
def test_evidence_is_decided_on_the_adverse_end(direction, threshold, ends, passed):
    middle = sum(ends) / 2
    assert Gate("g", middle, *ends, threshold=threshold, direction=direction).passed is passed


def test_a_p_needs_enough_draws():
    assert Gate("p", 0.025, threshold=0.05, direction="<", draws=39).passed
    assert Gate("p", 0.05, threshold=0.05, direction="<=", draws=19).passed
    with pytest.raises(ValueError, match="19 draws give no p below"):
        Gate("p", 0.05, threshold=0.05, direction="<", draws=19)
    with pytest.raises(ValueError, match="direction must be '<'"):
        Gate("p", 0.05, threshold=0.05, direction=">", draws=99)


def test_a_failed_check_stops_whatever_the_evidence_says():
    good = Gate("a", 1, 0.9, 1.1, threshold=0.5)
    bad_check = Gate("b", 0, threshold=1, kind="check")
    assert verdict([good]) == "GO"
    assert verdict([good, bad_check]) == "PAUSE"
    assert verdict([Gate("c", 2, threshold=1, kind="check")]) == "ITERATE"


def test_gates_of_earlier_files_keep_their_outcome():
    entry = dict(name="old", value=0.6, interval=[0.4, 0.8], threshold=0.5, direction=">")
    assert Gate.from_entry(entry).passed
    assert not Gate.from_entry(entry | dict(kind="evidence")).passed


def test_criteria_are_in_the_folder_before_the_first_gate(tmp_path):
    criterion = Criterion("score", 0.5, fails_on=("random-weights",))
    with open_run(tmp_path, "phase") as run:
        run.declare([criterion])
        assert (tmp_path / "criteria.json").exists() and not (tmp_path / "gates.json").exists()
        assert not run.gate("score", 0.6, 0.4, 0.8, n=20).passed
        for other in (dict(direction="<"), dict(kind="check"), dict(threshold=0.1)):
            with pytest.raises(
                ValueError, match=f"the {next(iter(other))} of 'score' was declared"
            ):
                run.gate("score", 0.6, 0.4, 0.8, n=20, **other)
        own = run.gate("own", 0.9, 0.8, 1.0, threshold=0.5, n=2)
        assert not own.passed and "no claim" in own.why
        run.gates = run.gates[:-1]
        run.declare([criterion])  # a run that is resumed declares again
        with pytest.raises(ValueError, match="fixed before its gate"):
            run.declare([Criterion("score", 0.3, fails_on=("random-weights",))])


def test_a_ratio_of_noise_has_no_ends():
    rng = np.random.default_rng(3)
    for _ in range(20):
        found = ratio_of_means(rng.normal(size=6), rng.normal(size=6))
        assert np.isinf([found.low, found.high]).all() or found.low < found.high
    # by hand: numerator and denominator proportional, so every resample has the same ratio
    exact = ratio_of_means([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    assert exact.value == 0.5


def test_units_needed_reaches_its_power_in_fresh_studies():
    rng = np.random.default_rng(5)
    pilot = rng.exponential(size=40)
    size = units_needed(pilot, effect=0.4, seed=1)
    from scipy.stats import t

    studies = rng.choice(pilot - pilot.mean() + 0.4, (4000, size.n))
    error = studies.std(1, ddof=1) / np.sqrt(size.n)
    found = (studies.mean(1) > t.ppf(0.975, size.n - 1) * error).mean()
    assert 0.77 <= found <= 0.87


@pytest.mark.parametrize("n", [3, FEWEST_UNITS - 1])
def test_evidence_on_fewer_than_twelve_units_is_no_claim(n):
    criterion = Criterion("score", 0.5, fails_on=("deaf",))
    gate = criterion.gate(0.6, 0.55, 0.7, n=n)
    assert not gate.passed and np.isnan(gate.value) and "no claim" in gate.why
    assert "0.6" in gate.why  # what was measured stands in the sentence
    assert criterion.gate(0.6, 0.55, 0.7, n=FEWEST_UNITS).passed
    with pytest.raises(ValueError, match="'score' is evidence: give n"):
        criterion.gate(0.6, 0.55, 0.7)
    by_rank = Criterion("rank", 0.05, "<", fails_on=("deaf",))
    assert not by_rank.gate(0.01, n=n, draws=99).passed
    assert Criterion("a no-op", 0.5, kind="check").gate(0.6, n=n).passed
