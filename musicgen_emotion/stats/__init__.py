"""Estimates with intervals, permutation tests, effect sizes and trends."""

# made by `make export` from the modules of this folder

from .estimates import Estimate, finite_array, check_level, factor_codes, label_per_group, sampling_units, bootstrap_weights, interval, bootstrap
from .permutation import permute_labels, permutation_p, Tested, permutation_test, paired_difference, Permanova, permanova, max_t, fdr
from .effects import cohens_d, hedges_g, cliffs_delta, eta_squared, wilson, balanced_accuracies, balanced_accuracy, correlation, partial_correlation, ratio_of_medians, participation_ratio
from .trend import trend_test

__all__ = ['Estimate', 'Permanova', 'Tested', 'balanced_accuracies', 'balanced_accuracy', 'bootstrap', 'bootstrap_weights', 'check_level', 'cliffs_delta', 'cohens_d', 'correlation', 'eta_squared', 'factor_codes', 'fdr', 'finite_array', 'hedges_g', 'interval', 'label_per_group', 'max_t', 'paired_difference', 'partial_correlation', 'participation_ratio', 'permanova', 'permutation_p', 'permutation_test', 'permute_labels', 'ratio_of_medians', 'sampling_units', 'trend_test', 'wilson']
