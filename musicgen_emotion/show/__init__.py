"""Figures and players from tidy tables."""

# made by `make export` from the modules of this folder

from .plots import COLORS, CONTROL_COLOR, color_of, axis_label, check_columns, new_axes, axes_grid, emotion_order, draw_legend, plot_layers, plot_time, plot_centroids, plot_dose, plot_histograms, plot_null
from .heatmaps import plot_heatmap, plot_correlations, plot_confusion, plot_gates, plot_scores, plot_embedding
from .pages import plot_clip, audio_tag, AudioTable, audio_table
from .figures import save_figure, saved_figure
from .reference import TYPING_MODULES, page_renderer, typing_name

__all__ = ['AudioTable', 'COLORS', 'CONTROL_COLOR', 'TYPING_MODULES', 'audio_table', 'audio_tag', 'axes_grid', 'axis_label', 'check_columns', 'color_of', 'draw_legend', 'emotion_order', 'new_axes', 'page_renderer', 'plot_centroids', 'plot_clip', 'plot_confusion', 'plot_correlations', 'plot_dose', 'plot_embedding', 'plot_gates', 'plot_heatmap', 'plot_histograms', 'plot_layers', 'plot_null', 'plot_scores', 'plot_time', 'save_figure', 'saved_figure', 'typing_name']
