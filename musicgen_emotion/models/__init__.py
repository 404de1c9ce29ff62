"""Text-to-music models behind one adapter: shapes, sites, text, loading and sampling."""

# made by `make export` from the modules of this folder

from .shapes import ModelConfig, token_places, delayed_sequence, delay_tokens, check_tokens, undelay_tokens, frame_logits
from .registry import HUB_SIZES, MELODY, nano_folder, model_registry, known_names, torch_dtype, quiet_transformers
from .sites import LAYER_KINDS, Site, decoder_sites, layer_site
from .text import MAX_TEXT_TOKENS, tokenize_prompts, check_prompts, padded_width, equal_length_batches, TextStates, join_text_states, DecoderState, branch_names, add_null_rows
from .model import LOGITS, ADAPTERS, Pass, null_follows_cond, SiteLookup, layer_list, MusicModel, head_logits, Adapter, register_adapter
from .hub import HUB_FILES, BACKENDS, VOCABULARY, lacking, model_folder, readable, refuse_bad_weights, folder_kind, melody_error
from .tiny import train_tokenizer, write_tokenizer, text_config, codec_config, decoder_config, joined_config, cpu_seed, default_dtype, draw_codebooks, random_musicgen, draw_model, write_random_model
from .load import pick_device, load_model, as_model, randomized
from .sampling import SamplingSettings, merge_guidance, clip_seeds, ClipNoise, pick_tokens, sample_tokens
from .transformers_backend import config_of, transformers_sites, new_cache, TransformersModel, load_transformers, read_raw, wrap_transformers, wrap_raw, read_tokenizer
from .melody import write_random_melody, TokenSpan, TokenSite, TokenInput, MelodyState, MelodyModel, wrap_melody, load_melody
from .audiocraft_import import COMMANDS, LARGE_BYTES, SETTLED_S, import_audiocraft, StandIn, cached_sha256, cache_folder
from .audiocraft_files import LM_FILE, CODEC_FILE, CheckpointFile, unpack_checkpoint, fetch_parts, find_text_encoder, find_codec, register_t5, text_encoder_name, refuse_config, read_musicgen
from .audiocraft_export import EXPORT_VERSION, export_audiocraft, cached_export
from .audiocraft_backend import AudiocraftParts, AudiocraftState, AudiocraftModel, load_audiocraft, wrap_audiocraft

__all__ = ['ADAPTERS', 'Adapter', 'AudiocraftModel', 'AudiocraftParts', 'AudiocraftState', 'BACKENDS', 'CODEC_FILE', 'COMMANDS', 'CheckpointFile', 'ClipNoise', 'DecoderState', 'EXPORT_VERSION', 'HUB_FILES', 'HUB_SIZES', 'LARGE_BYTES', 'LAYER_KINDS', 'LM_FILE', 'LOGITS', 'MAX_TEXT_TOKENS', 'MELODY', 'MelodyModel', 'MelodyState', 'ModelConfig', 'MusicModel', 'Pass', 'SETTLED_S', 'SamplingSettings', 'Site', 'SiteLookup', 'StandIn', 'TextStates', 'TokenInput', 'TokenSite', 'TokenSpan', 'TransformersModel', 'VOCABULARY', 'add_null_rows', 'as_model', 'branch_names', 'cache_folder', 'cached_export', 'cached_sha256', 'check_prompts', 'check_tokens', 'clip_seeds', 'codec_config', 'config_of', 'cpu_seed', 'decoder_config', 'decoder_sites', 'default_dtype', 'delay_tokens', 'delayed_sequence', 'draw_codebooks', 'draw_model', 'equal_length_batches', 'export_audiocraft', 'fetch_parts', 'find_codec', 'find_text_encoder', 'folder_kind', 'frame_logits', 'head_logits', 'import_audiocraft', 'join_text_states', 'joined_config', 'known_names', 'lacking', 'layer_list', 'layer_site', 'load_audiocraft', 'load_melody', 'load_model', 'load_transformers', 'melody_error', 'merge_guidance', 'model_folder', 'model_registry', 'nano_folder', 'new_cache', 'null_follows_cond', 'padded_width', 'pick_device', 'pick_tokens', 'quiet_transformers', 'random_musicgen', 'randomized', 'read_musicgen', 'read_raw', 'read_tokenizer', 'readable', 'refuse_bad_weights', 'refuse_config', 'register_adapter', 'register_t5', 'sample_tokens', 'text_config', 'text_encoder_name', 'token_places', 'tokenize_prompts', 'torch_dtype', 'train_tokenizer', 'transformers_sites', 'undelay_tokens', 'unpack_checkpoint', 'wrap_audiocraft', 'wrap_melody', 'wrap_raw', 'wrap_transformers', 'write_random_melody', 'write_random_model', 'write_tokenizer']
