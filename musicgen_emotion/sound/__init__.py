"""What a clip sounds like: descriptors, models of listeners and the listening test."""

# made by `make export` from the modules of this folder

from .spectra import (
    TEMPO_RANGE as TEMPO_RANGE,
    check_clip as check_clip,
    Spectrum as Spectrum,
    spectrum as spectrum,
    mel_spectrum as mel_spectrum,
    onset_strength as onset_strength,
    onset_times as onset_times,
    tempo_scores as tempo_scores,
    estimate_tempo as estimate_tempo,
)
from .pitch import (
    PITCHES as PITCHES,
    KEY_PROFILES as KEY_PROFILES,
    Peaks as Peaks,
    spectral_peaks as spectral_peaks,
    pitch_classes as pitch_classes,
    key_scores as key_scores,
    estimate_key as estimate_key,
    estimate_register as estimate_register,
)
from .timbre import (
    loudness as loudness,
    brightness as brightness,
    articulation as articulation,
    attack_time as attack_time,
    percussiveness as percussiveness,
    mfcc as mfcc,
)
from .descriptors import (
    DESCRIPTORS as DESCRIPTORS,
    SILENT_DB as SILENT_DB,
    describe as describe,
    descriptor_units as descriptor_units,
    read_wave as read_wave,
    read_channels as read_channels,
    describe_table as describe_table,
    mono_clips as mono_clips,
)
from .label_judge import (
    JUDGE_DESCRIPTORS as JUDGE_DESCRIPTORS,
    descriptor_matrix as descriptor_matrix,
    LabelJudge as LabelJudge,
    judge_accuracy as judge_accuracy,
)
from .listener import (
    LISTENER_LEVELS as LISTENER_LEVELS,
    LISTENER_CUES as LISTENER_CUES,
    LISTENER_RATINGS as LISTENER_RATINGS,
    PUBLISHED_EFFECTS as PUBLISHED_EFFECTS,
    listener_codes as listener_codes,
    ListenerModel as ListenerModel,
    fit_listener as fit_listener,
    listener_cues as listener_cues,
    listener_axes as listener_axes,
)
from .listening_clips import (
    RESERVED_CONDITIONS as RESERVED_CONDITIONS,
    clip_sounds as clip_sounds,
    make_trials as make_trials,
    opaque_clip_ids as opaque_clip_ids,
    encoded_sound as encoded_sound,
)
from .listening import (
    LISTENING_KINDS as LISTENING_KINDS,
    RATING_SCALES as RATING_SCALES,
    QUESTIONS as QUESTIONS,
    INSTRUCTIONS as INSTRUCTIONS,
    FAREWELL as FAREWELL,
    ANSWER_COLUMNS as ANSWER_COLUMNS,
    LARGE_PAGE_MB as LARGE_PAGE_MB,
    listening_scales as listening_scales,
    rater_plan as rater_plan,
    base_id as base_id,
    ListeningTest as ListeningTest,
    write_listening_test as write_listening_test,
)
from .answer_files import (
    read_key as read_key,
    read_answer_file as read_answer_file,
    answer_paths as answer_paths,
)
from .answers import (
    simulate_raters as simulate_raters,
    check_answers as check_answers,
    read_answers as read_answers,
    rater_report as rater_report,
)
from .study_size import (
    DESIGNS as DESIGNS,
    SE_METHODS as SE_METHODS,
    listening_power as listening_power,
    power_table as power_table,
    plot_power as plot_power,
)
from .rater_models import (
    mean_influence as mean_influence,
    crossed_se as crossed_se,
    crossed_bootstrap as crossed_bootstrap,
    CrossedLogit as CrossedLogit,
    ListeningResult as ListeningResult,
    analyse_listening as analyse_listening,
)
from .graded_axes import (
    AXIS_NAMES as AXIS_NAMES,
    GradedAxes as GradedAxes,
    fit_graded_axes as fit_graded_axes,
)
