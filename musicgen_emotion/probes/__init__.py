"""Where emotion can be read out: probes, baselines, similarity and attention."""

# made by `make export` from the modules of this folder

from .folds import Folds, grouped_folds, leave_word_out, deal_groups, check_classes
from .nested import Predictor, Best, ProbeResult, ProbeData, probe_data, class_codes, checked_folds, penalty_grid, ProbePlan, run_probe, HeldOut, nested_predictions, inner_folds, class_weights, balanced_hits, fold_progress, assemble_result
from .linear import LAMBDAS, Gram, probe_layers, gram_matrices, unit_column, ridge_smoothers, ridge_predictor, probe_regression
from .nonlinear import logistic_probe, mlp_probe
from .readout import probe_text, mask_words, majority_baseline, compare_probes, encodes
from .similarity import WIDTHS, NOT_ROWS, GEOMETRIES, cosine_similarity, mean_state, one_branch, state_rows, unit_vectors, labelled_states, transform, WithinBetween, within_between, pair_mask, permutation_strata, count_units, centroid_similarity, centroid_cosines, centroid_curve
from .comparisons import pair_baselines, time_course, differing_dimensions
from .maps import embed_2d, silhouette, layer_table, circumplex_test
from .attention import ATTENTION_KINDS, attention_pass, word_attention, plot_attention, role_attention, emotion_word_test, attention_span, span_test
from .earlier import FLOOR, compare_activations, ActivationComparison

__all__ = ['ATTENTION_KINDS', 'ActivationComparison', 'Best', 'FLOOR', 'Folds', 'GEOMETRIES', 'Gram', 'HeldOut', 'LAMBDAS', 'NOT_ROWS', 'Predictor', 'ProbeData', 'ProbePlan', 'ProbeResult', 'WIDTHS', 'WithinBetween', 'assemble_result', 'attention_pass', 'attention_span', 'balanced_hits', 'centroid_cosines', 'centroid_curve', 'centroid_similarity', 'check_classes', 'checked_folds', 'circumplex_test', 'class_codes', 'class_weights', 'compare_activations', 'compare_probes', 'cosine_similarity', 'count_units', 'deal_groups', 'differing_dimensions', 'embed_2d', 'emotion_word_test', 'encodes', 'fold_progress', 'gram_matrices', 'grouped_folds', 'inner_folds', 'labelled_states', 'layer_table', 'leave_word_out', 'logistic_probe', 'majority_baseline', 'mask_words', 'mean_state', 'mlp_probe', 'nested_predictions', 'one_branch', 'pair_baselines', 'pair_mask', 'penalty_grid', 'permutation_strata', 'plot_attention', 'probe_data', 'probe_layers', 'probe_regression', 'probe_text', 'ridge_predictor', 'ridge_smoothers', 'role_attention', 'run_probe', 'silhouette', 'span_test', 'state_rows', 'time_course', 'transform', 'unit_column', 'unit_vectors', 'within_between', 'word_attention']
