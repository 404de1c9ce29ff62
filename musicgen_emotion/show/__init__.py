"""Figures and players from tidy tables."""

# made by `make export` from the modules of this folder

from .plots import (
    COLORS as COLORS,
    CONTROL_COLOR as CONTROL_COLOR,
    color_of as color_of,
    axis_label as axis_label,
    check_columns as check_columns,
    new_axes as new_axes,
    axes_grid as axes_grid,
    emotion_order as emotion_order,
    draw_legend as draw_legend,
    plot_layers as plot_layers,
    plot_time as plot_time,
    plot_centroids as plot_centroids,
    plot_dose as plot_dose,
    plot_histograms as plot_histograms,
    plot_null as plot_null,
)
from .heatmaps import (
    plot_heatmap as plot_heatmap,
    plot_correlations as plot_correlations,
    plot_confusion as plot_confusion,
    plot_gates as plot_gates,
    plot_scores as plot_scores,
    plot_embedding as plot_embedding,
)
from .pages import (
    plot_clip as plot_clip,
    audio_tag as audio_tag,
    AudioTable as AudioTable,
    audio_table as audio_table,
)
from .figures import save_figure as save_figure, saved_figure as saved_figure
from .reference import (
    TYPING_MODULES as TYPING_MODULES,
    page_renderer as page_renderer,
    typing_name as typing_name,
)
