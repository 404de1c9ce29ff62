"""Emotions, prompts with their controls, rated songs, captions and synthetic music."""

# made by `make export` from the modules of this folder

from .emotions import (
    EMOTIONS as EMOTIONS,
    VALENCE_AROUSAL as VALENCE_AROUSAL,
    QUADRANTS as QUADRANTS,
    EMOTION_COLORS as EMOTION_COLORS,
    EMOTION_WORDS as EMOTION_WORDS,
    HELD_OUT_WORDS as HELD_OUT_WORDS,
    EMOTION_OF_WORD as EMOTION_OF_WORD,
    MODES as MODES,
    INSTRUMENTS as INSTRUMENTS,
    CUE_RANGES as CUE_RANGES,
    INTENSITIES as INTENSITIES,
    INTENSITY_SCALE as INTENSITY_SCALE,
    NEUTRAL_CUES as NEUTRAL_CUES,
    EMOTION_CUES as EMOTION_CUES,
    SCALED_CUES as SCALED_CUES,
    check_emotion as check_emotion,
    quadrant as quadrant,
    split_words as split_words,
    word_emotion as word_emotion,
    Cues as Cues,
    emotion_cues as emotion_cues,
)
from .prompts import (
    TEMPLATES as TEMPLATES,
    HELD_OUT_TEMPLATES as HELD_OUT_TEMPLATES,
    NOUN_TEMPLATES as NOUN_TEMPLATES,
    NEUTRAL_TEMPLATES as NEUTRAL_TEMPLATES,
    NOUNS as NOUNS,
    COLUMNS as COLUMNS,
    CUE_WORDS as CUE_WORDS,
    make_prompt as make_prompt,
    PromptSet as PromptSet,
    prompt_row as prompt_row,
    crossed_prompts as crossed_prompts,
    study_prompts as study_prompts,
    shuffled_cycles as shuffled_cycles,
    held_out_prompts as held_out_prompts,
    matched_pairs as matched_pairs,
    neutral_prompts as neutral_prompts,
    cue_phrase as cue_phrase,
    cue_prompts as cue_prompts,
    conflict_prompts as conflict_prompts,
)
from .prompt_pool import (
    NEUTRAL_WORDS as NEUTRAL_WORDS,
    MORE_INSTRUMENTS as MORE_INSTRUMENTS,
    CONTEXTS as CONTEXTS,
    diverse_prompts as diverse_prompts,
    PromptPool as PromptPool,
    dictionary_prompts as dictionary_prompts,
)
from .csv_tables import (
    read_text as read_text,
    CsvTable as CsvTable,
    whole_number as whole_number,
    read_csv_table as read_csv_table,
)
from .data_folders import (
    AUDIO_ENDINGS as AUDIO_ENDINGS,
    find_audio as find_audio,
    artists_of_songs as artists_of_songs,
)
from .datasets import (
    SOURCES as SOURCES,
    SONG_COLUMNS as SONG_COLUMNS,
    DEAM_FILES as DEAM_FILES,
    EXPECTED_RELATIONS as EXPECTED_RELATIONS,
    rescale as rescale,
    find_file as find_file,
    load_pmemo as load_pmemo,
    load_deam as load_deam,
    split_by_group as split_by_group,
    artist_group as artist_group,
    emotion_labeled_dataset as emotion_labeled_dataset,
    dataset_summary as dataset_summary,
    rank_correlation as rank_correlation,
    label_correlations as label_correlations,
)
from .captions import (
    find_emotion_words as find_emotion_words,
    mask_emotion_words as mask_emotion_words,
    load_captions as load_captions,
    load_norms as load_norms,
    check_words as check_words,
    load_prompt_embeddings as load_prompt_embeddings,
)
from .synth import (
    SAMPLE_RATE as SAMPLE_RATE,
    FRAME_RATE as FRAME_RATE,
    TONICS as TONICS,
    SCALES as SCALES,
    PARTIALS as PARTIALS,
    ATTACK as ATTACK,
    DECAY as DECAY,
    tone as tone,
    drum_track as drum_track,
    score_notes as score_notes,
    render_music as render_music,
)
from .word_lists import (
    STEM_LETTERS as STEM_LETTERS,
    PLAIN_ADJECTIVES as PLAIN_ADJECTIVES,
    WORD_CONTROLS as WORD_CONTROLS,
    share_stem as share_stem,
    stem_groups as stem_groups,
    draw_words as draw_words,
    match_pieces as match_pieces,
    control_words as control_words,
)
from .other_words import OTHER_EMOTION_WORDS as OTHER_EMOTION_WORDS, unseen_words as unseen_words
