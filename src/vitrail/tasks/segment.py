"""A class per pixel.

Importing this module and decoding load no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vitrail.contracts import Backbone, Floats, MapFile, Meter, Mixing, Prediction, Rows, Spread, Task
from vitrail.data.masks import HIGHEST, UNTOLD, count_values, read_mask
from vitrail.errors import BadImage, DataError, UsageError
from vitrail.settings import TaskConfig
from vitrail.tasks import LABEL_SEPARATOR, chosen, counterparts, refuse_parted, rows_by_name
from vitrail.tasks.meters.masks import SegmentMeter

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vitrail.data.map_audit import MapAudit

LOSSES = ("cross_entropy+dice", "cross_entropy", "dice")
MOST_CLASSES = 256

Classes = np.ndarray[Any, np.dtype[np.int64]]


class Segment:
    """The task `segment`: a class per pixel, by the value a mask has there.

    labels: names in the order of the outputs.  values: the value in mask files of each, 0 to 65,535.  ignore: the value
    of pixels whose truth is not known, -1 included, as .npy files have it.  foreground: two classes, 0 and everything
    above but `ignore`, whatever the value (instance masks).
    loss: "cross_entropy", "dice", or both added.  weights: a factor per class on its pixels' cross-entropy, or None.
    decoder: of `heads.dense`.
    """

    name: str = "segment"
    headline: str = "miou"
    maximise: bool = True
    columns: tuple[str, ...] = ("classes", "shares")
    truths: tuple[str, ...] = ()
    dense: bool = True
    mixes: bool = False
    pooling: str | None = None
    softens: bool = True

    def __init__(
        self, labels: Sequence[str], values: Sequence[int], *, ignore: int = 255, foreground: bool = False,
        loss: str = "cross_entropy+dice", smoothing: float = 0.0, weights: Sequence[float] | None = None,
        decoder: str = "pyramid",
    ) -> None:  # fmt: skip
        self.labels, self.values = tuple(labels), tuple(values)
        self.outputs = len(self.labels)
        self.ignore, self.foreground = ignore, foreground
        self.loss_name, self.smoothing = loss, smoothing
        self.weights = None if weights is None else tuple(weights)
        self.decoder = decoder
        if len(set(self.labels)) != self.outputs or len(set(self.values)) != self.outputs or self.outputs < 2:
            raise DataError(
                f"segmentation needs two classes or more, each once, not {', '.join(self.labels) or 'none'}"
            )
        assert len(self.values) == self.outputs
        self.unseen = ignore if ignore >= 0 else next(v for v in range(255, HIGHEST) if v not in self.values)
        """The value that written masks have where the model saw nothing: `ignore`, or for -1 one that no class has."""
        order = np.argsort(self.values)
        self._sorted, self._class = np.asarray(self.values)[order], order

    # -------------------------------------------------------------------------------------------------------- targets

    def encode(self, target: Any) -> Classes:
        """A mask, a file or an array of integers (h, w), -> classes (h, w), UNTOLD where it has the `ignore` value.

        Raises BadImage where the file cannot be used or a value is no class.
        """
        stored = read_mask(target)
        untold = stored == self.ignore
        if self.foreground:
            self._refuse(stored[(stored < 0) & ~untold])
            return np.where(untold, UNTOLD, (stored > 0).astype(np.int64))
        place = np.searchsorted(self._sorted, stored).clip(max=self.outputs - 1)
        known = self._sorted[place] == stored
        self._refuse(stored[~known & ~untold])
        return np.where(known, self._class[place], UNTOLD)

    def _refuse(self, strange: Classes) -> None:
        if len(strange):
            raise BadImage(f"its mask has the value {strange[0]}, which is no class")

    def blank(self, size: tuple[int, int]) -> Classes:
        """What stands for the truth of an image that failed: nothing is known, (H, W)."""
        return np.full(size, UNTOLD, np.int64)

    def collate(self, encoded: Sequence[Classes]) -> Tensor:
        """Classes after the geometry -> (B, H, W) int64."""
        import torch

        return torch.from_numpy(np.stack(encoded))

    # -------------------------------------------------------------------------------------------------------- learning

    def head(self, backbone: Backbone, pooling: str) -> nn.Module:
        """A decoder on the backbone's pyramid: Features -> logits (B, Y, H, W)."""
        from vitrail.heads.dense import decoder

        return decoder(self.decoder, backbone, self.outputs)

    def loss(self, outputs: Tensor, targets: Tensor, mixing: Mixing | None = None, train: bool = False) -> Tensor:
        """Per sample, (B,) float32: the mean cross-entropy over known pixels, the Dice loss, or their sum.

        Dice (Milletari et al. 2016, arXiv 1606.04797) is 1 - its soft coefficient, the mean over classes. Evaluation is
        plain cross-entropy.
        """
        import torch.nn.functional as F

        from vitrail.data.transfer import beside

        assert mixing is None, "mixes is false"
        logits, known = outputs.float(), (targets != UNTOLD).float()  # (B, Y, H, W), (B, H, W)
        names = self.loss_name.split("+") if train else ["cross_entropy"]
        total = logits.new_zeros(len(logits))
        if "cross_entropy" in names:
            weight = beside(self.weights, logits) if train and self.weights else None
            smoothing = self.smoothing if train else 0.0
            each = F.cross_entropy(
                logits, targets, weight=weight, ignore_index=UNTOLD, reduction="none", label_smoothing=smoothing
            )
            total = total + each.sum(dim=(1, 2)) / known.sum(dim=(1, 2)).clamp(min=1)
        if "dice" in names:
            chances = logits.softmax(dim=1) * known[:, None]
            truth = F.one_hot(targets.clamp(min=0), self.outputs).movedim(-1, 1) * known[:, None]  # (B, Y, H, W)
            both, either = (chances * truth).sum(dim=(2, 3)), (chances + truth).sum(dim=(2, 3))
            total = total + (1 - (2 * both + 1) / (either + 1)).mean(dim=1)
        return total

    def align(self, teacher: Task) -> Callable[[Tensor], Tensor]:
        """A teacher's logits (B, Y', H, W) -> those of the classes here, by name."""
        known = teacher.state().get("labels", ())
        places = counterparts(self, teacher, "classes", self.labels, known)
        return lambda outputs: chosen(outputs, places)

    def imitation(self, outputs: Tensor, taught: Tensor, hard: bool, temperature: float) -> Tensor:
        """Against a teacher's logits (B, Y, H, W), the mean over pixels, per sample: (B,) float32.

        hard: cross-entropy on the teacher's decision. Softened: T^2 KL(teacher || student) at the temperature T. Every
        pixel counts, those whose truth is not known as well: there a teacher says what no mask does.
        """
        import torch.nn.functional as F

        logits, wanted = outputs.float(), taught.float()
        if hard:
            return F.cross_entropy(logits, wanted.argmax(dim=1), reduction="none").mean(dim=(1, 2))
        own, theirs = (F.log_softmax(each / temperature, dim=1) for each in (logits, wanted))
        each = F.kl_div(own, theirs, reduction="none", log_target=True).sum(dim=1)  # (B, H, W)
        return temperature**2 * each.mean(dim=(1, 2))

    def meter(self) -> Meter:
        """miou and dice (means over classes that occur), boundary_f1, pixel_accuracy; iou/NAME for up to 8 classes."""
        return SegmentMeter(self.labels)

    def tuned(self, outputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> Task:
        """Itself."""
        return self

    # -------------------------------------------------------------------------------------------------------- answers

    def decode(
        self, outputs: np.ndarray[Any, Any], sources: Sequence[str], spread: Sequence[Spread] | None = None
    ) -> list[Prediction]:
        """Logits (B, Y, H, W) -> the classes there, largest first, with their shares of the pixels.

        `arrays["mask"]` has the classes' values as mask files have them, (h, w) uint8 or uint16, `unseen` where the
        model saw nothing. Logits, not classes, are brought to the image's size.
        """
        made = []
        for row, (source, maps) in enumerate(zip(sources, outputs, strict=True)):
            classes = _largest(maps.astype(np.float32), spread[row] if spread else None)  # (h, w)
            counts = np.bincount(classes[classes != UNTOLD], minlength=self.outputs)
            shares = counts / max(1, counts.sum())
            said = [int(i) for i in np.argsort(-shares, kind="stable") if counts[i]]
            values = {
                "classes": LABEL_SEPARATOR.join(self.labels[i] for i in said),
                "shares": LABEL_SEPARATOR.join(f"{shares[i]:.4f}" for i in said),
            }
            deep = max(*self.values, self.unseen) > 255
            stored = np.asarray((*self.values, self.unseen), np.uint16 if deep else np.uint8)[classes]  # -1 is the last
            made.append(Prediction(source, values=values, arrays={"mask": stored}, answer=self._words(said, shares)))
        return made

    def _words(self, said: Sequence[int], shares: np.ndarray[Any, Any]) -> str:
        """What is on the ground, where there is a ground (the value 0) and something on it."""
        objects = [i for i in said if self.values[i] != 0] or list(said)
        told = ", ".join(f"{self.labels[i]} {100 * shares[i]:.{0 if shares[i] >= 0.1 else 1}f}%" for i in objects[:3])
        more = f" and {len(objects) - 3} more" if len(objects) > 3 else ""
        return f"{told}{more} of the pixels" if told else "nothing"

    def truth(self, target: Any) -> dict[str, Any]:
        """Nothing: a mask does not fit in a cell."""
        return {}

    def state(self) -> dict[str, Any]:
        """What labels.json holds."""
        return {
            "task": self.name, "labels": list(self.labels), "values": list(self.values), "ignore": self.ignore,
            "foreground": self.foreground, "decoder": self.decoder,
        }  # fmt: skip

    def inherited(self, source: Task) -> Rows | str:
        """Its classes by name, whatever their values in masks."""
        return rows_by_name("classes", self.labels, source.state()["labels"])


def fit(targets: Iterable[Any], config: TaskConfig, named: Sequence[str] = ()) -> Segment:
    """The task for these training masks. Their values are the classes, but for `ignore`; {0, 255} is a ground and an
    object. named: the classes by name, in the order of their values.

    Raises DataError where no mask can be used, where there are more values than classes can be, or one that no class
    can have.
    """
    return fit_counts(count_values(targets), config, named)


def fit_counts(counts: Mapping[int, int], config: TaskConfig, named: Sequence[str] = ()) -> Segment:
    """The task for training masks that have these values: value -> how many pixels; see `fit`."""
    loss = LOSSES[0] if config.loss == "auto" else config.loss
    if loss not in LOSSES:
        raise UsageError(f"task.loss {loss}: segment has {', '.join(LOSSES)}")
    ignore = _ignored(counts, config)
    counts = {value: count for value, count in counts.items() if value != ignore}
    _check_range(counts, config.foreground)
    balanced = config.class_weights == "balanced"
    names = config.labels or tuple(named)
    refuse_parted(names, "class")
    decoder, smoothing = config.decoder if config.decoder != "auto" else "pyramid", config.label_smoothing
    if config.foreground:
        ground, total = counts.get(0, 0), sum(counts.values())
        weights = _balance([ground, total - ground]) if balanced else None
        # a source that names each value's class has no name for all of them together
        labels = names if config.labels or len(names) == 2 else ("background", "foreground")
        return Segment(
            labels, (0, 1), ignore=ignore, foreground=True, loss=loss, smoothing=smoothing, weights=weights,
            decoder=decoder,
        )  # fmt: skip
    values = sorted(counts)
    if len(values) > MOST_CLASSES:
        raise DataError(
            f"the masks have {len(values)} different values, too many to be classes:"
            " if they number single objects, set task.foreground=true"
        )
    if names and len(names) != len(values):
        if len(names) < len(values) or max(values) >= len(names):
            shown = ", ".join(map(str, values[:12]))
            raise DataError(f"{len(names)} class names, but the masks have the values {shown}")
        values = list(range(len(names)))  # a class that no training mask shows
    labels = names or (("background", "foreground") if len(values) == 2 and values[0] == 0 else tuple(map(str, values)))
    weights = _balance([counts.get(value, 0) for value in values]) if balanced else None
    return Segment(labels, values, ignore=ignore, loss=loss, smoothing=smoothing, weights=weights, decoder=decoder)


def _ignored(counts: Mapping[int, int], config: TaskConfig) -> int:
    """The value that is not known: what is stated, but for 255, which may as well be the object of {0, 255} or, where
    masks number objects without a gap, the object after the 254th. Then none is: -1, or 254 in classes.
    """
    if config.ignore == 255 and set(counts) <= {0, 255}:
        return -1 if config.foreground else 254
    return -1 if config.ignore == 255 and config.foreground and {254, 255} <= set(counts) else config.ignore


def _check_range(counts: Mapping[int, int], foreground: bool) -> None:
    """Values are 0 to 65,535; numbers of objects may go on."""
    low = min(counts, default=0)
    if low < 0:
        known = "" if low < -1 else ": if it marks pixels whose truth is not known, set task.ignore=-1"
        raise DataError(f"the masks have the value {low}, but classes are numbered from 0 on{known}")
    if not foreground and max(counts, default=0) > HIGHEST:
        raise DataError(
            f"the masks have the value {max(counts)}: a class is a number from 0 to {HIGHEST:,}; if the masks number"
            " single objects, set task.foreground=true"
        )


def numbered(outputs: int) -> Segment:
    """The task with classes "0", "1", ..., which are also their values."""
    if outputs < 2:
        raise UsageError(f"segmentation needs at least two outputs, not {outputs}")
    return Segment([str(i) for i in range(outputs)], range(outputs), ignore=max(255, outputs))


def restore(state: Mapping[str, Any]) -> Segment:
    """The task of a labels.json."""
    labels, values = state["labels"], state["values"]
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError("labels is not a list of names")
    if len(values) != len(labels) or not all(isinstance(v, int) and 0 <= v <= HIGHEST for v in values):
        raise ValueError("values is not a mask value per label")
    if not isinstance(state["ignore"], int) or not -1 <= state["ignore"] <= HIGHEST:
        raise ValueError("ignore is no mask value")
    return Segment(
        labels, values, ignore=state["ignore"], foreground=bool(state["foreground"]), decoder=str(state["decoder"])
    )


def unknown_masks(task: Task, maps: MapAudit | None, held_out: Iterable[int]) -> dict[int, str]:
    """Why the masks of held-out samples cannot be judged, by source index: they have values that are no class of the
    task, which was fitted to training. None where another task's targets are, or all above 0 is one class."""
    from vitrail.data.target_audit import strangers  # decoding needs no audit

    if maps is None or not isinstance(task, Segment) or task.foreground:
        return {}
    return strangers(maps, held_out, {*task.values, task.ignore})


def _balance(pixels: Sequence[int]) -> list[float]:
    """Weights by the root of rarity, their mean over pixels 1: full balance would drown the rest in a rare class."""
    shares = np.asarray(pixels, np.float64) / max(1, sum(pixels))
    raw = np.where(shares > 0, shares, 1.0) ** -0.5
    return [float(weight) for weight in raw / max(1e-12, float((raw * shares).sum()))]


def _largest(maps: Floats, spread: Spread | None) -> Classes:
    """The class of the largest logit, (Y, H, W) -> (h, w), one class at a time: Y maps of a photo are many bytes."""
    best: Floats | None = None
    classes = np.zeros(0, np.int64)
    for index, logits in enumerate(maps):
        wide = spread(logits) if spread else logits
        if best is None:
            best, classes = wide.copy(), np.where(np.isnan(wide), UNTOLD, index).astype(np.int64)
            continue
        larger = wide > best
        best[larger], classes[larger] = wide[larger], index
    return classes


def mask_of(target: Any) -> bool:
    """Whether a source's target is a mask: a file beside the image, or an array of whole numbers."""
    return isinstance(target, MapFile) or (isinstance(target, np.ndarray) and target.dtype.kind in "bui")
