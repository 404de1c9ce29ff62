"""The steps of the four studies, each a call that returns a table, a figure and a sentence."""

# made by `make export` from the modules of this folder

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
    "RELATED",
    "ClipSettings",
    "ClipStudy",
    "Figure",
    "FoundationSettings",
    "FoundationStudy",
    "LayerStudy",
    "Settings",
    "States",
    "Step",
    "TextStudy",
    "best_sentence",
    "circumplex_sentence",
    "encodes_sentence",
    "generalization_sentence",
    "label_sentence",
    "relative_gap",
    "residual_sites",
    "settings_from",
    "similarity_sentence",
    "start_foundation",
    "summary_sentences",
]
