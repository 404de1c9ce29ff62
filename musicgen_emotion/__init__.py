"""An open laboratory: where MusicGen keeps emotion, whether it uses it, and whether we can move it.

The names below are imported at first use, so that `import musicgen_emotion` loads no torch:

    import musicgen_emotion as me

    model = me.load_model("nano")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from .activations import (
        ActivationExtractor,
        ClipStore,
        generate,
        generate_clips,
        replay,
        text_embeddings,
        trace,
    )
    from .causes import activation_patching
    from .models import as_model, load_model
    from .probes import (
        centroid_curve,
        compare_activations,
        cosine_similarity,
        layer_table,
        probe_layers,
        within_between,
    )
    from .sae import SAEConfig, load_dictionary, selective_features, train_sae
    from .steering import Direction, dose_response, mean_difference, steer

_HOMES = {
    "ActivationExtractor": "activations",
    "ClipStore": "activations",
    "Direction": "steering",
    "SAEConfig": "sae",
    "activation_patching": "causes",
    "as_model": "models",
    "centroid_curve": "probes",
    "compare_activations": "probes",
    "cosine_similarity": "probes",
    "dose_response": "steering",
    "generate": "activations",
    "generate_clips": "activations",
    "layer_table": "probes",
    "load_dictionary": "sae",
    "load_model": "models",
    "mean_difference": "steering",
    "probe_layers": "probes",
    "replay": "activations",
    "selective_features": "sae",
    "steer": "steering",
    "text_embeddings": "activations",
    "trace": "activations",
    "train_sae": "sae",
    "within_between": "probes",
}

__all__ = [
    "ActivationExtractor",
    "ClipStore",
    "Direction",
    "SAEConfig",
    "__version__",
    "activation_patching",
    "as_model",
    "centroid_curve",
    "compare_activations",
    "cosine_similarity",
    "dose_response",
    "generate",
    "generate_clips",
    "layer_table",
    "load_dictionary",
    "load_model",
    "mean_difference",
    "probe_layers",
    "replay",
    "selective_features",
    "steer",
    "text_embeddings",
    "trace",
    "train_sae",
    "within_between",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
