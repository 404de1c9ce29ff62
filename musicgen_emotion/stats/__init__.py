"""Estimates with intervals, permutation tests, effect sizes and trends."""

# made by `make export` from the modules of this folder

from .estimates import (
    Estimate as Estimate,
    finite_array as finite_array,
    check_level as check_level,
    factor_codes as factor_codes,
    label_per_group as label_per_group,
    sampling_units as sampling_units,
    bootstrap_weights as bootstrap_weights,
    interval as interval,
    bootstrap as bootstrap,
)
from .permutation import (
    permute_labels as permute_labels,
    permutation_p as permutation_p,
    Tested as Tested,
    permutation_test as permutation_test,
    paired_difference as paired_difference,
    Permanova as Permanova,
    permanova as permanova,
    max_t as max_t,
    fdr as fdr,
)
from .effects import (
    cohens_d as cohens_d,
    hedges_g as hedges_g,
    cliffs_delta as cliffs_delta,
    eta_squared as eta_squared,
    wilson as wilson,
    balanced_accuracies as balanced_accuracies,
    balanced_accuracy as balanced_accuracy,
    correlation as correlation,
    partial_correlation as partial_correlation,
    ratio_of_medians as ratio_of_medians,
    participation_ratio as participation_ratio,
)
from .trend import trend_test as trend_test
from .ratios import ratio_of_means as ratio_of_means
from .power import (
    FEWEST_UNITS as FEWEST_UNITS,
    SampleSize as SampleSize,
    units_needed as units_needed,
)
