"""Directions, pushes, doses, judges and the cost of a push."""

# made by `make export` from the modules of this folder

from .directions import (
    TEXT_SITES as TEXT_SITES,
    Direction as Direction,
    check_vector as check_vector,
    vector_of_width as vector_of_width,
    combine as combine,
    orthogonalise as orthogonalise,
    save_directions as save_directions,
    load_directions as load_directions,
)
from .methods import (
    mean_difference as mean_difference,
    checked_pairs as checked_pairs,
    checked_activations as checked_activations,
    mean_differences as mean_differences,
    match_pairs as match_pairs,
    ridge_direction as ridge_direction,
    logistic_direction as logistic_direction,
    lda_direction as lda_direction,
    as_pattern as as_pattern,
    pca_direction as pca_direction,
    agop_direction as agop_direction,
    sae_direction as sae_direction,
)
from .axes import (
    AXES as AXES,
    random_direction as random_direction,
    shuffled_direction as shuffled_direction,
    axis_direction as axis_direction,
    text_direction as text_direction,
    emotion_directions as emotion_directions,
    method_directions as method_directions,
    cosine_table as cosine_table,
    pairs_curve as pairs_curve,
)
from .heads import (
    site_width as site_width,
    hooked_sites as hooked_sites,
    head_activations as head_activations,
    without_special as without_special,
    site_rms as site_rms,
)
from .schedules import Schedule as Schedule, ClosedLoop as ClosedLoop, Watcher as Watcher
from .push import (
    BRANCH_CHOICES as BRANCH_CHOICES,
    STEERING_MODES as STEERING_MODES,
    Steered as Steered,
    schedule_and_loop as schedule_and_loop,
    steering_hooks as steering_hooks,
    add_step as add_step,
    steer as steer,
    push_length as push_length,
    check_push_size as check_push_size,
    push_places as push_places,
    unit_of_dose as unit_of_dose,
    check_text_push as check_text_push,
)
from .branches import branch_arithmetic as branch_arithmetic, branch_agreement as branch_agreement
from .feature_push import FEATURE_MODES as FEATURE_MODES, steer_features as steer_features
from .arms import (
    Arm as Arm,
    random_arms as random_arms,
    shuffled_arms as shuffled_arms,
    opposite_arm as opposite_arm,
    other_layer_arm as other_layer_arm,
    prompt_arm as prompt_arm,
)
from .judging import (
    as_scores as as_scores,
    judge_name as judge_name,
    named_judges as named_judges,
    check_judge_columns as check_judge_columns,
    renamed as renamed,
    judge_clips as judge_clips,
    ask_judge as ask_judge,
    judge_fingerprint as judge_fingerprint,
)
from .doses import plan_doses as plan_doses, dose_response as dose_response
from .slopes import (
    STUDY_COLUMNS as STUDY_COLUMNS,
    dose_slopes as dose_slopes,
    unit_slopes as unit_slopes,
    side_effects as side_effects,
    dose_changes as dose_changes,
    paired_changes as paired_changes,
)
from .judges import (
    SOUND_DESCRIPTORS as SOUND_DESCRIPTORS,
    PUBLISHED_LINEAR as PUBLISHED_LINEAR,
    run_judge as run_judge,
    user_judge as user_judge,
    DescriptorJudge as DescriptorJudge,
    ListenerJudge as ListenerJudge,
    ratings_folder as ratings_folder,
    listener_fidelity as listener_fidelity,
    EmotionJudge as EmotionJudge,
    SoundJudge as SoundJudge,
)
from .clap import (
    CLAP_DEFAULT as CLAP_DEFAULT,
    CLAP_TEMPLATES as CLAP_TEMPLATES,
    CLAP_EMOTIONS as CLAP_EMOTIONS,
    CLAP_AXES as CLAP_AXES,
    load_clap as load_clap,
    clap_sentences as clap_sentences,
    write_random_clap as write_random_clap,
    resample as resample,
    ClapJudge as ClapJudge,
)
from .token_quality import (
    checked_tokens as checked_tokens,
    repetition as repetition,
    silence as silence,
    token_kl as token_kl,
)
from .distances import (
    N_CEPSTRAL as N_CEPSTRAL,
    mel_embedding as mel_embedding,
    codec_embedding as codec_embedding,
    frechet_distance as frechet_distance,
    distribution_distance as distribution_distance,
)
from .guard import (
    GUARD as GUARD,
    Quality as Quality,
    quality_guard as quality_guard,
    quality_summary as quality_summary,
    dose_quality as dose_quality,
    study_guard as study_guard,
    study_distances as study_distances,
)
from .costs import (
    cue_recovery as cue_recovery,
    recovery_draws as recovery_draws,
    at_equal_cost as at_equal_cost,
    equal_cost_draws as equal_cost_draws,
)
from .recovered import (
    NO_CHANGE as NO_CHANGE,
    LEAST_MOVED as LEAST_MOVED,
    LEAST_AGREED as LEAST_AGREED,
    CueGeometry as CueGeometry,
    cue_geometry as cue_geometry,
    recovered_emotions as recovered_emotions,
    recovered_shares as recovered_shares,
    confusion_of_renders as confusion_of_renders,
)
from .specificity import (
    UNRELATED as UNRELATED,
    rank_p as rank_p,
    mean_p as mean_p,
    all_but_p as all_but_p,
    slope_by_cosine as slope_by_cosine,
    unrelated_share as unrelated_share,
    choice_p as choice_p,
    absolute_bounds as absolute_bounds,
)
from .planting import planted_parts as planted_parts, with_planted as with_planted
