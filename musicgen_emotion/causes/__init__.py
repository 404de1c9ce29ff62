"""Patching, attribution, ablation, erasure, reliability, mediation and verdicts."""

# made by `make export` from the modules of this folder

from .ablation import HOWS, ablated, ablation_effects
from .arms import interventions, prediction_slopes, site_reliability
from .attribution import Agreement, attribution_agreement, attribution_patching
from .construction import construction_checks, word_parts
from .erasure import Eraser, inlp, leace, project_out
from .free_generation import (
    PatchedClips,
    collect_patched,
    describe_patched,
    patched_generation,
    sound_restored,
)
from .mediation import mediate
from .oracle import FAMILIES, Oracle, fingerprints, fit_oracle
from .pairs import PATCH_SITES, TEXT_SITES, Pairs, all_cells, pair_prompts, pair_tokens
from .passes import (
    contrast,
    kl,
    next_token_logits,
    recorded_pass,
    restored_difference,
    run_pass,
    taped_pass,
    text_batch,
)
from .patching import (
    PATCH_ARMS,
    SUMMARY_COLUMNS,
    PairBatch,
    activation_patching,
    cell_progress,
    checked_cells,
    derangement,
    measure_patch,
    need_tokens,
    patching_summary,
    run_patched,
    tidy_cells,
)
from .reliability import (
    FLOORS,
    causal_reliability,
    completeness,
    harmonic_reliability,
    selectivity,
    total_variation,
)
from .stages import Stages
from .verdicts import (
    ANSWERS,
    BARS,
    QUESTIONS,
    against_construction,
    collect_evidence,
    listener_ratings,
    plot_verdicts,
    verdict_table,
)

__all__ = [
    "ANSWERS",
    "BARS",
    "FAMILIES",
    "FLOORS",
    "HOWS",
    "PATCH_ARMS",
    "PATCH_SITES",
    "QUESTIONS",
    "SUMMARY_COLUMNS",
    "TEXT_SITES",
    "Agreement",
    "Eraser",
    "Oracle",
    "PairBatch",
    "Pairs",
    "PatchedClips",
    "Stages",
    "ablated",
    "ablation_effects",
    "activation_patching",
    "against_construction",
    "all_cells",
    "attribution_agreement",
    "attribution_patching",
    "causal_reliability",
    "cell_progress",
    "checked_cells",
    "collect_evidence",
    "collect_patched",
    "completeness",
    "construction_checks",
    "contrast",
    "derangement",
    "describe_patched",
    "fingerprints",
    "fit_oracle",
    "harmonic_reliability",
    "inlp",
    "interventions",
    "kl",
    "leace",
    "listener_ratings",
    "measure_patch",
    "mediate",
    "need_tokens",
    "next_token_logits",
    "pair_prompts",
    "pair_tokens",
    "patched_generation",
    "patching_summary",
    "plot_verdicts",
    "prediction_slopes",
    "project_out",
    "recorded_pass",
    "restored_difference",
    "run_pass",
    "run_patched",
    "selectivity",
    "site_reliability",
    "sound_restored",
    "taped_pass",
    "text_batch",
    "tidy_cells",
    "total_variation",
    "verdict_table",
    "word_parts",
]
