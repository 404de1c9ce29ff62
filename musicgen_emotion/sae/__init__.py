"""Sparse autoencoders: dictionaries, training, features and what they do."""

# made by `make export` from the modules of this folder

from .settings import ACTIVATIONS as ACTIVATIONS, SAEConfig as SAEConfig, TrainConfig as TrainConfig
from .tensor_files import (
    write_tensors as write_tensors,
    read_tensors as read_tensors,
    read_pickled_tensors as read_pickled_tensors,
    existing_file as existing_file,
    read_state as read_state,
    optimizer_tensors as optimizer_tensors,
    load_optimizer as load_optimizer,
    tensors_under as tensors_under,
    write_folder as write_folder,
    holds_own_dictionary as holds_own_dictionary,
    read_config as read_config,
    local_folder as local_folder,
    check_tensors as check_tensors,
)
from .dictionary import (
    START_THRESHOLD as START_THRESHOLD,
    DICTIONARY_FORMAT as DICTIONARY_FORMAT,
    SparseAutoencoder as SparseAutoencoder,
    keep_topk as keep_topk,
    keep_batch_topk as keep_batch_topk,
    jump as jump,
    at_dictionary as at_dictionary,
    feature_shift as feature_shift,
    geometric_median as geometric_median,
    constant_columns as constant_columns,
    fill_dictionary as fill_dictionary,
)
from .folding import (
    EXTRA_TENSORS as EXTRA_TENSORS,
    plain_tensors as plain_tensors,
    shift_biases as shift_biases,
    unit_decoder as unit_decoder,
    from_tensors as from_tensors,
    check_complete as check_complete,
    refuse_unknown as refuse_unknown,
    usual_length as usual_length,
)
from .format_folders import (
    DICTIONARY_FILES as DICTIONARY_FILES,
    dictionary_form as dictionary_form,
    list_dictionaries as list_dictionaries,
    dictionary_folder as dictionary_folder,
)
from .format_rules import (
    SAELENS_ORIGIN as SAELENS_ORIGIN,
    SAELENS_HARMLESS as SAELENS_HARMLESS,
    SAELENS_APPLIED as SAELENS_APPLIED,
    SPARSIFY_KNOWN as SPARSIFY_KNOWN,
    DICTIONARY_LEARNING_KNOWN as DICTIONARY_LEARNING_KNOWN,
    NO as NO,
    NEVER as NEVER,
    SAELENS_ACTIVATIONS as SAELENS_ACTIVATIONS,
    check_settings as check_settings,
    refuse as refuse,
    saelens_activation as saelens_activation,
    saelens_origin as saelens_origin,
    apply_feature_scale as apply_feature_scale,
)
from .formats import (
    to_saelens as to_saelens,
    from_saelens as from_saelens,
    to_dictionary_learning as to_dictionary_learning,
    from_dictionary_learning as from_dictionary_learning,
    to_sparsify as to_sparsify,
    from_sparsify as from_sparsify,
    load_dictionary as load_dictionary,
)
from .data import (
    LARGEST_VALUE as LARGEST_VALUE,
    Split as Split,
    group_split as group_split,
    row_labels as row_labels,
    clip_numbers as clip_numbers,
    DataReport as DataReport,
    data_report as data_report,
    with_warnings as with_warnings,
    checked_rows as checked_rows,
    ArrayBatches as ArrayBatches,
    StoreBatches as StoreBatches,
    token_rows as token_rows,
)
from .gradients import (
    SPARSE_BELOW as SPARSE_BELOW,
    DENSE_WEIGHTS as DENSE_WEIGHTS,
    sae_losses as sae_losses,
    project_gradient as project_gradient,
    normalize_decoder as normalize_decoder,
    AutogradGradient as AutogradGradient,
    sparse_gradients as sparse_gradients,
    ReluGradient as ReluGradient,
    TopKGradient as TopKGradient,
    BatchTopKGradient as BatchTopKGradient,
    gradient_of as gradient_of,
)
from .metrics import (
    sae_metrics as sae_metrics,
    feature_density as feature_density,
    decoder_cosines as decoder_cosines,
    FiringTracker as FiringTracker,
    resample_dead as resample_dead,
    add_aux_gradient as add_aux_gradient,
)
from .splice import spliced_logits as spliced_logits, loss_recovered as loss_recovered
from .trainer import (
    SAETrainer as SAETrainer,
    check_loss as check_loss,
    data_fingerprint as data_fingerprint,
    differing_parts as differing_parts,
)
from .training import (
    TrainResult as TrainResult,
    train_sae as train_sae,
    require_training_room as require_training_room,
    split_parts as split_parts,
)
from .planted import Planted as Planted, planted_features as planted_features
from .features import (
    EPS as EPS,
    selectivity as selectivity,
    checked_activations as checked_activations,
    class_labels as class_labels,
    selectivity_ratio as selectivity_ratio,
    selective_features as selective_features,
    SelectivityCells as SelectivityCells,
    selectivity_cells as selectivity_cells,
    cell_means as cell_means,
    blocks_within_memory as blocks_within_memory,
    fdr_of_tested as fdr_of_tested,
    count_selective as count_selective,
    count_ends as count_ends,
    kept_features as kept_features,
    found_again as found_again,
)
from .profiles import (
    va_weights as va_weights,
    top_features as top_features,
    emotion_profile as emotion_profile,
    plot_profile as plot_profile,
    cluster_features as cluster_features,
)
from .probing import (
    sparse_probe as sparse_probe,
    sparse_predictions as sparse_predictions,
    one_vs_rest_draws as one_vs_rest_draws,
)
from .controls import (
    CONTROL_ARMS as CONTROL_ARMS,
    CONTROL_MEASURES as CONTROL_MEASURES,
    rectify as rectify,
    pca_features as pca_features,
    control_table as control_table,
    beats_controls as beats_controls,
    control_claims as control_claims,
    generalization as generalization,
)
from .matching import (
    match_features as match_features,
    Match as Match,
    unit_rows as unit_rows,
    stability as stability,
    stable_estimate as stable_estimate,
    feature_splitting as feature_splitting,
)
from .recovery import (
    mass_purity as mass_purity,
    monosemanticity as monosemanticity,
    recovery_table as recovery_table,
)
from .effects import (
    EDIT_MODES as EDIT_MODES,
    ablate_features as ablate_features,
    random_features_like as random_features_like,
    ablation_effect as ablation_effect,
)
from .edited_clips import (
    HEARD_DESCRIPTORS as HEARD_DESCRIPTORS,
    feature_edit as feature_edit,
    edit_descriptors as edit_descriptors,
    edit_changes as edit_changes,
    edit_effects as edit_effects,
    edit_test as edit_test,
)
from .cards import (
    CardData as CardData,
    FeatureCard as FeatureCard,
    feature_card as feature_card,
    write_feature_page as write_feature_page,
)
from .sweeps import (
    pareto as pareto,
    best_setting as best_setting,
    plot_pareto as plot_pareto,
    sweep as sweep,
    train_seeds as train_seeds,
)
