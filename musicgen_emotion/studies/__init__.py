"""The steps of the four studies, each a call that returns a table, a figure and a sentence."""

# made by `make export` from the modules of this folder

from .dictionaries import (
    DictionaryStudy,
    counts_sentence,
    gates_sentence,
    holding_sentence,
    layers_sentence,
    loss_sentence,
    meaning_sentence,
    reconstruction,
    start_dictionaries,
    training_sentence,
)
from .dictionaries_data import PLAN_SIZE, DictionarySettings, TextRows, sweep_sentence, validated
from .dictionaries_features import GENERAL_COLUMNS, FeatureStudy, controls_sentence, count_row
from .dictionaries_layers import LayerDictionaries, LayerDictionary, active_features
from .dictionaries_meaning import EDITS, RAW, SCALED_UP, MeaningStudy, edit_sentence, planted_cues
from .dictionaries_pages import FeaturePages, clips_of_every_emotion, page_step
from .dictionaries_training import Dictionaries, final_config, plot_density
from .foundation import (
    FoundationSettings,
    FoundationStudy,
    relative_gap,
    start_foundation,
    summary_sentences,
)
from .foundation_clips import RELATED, ClipSettings, ClipStudy, label_sentence
from .foundation_layers import LayerStudy, States, best_sentence, residual_sites
from .foundation_text import (
    TextStudy,
    circumplex_sentence,
    encodes_sentence,
    generalization_sentence,
    similarity_sentence,
)
from .steps import Figure, Settings, Step, settings_from

__all__ = [
    "EDITS",
    "GENERAL_COLUMNS",
    "PLAN_SIZE",
    "RAW",
    "RELATED",
    "SCALED_UP",
    "ClipSettings",
    "ClipStudy",
    "Dictionaries",
    "DictionarySettings",
    "DictionaryStudy",
    "FeaturePages",
    "FeatureStudy",
    "Figure",
    "FoundationSettings",
    "FoundationStudy",
    "LayerDictionaries",
    "LayerDictionary",
    "LayerStudy",
    "MeaningStudy",
    "Settings",
    "States",
    "Step",
    "TextRows",
    "TextStudy",
    "active_features",
    "best_sentence",
    "circumplex_sentence",
    "clips_of_every_emotion",
    "controls_sentence",
    "count_row",
    "counts_sentence",
    "edit_sentence",
    "encodes_sentence",
    "final_config",
    "gates_sentence",
    "generalization_sentence",
    "holding_sentence",
    "label_sentence",
    "layers_sentence",
    "loss_sentence",
    "meaning_sentence",
    "page_step",
    "planted_cues",
    "plot_density",
    "reconstruction",
    "relative_gap",
    "residual_sites",
    "settings_from",
    "similarity_sentence",
    "start_dictionaries",
    "start_foundation",
    "summary_sentences",
    "sweep_sentence",
    "training_sentence",
    "validated",
]
