"""Figures and players from tidy tables."""

# made by `make export` from the modules of this folder

from .figures import save_figure, saved_figure
from .heatmaps import (
    plot_confusion,
    plot_correlations,
    plot_embedding,
    plot_gates,
    plot_heatmap,
    plot_scores,
)
from .pages import AudioTable, audio_table, audio_tag, plot_clip
from .plots import (
    COLORS,
    CONTROL_COLOR,
    axes_grid,
    axis_label,
    check_columns,
    color_of,
    draw_legend,
    emotion_order,
    new_axes,
    plot_centroids,
    plot_dose,
    plot_histograms,
    plot_layers,
    plot_null,
    plot_time,
)
from .reference import TYPING_MODULES, page_renderer, typing_name

__all__ = [
    "COLORS",
    "CONTROL_COLOR",
    "TYPING_MODULES",
    "AudioTable",
    "audio_table",
    "audio_tag",
    "axes_grid",
    "axis_label",
    "check_columns",
    "color_of",
    "draw_legend",
    "emotion_order",
    "new_axes",
    "page_renderer",
    "plot_centroids",
    "plot_clip",
    "plot_confusion",
    "plot_correlations",
    "plot_dose",
    "plot_embedding",
    "plot_gates",
    "plot_heatmap",
    "plot_histograms",
    "plot_layers",
    "plot_null",
    "plot_scores",
    "plot_time",
    "save_figure",
    "saved_figure",
    "typing_name",
]
