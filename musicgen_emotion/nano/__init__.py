"""The recipe of the embedded model and what it must show."""

# made by `make export` from the modules of this folder

from .captions import caption_for as caption_for
from .captions import clip_cues as clip_cues
from .captions import cue_words as cue_words
from .captions import jitter_cues as jitter_cues
from .captions import neutral_cues as neutral_cues
from .captions import sample_clip as sample_clip
from .codec import SpectralLoss as SpectralLoss
from .codec import audio_bank as audio_bank
from .codec import codec_network as codec_network
from .codec import crops as crops
from .codec import fit_codebooks as fit_codebooks
from .codec import quantize as quantize
from .codec import train_codec as train_codec
from .decoder import assemble_nano as assemble_nano
from .decoder import decoder_loss as decoder_loss
from .decoder import encode_clips as encode_clips
from .decoder import save_nano as save_nano
from .decoder import train_decoder as train_decoder
from .evaluation import CUE_DESCRIPTORS as CUE_DESCRIPTORS
from .evaluation import NANO_TARGETS as NANO_TARGETS
from .evaluation import clip_descriptors as clip_descriptors
from .evaluation import codec_report as codec_report
from .evaluation import evaluate_nano as evaluate_nano
from .evaluation import fit_rendered_judge as fit_rendered_judge
from .evaluation import graded_clips as graded_clips
from .evaluation import intensity_shift as intensity_shift
from .evaluation import metrics_table as metrics_table
from .evaluation import rendered_clips as rendered_clips
from .recipe import train_nano as train_nano
from .recipe import write_card as write_card
from .text_encoder import caption_words as caption_words
from .text_encoder import distil_text_encoder as distil_text_encoder
from .text_encoder import distillation_loss as distillation_loss
from .text_encoder import related_words as related_words
from .text_encoder import student_encoder as student_encoder
from .text_encoder import teacher_embeddings as teacher_embeddings
from .text_encoder import text_corpus as text_corpus
from .text_encoder import tokenizer_texts as tokenizer_texts
from .training import last_logged as last_logged
from .training import load_training as load_training
from .training import save_training as save_training
from .training import train_loop as train_loop
