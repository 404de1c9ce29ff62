"""Estimates with intervals, permutation tests, effect sizes and trends."""

# made by `make export` from the modules of this folder

from .effects import balanced_accuracies as balanced_accuracies
from .effects import balanced_accuracy as balanced_accuracy
from .effects import cliffs_delta as cliffs_delta
from .effects import cohens_d as cohens_d
from .effects import correlation as correlation
from .effects import eta_squared as eta_squared
from .effects import hedges_g as hedges_g
from .effects import mean_p as mean_p
from .effects import partial_correlation as partial_correlation
from .effects import participation_ratio as participation_ratio
from .effects import ratio_of_medians as ratio_of_medians
from .effects import wilson as wilson
from .estimates import Estimate as Estimate
from .estimates import bootstrap as bootstrap
from .estimates import bootstrap_weights as bootstrap_weights
from .estimates import check_level as check_level
from .estimates import factor_codes as factor_codes
from .estimates import finite_array as finite_array
from .estimates import interval as interval
from .estimates import label_per_group as label_per_group
from .estimates import sampling_units as sampling_units
from .permutation import Permanova as Permanova
from .permutation import Tested as Tested
from .permutation import fdr as fdr
from .permutation import max_t as max_t
from .permutation import paired_difference as paired_difference
from .permutation import permanova as permanova
from .permutation import permutation_p as permutation_p
from .permutation import permutation_test as permutation_test
from .permutation import permute_labels as permute_labels
from .power import SampleSize as SampleSize
from .power import units_needed as units_needed
from .ratios import ratio_of_means as ratio_of_means
from .trend import trend_test as trend_test
