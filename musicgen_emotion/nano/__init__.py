"""The recipe of the embedded model and what it must show."""

# made by `make export` from the modules of this folder

from .captions import jitter_cues, neutral_cues, sample_clip, clip_cues, cue_words, caption_for
from .training import save_training, load_training, last_logged, train_loop
from .text_encoder import text_corpus, train_tokenizer, teacher_embeddings, student_encoder, related_words, caption_words, distillation_loss, distil_text_encoder
from .codec import codec_network, SpectralLoss, audio_bank, crops, fit_codebooks, quantize, train_codec
from .decoder import assemble_nano, save_nano, encode_clips, decoder_loss, train_decoder
from .evaluation import CUE_DESCRIPTORS, NANO_TARGETS, rendered_clips, fit_rendered_judge, codec_report, clip_descriptors, intensity_shift, evaluate_nano, metrics_table
from .recipe import write_card, train_nano

__all__ = ['CUE_DESCRIPTORS', 'NANO_TARGETS', 'SpectralLoss', 'assemble_nano', 'audio_bank', 'caption_for', 'caption_words', 'clip_cues', 'clip_descriptors', 'codec_network', 'codec_report', 'crops', 'cue_words', 'decoder_loss', 'distil_text_encoder', 'distillation_loss', 'encode_clips', 'evaluate_nano', 'fit_codebooks', 'fit_rendered_judge', 'intensity_shift', 'jitter_cues', 'last_logged', 'load_training', 'metrics_table', 'neutral_cues', 'quantize', 'related_words', 'rendered_clips', 'sample_clip', 'save_nano', 'save_training', 'student_encoder', 'teacher_embeddings', 'text_corpus', 'train_codec', 'train_decoder', 'train_loop', 'train_nano', 'train_tokenizer', 'write_card']
