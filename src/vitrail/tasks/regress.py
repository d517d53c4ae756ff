"""One number or several per image, in the units they come in.

Importing this module and decoding load no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vitrail.contracts import Backbone, Meter, Mixing, Prediction, Rows, Spread, Task
from vitrail.data.units import split_unit
from vitrail.errors import DataError, UsageError
from vitrail.settings import TaskConfig
from vitrail.tasks import chosen, counterparts, refuse_taken, rows_by_name

if TYPE_CHECKING:
    from torch import Tensor, nn

LOSSES = ("l1", "huber", "mse", "nll")
COVERAGE = 0.9
"""Share of true values that the stated interval should hold, with loss=nll."""
HALF_WIDTH = 1.6448536269514722
"""Of that interval, in standard deviations of a normal distribution."""
_LOG_VARIANCE = (-10.0, 10.0)
"""Of standardised targets; beyond it a step could make the loss overflow."""


class Regress:
    """The task `regress`: numbers standardised inside, answered in their own units.

    names: of the targets.  units: of each, "" unknown.  mean, std: of each over the training set, by which targets are
    standardised.  loss: on standardised targets, "l1", "huber" (quadratic below 1), "mse", or "nll" (Gaussian negative
    log-likelihood), which gives every answer a standard deviation of its own.
    """

    name: str = "regress"
    dense: bool = False
    mixes: bool = True
    pooling: str | None = "map"
    softens: bool = False
    maximise: bool = False

    def __init__(
        self, names: Sequence[str], units: Sequence[str], mean: Sequence[float], std: Sequence[float],
        loss: str = "huber",
    ) -> None:  # fmt: skip
        self.names, self.units = tuple(names), tuple(units)
        self.mean, self.std = tuple(mean), tuple(std)
        self.loss_name = loss
        self.uncertain = loss == "nll"
        count = len(self.names)
        assert count == len(self.units) == len(self.mean) == len(self.std) >= 1
        if len(set(self.names)) != count:
            raise DataError(f"a target stands twice among {', '.join(self.names)}")
        self.outputs = count * (2 if self.uncertain else 1)
        self.headline = "mae" if count == 1 else "loss"
        """Errors in different units have no mean: several targets are weighed by the standardised loss."""
        self.truths = self.names
        spreads = tuple(f"{name}_std" for name in self.names) if self.uncertain else ()
        self.columns = (*(f"{name}_pred" for name in self.names), *spreads)

    # -------------------------------------------------------------------------------------------------------- targets

    def encode(self, target: Any) -> tuple[float, ...]:
        """A number, or one for each name -> floats; DataError for what is none, or not finite."""
        values = numbers(target)
        if len(values) != len(self.names):
            raise DataError(f"{len(values)} numbers where {len(self.names)} are expected ({', '.join(self.names)})")
        return values

    def collate(self, encoded: Sequence[tuple[float, ...]]) -> Tensor:
        """-> (B, n) float32, in the targets' units."""
        import torch

        return torch.tensor(encoded, dtype=torch.float32)

    # -------------------------------------------------------------------------------------------------------- learning

    def head(self, backbone: Backbone, pooling: str) -> nn.Module:
        """Pooling, of all tokens by attention unless another is asked for, and a linear layer: Features -> (B, Y)."""
        from vitrail.heads.linear import LinearHead

        return LinearHead(backbone, self.outputs, pooling)

    def loss(self, outputs: Tensor, targets: Tensor, mixing: Mixing | None = None, train: bool = False) -> Tensor:
        """The loss on standardised targets, the mean over them, per sample: (B,) float32.

        A mixed image counts the loss against both its targets, each by its share.
        """
        own = self._distance(outputs.float(), targets)
        if mixing is None:
            return own
        share = mixing.share.to(own)
        return share * own + (1 - share) * self._distance(outputs.float(), targets[mixing.partners])

    def _distance(self, outputs: Tensor, targets: Tensor) -> Tensor:
        import torch.nn.functional as F

        from vitrail.data.transfer import beside

        wanted = (targets.to(outputs) - beside(self.mean, outputs)) / beside(self.std, outputs)  # (B, n)
        if self.uncertain:
            answer, log_variance = outputs.chunk(2, dim=1)
            log_variance = log_variance.clamp(*_LOG_VARIANCE)
            each = 0.5 * (log_variance + (answer - wanted).square() * (-log_variance).exp())
        else:
            losses: Mapping[str, Callable[..., Tensor]] = {"l1": F.l1_loss, "huber": F.huber_loss, "mse": F.mse_loss}
            each = losses[self.loss_name](outputs, wanted, reduction="none")
        return each.mean(dim=1)

    def align(self, teacher: Task) -> Callable[[Tensor], Tensor]:
        """A teacher's outputs -> its answers (B, n) to the targets here, by name, in their units."""
        state = teacher.state()
        places = counterparts(self, teacher, "targets", self.names, state.get("targets", ()))
        same_units(self.names, self.units, [state["units"][place] for place in places])
        mean, std = state["mean"], state["std"]

        def aligned(outputs: Tensor) -> Tensor:
            raw = outputs[:, : len(mean)].float()  # without the variances of loss=nll
            return chosen(raw * raw.new_tensor(std) + raw.new_tensor(mean), places)

        return aligned

    def imitation(self, outputs: Tensor, taught: Tensor, hard: bool, temperature: float) -> Tensor:
        """The loss with a teacher's answers (B, n) in the place of the targets, per sample: (B,) float32.

        A number has no softened form: `softens` is false.
        """
        return self._distance(outputs.float(), taught)

    def meter(self) -> Meter:
        """mae, rmse (in the target's units), r2, pearson; coverage90 with loss=nll.

        Several targets: r2 and pearson are means over them, and each has its own mae/NAME and rmse/NAME. What is not
        defined is left out: r2 and pearson of targets that are all equal.
        """
        return _Meter(self)

    def tuned(self, outputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> Task:
        """Itself."""
        return self

    # -------------------------------------------------------------------------------------------------------- answers

    def values(self, outputs: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Raw outputs (B, Y) -> answers in the targets' units: (B, n)."""
        raw = outputs[:, : len(self.names)].astype(np.float64)
        answers: np.ndarray[Any, np.dtype[np.float64]] = raw * np.asarray(self.std) + np.asarray(self.mean)
        return answers

    def deviations(self, outputs: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Raw outputs (B, Y) -> the standard deviation of each answer, in the targets' units: (B, n); loss=nll only."""
        log_variance = np.clip(outputs[:, len(self.names) :].astype(np.float64), *_LOG_VARIANCE)
        wide: np.ndarray[Any, np.dtype[np.float64]] = np.exp(log_variance / 2) * np.asarray(self.std)
        return wide

    def decode(
        self, outputs: np.ndarray[Any, Any], sources: Sequence[str], spread: Sequence[Spread] | None = None
    ) -> list[Prediction]:
        """Raw outputs (B, Y) -> NAME_pred in the target's units, and with loss=nll NAME_std."""
        columns = [self.values(outputs)] + ([self.deviations(outputs)] if self.uncertain else [])
        rows = np.concatenate(columns, axis=1)
        return [
            Prediction(source, values=dict(zip(self.columns, map(float, row), strict=True)), answer=self._words(row))
            for source, row in zip(sources, rows, strict=True)
        ]

    def _words(self, row: np.ndarray[Any, Any]) -> str:
        count, told = len(self.names), []
        for place, (name, unit) in enumerate(zip(self.names, self.units, strict=True)):
            spread = f" ± {short(row[count + place])}" if self.uncertain else ""
            told.append(f"{name} {short(row[place])}{spread} {unit}".rstrip())
        return ", ".join(told)

    def truth(self, target: Any) -> dict[str, Any]:
        """The true numbers by name."""
        return dict(zip(self.names, numbers(target), strict=True))

    def state(self) -> dict[str, Any]:
        """What labels.json holds."""
        kept = {"targets": self.names, "units": self.units, "mean": self.mean, "std": self.std}
        return {"task": self.name, **{key: list(value) for key, value in kept.items()}, "loss": self.loss_name}

    def inherited(self, source: Task) -> Rows | str:
        """Its numbers by name and unit, rescaled so that answers in units stay what they were, deviations too."""
        state = source.state()
        found = rescaled("numbers", (self.names, self.units, self.mean, self.std), state, state["targets"])
        if isinstance(found, str) or not self.uncertain:
            return found
        if state["loss"] != "nll":
            return "it says no deviations, as loss=nll does"
        count = len(state["targets"])
        wider = tuple(2 * math.log(scale) for scale in found.scale)  # of a log variance
        return Rows(
            (*found.places, *(count + place for place in found.places)),
            (*found.scale, *(1.0 for _ in wider)),
            (*found.shift, *wider),
        )


def numbers(target: Any) -> tuple[float, ...]:
    """A source's target as finite floats; DataError in words otherwise."""
    cells = target if isinstance(target, (list, tuple, np.ndarray)) else [target]
    try:
        values = tuple(float(cell) for cell in cells)
    except (TypeError, ValueError):
        raise DataError(f"a number is expected, not {str(target)[:40]!r}") from None
    if not all(map(math.isfinite, values)):
        raise DataError(f"a finite number is expected, not {str(target)[:40]!r}")
    return values


def rescaled(
    what: str, wanted: tuple[Sequence[str], Sequence[str], Sequence[float], Sequence[float]], state: Mapping[str, Any],
    known: Sequence[str],
) -> Rows | str:  # fmt: skip
    """The rows of a head for standardised numbers that answer others, by name, in another standardisation.

    wanted: names, units, mean and std here.  state: of the task there, whose numbers are called `known`.  Where
    said * std + mean is to stay: scale = std' / std, shift = (mean' - mean) / std.
    """
    names, units, mean, std = wanted
    found = rows_by_name(what, names, known)
    if isinstance(found, str):
        return found
    theirs = [{key: state[key][place] for key in ("units", "mean", "std")} for place in found.places]
    for name, unit, there in zip(names, units, theirs, strict=True):
        if unit != there["units"]:
            return f"its '{name}' is in {there['units'] or 'no unit'}, and here in {unit or 'no unit'}"
    return Rows(
        found.places,
        tuple(there["std"] / here for there, here in zip(theirs, std, strict=True)),
        tuple((there["mean"] - m) / s for there, m, s in zip(theirs, mean, std, strict=True)),
    )


def same_units(names: Sequence[str], own: Sequence[str], theirs: Sequence[str]) -> None:
    """UsageError where a teacher's unit of a target is known and another than here."""
    for name, unit, other in zip(names, own, theirs, strict=True):
        if unit and other and unit != other:
            raise UsageError(f"the teacher says '{name}' in {other}, and this run's targets are in {unit}")


def short(value: float) -> str:
    """A number to three significant digits, as people write it: 0.0123, 12.3, 12,300, and 1.2e-07 only at the ends."""
    if not 1e-4 <= abs(value) < 1e9:
        return f"{value:.3g}"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def fit(targets: Iterable[Any], config: TaskConfig, named: Sequence[str] = ()) -> Regress:
    """The task for these training targets. named: the columns they are from, whose headers may hold units.

    Raises DataError where there is none, where rows differ in length, or where a target never varies.
    """
    loss = "huber" if config.loss == "auto" else config.loss
    if loss not in LOSSES:
        raise UsageError(f"task.loss {loss}: regress has {', '.join(LOSSES)}")
    rows = [numbers(target) for target in targets]
    if not rows or len({len(row) for row in rows}) > 1:
        raise DataError("every training image needs the same number of target values, at least one")
    table = np.asarray(rows, dtype=np.float64)
    headers = list(named) or [f"value{i}" if table.shape[1] > 1 else "value" for i in range(table.shape[1])]
    if len(headers) != table.shape[1]:
        raise DataError(f"{table.shape[1]} values per image, but {len(headers)} names: {', '.join(headers)}")
    names, units = zip(*map(split_unit, headers), strict=True)
    refuse_taken(names, ("", "_pred", "_std") if loss == "nll" else ("", "_pred"), "target")
    std = table.std(axis=0)
    for name, deviation in zip(names, std, strict=True):
        if not deviation > 0:
            raise DataError(f"target '{name}' is the same for every training image: there is nothing to learn")
    return Regress(names, units, table.mean(axis=0).tolist(), std.tolist(), loss)


def numbered(outputs: int) -> Regress:
    """The task with targets value0, value1, ... that are standardised already."""
    return Regress([f"value{i}" for i in range(outputs)], [""] * outputs, [0.0] * outputs, [1.0] * outputs)


def restore(state: Mapping[str, Any]) -> Regress:
    """The task of a labels.json."""
    names, units = [str(n) for n in state["targets"]], [str(u) for u in state["units"]]
    mean, std = [float(m) for m in state["mean"]], [float(s) for s in state["std"]]
    if not names or not len(names) == len(units) == len(mean) == len(std):
        raise ValueError("targets, units, mean and std differ in length")
    if not all(map(math.isfinite, mean)) or not all(math.isfinite(s) and s > 0 for s in std):
        raise ValueError("mean or std is no usable number")
    if state["loss"] not in LOSSES:
        raise ValueError(f"loss {state['loss']!r} is none of {', '.join(LOSSES)}")
    return Regress(names, units, mean, std, state["loss"])


class _Meter:
    """Everything seen, in the targets' units; torchmetrics scores it at the end."""

    def __init__(self, task: Regress) -> None:
        self.task = task
        self.outputs: list[np.ndarray[Any, Any]] = []
        self.targets: list[np.ndarray[Any, Any]] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.outputs.append(outputs.float().cpu().numpy())
        self.targets.append(targets.cpu().numpy())

    def compute(self) -> dict[str, float]:
        import torch
        from torchmetrics.functional import mean_absolute_error, mean_squared_error, pearson_corrcoef, r2_score

        outputs, truth = np.concatenate(self.outputs), np.concatenate(self.targets).astype(np.float64)
        answers = self.task.values(outputs)
        maes, rmses, r2s, pearsons = [], [], [], []
        for said, true in zip(torch.from_numpy(answers.T.copy()), torch.from_numpy(truth.T.copy()), strict=True):
            maes.append(float(mean_absolute_error(said, true)))
            rmses.append(float(mean_squared_error(said, true, squared=False)))
            if len(true) > 1 and float(true.std()) > 0:
                r2s.append(float(r2_score(said, true)))
                if float(said.std()) > 0:
                    pearsons.append(float(pearson_corrcoef(said, true)))
        values = {"mae": maes[0], "rmse": rmses[0]} if len(maes) == 1 else {}
        values |= {name: sum(each) / len(each) for name, each in (("r2", r2s), ("pearson", pearsons)) if each}
        if self.task.uncertain:
            inside = np.abs(answers - truth) <= HALF_WIDTH * self.task.deviations(outputs)
            values["coverage90"] = float(inside.mean())
        if len(maes) > 1:
            for name, mae, rmse in zip(self.task.names, maes, rmses, strict=True):
                values |= {f"mae/{name}": mae, f"rmse/{name}": rmse}
        return values
