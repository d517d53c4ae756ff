"""Vitrail: from a folder of images to a trained, measured, explained and shipped vision transformer.

The public names below are resolved when first used: `import vitrail` loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitrail.assemble import create_model as create_model
    from vitrail.checkpoints.door import load_weights as load_weights
    from vitrail.checkpoints.door import save_weights as save_weights
    from vitrail.contracts import Prediction as Prediction
    from vitrail.cost.plan import plan as plan
    from vitrail.models import list_models as list_models
    from vitrail.predict.predictor import Predictor as Predictor
    from vitrail.predict.predictor import load as load
    from vitrail.run import Run as Run
    from vitrail.run import pretrain as pretrain
    from vitrail.run import train as train
    from vitrail.study.compare import compare as compare

__version__ = "0.1.0"

_WHERE = {
    "Prediction": "vitrail.contracts",
    "Predictor": "vitrail.predict.predictor",
    "Run": "vitrail.run",
    "compare": "vitrail.study.compare",
    "create_model": "vitrail.assemble",
    "list_models": "vitrail.models",
    "load": "vitrail.predict.predictor",
    "load_weights": "vitrail.checkpoints.door",
    "plan": "vitrail.cost.plan",
    "pretrain": "vitrail.run",
    "save_weights": "vitrail.checkpoints.door",
    "train": "vitrail.run",
}

__all__ = [
    "Prediction",
    "Predictor",
    "Run",
    "__version__",
    "compare",
    "create_model",
    "list_models",
    "load",
    "load_weights",
    "plan",
    "pretrain",
    "save_weights",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "explain":  # a room, whose `record` users call
        return importlib.import_module("vitrail.explain")
    if name not in _WHERE:
        raise AttributeError(f"module 'vitrail' has no attribute '{name}'")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
