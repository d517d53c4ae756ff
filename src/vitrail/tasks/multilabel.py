"""Any number of labels per image, none included.

Importing this module and decoding load no torch.
"""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vitrail.contracts import Backbone, Meter, Mixing, Prediction, Rows, Spread, Task
from vitrail.errors import DataError, UsageError, nearest
from vitrail.settings import TaskConfig
from vitrail.tasks import LABEL_SEPARATOR as SEPARATOR
from vitrail.tasks import chosen, counterparts, refuse_parted, rows_by_name

if TYPE_CHECKING:
    from torch import Tensor, nn

LOSSES = ("bce", "asymmetric")
GAMMA_NEGATIVE, CLIP = 4.0, 0.05
"""Of the asymmetric loss (Ridnik et al. 2021, arXiv 2009.14119, equations 4 to 7), with a positive gamma of 0."""
MOST_POSITIVE_WEIGHT = 20.0
"""A label that one image in a thousand has would otherwise drown the others."""

Doubles = np.ndarray[Any, np.dtype[np.float64]]


class MultiLabel:
    """The task `multilabel`: labels by name, a logit each, mean average precision.

    labels: names in the order of the outputs.  thresholds: probability from which on a label is said, one per label;
    0.5 until `tuned` chooses them on validation.  loss: "bce" or "asymmetric".  smoothing in [0, 1).  weights: a factor
    per label on the loss of images that have it, or None.
    """

    name: str = "multilabel"
    headline: str = "map"
    maximise: bool = True
    columns: tuple[str, ...] = ("labels", "scores")
    truths: tuple[str, ...] = ("target",)
    dense: bool = False
    mixes: bool = True
    pooling: str | None = None
    softens: bool = True

    def __init__(
        self, labels: Sequence[str], *, thresholds: Sequence[float] | None = None, loss: str = "bce",
        smoothing: float = 0.0, weights: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        self.labels = tuple(labels)
        self.outputs = len(self.labels)
        self.thresholds = tuple(thresholds) if thresholds is not None else (0.5,) * self.outputs
        self.loss_name, self.smoothing = loss, smoothing
        self.weights = None if weights is None else tuple(weights)
        self._index = {label: i for i, label in enumerate(self.labels)}
        if len(self._index) != len(self.labels):
            raise DataError(f"a label stands twice: {Counter(self.labels).most_common(1)[0][0]!r}")
        assert len(self.thresholds) == self.outputs

    # -------------------------------------------------------------------------------------------------------- targets

    def encode(self, target: Any) -> tuple[int, ...]:
        """Names of the labels an image has -> their places; DataError for one that training does not have."""
        named = names(target)
        for label in named:
            if label not in self._index:
                close = nearest(label, self.labels)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise DataError(f"label {label!r} is not among the {self.outputs} labels trained on{hint}")
        return tuple(sorted({self._index[label] for label in named}))

    def collate(self, encoded: Sequence[tuple[int, ...]]) -> Tensor:
        """Places -> (B, Y) float32, 1 where an image has the label."""
        import torch

        present = torch.zeros(len(encoded), self.outputs)
        for row, places in enumerate(encoded):
            present[row, list(places)] = 1
        return present

    # -------------------------------------------------------------------------------------------------------- learning

    def head(self, backbone: Backbone, pooling: str) -> nn.Module:
        """Pooling and a linear layer: Features -> logits (B, Y)."""
        from vitrail.heads.linear import LinearHead

        return LinearHead(backbone, self.outputs, pooling)

    def loss(self, outputs: Tensor, targets: Tensor, mixing: Mixing | None = None, train: bool = False) -> Tensor:
        """The mean over labels of each one's loss, per sample: (B,) float32.

        A mixed image has the labels of both, each by its share. Evaluation is plain binary cross-entropy.
        """
        from vitrail.data.transfer import beside

        wanted = targets.float()
        if mixing is not None:
            share = mixing.share.to(wanted)[:, None]
            wanted = share * wanted + (1 - share) * wanted[mixing.partners]
        if not train:
            return _cross_entropy(outputs.float(), wanted).mean(dim=1)
        wanted = wanted * (1 - self.smoothing) + self.smoothing / 2
        each = _asymmetric if self.loss_name == "asymmetric" else _cross_entropy
        losses = each(outputs.float(), wanted)  # (B, Y)
        if self.weights is not None:
            losses = losses * (1 + wanted * (beside(self.weights, losses) - 1))
        return losses.mean(dim=1)

    def align(self, teacher: Task) -> Callable[[Tensor], Tensor]:
        """A teacher's logits -> (B, 2, Y) of the labels here, by name: logits, and 1 where the teacher says the label.

        It says those at or above its own thresholds, which it has from its validation images.
        """
        import torch

        state = teacher.state()
        places = counterparts(self, teacher, "labels", self.labels, state.get("labels", ()))
        least = torch.tensor([state["thresholds"][place] for place in places], dtype=torch.float32)

        def aligned(outputs: Tensor) -> Tensor:
            logits = chosen(outputs, places).float()
            return torch.stack([logits, (logits.sigmoid() >= least.to(logits.device)).float()], dim=1)

        return aligned

    def imitation(self, outputs: Tensor, taught: Tensor, hard: bool, temperature: float) -> Tensor:
        """Against a teacher's (B, 2, Y), the mean over labels of binary cross-entropy, per sample: (B,) float32.

        hard: against the labels that the teacher says. Softened: against its probabilities, both at the temperature T,
        times T^2.
        """
        logits, (theirs, said) = outputs.float(), taught.float().unbind(dim=1)
        if hard:
            return _cross_entropy(logits, said).mean(dim=1)
        wanted = (theirs / temperature).sigmoid()
        return temperature**2 * _cross_entropy(logits / temperature, wanted).mean(dim=1)

    def meter(self) -> Meter:
        """map (mean average precision over the labels that a split has), f1_micro and f1_macro at the thresholds."""
        return _Meter(self.outputs, self.thresholds)

    def tuned(self, outputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> Task:
        """The task with the threshold of each label that gives these outputs the best F1.

        A label that no target has keeps its own. Between two probabilities that give the same F1 their mean is taken.
        """
        chances = probabilities(outputs).astype(np.float64)
        chosen = [
            _best_threshold(chances[:, i], targets[:, i] > 0.5) if (targets[:, i] > 0.5).any() else self.thresholds[i]
            for i in range(self.outputs)
        ]
        task = copy.copy(self)
        task.thresholds = tuple(chosen)
        return task

    # -------------------------------------------------------------------------------------------------------- answers

    def decode(
        self, outputs: np.ndarray[Any, Any], sources: Sequence[str], spread: Sequence[Spread] | None = None
    ) -> list[Prediction]:
        """Logits (B, Y) -> the labels at or above their thresholds, likeliest first, with their probabilities.

        All probabilities stand in `arrays["probabilities"]`.
        """
        made = []
        for source, row in zip(sources, probabilities(outputs), strict=True):
            said = [int(i) for i in np.argsort(-row, kind="stable") if row[i] >= self.thresholds[i]]
            values = {
                "labels": SEPARATOR.join(self.labels[i] for i in said),
                "scores": SEPARATOR.join(f"{row[i]:.4f}" for i in said),
            }
            answer = "; ".join(self.labels[i] for i in said) or "none of the labels"
            made.append(Prediction(source, values=values, arrays={"probabilities": row}, answer=answer))
        return made

    def truth(self, target: Any) -> dict[str, Any]:
        """The labels an image has, in one cell."""
        return {"target": SEPARATOR.join(names(target))}

    def state(self) -> dict[str, Any]:
        """What labels.json holds."""
        return {"task": self.name, "labels": list(self.labels), "thresholds": list(self.thresholds)}

    def inherited(self, source: Task) -> Rows | str:
        """Its labels by name."""
        return rows_by_name("labels", self.labels, source.state()["labels"])


def names(target: Any) -> list[str]:
    """A source's target as label names: a list of them, or one text with ";" between; DataError for anything else."""
    if isinstance(target, str):
        return [label for label in (part.strip() for part in target.split(SEPARATOR)) if label]
    if isinstance(target, (list, tuple, set, frozenset)):
        return [str(label) for label in target]
    raise DataError(f"a list of labels is expected, not {str(target)[:40]!r}")


def probabilities(outputs: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Sigmoid of logits (B, Y), computed in float64: (B, Y) float32."""
    shares: Doubles = 0.5 * (1 + np.tanh(outputs.astype(np.float64) / 2))
    return shares.astype(np.float32)


def fit(targets: Iterable[Any], config: TaskConfig, named: Sequence[str] = ()) -> MultiLabel:
    """The task for these training targets: their labels sorted, weighted by rarity if the config balances classes.

    named: labels that are outputs even where no training image has them, as of a column of 0 and 1 that is all 0.
    A balanced label's images count (images without) / (images with) times, at most 20.
    """
    loss = "bce" if config.loss == "auto" else config.loss
    if loss not in LOSSES:
        raise UsageError(f"task.loss {loss}: multilabel has {', '.join(LOSSES)}")
    listed = [set(names(target)) for target in targets]
    counts = Counter(label for labels in listed for label in labels)
    if not counts:
        raise DataError("no training image has any label: which column holds them? Say it with --target")
    labels = sorted({*counts, *named})
    refuse_parted(labels, "label")
    weights = None
    if config.class_weights == "balanced":
        ratios = [(len(listed) - counts[label]) / max(1, counts[label]) for label in labels]
        weights = [min(MOST_POSITIVE_WEIGHT, max(1.0, ratio)) for ratio in ratios]
    return MultiLabel(labels, loss=loss, smoothing=config.label_smoothing, weights=weights)


def numbered(outputs: int) -> MultiLabel:
    """The task with labels "0", "1", ..."""
    return MultiLabel([f"{i:0{len(str(outputs - 1))}d}" for i in range(outputs)])


def restore(state: Mapping[str, Any]) -> MultiLabel:
    """The task of a labels.json."""
    labels, thresholds = state["labels"], state["thresholds"]
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise ValueError("labels is not a list of names")
    if len(thresholds) != len(labels) or not all(0 <= float(t) <= 1 for t in thresholds):
        raise ValueError("thresholds is not a probability per label")
    return MultiLabel(labels, thresholds=[float(t) for t in thresholds])


def _cross_entropy(outputs: Tensor, wanted: Tensor) -> Tensor:
    import torch.nn.functional as F

    return F.binary_cross_entropy_with_logits(outputs, wanted, reduction="none")


def _asymmetric(outputs: Tensor, wanted: Tensor) -> Tensor:
    """Easy negatives count less: their probability is lowered by CLIP and focused by GAMMA_NEGATIVE."""
    chance = outputs.sigmoid()
    shifted = (chance - CLIP).clamp(min=0)
    # The gradient goes through the focus too, as in the paper; its 0 at shifted = 0 is exact.
    negative = shifted**GAMMA_NEGATIVE * (1 - shifted).clamp(min=1e-8).log()
    positive = -_cross_entropy(outputs, wanted.new_ones(()).expand_as(wanted))  # log p without underflow
    return -(wanted * positive + (1 - wanted) * negative)


def _best_threshold(chances: Doubles, present: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    order = np.argsort(-chances, kind="stable")
    ranked, right = chances[order], np.cumsum(present[order])
    said = np.arange(1, len(ranked) + 1)
    f1 = 2 * right / (said + present.sum())
    f1[:-1][ranked[:-1] == ranked[1:]] = -1  # no threshold parts two equal probabilities
    best = int(f1.argmax())
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


class _Meter:
    """torchmetrics for average precision; F1 by counting, at a threshold per label."""

    def __init__(self, labels: int, thresholds: Sequence[float]) -> None:
        from torchmetrics.classification import MultilabelAveragePrecision

        self.precision = MultilabelAveragePrecision(labels, average="none")
        self.thresholds = np.asarray(thresholds)
        self.counts = np.zeros((3, labels), dtype=np.int64)
        """Right, said, present."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        present = targets.cpu() > 0.5
        self.precision.update(outputs.float().cpu().sigmoid(), present.long())
        said, true = probabilities(outputs.float().cpu().numpy()) >= self.thresholds, present.numpy()
        self.counts += np.stack([(said & true).sum(axis=0), said.sum(axis=0), true.sum(axis=0)])

    def compute(self) -> dict[str, float]:
        with warnings.catch_warnings():  # a label that is absent from a split is no news to the user
            warnings.simplefilter("ignore")
            areas = self.precision.compute().numpy()
        right, said, present = self.counts
        seen = present > 0  # torchmetrics scores the others 0
        values = {"map": float(areas[seen].mean())} if seen.any() else {}
        f1 = 2 * right / np.maximum(1, said + present)
        micro = 2 * right.sum() / max(1, said.sum() + present.sum())
        return {**values, "f1_micro": float(micro), "f1_macro": float(f1[seen].mean()) if seen.any() else 0.0}
