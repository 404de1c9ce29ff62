"""Text-to-music models behind one adapter: shapes, sites, text, loading and sampling."""

# made by `make export` from the modules of this folder

from .shapes import (
    ModelConfig as ModelConfig,
    token_places as token_places,
    delayed_sequence as delayed_sequence,
    delay_tokens as delay_tokens,
    check_tokens as check_tokens,
    undelay_tokens as undelay_tokens,
    frame_logits as frame_logits,
)
from .fingerprints import (
    BLOCK as BLOCK,
    WORD as WORD,
    WordSums as WordSums,
    weights_fingerprint as weights_fingerprint,
    stored_tensors as stored_tensors,
    computed_tensors as computed_tensors,
    adapter_states as adapter_states,
    Running as Running,
    running_weights as running_weights,
    WeightRecord as WeightRecord,
    file_stamps as file_stamps,
    checksum_in_memory as checksum_in_memory,
    WeightIdentity as WeightIdentity,
)
from .sites import (
    LAYER_KINDS as LAYER_KINDS,
    Site as Site,
    decoder_sites as decoder_sites,
    layer_site as layer_site,
    layer_list as layer_list,
)
from .text import (
    MAX_TEXT_TOKENS as MAX_TEXT_TOKENS,
    tokenize_prompts as tokenize_prompts,
    check_prompts as check_prompts,
    prompts_per_clip as prompts_per_clip,
    piece_counter as piece_counter,
    padded_widths as padded_widths,
    equal_length_batches as equal_length_batches,
    TextStates as TextStates,
    join_text_states as join_text_states,
    DecoderState as DecoderState,
    branch_names as branch_names,
    add_null_rows as add_null_rows,
)
from .finite import (
    NotFiniteError as NotFiniteError,
    clips_named as clips_named,
    require_finite as require_finite,
    require_finite_site as require_finite_site,
    remedy_for as remedy_for,
    forward_hooks as forward_hooks,
    frozen as frozen,
    evaluated as evaluated,
)
from .model import (
    LOGITS as LOGITS,
    ADAPTERS as ADAPTERS,
    Pass as Pass,
    null_follows_cond as null_follows_cond,
    SiteLookup as SiteLookup,
    MusicModel as MusicModel,
    silence as silence,
    head_logits as head_logits,
    Adapter as Adapter,
    register_adapter as register_adapter,
)
from .registry import (
    HUB_SIZES as HUB_SIZES,
    MELODY_MODELS as MELODY_MODELS,
    nano_folder as nano_folder,
    model_registry as model_registry,
    known_names as known_names,
    torch_dtype as torch_dtype,
    quiet_transformers as quiet_transformers,
)
from .hub import (
    HUB_FILES as HUB_FILES,
    BACKENDS as BACKENDS,
    VOCABULARY as VOCABULARY,
    SAFETENSORS as SAFETENSORS,
    OLD_WEIGHTS as OLD_WEIGHTS,
    UnpicklingError as UnpicklingError,
    ADAPTER_FILES as ADAPTER_FILES,
    lacking as lacking,
    model_folder as model_folder,
    hub_reason as hub_reason,
    readable as readable,
    refuse_bad_weights as refuse_bad_weights,
    weight_files as weight_files,
    shard_names as shard_names,
    refuse_adapters as refuse_adapters,
    folder_kind as folder_kind,
    melody_error as melody_error,
)
from .load import (
    pick_device as pick_device,
    load_model as load_model,
    as_model as as_model,
    randomized as randomized,
    deafened as deafened,
)
from .tiny import (
    train_tokenizer as train_tokenizer,
    write_tokenizer as write_tokenizer,
    text_config as text_config,
    codec_config as codec_config,
    decoder_config as decoder_config,
    joined_config as joined_config,
    cpu_seed as cpu_seed,
    default_dtype as default_dtype,
    redraw_pretrained as redraw_pretrained,
    draw_codebooks as draw_codebooks,
    random_musicgen as random_musicgen,
    draw_model as draw_model,
    write_random_model as write_random_model,
)
from .transformers_backend import (
    config_of as config_of,
    transformers_sites as transformers_sites,
    new_cache as new_cache,
    TransformersModel as TransformersModel,
    load_transformers as load_transformers,
    read_raw as read_raw,
    wrap_transformers as wrap_transformers,
    wrap_raw as wrap_raw,
    read_tokenizer as read_tokenizer,
)
from .melody import (
    write_random_melody as write_random_melody,
    TokenSpan as TokenSpan,
    TokenSite as TokenSite,
    TokenInput as TokenInput,
    MelodyState as MelodyState,
    MelodyModel as MelodyModel,
    wrap_melody as wrap_melody,
    load_melody as load_melody,
)
from .audiocraft_import import (
    INSTALL_COMMANDS as INSTALL_COMMANDS,
    LARGE_BYTES as LARGE_BYTES,
    SETTLED_S as SETTLED_S,
    import_audiocraft as import_audiocraft,
    StandIn as StandIn,
    cached_sha256 as cached_sha256,
    cache_folder as cache_folder,
)
from .audiocraft_files import (
    LM_FILE as LM_FILE,
    CODEC_FILE as CODEC_FILE,
    CheckpointFile as CheckpointFile,
    unpack_checkpoint as unpack_checkpoint,
    fetch_parts as fetch_parts,
    find_text_encoder as find_text_encoder,
    find_codec as find_codec,
    register_t5 as register_t5,
    text_encoder_name as text_encoder_name,
    read_part as read_part,
)
from .audiocraft_reading import refuse_config as refuse_config, read_musicgen as read_musicgen
from .audiocraft_export import (
    EXPORT_VERSION as EXPORT_VERSION,
    export_audiocraft as export_audiocraft,
    cached_export as cached_export,
)
from .audiocraft_passes import (
    text_key_mask as text_key_mask,
    padding_hidden as padding_hidden,
    queries_keys_values as queries_keys_values,
    keep_attention_weights as keep_attention_weights,
    streaming_modules as streaming_modules,
    lent_cache as lent_cache,
    cached_positions as cached_positions,
    rows_announced as rows_announced,
    PassWatcher as PassWatcher,
)
from .audiocraft_backend import (
    AudiocraftParts as AudiocraftParts,
    AudiocraftState as AudiocraftState,
    AudiocraftModel as AudiocraftModel,
    load_audiocraft as load_audiocraft,
    wrap_audiocraft as wrap_audiocraft,
)
from .sampling import (
    SamplingSettings as SamplingSettings,
    merge_guidance as merge_guidance,
    clip_seeds as clip_seeds,
    ClipNoise as ClipNoise,
    pick_tokens as pick_tokens,
    sample_tokens as sample_tokens,
    require_generation_room as require_generation_room,
)
