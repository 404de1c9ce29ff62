"""Hooks, extraction, the clip store and replay of stored clips."""

# made by `make export` from the modules of this folder

from .hooks import hooked, edited_output, count_hooks
from .positions import TEXT_KINDS, delay_ids, undelay_ids, trim_special, position_seconds, first_position, window_positions, time_windows
from .generation import Generation, generate, rounding_gap, save_audio, save_clips
from .extractor import ActivationExtractor, RecordedBatch, PassRecorder
from .tracing import TraceReport, trace
from .prompt_states import prompt_table, text_rows, stack_text, null_text, require_no_text
from .clips import CLIP_COLUMNS, CHUNK, clip_id, DamagedStore, ClipStore, shard_files, remove_files, token_counts
from .clip_plans import plan_clips, generate_clips
from .replay_blocks import BRANCHES, Pool, ReplayRequest, replay_request, frame_counts, longest_clip, pooled_positions, captured, clip_batches, replay_block, activation_dims, time_coordinates
from .replaying import REPLAY_TOLERANCE, replay, stepwise, replay_error, token_nll
from .stored import replay_bytes, replay_store
from .texts import POOLS, TextEncoder, load_encoder, pool_tokens, text_embeddings, word_token_spans, Embeddings, export_t5_embeddings, load_embeddings

__all__ = ['ActivationExtractor', 'BRANCHES', 'CHUNK', 'CLIP_COLUMNS', 'ClipStore', 'DamagedStore', 'Embeddings', 'Generation', 'POOLS', 'PassRecorder', 'Pool', 'REPLAY_TOLERANCE', 'RecordedBatch', 'ReplayRequest', 'TEXT_KINDS', 'TextEncoder', 'TraceReport', 'activation_dims', 'captured', 'clip_batches', 'clip_id', 'count_hooks', 'delay_ids', 'edited_output', 'export_t5_embeddings', 'first_position', 'frame_counts', 'generate', 'generate_clips', 'hooked', 'load_embeddings', 'load_encoder', 'longest_clip', 'null_text', 'plan_clips', 'pool_tokens', 'pooled_positions', 'position_seconds', 'prompt_table', 'remove_files', 'replay', 'replay_block', 'replay_bytes', 'replay_error', 'replay_request', 'replay_store', 'require_no_text', 'rounding_gap', 'save_audio', 'save_clips', 'shard_files', 'stack_text', 'stepwise', 'text_embeddings', 'text_rows', 'time_coordinates', 'time_windows', 'token_counts', 'token_nll', 'trace', 'trim_special', 'undelay_ids', 'window_positions', 'word_token_spans']
