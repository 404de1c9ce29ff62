"""The scoreboard: methods against truths that are known, and what each score means."""

# made by `make export` from the modules of this folder

from .board import BENCH_TASKS as BENCH_TASKS
from .board import REFERENCES as REFERENCES
from .board import VECTOR_SIZES as VECTOR_SIZES
from .board import VECTOR_TASK as VECTOR_TASK
from .board import bench_vectors as bench_vectors
from .board import chosen_methods as chosen_methods
from .board import leaderboard as leaderboard
from .board import load_method as load_method
from .board import read_results as read_results
from .localization import LOCALIZATION_METHODS as LOCALIZATION_METHODS
from .localization import ablation as ablation
from .localization import attention as attention
from .localization import attribution as attribution
from .localization import guessing as guessing
from .localization import localize as localize
from .localization import patching as patching
from .localization import probes as probes
from .scores import absorption_rate as absorption_rate
from .scores import cause_and_isolation as cause_and_isolation
from .scores import localization_auroc as localization_auroc
from .scores import mean_correlation as mean_correlation
from .scores import placed_between as placed_between
from .scores import principal_angles as principal_angles
from .scores import recovered_f1 as recovered_f1
from .scores import split_share as split_share
from .vectors import VECTOR_METHODS as VECTOR_METHODS
from .vectors import Found as Found
from .vectors import VectorTruth as VectorTruth
from .vectors import checked_found as checked_found
from .vectors import covariance_directions as covariance_directions
from .vectors import independent_components as independent_components
from .vectors import nonnegative_parts as nonnegative_parts
from .vectors import planted_vectors as planted_vectors
from .vectors import principal_components as principal_components
from .vectors import random_directions as random_directions
from .vectors import sae_method as sae_method
from .vectors import score_found as score_found
