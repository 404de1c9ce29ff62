"""Where emotion can be read out: probes, baselines, similarity and attention."""

# made by `make export` from the modules of this folder

from .folds import (
    Folds as Folds,
    grouped_folds as grouped_folds,
    leave_word_out as leave_word_out,
    deal_groups as deal_groups,
    check_classes as check_classes,
)
from .nested import (
    Predictor as Predictor,
    Best as Best,
    ProbeResult as ProbeResult,
    ProbeData as ProbeData,
    probe_data as probe_data,
    class_codes as class_codes,
    checked_folds as checked_folds,
    penalty_grid as penalty_grid,
    ProbePlan as ProbePlan,
    run_probe as run_probe,
    HeldOut as HeldOut,
    nested_predictions as nested_predictions,
    inner_folds as inner_folds,
    class_weights as class_weights,
    balanced_hits as balanced_hits,
    fold_progress as fold_progress,
    assemble_result as assemble_result,
)
from .linear import (
    LAMBDAS as LAMBDAS,
    Gram as Gram,
    probe_layers as probe_layers,
    gram_matrices as gram_matrices,
    unit_column as unit_column,
    ridge_smoothers as ridge_smoothers,
    ridge_predictor as ridge_predictor,
    probe_regression as probe_regression,
)
from .nonlinear import logistic_probe as logistic_probe, mlp_probe as mlp_probe
from .readout import (
    probe_text as probe_text,
    mask_words as mask_words,
    majority_baseline as majority_baseline,
    compare_probes as compare_probes,
    encodes as encodes,
)
from .similarity import (
    WIDTHS as WIDTHS,
    NOT_ROWS as NOT_ROWS,
    GEOMETRIES as GEOMETRIES,
    cosine_similarity as cosine_similarity,
    mean_state as mean_state,
    one_branch as one_branch,
    state_rows as state_rows,
    unit_vectors as unit_vectors,
    labelled_states as labelled_states,
    transform as transform,
    WithinBetween as WithinBetween,
    within_between as within_between,
    pair_mask as pair_mask,
    permutation_strata as permutation_strata,
    count_units as count_units,
    centroid_similarity as centroid_similarity,
    centroid_cosines as centroid_cosines,
    centroid_curve as centroid_curve,
)
from .comparisons import (
    pair_baselines as pair_baselines,
    time_course as time_course,
    differing_dimensions as differing_dimensions,
)
from .maps import (
    embed_2d as embed_2d,
    silhouette as silhouette,
    layer_table as layer_table,
    circumplex_test as circumplex_test,
)
from .attention import (
    ATTENTION_KINDS as ATTENTION_KINDS,
    attention_pass as attention_pass,
    word_attention as word_attention,
    plot_attention as plot_attention,
    role_attention as role_attention,
    emotion_word_test as emotion_word_test,
    attention_span as attention_span,
    span_test as span_test,
)
from .earlier import (
    FLOOR as FLOOR,
    compare_activations as compare_activations,
    ActivationComparison as ActivationComparison,
)
