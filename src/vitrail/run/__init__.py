"""The composition root: one run from DATA to report. `train`, `evaluate` and later `compare` and `study` call it."""

from vitrail.run.folder import Run
from vitrail.run.pretraining import pretrain
from vitrail.run.training import evaluate, resume, start, train

__all__ = ["Run", "evaluate", "pretrain", "resume", "start", "train"]
