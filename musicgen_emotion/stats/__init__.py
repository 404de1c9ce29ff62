"""Estimates with intervals, permutation tests, effect sizes and trends."""

# made by `make export` from the modules of this folder

from .effects import (
    balanced_accuracies,
    balanced_accuracy,
    cliffs_delta,
    cohens_d,
    correlation,
    eta_squared,
    hedges_g,
    partial_correlation,
    participation_ratio,
    ratio_of_medians,
    wilson,
)
from .estimates import (
    Estimate,
    bootstrap,
    bootstrap_weights,
    check_level,
    factor_codes,
    finite_array,
    interval,
    label_per_group,
    sampling_units,
)
from .permutation import (
    Permanova,
    Tested,
    fdr,
    max_t,
    paired_difference,
    permanova,
    permutation_p,
    permutation_test,
    permute_labels,
)
from .trend import trend_test

__all__ = [
    "Estimate",
    "Permanova",
    "Tested",
    "balanced_accuracies",
    "balanced_accuracy",
    "bootstrap",
    "bootstrap_weights",
    "check_level",
    "cliffs_delta",
    "cohens_d",
    "correlation",
    "eta_squared",
    "factor_codes",
    "fdr",
    "finite_array",
    "hedges_g",
    "interval",
    "label_per_group",
    "max_t",
    "paired_difference",
    "partial_correlation",
    "participation_ratio",
    "permanova",
    "permutation_p",
    "permutation_test",
    "permute_labels",
    "ratio_of_medians",
    "sampling_units",
    "trend_test",
    "wilson",
]
