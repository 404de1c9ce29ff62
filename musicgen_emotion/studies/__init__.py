"""The steps of the four studies, each a call that returns a table, a figure and a sentence."""

# made by `make export` from the modules of this folder

from .steps import Figure, Settings, Step, settings_from

__all__ = ["Figure", "Settings", "Step", "settings_from"]
