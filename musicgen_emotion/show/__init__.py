"""Figures and players from tidy tables."""

# made by `make export` from the modules of this folder

from .figures import save_figure as save_figure
from .figures import saved_figure as saved_figure
from .heatmaps import plot_confusion as plot_confusion
from .heatmaps import plot_correlations as plot_correlations
from .heatmaps import plot_embedding as plot_embedding
from .heatmaps import plot_gates as plot_gates
from .heatmaps import plot_heatmap as plot_heatmap
from .heatmaps import plot_scores as plot_scores
from .pages import AudioTable as AudioTable
from .pages import audio_table as audio_table
from .pages import audio_tag as audio_tag
from .pages import plot_clip as plot_clip
from .plots import COLORS as COLORS
from .plots import CONTROL_COLOR as CONTROL_COLOR
from .plots import axes_grid as axes_grid
from .plots import axis_label as axis_label
from .plots import check_columns as check_columns
from .plots import check_numbers as check_numbers
from .plots import color_of as color_of
from .plots import draw_legend as draw_legend
from .plots import emotion_order as emotion_order
from .plots import new_axes as new_axes
from .plots import plot_centroids as plot_centroids
from .plots import plot_dose as plot_dose
from .plots import plot_histograms as plot_histograms
from .plots import plot_layers as plot_layers
from .plots import plot_null as plot_null
from .plots import plot_time as plot_time
from .reference import TYPING_MODULES as TYPING_MODULES
from .reference import page_renderer as page_renderer
from .reference import typing_name as typing_name
