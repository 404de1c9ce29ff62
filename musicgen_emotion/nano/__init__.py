"""The recipe of the embedded model and what it must show."""

# made by `make export` from the modules of this folder

from .captions import (
    jitter_cues as jitter_cues,
    neutral_cues as neutral_cues,
    sample_clip as sample_clip,
    clip_cues as clip_cues,
    cue_words as cue_words,
    caption_for as caption_for,
)
from .training import (
    save_training as save_training,
    load_training as load_training,
    last_logged as last_logged,
    train_loop as train_loop,
)
from .text_encoder import (
    text_corpus as text_corpus,
    tokenizer_texts as tokenizer_texts,
    teacher_embeddings as teacher_embeddings,
    student_encoder as student_encoder,
    related_words as related_words,
    caption_words as caption_words,
    distillation_loss as distillation_loss,
    distil_text_encoder as distil_text_encoder,
)
from .codec import (
    codec_network as codec_network,
    SpectralLoss as SpectralLoss,
    audio_bank as audio_bank,
    crops as crops,
    fit_codebooks as fit_codebooks,
    quantize as quantize,
    train_codec as train_codec,
)
from .decoder import (
    assemble_nano as assemble_nano,
    save_nano as save_nano,
    encode_clips as encode_clips,
    decoder_loss as decoder_loss,
    train_decoder as train_decoder,
)
from .evaluation import (
    CUE_DESCRIPTORS as CUE_DESCRIPTORS,
    NANO_TARGETS as NANO_TARGETS,
    rendered_clips as rendered_clips,
    graded_clips as graded_clips,
    fit_rendered_judge as fit_rendered_judge,
    codec_report as codec_report,
    clip_descriptors as clip_descriptors,
    intensity_shift as intensity_shift,
    evaluate_nano as evaluate_nano,
    metrics_table as metrics_table,
)
from .recipe import write_card as write_card, train_nano as train_nano
