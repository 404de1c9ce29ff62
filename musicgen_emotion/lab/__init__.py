"""Checks, files, seeds, gates, run folders, and the runner of studies."""

# made by `make export` from the modules of this folder

from .checks import check_in, did_you_mean, check_number, check_between, check_positive, check_count, check_finite, check_same_length, unknown_name
from .files import ADVICE, sha256_bytes, sha256_file, atomic_path, atomic_write, remove_path, advise, write_json, read_json, plain_value, write_table, read_table
from .seeds import seed_from, rng
from .machine import LIBRARIES, library_versions, git_revision, device_info
from .gates import DIRECTIONS, Gate, read_gates, verdict, gates_table
from .locks import LOCK_FILE, folder_lock, is_locked
from .runs import STATUSES, LENT_FOLDER, Run, open_run, changed_parameters, run_manifest, find_runs
from .phase_files import supplied_folder, list_phases, find_phase, notebook_cells
from .parameters import SIMPLE_TYPES, check_value, value_from_text, Parameter, parse_parameters, read_parameters, check_parameters, find_params, read_params_file, resolve_parameters
from .workers import NotebookJob, Outcome, run_in_worker, stop_workers, work
from .phases import PhaseError, PhaseResult, run_phase, start_phase, run_status
from .plans import run_phases, PlannedRun, plan, run_plan
from .report import markdown_table, run_report
from .comparing import RunComparison, compare_runs, FolderComparison, compare_folders

__all__ = ['ADVICE', 'DIRECTIONS', 'FolderComparison', 'Gate', 'LENT_FOLDER', 'LIBRARIES', 'LOCK_FILE', 'NotebookJob', 'Outcome', 'Parameter', 'PhaseError', 'PhaseResult', 'PlannedRun', 'Run', 'RunComparison', 'SIMPLE_TYPES', 'STATUSES', 'advise', 'atomic_path', 'atomic_write', 'changed_parameters', 'check_between', 'check_count', 'check_finite', 'check_in', 'check_number', 'check_parameters', 'check_positive', 'check_same_length', 'check_value', 'compare_folders', 'compare_runs', 'device_info', 'did_you_mean', 'find_params', 'find_phase', 'find_runs', 'folder_lock', 'gates_table', 'git_revision', 'is_locked', 'library_versions', 'list_phases', 'markdown_table', 'notebook_cells', 'open_run', 'parse_parameters', 'plain_value', 'plan', 'read_gates', 'read_json', 'read_parameters', 'read_params_file', 'read_table', 'remove_path', 'resolve_parameters', 'rng', 'run_in_worker', 'run_manifest', 'run_phase', 'run_phases', 'run_plan', 'run_report', 'run_status', 'seed_from', 'sha256_bytes', 'sha256_file', 'start_phase', 'stop_workers', 'supplied_folder', 'unknown_name', 'value_from_text', 'verdict', 'work', 'write_json', 'write_table']
