"""Patching, attribution, ablation, erasure, reliability, mediation and verdicts."""

# made by `make export` from the modules of this folder

from .pairs import (
    PATCH_SITES as PATCH_SITES,
    TEXT_SITES as TEXT_SITES,
    CELL_COLUMNS as CELL_COLUMNS,
    Pairs as Pairs,
    pair_prompts as pair_prompts,
    pair_tokens as pair_tokens,
    other_pairs as other_pairs,
    resampled_sums as resampled_sums,
    all_cells as all_cells,
    cell_table as cell_table,
)
from .passes import (
    next_token_logits as next_token_logits,
    text_batch as text_batch,
    run_pass as run_pass,
    RecordedRun as RecordedRun,
    recorded_run as recorded_run,
    taped_run as taped_run,
    contrast as contrast,
    restored_difference as restored_difference,
    kl as kl,
    pass_progress as pass_progress,
)
from .batches import (
    PatchReference as PatchReference,
    metric_rows as metric_rows,
    PairBatch as PairBatch,
    run_overwritten as run_overwritten,
    run_switched as run_switched,
)
from .patching import (
    PATCH_ARMS as PATCH_ARMS,
    SUMMARY_COLUMNS as SUMMARY_COLUMNS,
    activation_patching as activation_patching,
    ArmSources as ArmSources,
    random_states_like as random_states_like,
    patching_summary as patching_summary,
)
from .attribution import (
    attribution_patching as attribution_patching,
    Agreement as Agreement,
    attribution_agreement as attribution_agreement,
)
from .lockstep import (
    PatchSettings as PatchSettings,
    StateCopy as StateCopy,
    RowPlan as RowPlan,
    lockstep_tokens as lockstep_tokens,
)
from .free_generation import (
    SOUND_DESCRIPTORS as SOUND_DESCRIPTORS,
    PatchedClips as PatchedClips,
    patched_generation as patched_generation,
    collect_patched as collect_patched,
    describe_patched as describe_patched,
    sound_restored as sound_restored,
)
from .ablation import HOWS as HOWS, ablated as ablated, ablation_effects as ablation_effects
from .erasure import Eraser as Eraser, project_out as project_out, leace as leace, inlp as inlp
from .oracle import (
    FAMILIES as FAMILIES,
    Oracle as Oracle,
    fit_oracle as fit_oracle,
    fingerprints as fingerprints,
)
from .reliability import (
    FLOORS as FLOORS,
    MEASURES as MEASURES,
    total_variation as total_variation,
    completeness as completeness,
    selectivity as selectivity,
    harmonic_reliability as harmonic_reliability,
    causal_reliability as causal_reliability,
)
from .mediation import mediate as mediate
from .construction import word_parts as word_parts, construction_checks as construction_checks
from .site_scores import (
    prediction_slopes as prediction_slopes,
    fit_interventions as fit_interventions,
    site_reliability as site_reliability,
)
from .stages import Stages as Stages
from .verdicts import (
    QUESTIONS as QUESTIONS,
    BARS as BARS,
    ANSWERS as ANSWERS,
    verdict_table as verdict_table,
    listener_ratings as listener_ratings,
    collect_evidence as collect_evidence,
    against_construction as against_construction,
    plot_verdicts as plot_verdicts,
)
