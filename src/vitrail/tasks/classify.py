"""One class per image.

Importing this module and decoding load no torch: predicting from an exported model goes through here.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vitrail.contracts import Backbone, Meter, Mixing, Prediction, Rows, Spread, Task
from vitrail.errors import DataError, UsageError, nearest
from vitrail.settings import TaskConfig
from vitrail.tasks import chosen, counterparts, rows_by_name

if TYPE_CHECKING:
    from torch import Tensor, nn

ECE_BINS = 15
"""Guo et al. 2017 (arXiv 1706.04599)."""


class Classify:
    """The task `classify`: labels by name, cross-entropy, accuracy.

    labels: class names in the order of the outputs.  smoothing in [0, 1).  weights: a factor per class on its samples'
    training loss, or None.  binary: train each output by itself, by binary cross-entropy summed over the classes, as
    DeiT III and "ResNet strikes back" (arXiv 2110.00476) do; a mixed image then fully has both its classes.  named:
    whether the labels are names, or numbers that stand for classes nobody named.
    """

    name: str = "classify"
    headline: str = "accuracy"
    maximise: bool = True
    columns: tuple[str, ...] = ("label", "confidence")
    truths: tuple[str, ...] = ("target",)
    dense: bool = False
    mixes: bool = True
    pooling: str | None = None
    softens: bool = True

    def __init__(
        self, labels: Sequence[str], smoothing: float = 0.0, weights: Sequence[float] | None = None,
        binary: bool = False, named: bool = True,
    ) -> None:  # fmt: skip
        self.labels = tuple(labels)
        self.outputs = len(self.labels)
        self.smoothing = smoothing
        self.weights = None if weights is None else tuple(weights)
        self.binary, self.named = binary, named
        self._index = {label: i for i, label in enumerate(self.labels)}
        if len(self._index) != len(self.labels):
            raise DataError(f"a class name stands twice: {Counter(self.labels).most_common(1)[0][0]!r}")

    # -------------------------------------------------------------------------------------------------------- targets

    def encode(self, target: Any) -> int:
        """A class name -> its index; DataError for one that training does not have."""
        label = str(target)
        if label not in self._index:
            close = nearest(label, self.labels)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise DataError(f"class {label!r} is not among the {len(self.labels)} classes trained on{hint}")
        return self._index[label]

    def collate(self, encoded: Sequence[int]) -> Tensor:
        """Indices -> (B,) int64."""
        import torch

        return torch.tensor(encoded, dtype=torch.int64)

    # -------------------------------------------------------------------------------------------------------- learning

    def head(self, backbone: Backbone, pooling: str) -> nn.Module:
        """Pooling and a linear layer: Features -> logits (B, Y).

        Two layers where [CLS] is to be read and a distillation token stands beside it.
        """
        from vitrail.heads.distilled import DistilledHead
        from vitrail.heads.linear import LinearHead

        if pooling == "cls" and "dist" in backbone.prefix_names:
            return DistilledHead(backbone, self.outputs)
        return LinearHead(backbone, self.outputs, pooling)

    def loss(self, outputs: Tensor, targets: Tensor, mixing: Mixing | None = None, train: bool = False) -> Tensor:
        """Cross-entropy per sample, (B,) float32.

        A mixed image has two targets, each counted by its share. Smoothing and class weights apply only with `train`.
        """
        if self.binary and train:
            return self._each_by_itself(outputs, targets, mixing)
        own = self._cross_entropy(outputs, targets, train)
        if mixing is None:
            return own
        partner = self._cross_entropy(outputs, targets[mixing.partners], train)
        share = mixing.share.to(own)
        return share * own + (1 - share) * partner

    def _cross_entropy(self, outputs: Tensor, targets: Tensor, train: bool) -> Tensor:
        import torch.nn.functional as F

        from vitrail.data.transfer import beside

        smoothing = self.smoothing if train else 0.0
        loss = F.cross_entropy(outputs.float(), targets, reduction="none", label_smoothing=smoothing)
        if train and self.weights is not None:
            loss = loss * beside(self.weights, loss)[targets]
        return loss

    def _each_by_itself(self, outputs: Tensor, targets: Tensor, mixing: Mixing | None) -> Tensor:
        import torch.nn.functional as F

        from vitrail.data.transfer import beside

        wanted = F.one_hot(targets, self.outputs).float()
        if mixing is not None:
            partly = (mixing.share < 1)[:, None].to(wanted.device)
            wanted = wanted.maximum(wanted[mixing.partners] * partly)
        wanted = wanted * (1 - self.smoothing) + self.smoothing / self.outputs
        loss = F.binary_cross_entropy_with_logits(outputs.float(), wanted, reduction="none").sum(dim=1)
        return loss if self.weights is None else loss * beside(self.weights, loss)[targets]

    def align(self, teacher: Task) -> Callable[[Tensor], Tensor]:
        """A teacher's logits -> those of the classes here, by name; its other classes leave before any softmax."""
        known = teacher.state().get("labels", ())
        places = counterparts(self, teacher, "classes", self.labels, known)
        return lambda outputs: chosen(outputs, places)

    def imitation(self, outputs: Tensor, taught: Tensor, hard: bool, temperature: float) -> Tensor:
        """Against a teacher's logits (B, Y), per sample: (B,) float32.

        hard: the loss on the teacher's decision, without smoothing (DeiT, arXiv 2012.12877, equation 3). Softened, with
        T the temperature: T^2 KL(teacher || student) of both softmaxes at T, summed over the classes (Hinton et al.
        2015, arXiv 1503.02531; DeiT, equation 2). Its mean over a batch is "batchmean": DeiT's code divides by the
        classes as well, a thousand times less than the equation.
        """
        import torch.nn.functional as F

        logits, wanted = outputs.float(), taught.float()
        if not hard:
            own, theirs = (F.log_softmax(each / temperature, dim=1) for each in (logits, wanted))
            return temperature**2 * F.kl_div(own, theirs, reduction="none", log_target=True).sum(dim=1)
        decided = wanted.argmax(dim=1)
        if not self.binary:
            return F.cross_entropy(logits, decided, reduction="none")
        said = F.one_hot(decided, self.outputs).float()
        return F.binary_cross_entropy_with_logits(logits, said, reduction="none").sum(dim=1)

    def meter(self) -> Meter:
        """accuracy, accuracy_top5 (from 6 classes on), f1_macro, auroc (each class against the rest), ece.

        A class that is absent from a split has no AUROC and is left out of the mean; with one class there is none.
        """
        return _Meter(self.outputs)

    # -------------------------------------------------------------------------------------------------------- answers

    def decode(
        self, outputs: np.ndarray[Any, Any], sources: Sequence[str], spread: Sequence[Spread] | None = None
    ) -> list[Prediction]:
        """Logits (B, Y) -> label and confidence; the softmax stands in `arrays["probabilities"]`."""
        made = []
        for source, row in zip(sources, probabilities(outputs), strict=True):
            best = int(row.argmax())
            values = {"label": self.labels[best], "confidence": float(row[best])}
            said = f"{self.labels[best]} {100 * row[best]:.1f}%"
            made.append(Prediction(source, values=values, arrays={"probabilities": row}, answer=said))
        return made

    def truth(self, target: Any) -> dict[str, Any]:
        """The class by name."""
        return {"target": str(target)}

    def tuned(self, outputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> Task:
        """Itself: the largest output needs no threshold."""
        return self

    def state(self) -> dict[str, Any]:
        """What labels.json holds."""
        return {"task": self.name, "labels": list(self.labels), **({} if self.named else {"named": False})}

    def inherited(self, source: Task) -> Rows | str:
        """Its classes by name."""
        state = source.state()
        if not state.get("named", True):
            return f"its {source.outputs} classes have no names, only numbers"
        return rows_by_name("classes", self.labels, state["labels"])


def probabilities(outputs: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Softmax of logits (B, Y), computed in float64: (B, Y) float32, rows sum to 1."""
    shifted = outputs.astype(np.float64) - outputs.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    shares: np.ndarray[Any, np.dtype[np.float32]] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def fit(targets: Iterable[Any], config: TaskConfig, named: Sequence[str] = ()) -> Classify:
    """The task for these training targets: their names sorted, and weights if the config balances classes.

    Balanced weights are n / (Y * n_class), whose mean over the samples is 1.
    """
    if config.loss not in ("auto", "cross_entropy", "bce"):
        raise UsageError(f"task.loss {config.loss}: classify has cross_entropy, bce")
    counts = Counter(str(target) for target in targets)
    labels = sorted(counts)
    weights = None
    if config.class_weights == "balanced":
        weights = [counts.total() / (len(labels) * counts[label]) for label in labels]
    return Classify(labels, config.label_smoothing, weights, binary=config.loss == "bce")


def numbered(outputs: int) -> Classify:
    """The task with classes "0", "1", ...; UsageError for fewer than two."""
    if outputs < 2:
        raise UsageError(f"a classifier needs at least two outputs, not {outputs}")
    return Classify([f"{i:0{len(str(outputs - 1))}d}" for i in range(outputs)], named=False)


def restore(state: Mapping[str, Any]) -> Classify:
    """The task of a labels.json."""
    labels = state["labels"]
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise ValueError("labels is not a list of names")
    return Classify(labels, named=bool(state.get("named", True)))


class _Meter:
    """torchmetrics over everything seen, on the CPU."""

    def __init__(self, classes: int) -> None:
        from torchmetrics import MetricCollection
        from torchmetrics.classification import (
            MulticlassAccuracy,
            MulticlassAUROC,
            MulticlassCalibrationError,
            MulticlassF1Score,
        )

        self.classes = classes
        metrics: dict[str, Any] = {
            "accuracy": MulticlassAccuracy(classes, average="micro"),
            "f1_macro": MulticlassF1Score(classes, average="macro"),
            "auroc": MulticlassAUROC(classes, average="none"),
            "ece": MulticlassCalibrationError(classes, n_bins=ECE_BINS),
        }
        if classes > 5:
            metrics["accuracy_top5"] = MulticlassAccuracy(classes, average="micro", top_k=5)
        self.metrics = MetricCollection(metrics, compute_groups=False)
        self.counts = np.zeros(classes, dtype=np.int64)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.metrics.update(outputs.float().cpu().softmax(dim=1), targets.cpu())
        self.counts += np.bincount(targets.cpu().numpy(), minlength=self.classes)

    def compute(self) -> dict[str, float]:
        with warnings.catch_warnings():  # a class that is absent from a split is no news to the user
            warnings.simplefilter("ignore")
            values = self.metrics.compute()
        ranked = (self.counts > 0) & (self.counts < self.counts.sum())  # torchmetrics scores the others 0
        areas = values.pop("auroc").numpy()[ranked]
        values = {name: float(value) for name, value in values.items()}
        if len(areas):
            values["auroc"] = float(areas.mean())
        order = ("accuracy", "accuracy_top5", "f1_macro", "auroc", "ece")
        return {name: values[name] for name in order if name in values}
