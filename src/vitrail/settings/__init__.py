"""The complete configuration of a run, strict and torch-free, and how what a user states becomes one.

A user states a few fields; the recipe chooses the others from the data; the result is one `Config` with no field left
open, written to args.yaml. What is stated travels as `Stated`: dotted path -> value.
"""

from vitrail.settings.config import (
    CUSTOM,
    NO_TASK,
    AugmentConfig,
    Config,
    DataConfig,
    DistillConfig,
    Kind,
    ModelConfig,
    Positive,
    PreprocessConfig,
    PretrainConfig,
    ReportConfig,
    ShapesConfig,
    Strict,
    TaskConfig,
    TrainConfig,
)
from vitrail.settings.stated import (
    SHORT,
    Stated,
    build,
    fields,
    flatten,
    known_path,
    load,
    seconds_of,
    state,
    to_yaml,
)

__all__ = [
    "CUSTOM",
    "NO_TASK",
    "SHORT",
    "AugmentConfig",
    "Config",
    "DataConfig",
    "DistillConfig",
    "Kind",
    "ModelConfig",
    "Positive",
    "PreprocessConfig",
    "PretrainConfig",
    "ReportConfig",
    "ShapesConfig",
    "Stated",
    "Strict",
    "TaskConfig",
    "TrainConfig",
    "build",
    "fields",
    "flatten",
    "known_path",
    "load",
    "seconds_of",
    "state",
    "to_yaml",
]
