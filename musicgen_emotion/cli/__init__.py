"""The `musicgen-emotion` command."""

# made by `make export` from the modules of this folder

from .command import CommandGroup as CommandGroup
from .command import app as app
from .command import error_line as error_line
from .command import models_app as models_app
from .command import table_text as table_text
from .command import warning_line as warning_line
from .commands import AllowLarge as AllowLarge
from .commands import AsJson as AsJson
from .commands import Backend as Backend
from .commands import describe_model as describe_model
from .commands import download_model as download_model
from .commands import generate_command as generate_command
from .commands import model_table as model_table
from .commands import models_download as models_download
from .commands import models_list as models_list
from .commands import models_show as models_show
from .commands import trace_command as trace_command
from .migrating import migrate_command as migrate_command
from .migrating import migrate_folders as migrate_folders
from .readiness import AUDIOCRAFT_NEEDS as AUDIOCRAFT_NEEDS
from .readiness import EXTRA_LIBRARIES as EXTRA_LIBRARIES
from .readiness import LIBRARIES as LIBRARIES
from .readiness import Check as Check
from .readiness import backends_here as backends_here
from .readiness import check_audio as check_audio
from .readiness import check_audiocraft as check_audiocraft
from .readiness import check_device as check_device
from .readiness import check_disk as check_disk
from .readiness import check_extra as check_extra
from .readiness import check_extras as check_extras
from .readiness import check_libraries as check_libraries
from .readiness import check_models as check_models
from .readiness import check_phases as check_phases
from .readiness import check_python as check_python
from .readiness import diagnose as diagnose
from .readiness import doctor as doctor
from .readiness import is_here as is_here
from .study_commands import compare_command as compare_command
from .study_commands import controls_command as controls_command
from .study_commands import phase_help as phase_help
from .study_commands import report_command as report_command
from .study_commands import run as run
from .study_commands import split_assignments as split_assignments
from .study_commands import status as status
