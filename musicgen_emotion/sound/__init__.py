"""What a clip sounds like: descriptors, models of listeners and the listening test."""

# made by `make export` from the modules of this folder

from .spectra import TEMPO_RANGE, check_clip, Spectrum, spectrum, mel_spectrum, onset_strength, onset_times, tempo_scores, estimate_tempo
from .pitch import PITCHES, KEY_PROFILES, Peaks, spectral_peaks, pitch_classes, key_scores, estimate_key, estimate_register
from .timbre import loudness, brightness, articulation, attack_time, percussiveness, mfcc
from .descriptors import DESCRIPTORS, SILENT_DB, describe, descriptor_units, read_wave, describe_table
from .label_judge import JUDGE_DESCRIPTORS, descriptor_matrix, LabelJudge, judge_accuracy
from .listener import LISTENER_LEVELS, LISTENER_CUES, LISTENER_RATINGS, PUBLISHED_EFFECTS, listener_codes, ListenerModel, fit_listener, listener_cues, listener_axes
from .listening import LISTENING_KINDS, RATING_SCALES, QUESTIONS, INSTRUCTIONS, FAREWELL, ANSWER_COLUMNS, LARGE_PAGE_MB, listening_scales, clip_sounds, make_trials, rater_plan, ListeningTest, write_listening_test
from .answers import read_key, simulate_raters, check_answers, read_answers, rater_report
from .study_size import DESIGNS, SE_METHODS, listening_power, power_table, plot_power
from .rater_models import mean_influence, crossed_se, crossed_bootstrap, CrossedLogit, ListeningResult, analyse_listening

__all__ = ['ANSWER_COLUMNS', 'CrossedLogit', 'DESCRIPTORS', 'DESIGNS', 'FAREWELL', 'INSTRUCTIONS', 'JUDGE_DESCRIPTORS', 'KEY_PROFILES', 'LARGE_PAGE_MB', 'LISTENER_CUES', 'LISTENER_LEVELS', 'LISTENER_RATINGS', 'LISTENING_KINDS', 'LabelJudge', 'ListenerModel', 'ListeningResult', 'ListeningTest', 'PITCHES', 'PUBLISHED_EFFECTS', 'Peaks', 'QUESTIONS', 'RATING_SCALES', 'SE_METHODS', 'SILENT_DB', 'Spectrum', 'TEMPO_RANGE', 'analyse_listening', 'articulation', 'attack_time', 'brightness', 'check_answers', 'check_clip', 'clip_sounds', 'crossed_bootstrap', 'crossed_se', 'describe', 'describe_table', 'descriptor_matrix', 'descriptor_units', 'estimate_key', 'estimate_register', 'estimate_tempo', 'fit_listener', 'judge_accuracy', 'key_scores', 'listener_axes', 'listener_codes', 'listener_cues', 'listening_power', 'listening_scales', 'loudness', 'make_trials', 'mean_influence', 'mel_spectrum', 'mfcc', 'onset_strength', 'onset_times', 'percussiveness', 'pitch_classes', 'plot_power', 'power_table', 'rater_plan', 'rater_report', 'read_answers', 'read_key', 'read_wave', 'simulate_raters', 'spectral_peaks', 'spectrum', 'tempo_scores', 'write_listening_test']
