"""Sparse autoencoders: dictionaries, training, features and what they do."""

# made by `make export` from the modules of this folder

from .settings import ACTIVATIONS, SAEConfig, TrainConfig
from .tensor_files import write_tensors, read_tensors, existing_file, read_state, optimizer_tensors, load_optimizer, tensors_under, write_folder, read_config, local_folder, check_tensors
from .dictionary import START_THRESHOLD, DICTIONARY_FORMAT, SparseAutoencoder, keep_topk, keep_batch_topk, jump, at_dictionary, feature_shift, geometric_median, constant_columns, fill_dictionary
from .folding import EXTRA_TENSORS, plain_tensors, shift_biases, unit_decoder, from_tensors, check_complete, usual_length
from .formats import to_saelens, from_saelens, to_dictionary_learning, from_dictionary_learning, to_sparsify, from_sparsify, load_dictionary
from .data import LARGEST_VALUE, Split, group_split, row_labels, clip_numbers, DataReport, data_report, with_warnings, checked_rows, ArrayBatches, StoreBatches, token_rows
from .gradients import SPARSE_BELOW, DENSE_WEIGHTS, sae_losses, project_gradient, normalize_decoder, AutogradGradient, sparse_gradients, ReluGradient, TopKGradient, BatchTopKGradient, gradient_of
from .metrics import sae_metrics, feature_density, decoder_cosines, FiringTracker, resample_dead, add_aux_gradient
from .splice import spliced_logits, loss_recovered
from .trainer import SAETrainer, check_loss, data_fingerprint, differing_parts
from .training import TrainResult, train_sae, split_parts
from .planted import Planted, planted_features
from .features import EPS, selectivity, checked_activations, class_labels, selectivity_ratio, selective_features, SelectivityCells, selectivity_cells, cell_means, blocks_within_memory, fdr_of_tested, count_selective, count_ends, kept_features, found_again
from .profiles import va_weights, top_features, emotion_profile, plot_profile, cluster_features
from .probing import sparse_probe, sparse_predictions, one_vs_rest_draws
from .controls import CONTROL_ARMS, CONTROL_MEASURES, rectify, pca_features, control_table, beats_controls, control_claims, generalization
from .recovery import unit_rows, Match, match_features, stability, stable_estimate, feature_splitting, mass_purity, monosemanticity, recovery_table
from .effects import EDIT_MODES, HEARD, ablate_features, random_features_like, ablation_effect, feature_edit, edit_descriptors, edit_changes, edit_effects, edit_test
from .cards import CardData, FeatureCard, feature_card, write_feature_page
from .sweeps import sweep, pareto, best_setting, plot_pareto, train_seeds

__all__ = ['ACTIVATIONS', 'ArrayBatches', 'AutogradGradient', 'BatchTopKGradient', 'CONTROL_ARMS', 'CONTROL_MEASURES', 'CardData', 'DENSE_WEIGHTS', 'DICTIONARY_FORMAT', 'DataReport', 'EDIT_MODES', 'EPS', 'EXTRA_TENSORS', 'FeatureCard', 'FiringTracker', 'HEARD', 'LARGEST_VALUE', 'Match', 'Planted', 'ReluGradient', 'SAEConfig', 'SAETrainer', 'SPARSE_BELOW', 'START_THRESHOLD', 'SelectivityCells', 'SparseAutoencoder', 'Split', 'StoreBatches', 'TopKGradient', 'TrainConfig', 'TrainResult', 'ablate_features', 'ablation_effect', 'add_aux_gradient', 'at_dictionary', 'beats_controls', 'best_setting', 'blocks_within_memory', 'cell_means', 'check_complete', 'check_loss', 'check_tensors', 'checked_activations', 'checked_rows', 'class_labels', 'clip_numbers', 'cluster_features', 'constant_columns', 'control_claims', 'control_table', 'count_ends', 'count_selective', 'data_fingerprint', 'data_report', 'decoder_cosines', 'differing_parts', 'edit_changes', 'edit_descriptors', 'edit_effects', 'edit_test', 'emotion_profile', 'existing_file', 'fdr_of_tested', 'feature_card', 'feature_density', 'feature_edit', 'feature_shift', 'feature_splitting', 'fill_dictionary', 'found_again', 'from_dictionary_learning', 'from_saelens', 'from_sparsify', 'from_tensors', 'generalization', 'geometric_median', 'gradient_of', 'group_split', 'jump', 'keep_batch_topk', 'keep_topk', 'kept_features', 'load_dictionary', 'load_optimizer', 'local_folder', 'loss_recovered', 'mass_purity', 'match_features', 'monosemanticity', 'normalize_decoder', 'one_vs_rest_draws', 'optimizer_tensors', 'pareto', 'pca_features', 'plain_tensors', 'planted_features', 'plot_pareto', 'plot_profile', 'project_gradient', 'random_features_like', 'read_config', 'read_state', 'read_tensors', 'recovery_table', 'rectify', 'resample_dead', 'row_labels', 'sae_losses', 'sae_metrics', 'selective_features', 'selectivity', 'selectivity_cells', 'selectivity_ratio', 'shift_biases', 'sparse_gradients', 'sparse_predictions', 'sparse_probe', 'spliced_logits', 'split_parts', 'stability', 'stable_estimate', 'sweep', 'tensors_under', 'to_dictionary_learning', 'to_saelens', 'to_sparsify', 'token_rows', 'top_features', 'train_sae', 'train_seeds', 'unit_decoder', 'unit_rows', 'usual_length', 'va_weights', 'with_warnings', 'write_feature_page', 'write_folder', 'write_tensors']
