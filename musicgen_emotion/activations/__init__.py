"""Hooks, extraction, the clip store and replay of stored clips."""

# made by `make export` from the modules of this folder

from .hooks import (
    hooked as hooked,
    hook_site as hook_site,
    edited_output as edited_output,
    count_hooks as count_hooks,
)
from .positions import (
    TEXT_KINDS as TEXT_KINDS,
    trim_special as trim_special,
    position_seconds as position_seconds,
    first_position as first_position,
    window_positions as window_positions,
    time_windows as time_windows,
)
from .generation import (
    Generation as Generation,
    generate as generate,
    rounding_gap as rounding_gap,
    save_audio as save_audio,
    save_clips as save_clips,
)
from .extractor import (
    ActivationExtractor as ActivationExtractor,
    RecordedBatch as RecordedBatch,
    PassRecorder as PassRecorder,
)
from .file_sums import (
    SUMS_FILE as SUMS_FILE,
    add_sums as add_sums,
    read_sums as read_sums,
    settle_sums as settle_sums,
    bad_files as bad_files,
    clips_digest as clips_digest,
    prompts_digest as prompts_digest,
    present_state as present_state,
)
from .prompt_states import (
    prompt_table as prompt_table,
    text_rows as text_rows,
    null_text as null_text,
    require_no_text as require_no_text,
)
from .clip_files import (
    CLIP_COLUMNS as CLIP_COLUMNS,
    SORTED_BY as SORTED_BY,
    PROMPT_COLUMNS as PROMPT_COLUMNS,
    TAKEN_COLUMNS as TAKEN_COLUMNS,
    CHUNK as CHUNK,
    clip_id as clip_id,
    join_rows as join_rows,
    plain_types as plain_types,
    DamagedStore as DamagedStore,
    read_clip_table as read_clip_table,
    in_clip_order as in_clip_order,
    check_column_names as check_column_names,
    flac_bytes as flac_bytes,
    token_bytes as token_bytes,
    read_shard_tokens as read_shard_tokens,
    pad_tokens as pad_tokens,
    read_token_array as read_token_array,
    token_chunks as token_chunks,
    write_token_array as write_token_array,
    token_counts as token_counts,
)
from .sealed_tables import (
    write_sealed as write_sealed,
    read_sealed as read_sealed,
    sealed_note as sealed_note,
    column_kinds as column_kinds,
    join_kinds as join_kinds,
    typed_rows as typed_rows,
    fit_rows as fit_rows,
    plain_rows as plain_rows,
    token_lists as token_lists,
    token_arrays as token_arrays,
)
from .clip_parts import (
    PART_SIZE as PART_SIZE,
    TABLE_PARTS as TABLE_PARTS,
    TOKEN_PARTS as TOKEN_PARTS,
    SUMMARY_FILE as SUMMARY_FILE,
    UPGRADE_FOLDER as UPGRADE_FOLDER,
    REMEDY as REMEDY,
    MERGE_FOLDER as MERGE_FOLDER,
    clip_key as clip_key,
    part_name as part_name,
    part_prefixes as part_prefixes,
    sum_counts as sum_counts,
    ClipParts as ClipParts,
    while_merging as while_merging,
)
from .waiting_clips import (
    BATCH_FOLDER as BATCH_FOLDER,
    REMOVED_FILE as REMOVED_FILE,
    MOVE_AWAY as MOVE_AWAY,
    write_batch as write_batch,
    WaitingClips as WaitingClips,
    stage_change as stage_change,
    merge_waiting as merge_waiting,
    finish_merge as finish_merge,
    remove_sound as remove_sound,
)
from .older_clips import (
    STORE_KIND as STORE_KIND,
    STORE_VERSION as STORE_VERSION,
    is_older_store as is_older_store,
    OlderClips as OlderClips,
    sound_path as sound_path,
    upgrade_store as upgrade_store,
    count_rows as count_rows,
    finish_upgrade as finish_upgrade,
)
from .store_upkeep import (
    STAGE_FOLDER as STAGE_FOLDER,
    ADDING_FILE as ADDING_FILE,
    Problem as Problem,
    check_clip_name as check_clip_name,
    whole_tokens as whole_tokens,
    relabelled_rows as relabelled_rows,
    has_lost_its_marker as has_lost_its_marker,
    tidy_store as tidy_store,
    remove_old_claims as remove_old_claims,
    nothing_is_lost as nothing_is_lost,
    records_of as records_of,
    shard_files as shard_files,
    damaged_files as damaged_files,
    damaged_older as damaged_older,
    remove_unreadable as remove_unreadable,
    summary_without as summary_without,
)
from .clips import ClipStore as ClipStore
from .clip_plans import (
    WEIGHTS_FILE as WEIGHTS_FILE,
    plan_clips as plan_clips,
    note_weights as note_weights,
    generate_clips as generate_clips,
)
from .replay_blocks import (
    BRANCHES as BRANCHES,
    Pool as Pool,
    ReplayRequest as ReplayRequest,
    replay_request as replay_request,
    frame_counts as frame_counts,
    longest_clip as longest_clip,
    longest_of as longest_of,
    pooled_positions as pooled_positions,
    captured as captured,
    clip_batches as clip_batches,
    replay_block as replay_block,
    clip_names as clip_names,
    activation_dims as activation_dims,
    time_coordinates as time_coordinates,
)
from .replaying import (
    REPLAY_TOLERANCE as REPLAY_TOLERANCE,
    replay as replay,
    stepwise as stepwise,
    replay_error as replay_error,
    token_nll as token_nll,
)
from .stored import (
    ACTIVATION_KIND as ACTIVATION_KIND,
    ACTIVATION_VERSION as ACTIVATION_VERSION,
    replay_bytes as replay_bytes,
    replay_store as replay_store,
)
from .tracing import TraceReport as TraceReport, trace as trace
from .stored_checks import (
    damaged_activations as damaged_activations,
    verify_activations as verify_activations,
)
from .texts import (
    POOLS as POOLS,
    TextEncoder as TextEncoder,
    load_encoder as load_encoder,
    pool_tokens as pool_tokens,
    text_embeddings as text_embeddings,
    word_token_spans as word_token_spans,
    Embeddings as Embeddings,
    export_t5_embeddings as export_t5_embeddings,
    load_embeddings as load_embeddings,
)
from .word_vectors import static_vectors as static_vectors
