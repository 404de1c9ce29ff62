"""The recipe of the embedded model and what it must show."""

# made by `make export` from the modules of this folder

from .captions import caption_for, clip_cues, cue_words, jitter_cues, neutral_cues, sample_clip
from .codec import (
    SpectralLoss,
    audio_bank,
    codec_network,
    crops,
    fit_codebooks,
    quantize,
    train_codec,
)
from .decoder import assemble_nano, decoder_loss, encode_clips, save_nano, train_decoder
from .evaluation import (
    CUE_DESCRIPTORS,
    NANO_TARGETS,
    clip_descriptors,
    codec_report,
    evaluate_nano,
    fit_rendered_judge,
    intensity_shift,
    metrics_table,
    rendered_clips,
)
from .recipe import train_nano, write_card
from .text_encoder import (
    caption_words,
    distil_text_encoder,
    distillation_loss,
    related_words,
    student_encoder,
    teacher_embeddings,
    text_corpus,
    tokenizer_texts,
)
from .training import last_logged, load_training, save_training, train_loop

__all__ = [
    "CUE_DESCRIPTORS",
    "NANO_TARGETS",
    "SpectralLoss",
    "assemble_nano",
    "audio_bank",
    "caption_for",
    "caption_words",
    "clip_cues",
    "clip_descriptors",
    "codec_network",
    "codec_report",
    "crops",
    "cue_words",
    "decoder_loss",
    "distil_text_encoder",
    "distillation_loss",
    "encode_clips",
    "evaluate_nano",
    "fit_codebooks",
    "fit_rendered_judge",
    "intensity_shift",
    "jitter_cues",
    "last_logged",
    "load_training",
    "metrics_table",
    "neutral_cues",
    "quantize",
    "related_words",
    "rendered_clips",
    "sample_clip",
    "save_nano",
    "save_training",
    "student_encoder",
    "teacher_embeddings",
    "text_corpus",
    "tokenizer_texts",
    "train_codec",
    "train_decoder",
    "train_loop",
    "train_nano",
    "write_card",
]
