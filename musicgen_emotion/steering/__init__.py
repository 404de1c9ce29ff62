"""Directions, pushes, doses, judges and the cost of a push."""

# made by `make export` from the modules of this folder

from .directions import TEXT_SITES, Direction, check_vector, vector_of_width, combine, orthogonalise, save_directions, load_directions
from .methods import mean_difference, checked_pairs, checked_activations, mean_differences, match_pairs, ridge_direction, logistic_direction, lda_direction, as_pattern, pca_direction, agop_direction, sae_direction
from .axes import AXES, random_direction, shuffled_direction, axis_direction, text_direction, emotion_directions, method_directions, cosine_table, pairs_curve
from .heads import site_width, hooked_sites, head_activations, without_special, site_rms
from .schedules import Schedule, ClosedLoop, Watcher
from .push import BRANCH_CHOICES, STEERING_MODES, Steered, schedule_and_loop, steering_hooks, add_step, steer, push_length, check_push_size, push_places, unit_of_dose, check_text_push
from .branches import branch_arithmetic, branch_agreement
from .feature_push import FEATURE_MODES, steer_features
from .arms import Arm, random_arms, shuffled_arms, opposite_arm, other_layer_arm, prompt_arm
from .judging import as_scores, judge_name, named_judges, check_judge_columns, renamed, judge_clips, ask_judge, judge_fingerprint
from .doses import plan_doses, dose_response
from .slopes import STUDY_COLUMNS, dose_slopes, side_effects, dose_changes, paired_changes
from .judges import SOUND_DESCRIPTORS, PUBLISHED_LINEAR, run_judge, user_judge, DescriptorJudge, ListenerJudge, ratings_folder, listener_fidelity, EmotionJudge, SoundJudge
from .clap import CLAP_DEFAULT, CLAP_TEMPLATES, CLAP_EMOTIONS, CLAP_AXES, load_clap, clap_sentences, write_random_clap, resample, ClapJudge
from .token_quality import checked_tokens, checked_prompts, repetition, silence, token_kl
from .distances import N_CEPSTRAL, mel_embedding, codec_embedding, frechet_distance, distribution_distance
from .guard import GUARD, Quality, quality_guard, quality_summary, dose_quality, study_guard, study_distances
from .costs import cue_recovery, recovery_draws, at_equal_cost, equal_cost_draws

__all__ = ['AXES', 'Arm', 'BRANCH_CHOICES', 'CLAP_AXES', 'CLAP_DEFAULT', 'CLAP_EMOTIONS', 'CLAP_TEMPLATES', 'ClapJudge', 'ClosedLoop', 'DescriptorJudge', 'Direction', 'EmotionJudge', 'FEATURE_MODES', 'GUARD', 'ListenerJudge', 'N_CEPSTRAL', 'PUBLISHED_LINEAR', 'Quality', 'SOUND_DESCRIPTORS', 'STEERING_MODES', 'STUDY_COLUMNS', 'Schedule', 'SoundJudge', 'Steered', 'TEXT_SITES', 'Watcher', 'add_step', 'agop_direction', 'as_pattern', 'as_scores', 'ask_judge', 'at_equal_cost', 'axis_direction', 'branch_agreement', 'branch_arithmetic', 'check_judge_columns', 'check_push_size', 'check_text_push', 'check_vector', 'checked_activations', 'checked_pairs', 'checked_prompts', 'checked_tokens', 'clap_sentences', 'codec_embedding', 'combine', 'cosine_table', 'cue_recovery', 'distribution_distance', 'dose_changes', 'dose_quality', 'dose_response', 'dose_slopes', 'emotion_directions', 'equal_cost_draws', 'frechet_distance', 'head_activations', 'hooked_sites', 'judge_clips', 'judge_fingerprint', 'judge_name', 'lda_direction', 'listener_fidelity', 'load_clap', 'load_directions', 'logistic_direction', 'match_pairs', 'mean_difference', 'mean_differences', 'mel_embedding', 'method_directions', 'named_judges', 'opposite_arm', 'orthogonalise', 'other_layer_arm', 'paired_changes', 'pairs_curve', 'pca_direction', 'plan_doses', 'prompt_arm', 'push_length', 'push_places', 'quality_guard', 'quality_summary', 'random_arms', 'random_direction', 'ratings_folder', 'recovery_draws', 'renamed', 'repetition', 'resample', 'ridge_direction', 'run_judge', 'sae_direction', 'save_directions', 'schedule_and_loop', 'shuffled_arms', 'shuffled_direction', 'side_effects', 'silence', 'site_rms', 'site_width', 'steer', 'steer_features', 'steering_hooks', 'study_distances', 'study_guard', 'text_direction', 'token_kl', 'unit_of_dose', 'user_judge', 'vector_of_width', 'without_special', 'write_random_clap']
