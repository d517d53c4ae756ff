"""Resumable state: `checkpoints/step-N/`, committed whole, verified before it is read.

Each holds the weights, their average, what learned of the objective, the optimizer's tensors (safetensors) and
`state.json`. What is derived from the step - data position, learning rate, every random stream - is not stored, since
it cannot differ.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vitrail import durable
from vitrail.artifact import storage_failure
from vitrail.errors import IntegrityError
from vitrail.training.ema import Average
from vitrail.training.optimizer import Updater

PREFIX = "step-"


@dataclass
class Progress:
    """Everything that lives besides tensors. `step` counts updates, refused ones included."""

    step: int = 0
    loss_sum: float = 0.0
    loss_weight: float = 0.0
    """Training loss since the last epoch row."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Rows of results.csv."""
    best: float | None = None
    best_epoch: float = 0
    refused_in_a_row: int = 0
    refused: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    """Samples that failed after the audit: key -> reason."""
    seconds: float = 0.0
    stopped: str = ""
    """Why training ended before its last step, if it did."""
    tuned: dict[str, Any] | None = None
    """State of the task with what was chosen on the last validation outputs."""


def save(
    root: Path, progress: Progress, model: nn.Module, average: Average, updater: Updater, keep: int,
    objective: nn.Module | None = None,
) -> Path:  # fmt: skip
    """Commit `root/step-N`, then prune to the `keep` newest. Raises OSError with the older ones untouched."""
    folder = root / f"{PREFIX}{progress.step}"

    def fill(temporary: Path) -> None:
        _write(temporary / "model.safetensors", model.state_dict())
        if average.decay:
            _write(temporary / "average.safetensors", average.model.state_dict())
        if objective is not None and objective.state_dict():
            _write(temporary / "objective.safetensors", objective.state_dict())
        _write(temporary / "optimizer.safetensors", updater.tensors())
        (temporary / "state.json").write_text(json.dumps(asdict(progress), indent=1), encoding="utf-8")

    durable.commit(folder, fill)
    for old in listed(root)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def listed(root: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    found = [p for p in root.glob(f"{PREFIX}*") if p.is_dir() and p.name[len(PREFIX) :].isdigit()]
    return sorted(found, key=lambda p: -int(p.name[len(PREFIX) :]))


def newest_good(root: Path) -> tuple[Path, list[str]]:
    """The newest checkpoint that is whole, and what is wrong with each newer one.

    Raises IntegrityError, naming the faults, when none is whole.
    """
    durable.sweep(root)
    faults: list[str] = []
    for folder in listed(root):
        try:
            durable.verify(folder)
            return folder, faults
        except IntegrityError as error:
            faults.append(str(error))
    if faults:
        raise IntegrityError(f"no checkpoint in {root} can be used: {faults[0]}")
    raise IntegrityError(f"{root} holds no checkpoint: nothing to resume; start the run again")


def load(
    folder: Path, model: nn.Module, average: Average, updater: Updater, objective: nn.Module | None = None
) -> Progress:
    """Restore a verified checkpoint into freshly built objects. Raises IntegrityError if it does not fit them."""
    try:
        _fill(model, load_file(folder / "model.safetensors"), folder)
        if average.decay:
            _fill(average.model, load_file(folder / "average.safetensors"), folder)
        if objective is not None and objective.state_dict():
            _fill(objective, load_file(folder / "objective.safetensors"), folder)
        updater.restore(load_file(folder / "optimizer.safetensors"))
        return Progress(**json.loads((folder / "state.json").read_bytes()))
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        why = f"args.yaml or the checkpoint was changed ({error})"
        raise IntegrityError(f"{folder} does not fit this run: {why}") from None


def _fill(model: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    try:
        model.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise IntegrityError(f"{folder} does not fit this run's model: {str(error).splitlines()[-1].strip()}") from None


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    try:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, path)
    except SafetensorError as error:
        raise storage_failure(error) from error
