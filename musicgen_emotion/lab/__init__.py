"""Checks, files, seeds, gates, run folders, and the runner of studies."""

# made by `make export` from the modules of this folder

from .checks import (
    LARGEST_SEED as LARGEST_SEED,
    check_in as check_in,
    did_you_mean as did_you_mean,
    shown as shown,
    check_number as check_number,
    check_between as check_between,
    check_fraction as check_fraction,
    check_positive as check_positive,
    check_count as check_count,
    check_texts as check_texts,
    as_prompts as as_prompts,
    check_seed as check_seed,
    check_seeds as check_seeds,
    check_labels as check_labels,
    check_finite as check_finite,
    check_real as check_real,
    check_whole_numbers as check_whole_numbers,
    check_same_length as check_same_length,
    chosen_rows as chosen_rows,
    unknown_name as unknown_name,
)
from .reasons import (
    NO_PLAIN_REASON as NO_PLAIN_REASON,
    plain_reason as plain_reason,
    plain_words as plain_words,
)
from .paths import (
    MARKER_FILE as MARKER_FILE,
    RESERVED_FILES as RESERVED_FILES,
    ADVICE as ADVICE,
    as_path as as_path,
    inside_folder as inside_folder,
    watch_folder as watch_folder,
    note_written as note_written,
    claim_folder as claim_folder,
    read_marker as read_marker,
    holds_only as holds_only,
    check_apart as check_apart,
    claim_names as claim_names,
    marker_version as marker_version,
    advise as advise,
)
from .files import (
    RECORD_FILE as RECORD_FILE,
    package_folder as package_folder,
    sha256_bytes as sha256_bytes,
    sha256_file as sha256_file,
    atomic_path as atomic_path,
    atomic_write as atomic_write,
    unfinished_files as unfinished_files,
    remove_path as remove_path,
    WrittenFiles as WrittenFiles,
    write_json as write_json,
    read_json as read_json,
    read_json_parts as read_json_parts,
    check_sidecar as check_sidecar,
    plain_value as plain_value,
    write_table as write_table,
    read_table as read_table,
    check_own_table as check_own_table,
)
from .machine import (
    LIBRARIES as LIBRARIES,
    library_versions as library_versions,
    need_extra as need_extra,
    git_revision as git_revision,
    device_info as device_info,
)
from .gates import (
    DIRECTIONS as DIRECTIONS,
    KINDS as KINDS,
    EARLIER as EARLIER,
    CONTROLS as CONTROLS,
    POSITIVES as POSITIVES,
    Gate as Gate,
    Criterion as Criterion,
    each_of as each_of,
    expected_matrix as expected_matrix,
    read_gates as read_gates,
    verdict as verdict,
    gates_table as gates_table,
)
from .locks import LOCK_FILE as LOCK_FILE, folder_lock as folder_lock, is_locked as is_locked
from .runs import (
    STATUSES as STATUSES,
    RUN_VERSION as RUN_VERSION,
    LENT_FOLDER as LENT_FOLDER,
    Run as Run,
    open_run as open_run,
    changed_parameters as changed_parameters,
    run_manifest as run_manifest,
)
from .sizes import (
    Arguments as Arguments,
    Result as Result,
    MAX_SHARE as MAX_SHARE,
    MAX_HOURS as MAX_HOURS,
    LOOP_SECONDS as LOOP_SECONDS,
    ALLOW_LARGE as ALLOW_LARGE,
    free_memory as free_memory,
    require_room as require_room,
    large_is_allowed as large_is_allowed,
    size_text as size_text,
    time_text as time_text,
    may_be_large as may_be_large,
    listed as listed,
)
from .phase_files import (
    supplied_folder as supplied_folder,
    list_phases as list_phases,
    find_phase as find_phase,
    notebook_cells as notebook_cells,
)
from .yaml_files import (
    PlainText as PlainText,
    YamlSection as YamlSection,
    load_bounded_yaml as load_bounded_yaml,
    is_whole as is_whole,
    read_yaml as read_yaml,
)
from .parameter_types import (
    SIMPLE_TYPES as SIMPLE_TYPES,
    check_value as check_value,
    shown_value as shown_value,
    value_from_text as value_from_text,
    split_list as split_list,
    value_from_yaml as value_from_yaml,
)
from .parameter_rules import (
    MAX_COUNT as MAX_COUNT,
    MAX_SEED as MAX_SEED,
    ParameterRule as ParameterRule,
    parse_rules as parse_rules,
    check_rules as check_rules,
)
from .parameters import (
    Parameter as Parameter,
    parse_parameters as parse_parameters,
    read_parameters as read_parameters,
    check_parameters as check_parameters,
    find_params as find_params,
    read_params_file as read_params_file,
    resolve_parameters as resolve_parameters,
)
from .workers import (
    NotebookJob as NotebookJob,
    Outcome as Outcome,
    run_in_worker as run_in_worker,
    stop_workers as stop_workers,
    work as work,
)
from .phases import (
    PhaseError as PhaseError,
    PhaseResult as PhaseResult,
    run_phase as run_phase,
    start_phase as start_phase,
    phase_values as phase_values,
    find_runs as find_runs,
    run_status as run_status,
)
from .seeds import seed_from as seed_from, rng as rng
from .plans import (
    run_phases as run_phases,
    PlannedRun as PlannedRun,
    plan as plan,
    run_plan as run_plan,
)
from .report import (
    markdown_table as markdown_table,
    markdown_text as markdown_text,
    run_report as run_report,
)
from .comparing import (
    RunComparison as RunComparison,
    compare_runs as compare_runs,
    FolderComparison as FolderComparison,
    compare_folders as compare_folders,
)
from .argument_kinds import (
    KIND_TESTS as KIND_TESTS,
    ANY_KIND as ANY_KIND,
    KIND_ALIASES as KIND_ALIASES,
    annotated_kinds as annotated_kinds,
    kind_check as kind_check,
)
from .arguments import (
    COUNTS as COUNTS,
    NOUGHT_TOO as NOUGHT_TOO,
    COUNTED as COUNTED,
    FRACTIONS as FRACTIONS,
    SHARES as SHARES,
    POSITIVE as POSITIVE,
    NOT_NEGATIVE as NOT_NEGATIVE,
    LABELS as LABELS,
    DATA as DATA,
    TEXTS as TEXTS,
    NUMBERS as NUMBERS,
    LISTS as LISTS,
    TEXT_LISTS as TEXT_LISTS,
    UNTYPED as UNTYPED,
    WORD_LISTS as WORD_LISTS,
    Marked as Marked,
    number_check as number_check,
    check_share as check_share,
    zero_or_more as zero_or_more,
    check_whole as check_whole,
    argument_check as argument_check,
    checked as checked,
)
