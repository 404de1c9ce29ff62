"""Patching, attribution, ablation, erasure, reliability, mediation and verdicts."""

# made by `make export` from the modules of this folder

from .pairs import PATCH_SITES, TEXT_SITES, CELL_COLUMNS, Pairs, pair_prompts, pair_tokens, other_pairs, resampled_sums, all_cells, cell_table
from .passes import next_token_logits, text_batch, run_pass, RecordedRun, recorded_run, taped_run, contrast, restored_difference, kl, pass_progress
from .batches import PatchReference, metric_rows, PairBatch, run_overwritten, run_switched
from .patching import PATCH_ARMS, SUMMARY_COLUMNS, activation_patching, ArmSources, random_states_like, patching_summary
from .attribution import attribution_patching, Agreement, attribution_agreement
from .lockstep import PatchSettings, StateCopy, RowPlan, lockstep_tokens
from .free_generation import SOUND_DESCRIPTORS, PatchedClips, patched_generation, collect_patched, describe_patched, sound_restored
from .ablation import HOWS, ablated, ablation_effects
from .erasure import Eraser, project_out, leace, inlp
from .oracle import FAMILIES, Oracle, fit_oracle, fingerprints
from .reliability import FLOORS, MEASURES, total_variation, completeness, selectivity, harmonic_reliability, causal_reliability
from .mediation import mediate
from .construction import word_parts, construction_checks
from .arms import prediction_slopes, interventions, site_reliability
from .stages import Stages
from .verdicts import QUESTIONS, BARS, ANSWERS, verdict_table, listener_ratings, collect_evidence, against_construction, plot_verdicts

__all__ = ['ANSWERS', 'Agreement', 'ArmSources', 'BARS', 'CELL_COLUMNS', 'Eraser', 'FAMILIES', 'FLOORS', 'HOWS', 'MEASURES', 'Oracle', 'PATCH_ARMS', 'PATCH_SITES', 'PairBatch', 'Pairs', 'PatchReference', 'PatchSettings', 'PatchedClips', 'QUESTIONS', 'RecordedRun', 'RowPlan', 'SOUND_DESCRIPTORS', 'SUMMARY_COLUMNS', 'Stages', 'StateCopy', 'TEXT_SITES', 'ablated', 'ablation_effects', 'activation_patching', 'against_construction', 'all_cells', 'attribution_agreement', 'attribution_patching', 'causal_reliability', 'cell_table', 'collect_evidence', 'collect_patched', 'completeness', 'construction_checks', 'contrast', 'describe_patched', 'fingerprints', 'fit_oracle', 'harmonic_reliability', 'inlp', 'interventions', 'kl', 'leace', 'listener_ratings', 'lockstep_tokens', 'mediate', 'metric_rows', 'next_token_logits', 'other_pairs', 'pair_prompts', 'pair_tokens', 'pass_progress', 'patched_generation', 'patching_summary', 'plot_verdicts', 'prediction_slopes', 'project_out', 'random_states_like', 'recorded_run', 'resampled_sums', 'restored_difference', 'run_overwritten', 'run_pass', 'run_switched', 'selectivity', 'site_reliability', 'sound_restored', 'taped_run', 'text_batch', 'total_variation', 'verdict_table', 'word_parts']
