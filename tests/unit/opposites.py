"""Tables, and tables that say the opposite, for the sentences of Phases 1, 2 and 3.

`test_sentences` feeds them to the functions and wants other words."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from musicgen_emotion.causes.attribution import Agreement
from musicgen_emotion.stats.estimates import Estimate
from musicgen_emotion.studies.dictionaries_meaning import RAW, SCALED_UP
from musicgen_emotion.studies.steering_criteria import STEERING_CRITERIA
from musicgen_emotion.studies.steering_recovery import EqualCost

YES = dict(value=0.8, low=0.7, high=0.9, n=16)
NO = dict(value=0.1, low=-0.1, high=0.3, n=16)
SHOWN, UNSHOWN = Estimate(**YES), Estimate(**NO)


def table(*rows, **columns):
    return pd.DataFrame(list(rows)).assign(**columns)


def series(**values):
    return pd.Series(values)


# ---- Phase 1


def trained():
    report = SimpleNamespace(rows=9000, groups=1000)
    run, texts = SimpleNamespace(report=report), SimpleNamespace(d_sae=1024)
    return SimpleNamespace(text_run=run, texts=texts, config=SimpleNamespace(activation="topk"))


METRICS = dict(l0=8.0, dead_fraction=0.1)


def unexplained(value):
    return series(value=value, low=value - 0.01, high=value + 0.01, n=80, mse=1e-3, variance=0.01)


def comparison(beats):
    gain = 5.0 if beats else -2.0
    return dict(beats=beats, against="components", gain=gain, low=gain - 1, high=gain + 1)


def counted(beats):
    "What `counts_sentence` reads of Phase 1's features."
    arms = dict(arm=["dictionary", "components"], share_of_columns=[0.2, 0.1], highly=[30, 10])
    measures = ("selective", "share_of_columns", "probe")
    counts = dict(emotion="all", kind="selective", count=60, low=50, high=70, n=40)
    return SimpleNamespace(
        counts=table(counts),
        beats={name: comparison(beats) for name in measures},
        controls=pd.DataFrame(arms),
        emotions=["sad"] * 100,
    )


def mono(high):
    ours = dict(value=0.5, low=0.4, high=0.6, n=900, chance=0.0)
    raw = dict(value=0.1, low=0.0, high=high, n=100, chance=0.0)
    return pd.DataFrame([ours, raw], index=pd.Index([SCALED_UP, RAW], name="variant"))


def recovered_cues(gain_low):
    return table(dict(f1=0.7, raw=0.3, types=0.4, always=0.2, gain_low=gain_low, n=100))


def meaning(high, gain_low):
    rows = recovered_cues(gain_low).assign(variant=SCALED_UP)
    return SimpleNamespace(mono_table=mono(high).reset_index(), recovery_table=rows)


def kept(stable, share, chance):
    "What `holding_sentence` reads of Phase 1's features."
    read = "none of these words" if share > chance else "all of these words"
    ends = dict(low=share - 0.05, high=share + 0.05)
    row = series(share=share, **ends, chance=chance, n=60, text_encoder=read)
    runs = dict(mean_max=0.5, covariance=0.2, hungarian=0.4, hungarian_covariance=0.1)
    general = table(dict(emotion="all", held_out="template", share=0.5, chance=0.2, n=30) | ends)
    return SimpleNamespace(
        stable=stable, runs=table(runs), held_out_words=lambda: row, general=general
    )


def layers(beats, gain_low=1.0):
    "What sentences read of the dictionaries of layers."
    row = dict(site="layer_1", codebook="all", change=0.4, change_low=0.3, change_high=0.5)
    row |= dict(gain_low=gain_low, n=12, nll_clean=1.8, nll_unigram=5.6)
    shares = dict(arm="dictionary", site="layer_1", share_of_columns=0.3)
    return SimpleNamespace(
        controls=table(shares),
        beats=lambda: dict(layer_1=comparison(beats)),
        n_words=98,
        n_emotional=150,
        losses=table(row | dict(merged=True), row | dict(merged=False)),
    )


def explained(tokens):
    rows = dict(data=["pooled", "tokens"], rows_trained=[300, 9000])
    return pd.DataFrame(rows | dict(explained_variance=[0.9, tokens]))


def chosen(l0):
    return dict(activation="topk", l0=l0, explained_variance=0.9, stable=0.4, rule="r")


def probe(gap):
    row = dict(representation="features", k=1, score=0.7, low=0.6, high=0.8, n=100)
    return table(row | dict(gap=gap, gap_low=gap - 0.05, gap_high=gap + 0.05))


def taken_out(p):
    row = dict(measure="probability", scope="all", value=0.06, low=0.04, high=0.08)
    return table(row | dict(random=0.003, p=p, p_groups=p, n=56, n_random=50))


def twins(**share):
    return table(dict(site="layer_1") | share)


LOSSES = (layers(True).losses, layers(True, -1.0).losses)

PHASE_1 = {
    "training_sentence": (
        (trained(), METRICS, unexplained(0.05)),
        (trained(), METRICS, unexplained(0.9)),
    ),
    "counts_sentence": ((counted(True),), (counted(False),)),
    "meaning_sentence": ((meaning(0.2, 0.1),), (meaning(0.9, -0.1),)),
    "holding_sentence": ((kept(SHOWN, 0.8, 0.2),), (kept(UNSHOWN, 0.2, 0.2),)),
    "layer_shares_sentence": ((layers(True),), (layers(False),)),
    "kept_loss_sentence": ((layers(True),), (layers(True, -1.0),)),
    "baseline_sentence": ((explained(0.98),), (explained(0.5),)),
    "sweep_sentence": ((chosen(20.0), (8.0, 33.0)), (chosen(4.0), (8.0, 33.0))),
    "held_out_words_sentence": (
        (kept(SHOWN, 0.8, 0.2).held_out_words(),),
        (kept(UNSHOWN, 0.2, 0.2).held_out_words(),),
    ),
    "probing_sentence": ((probe(0.2),), (probe(-0.2),)),
    "control_counts_sentence": ((comparison(True),), (comparison(False),)),
    "layer_stability_sentence": ((twins(**YES), 126), (twins(**NO), 126)),
    "layers_sentence": (
        (dict(layer_1=comparison(True)), 98, 150),
        (dict(layer_1=comparison(False)), 98, 150),
    ),
    "recovered_sentence": ((LOSSES[0],), (LOSSES[1],)),
    "recovery_sentence": ((recovered_cues(0.1),), (recovered_cues(-0.1),)),
    "monosemanticity_sentence": ((mono(0.2),), (mono(0.9),)),
    "ablation_sentence": ((taken_out(0.01), 8), (taken_out(0.6), 8)),
    "edit_sentence": (
        (series(p=0.01, p_prompts=0.01, descriptor="tempo_bpm"), "sad", 9, 12, 39),
        (series(p=0.01, p_prompts=0.6, descriptor="tempo_bpm"), "sad", 9, 12, 39),
    ),
}

# ---- Phase 2

AXES = ["valence", "arousal"]
BAND = dict(band_low=-1.0, band_high=1.0)  # of figures
LAYER_SLOPES = pd.Series({0: 9.0, 1: 11.0})


def both_axes(**values):
    return pd.DataFrame(values, index=AXES).assign(slope=2.0, n=16, n_random=39)


def heard_axes(p=0.025, n=16, crossed=0.5):
    "Both pushes on both heard axes; the arousal push has this p, and this slope of heard valence."
    own = dict(slope=2.0, low=1.0, high=3.0, p_random=0.025)
    other = dict(slope=0.5, low=-1.0, high=2.0, p_random=0.7)
    rows = [
        dict(arm="valence", outcome="heard_valence", **own),
        dict(arm="valence", outcome="heard_arousal", **other),
        dict(arm="arousal", outcome="heard_arousal", **own | dict(p_random=p)),
        dict(arm="arousal", outcome="heard_valence", **other | dict(slope=crossed)),
    ]
    return pd.DataFrame(rows).assign(n=n, n_random=39)


def own_changes(width):
    "Changes of 1 down and up with intervals of this width to either side."
    rows = dict(arm=np.repeat(AXES, 2), alpha=[-0.1, 0.1] * 2, value=[-1.0, 1.0] * 2, before=0.5)
    made = pd.DataFrame(rows)
    return made.assign(low=made.value - width, high=made.value + width)


AXIS_SLOPES = both_axes(low=1.0, high=3.0, monotonicity=0.9, p_random=0.025)


def ends_of_judge(share):
    return table(dict(arm="sad", floor=share, ceiling=0.0, effect=2.0))


def moved(*moves):
    names = ["sad", "happy"][: len(moves)]
    return pd.DataFrame(dict(arm=names, moves=moves, n=12, n_random=39))


WORDS = table(dict(before=0.2, pushed=1.4, written=2.0, n=12))


def come_back(yes):
    row = dict(emotion="sad", recovered=yes, nearest="sad" if yes else "calm", unit=range(36))
    return pd.DataFrame(row | dict(hit_mode_score=float(yes)))


def clap(p):
    row = dict(slope=2.0, low=1.0, high=3.0, n=16, p_random=p, n_random=39)
    return table(row | dict(arm="valence"), row | dict(arm="arousal"))


COUNTS = tuple(pd.Series(dict(valence=n, arousal=n)) for n in (5, 0))


def cues(slope):
    rows = dict(arm="arousal", outcome=["tempo_bpm", "rms_db"], low=slope - 1, high=slope + 1, n=16)
    return pd.DataFrame(rows)


def cue_changes(value, low, high):
    return cues(2.0).assign(value=value, low=low, high=high)


def recovered_by(one):
    return pd.Series({"2 pairs": one, "mean difference": 0.9})


def beyond_half(low):
    return {"2 pairs": Estimate(0.25, low, 0.5, 16)}


def costs(low, n=16):
    return table(dict(kind="target", alpha=0.1, outcome="nll", low=low, n=n))


LAYER_COSTS = pd.DataFrame(dict(layer=[0, 1], slope=[9.0, 11.0], n=16))


def written(calm):
    mean = {"word calm": calm, "word sad": -0.4, "word happy": 0.7, "word angry": -0.2}
    noise = np.random.default_rng(0).normal(0, 0.1, (16, 4))
    return pd.DataFrame(noise, columns=list(mean)) + pd.Series(mean)


def balanced(yes):
    return table(YES | dict(set="test", music="fast", balanced=yes))


def found_costs(low):
    row = dict(axis="valence", alpha=0.1, difference=0.7, difference_low=low)
    return table(row | dict(difference_high=1.1, n=16))


def branches(spread):
    rows = dict(alpha=[0.02, 0.1], ratio=[3.0, 3.0 + spread], size=1.0, cosine=0.9)
    return SimpleNamespace(
        branches=pd.DataFrame(rows),
        agreement=pd.DataFrame(rows),
        ratio=Estimate(3.0, 2.9, 3.1, 16),
        small_ratio=3.0,
        top_ratio=3.0 + spread,
    )


def criterion():
    return next(one for one in STEERING_CRITERIA if one.kind == "evidence")


def cosines(value):
    return pd.DataFrame([[1.0, value], [value, 1.0]], AXES, AXES)


def weakest(**estimate):
    return series(axis="valence", text_encoder="t5", **estimate)


def feature_step(beyond, n=1):
    return SimpleNamespace(
        steers={("sad", number): True for number in range(n)},
        choice=SimpleNamespace(random=range(8)),
        beyond=beyond,
    )


def edits(low):
    rows = dict(way=["set", "scale", "ablate"] * 2, value=0.3, low=low, high=0.5, n=12)
    return pd.DataFrame(rows).assign(kind=np.repeat(["feature", "random feature"], 3))


def methods(lowest):
    return pd.DataFrame(dict(method=["mean difference", "LDA"], sad=[1.0, lowest]))


def pairs(last):
    return pd.DataFrame(dict(emotion="sad", n_pairs=[1, 24], score=[0.6, last]))


def confusion(beside):
    return pd.DataFrame([[0.9, 0.02], [beside, 0.8]], ["sad", "calm"], ["sad", "calm"])


def equal_cost(first, second, tied):
    best = pd.Series({first: 0.8, second: 0.4})
    return EqualCost(best, tied, 0.9, dict(sad=0.25), "planted", 16)


def specific(low):
    row = dict(axis="valence", correlation=0.9, low=low, high=0.95, n=39, related=9)
    return table(row | dict(share=0.1, share_low=0.0, share_high=0.2))


def shuffled(size):
    return pd.Series([-1.1, 0.6, 0.5, -0.8] * 3) * size


def control_shares(size):
    of = {"shuffled": shuffled(size)}
    mean = Estimate(0.75 * size, 0.55 * size, 0.95 * size, 12)
    words = pd.DataFrame(dict(kind="held-out words", share=[0.9, 0.8], low=0.5, high=1.2, n=16))
    return SimpleNamespace(
        of=lambda kind: of.get(kind, [0.9, 0.8]), shuffled_share=mean, shares=words
    )


def slope(low, p=0.025):
    row = dict(arm="mine", kind="added", outcome="valence", slope=9.0, low=low, high=11.0, n=16)
    return table(row | BAND | dict(p_random=p, n_random=39))


def added(low):
    "What `added_sentences` reads of the dose response."
    judge = SimpleNamespace(own_outcomes=[])
    return SimpleNamespace(
        context=SimpleNamespace(judge=judge),
        slopes=slope(low),
        added=["mine"],
        targets=[],
        doses=SimpleNamespace(top=0.1),
    )


def own_share(value):
    return table(dict(arm="mine 0", target="mine", outcome="valence", share=value, n=16))


PHASE_2 = {
    "layer_sentence": (
        (LAYER_SLOPES, 1, 16, Estimate(2.0, 1.0, 3.0, 16)),
        (LAYER_SLOPES, 1, 16, Estimate(2.0, -1.0, 5.0, 16)),
    ),
    "axes_sentence": (
        ("layer_1", own_changes(0.5), AXIS_SLOPES, [-0.1, 0.0, 0.1]),
        ("layer_1", own_changes(1.5), AXIS_SLOPES, [-0.1, 0.0, 0.1]),
    ),
    "saturation_sentence": ((ends_of_judge(0.9),), (ends_of_judge(0.1),)),
    "emotions_sentence": (
        (moved(True, True), WORDS, come_back(True)),
        (moved(True, True), WORDS, come_back(False)),
    ),
    "listeners_sentence": ((heard_axes(),), (heard_axes(p=0.1),)),
    "clap_sentence": ((clap(0.025),), (clap(0.1),)),
    "beside_sentence": ((*COUNTS, 9, 16), (COUNTS[1], COUNTS[1], 9, 16)),
    "descriptors_sentence": (
        (*COUNTS, 9, cues(2.0), cue_changes(18.5, 2.5, 34.5)),
        (*COUNTS, 9, cues(2.0), cue_changes(18.5, -16.5, 50.6)),
    ),
    "no_unit_sentence": (
        (pd.DataFrame(dict(tempo=[np.nan])),),
        (pd.DataFrame(dict(tempo=[1.0])),),
    ),
    "likelihood_sentence": (
        (dict(word=UNSHOWN, push=SHOWN),),
        (dict(word=UNSHOWN, push=UNSHOWN),),
    ),
    "few_pairs_sentence": (
        (recovered_by(0.7), beyond_half(0.1), 24, 16),
        (recovered_by(0.7), beyond_half(-0.1), 24, 16),
    ),
    "layer_costs_sentence": (
        (LAYER_COSTS, costs(0.1), 0.1, 0.25),
        (LAYER_COSTS, costs(0.4), 0.1, 0.25),
    ),
    "word_valence_sentence": ((written(0.6),), (written(-0.3),)),
    "unchanged_sentence": ((1.0, 2, 3.0), (0.5, 2, 3.0)),
    "added_sentences": ((added(7.0),), (added(-7.0),)),
    "balance_sentence": ((balanced(True),), (balanced(False),)),
    "branches_sentence": (
        (Estimate(3.0, 2.9, 3.1, 16), 3.0),
        (Estimate(1.0, 0.9, 1.1, 16), 3.0),
    ),
    "quality_sentence": ((found_costs(0.3),), (found_costs(-0.3),)),
    "guidance_sentence": ((branches(0.0), 3.0, 0.1), (branches(1.0), 3.0, 0.1)),
    "without_claim": ((criterion(), 2), (criterion(), 16)),
    "cosine_sentence": ((cosines(0.1), 48), (cosines(0.8), 48)),
    "dose_sentence": ((0.12, 0.5, 0.12, 16), (0.07, 0.5, 0.12, 16)),
    "held_out_sentence": ((weakest(**YES),), (weakest(**NO),)),
    "features_sentence": (
        (pd.Series([True, False]), 8, SHOWN),
        (pd.Series([True, False]), 8, UNSHOWN),
    ),
    "dictionary_sentence": (
        (0.8, 16, 5, 128, feature_step(SHOWN)),
        (0.8, 16, 5, 128, feature_step(UNSHOWN)),
    ),
    "edits_sentence": ((edits(0.1), "sad", 5, 3.0), (edits(-0.1), "sad", 5, 3.0)),
    "methods_sentence": ((methods(0.9), 24), (methods(0.2), 24)),
    "pairs_sentence": ((pairs(0.95),), (pairs(0.6),)),
    "hits_sentence": ((come_back(True), "PCA", 12), (come_back(False), "PCA", 12)),
    "renders_sentence": ((confusion(0.1), 30), (confusion(0.7), 30)),
    "equal_cost_sentence": (
        (equal_cost("PCA", "LDA", []),),
        (equal_cost("PCA", "LDA", ["LDA"]),),
    ),
    "agop_sentence": (
        (equal_cost("AGOP", "mean difference", []), WORDS),
        (equal_cost("mean difference", "AGOP", []), WORDS),
    ),
    "specific_sentence": ((specific(0.8),), (specific(0.1),)),
    "moves_sentence": ((moved(True),), (moved(False),)),
    "shuffled_sentence": (
        (shuffled(1.0), control_shares(1.0).shuffled_share),
        (shuffled(0.1), control_shares(0.1).shuffled_share),
    ),
    "control_shares_sentence": (
        (control_shares(1.0), "layer_0", 4),
        (control_shares(0.1), "layer_0", 4),
    ),
    "words_sentence": ((WORDS, 1.2, 1.1, 1.3), (WORDS, 0.5, 0.4, 0.6)),
    "arm_sentence": ((slope(7.0).iloc[0],), (slope(-7.0).iloc[0],)),
    "outcome_sentence": ((slope(7.0),), (slope(7.0, p=0.5),)),
    "size_sentence": ((slope(7.0).assign(n=2),), (slope(7.0),)),
    "group_sentence": (
        (slope(7.0).assign(session="first"), "session"),
        (slope(-7.0).assign(session="first"), "session"),
    ),
    "own_controls_sentence": ((own_share(0.4), []), (own_share(np.nan), [])),
}

# ---- Phase 3


def checks(holds):
    return pd.DataFrame(dict(check=["first", "second"], holds=[True, holds]))


def patched(low):
    rows = dict(site=["layer_0", "layer_0.cross_attn"], kind=["resid", "cross_attn"])
    return pd.DataFrame(rows | dict(value=0.8, low=low, high=0.9, n=16))


def ranked(value):
    estimate = Estimate(value, value - 0.1, value + 0.05, 24)
    return Agreement(estimate, estimate, pd.DataFrame(dict(site=["text"] * 24)))


def window(**estimate):
    return table(dict(site="text", start=0.0) | estimate)


def half(low, **more):
    row = dict(site="text", arm="patch", descriptor="toward", start=0.0, end=1.5)
    return row | dict(restored=0.9, low=low, high=0.99, n=16) | more


HALVES = (pd.Series(half(0.8)), pd.Series(half(-0.1, restored=0.08, start=1.5, end=3.0)))
APART = series(difference=2.5, difference_low=1.7, difference_high=3.5, n=16)


def brought(restored):
    values = dict(restored=restored, low=restored - 0.2, high=restored + 0.2, n=16)
    return series(site="layer_2", **values)


def encoded(yes):
    return pd.DataFrame(dict(name=["text", "layer_0"], encodes=[True, yes], n=46))


def reliable(margin_low):
    margin = dict(margin=0.5, margin_low=margin_low, margin_high=0.7)
    return series(judged=0.85, judged_low=0.7, reason="", **YES, **margin)


def pushes(p):
    row = dict(site="text", low=0.2, high=0.9, p_random=p, n_random=39, n=16)
    return table(row)


def answers(answer):
    return table(dict(site="text", question="used", answer=answer))


def heads(p):
    return pd.DataFrame(dict(difference=[0.1, 0.2], p=p, n=100))


def attended(p):
    return SimpleNamespace(heads=heads(p), neutral_heads=heads(0.6), span=heads(p))


def held(low):
    row = dict(outcome="valence", cue="mode", total=1.2, value=0.9, low=low, high=1.3, n=16)
    return table(row)


def heard(agrees):
    row = dict(emotion="angry", claim="scary is highest", heard_as="sad", agrees=agrees)
    return table(NO | row)


def erased(value):
    return table(dict(site="text", how="LEACE", value=value, low=value, high=value, n=16))


PHASE_3 = {
    "wiring_sentence": ((checks(True),), (checks(False),)),
    "residual_sentence": (
        (patched(0.7), "happy", "sad", 16),
        (patched(-0.1), "happy", "sad", 16),
    ),
    "lost_sentence": (
        (window(**YES), "happy", "sad"),
        (window(**NO), "happy", "sad"),
    ),
    "windows_sentence": ((window(**YES),), (window(**NO),)),
    "floor_sentence": (
        (series(**NO), series(**YES), "happy", "sad"),
        (series(**YES), series(**NO), "happy", "sad"),
    ),
    "agreement_sentence": ((ranked(0.95),), (ranked(0.3),)),
    "halves_sentence": ((table(half(0.8)),), (table(half(-0.1)),)),
    "timing_sentence": (
        (*HALVES, Estimate(2.3, 1.5, 3.1, 16)),
        (*reversed(HALVES), Estimate(-2.3, -3.1, -1.5, 16)),
    ),
    "sound_sentence": (
        (APART, brought(0.9), "happy", "sad"),
        (APART, brought(0.1), "happy", "sad"),
    ),
    "borrowed_sentence": (
        ("layer_0", brought(1.2), brought(0.1)),
        ("layer_0", brought(0.2), brought(0.1)),
    ),
    "decodable_sentence": ((encoded(True),), (encoded(False),)),
    "reliability_sentence": ((reliable(0.3), 0.3), (reliable(-0.1), 0.3)),
    "push_sentence": ((pushes(0.025),), (pushes(0.3),)),
    "answers_sentence": ((answers("yes"),), (answers("no"),)),
    "attention_sentence": ((heads(0.01), heads(0.6)), (heads(0.6), heads(0.6))),
    "span_sentence": ((heads(0.01),), (heads(0.6),)),
    "summary_sentence": ((attended(0.01),), (attended(0.6),)),
    "mediation_sentence": ((held(0.5), "happy", "sad"), (held(-0.5), "happy", "sad")),
    "grounding_sentence": ((heard(True),), (heard(False),)),
    "loss_sentence": ((erased(0.5),), (erased(-0.1),)),
}
