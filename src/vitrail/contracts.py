"""What rooms hand each other. Importing this module loads no torch.

THE shape legend, for the whole package:

    B  images in a batch            H W  image height and width, pixels
    C  channels (1, 3, 4, ...)      P    patch side, pixels
    h w  token grid: H/P, W/P       N    patch tokens, N = h * w
    K  prefix tokens (CLS, ...)     T    all tokens, T = K + N, prefix first
    D  token width                  M    hidden width of the MLP
    A  attention heads              d    width of one head, D / A
    Y  outputs of a task (classes)  L    encoder blocks

Tokens stand in raster order: token n is the patch at row n // w, column n % w.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
"""A decoded image, (H, W, C) uint8, upright, C as asked for."""

Floats = np.ndarray[Any, np.dtype[np.float32]]
"""Any float32 array; its shape stands where it is used."""


# ---------------------------------------------------------------------------------------------------------- models


@dataclass(frozen=True)
class Features:
    """What every backbone returns. A registered pytree, so it passes through compile and export.

    tokens (B, N, D): final patch tokens. grid (h, w). prefix (B, K, D): final prefix tokens, K may be 0.
    pyramid: feature maps (B, C_i, H/s_i, W/s_i), fine to coarse, or None when not asked for.
    """

    tokens: Tensor
    grid: tuple[int, int]
    prefix: Tensor
    pyramid: tuple[Tensor, ...] | None = None


@dataclass(frozen=True, eq=False)
class CellMap:
    """Where tokens stand on a grid of cells: a sparse, row-stochastic map.

    grid: (h, w) of the cells, in raster order.  cells (W, T, M) int64: the cells that each token of each window stands
    for, -1 where there are fewer than M.  shares (W, T, M) float32: how the token divides among them, summing to 1; all
    0 for a token that is padding and stands nowhere. W is 1 where there are no windows.
    """

    grid: tuple[int, int]
    cells: Tensor
    shares: Tensor

    def dense(self) -> Tensor:
        """(W, T, h * w) float32: row-stochastic but for padding, whose rows are 0."""
        places = self.grid[0] * self.grid[1]
        laid = self.shares.new_zeros(*self.cells.shape[:2], places + 1)
        return laid.scatter_add(2, self.cells % (places + 1), self.shares)[..., :-1]  # -1 falls into the last column

    def padding(self) -> Tensor:
        """(W, T) bool: tokens that stand nowhere."""
        return self.shares.sum(dim=-1) == 0

    def tokens_per_cell(self) -> Tensor:
        """(h * w,) int64: how many tokens stand on each cell; 0 is unseen, 2 and more an overlap."""
        seen = self.cells[self.shares > 0]
        return seen.bincount(minlength=self.grid[0] * self.grid[1])

    def is_partition(self) -> bool:
        """Whether every cell belongs to just one token: nothing unseen, nothing counted twice."""
        return bool((self.tokens_per_cell() == 1).all())


@dataclass(frozen=True)
class Stage:
    """A run of blocks on one grid.

    grid: (h, w) of its tokens.  prefix: leading tokens that stand nowhere on it.  entry: its tokens over the cells of
    the stage before, None for the first, whose tokens come from pixels.  merge: the module that makes its tokens of
    those of the stage before, or a list of such; of the first, what stands between the stem and the blocks. None where
    nothing does, or a block.
    """

    blocks: tuple[nn.Module, ...]
    grid: tuple[int, int]
    prefix: int = 0
    entry: CellMap | None = None
    merge: nn.Module | None = None


@runtime_checkable
class Backbone(Protocol):
    """What a family's `nn.Module` offers; heads, training and explanation read only this.

    Attributes
    ----------
    width: D of the tokens it returns.  prefix_names: the K prefix tokens in order, e.g. ("cls", "register").
    image_size: (H, W) it is set to.  in_channels: C.  strides, channels: of the pyramid, fine to coarse; a map at
    stride s is (B, C_i, ceil(H / s), ceil(W / s)).
    """

    width: int
    prefix_names: tuple[str, ...]
    image_size: tuple[int, int]
    in_channels: int
    strides: tuple[int, ...]
    channels: tuple[int, ...]

    def __call__(self, images: Tensor, pyramid: bool = False) -> Features:
        """(B, C, H, W) -> Features."""

    def stem(self) -> nn.Module:
        """The module that turns pixels into tokens."""

    def blocks(self) -> Sequence[nn.Module]:
        """The encoder blocks, in order."""

    def stages(self) -> Sequence[Stage]:
        """The same blocks by the grid they work on, at the image size that is set."""

    def undecayed(self) -> Iterator[nn.Parameter]:
        """Parameters that weight decay must not touch beyond biases and norms: tokens, positions."""

    def set_image_size(self, size: tuple[int, int]) -> None:
        """Accept images of (H, W) from now on, resizing positions; UsageError where the patch does not divide."""


@dataclass(frozen=True)
class Published:
    """A published figure: ImageNet-1k top-1 as a fraction, at `image_size`, with the source in words.

    data: the training sets in order, "1k", "21k -> 1k" or "JFT-3B -> 1k", k for thousand classes of ImageNet.
    """

    accuracy: float
    image_size: int
    source: str
    data: str = ""


@dataclass(frozen=True)
class Fit:
    """How a family meets images of one size: fields of its config to set (patch_size, window, ...), and why."""

    options: Mapping[str, Any]
    why: str


@dataclass(frozen=True)
class Variant:
    """A row of a family's table: a name users know, its configuration, and the paper's table it comes from.

    config: the family's frozen pydantic model.  fit: (config, image size in pixels) -> what the family sets to meet
    images of that size.  As published: normalisation "half" (mean = std = 0.5) or "imagenet", crop_fraction (the
    share of the resized image's side that evaluation keeps) and interpolation.
    """

    name: str
    family: str
    config: Any
    source: str
    fit: Callable[[Any, int], Fit]
    published: tuple[Published, ...] = ()
    normalisation: Literal["half", "imagenet"] = "half"
    crop_fraction: float = 0.9
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    stochastic_depth: bool = True
    """Whether the config's drop_path may be above 0."""


# ------------------------------------------------------------------------------------------------------------ data


@dataclass(frozen=True)
class MapFile:
    """A target that is a file beside the image, with a value per pixel: a mask or a map of numbers, not yet read."""

    path: Path


@dataclass(frozen=True)
class DrawnMap:
    """A target with a value per pixel that is made when it is read, (h, w) or (M, h, w): of outlines, of a dataset."""

    draw: Callable[[], np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Item:
    """One sample of a source, before it is read.

    key: stable name, unique in the source: the path relative to its root with "/", or "digits/17".
    target: as the source says it: a class name, a list of names, a number or a list of them, a MapFile, a DrawnMap, or
    an array with a value per pixel (masks integer, maps float).  split: "train", "val" or "test" where the source
    dictates it, else None.  group: samples that must stay together.  weight: how much the sample counts in the training
    loss.
    """

    key: str
    target: Any
    split: Literal["train", "val", "test"] | None = None
    group: str | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Hints:
    """What a source knows of its images that a recipe should respect.

    flip: mirrored images keep their label (false for digits).  native_size: typical short side in pixels, 0 unknown.
    """

    flip: bool = True
    native_size: int = 0


class Source(Protocol):
    """A set of samples. Reading is random access, from any process."""

    name: str
    location: str
    hints: Hints
    target_names: tuple[str, ...]
    """What the source calls the numbers or maps of a target, the values of its masks, or its labels, were it that no
    image has one; () where it has no names."""

    @property
    def items(self) -> Sequence[Item]:
        """All samples in a stable order, unreadable ones included."""

    def read(self, index: int, channels: int) -> Pixels:
        """Decode sample `index` to (H, W, channels) uint8; raises BadImage with the reason."""

    def content(self, index: int) -> bytes:
        """Bytes that identify the content of a sample (the file's, or the pixels'); raises BadImage if unreadable."""


@runtime_checkable
class FileSource(Source, Protocol):
    """A source whose every sample is one image file."""

    def path(self, index: int) -> Path:
        """The file of sample `index`."""


class Targets(Protocol):
    """The part of a task that data needs: how a target is read, and how read targets are stacked."""

    dense: bool
    """Whether a target has a value per pixel: it then goes through every geometric step together with its image."""

    def encode(self, target: Any) -> Any:
        """A source's target -> what `collate` stacks; raises DataError on a target that cannot be used.

        A dense one is read here, to an array (..., h, w) of the image's own size; what `collate` gets is that array
        after the geometry, (..., H, W). BadImage where its file cannot be used.
        """

    def collate(self, encoded: Sequence[Any]) -> Tensor:
        """Encoded targets of a batch -> one tensor, first dimension B."""


class DenseTargets(Targets, Protocol):
    """Targets with a value per pixel."""

    def blank(self, size: tuple[int, int]) -> np.ndarray[Any, Any]:
        """An encoded target of (H, W) pixels of which nothing is known: what an image that failed is given."""


@dataclass(frozen=True)
class Failure:
    """A sample that could not be used, and why, in a short clause."""

    key: str
    reason: str


@dataclass(frozen=True)
class Mixing:
    """How images of a batch were mixed: sample i kept `share[i]` in [0, 1] of itself, the rest is `partners[i]`'s."""

    partners: Tensor  # (B,) int64, rows of the same batch
    share: Tensor  # (B,) float32


@dataclass(frozen=True)
class Batch:
    """One step's (or micro-step's) samples.

    images (B, C, H, W) float32, normalised.  targets: first dimension B, the task's.  weights (B,) float32: 0 for a
    sample that failed after the audit (its image is zeros and must not count).  positions (B,) int64: place in the
    endless training order, or in the split when evaluating.  indices (B,) int64: index in the source.
    """

    images: Tensor
    targets: Tensor
    weights: Tensor
    positions: Tensor
    indices: Tensor
    keys: tuple[str, ...]
    failures: tuple[Failure, ...] = ()
    mixing: Mixing | None = None

    def to(self, device: Any) -> Batch:
        """The same batch with its tensors on `device`; the host does not wait for what that is doing."""
        pin = str(device).startswith("cuda")  # a copy of memory that may be paged out would wait for the GPU's queue

        def moved(tensor: Tensor) -> Tensor:
            return (tensor.pin_memory() if pin and not tensor.is_cuda else tensor).to(device, non_blocking=True)

        mixing = self.mixing and Mixing(moved(self.mixing.partners), moved(self.mixing.share))
        images, targets, weights = moved(self.images), moved(self.targets), moved(self.weights)
        return replace(self, images=images, targets=targets, weights=weights, mixing=mixing)


# ----------------------------------------------------------------------------------------------- tasks and predictions


ROW = ("path", "status", "reason")
"""Columns that every table of predictions begins with."""

SPLIT_COLUMN = "split"
"""The last column of a run's own predictions.csv."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of one input, or why it could not.

    source: the path or name as given.  status "ok" or "failed" with a `reason`.  values: the task's columns, in the
    order they stand in predictions.csv (classify: label, confidence).  arrays: what does not fit in a row
    (classify: "probabilities", (Y,) float32).  answer: the values in a few words, to stand under a picture.
    """

    source: str
    status: Literal["ok", "failed"] = "ok"
    reason: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    answer: str = ""

    @property
    def label(self) -> str:
        """The predicted class (classify only)."""
        return str(self.values["label"])

    @property
    def confidence(self) -> float:
        """Probability of the predicted class, in [0, 1] (classify only)."""
        return float(self.values["confidence"])


Spread = Callable[[Floats], Floats]
"""A map (H, W) over the model's pixels -> (height, width) over an image's own, NaN outside of what the model saw."""


class Meter(Protocol):
    """Accumulates a metric set over batches."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add raw model outputs (B, ...) and their targets, failed samples already left out."""

    def compute(self) -> dict[str, float]:
        """Metric name -> value (fractions, not percent; names of DESIGN: accuracy, accuracy_top5, f1_macro, ...)."""


@dataclass(frozen=True)
class Rows:
    """How a head's last layer becomes that of another: output i is scale[i] * theirs[places[i]] + shift[i]."""

    places: tuple[int, ...]
    scale: tuple[float, ...]
    shift: tuple[float, ...]

    @property
    def unchanged(self) -> bool:
        """Whether the answers stay what they are, whatever becomes of their order."""
        return set(self.scale) <= {1.0} and set(self.shift) <= {0.0}


class Task(Targets, Protocol):
    """One kind of target: its head, loss, metrics, and how a prediction is read. One file in `tasks/` is one task."""

    name: str
    headline: str
    """The metric that chooses the best epoch."""
    maximise: bool
    outputs: int
    """Y: the width of the model's output."""
    columns: tuple[str, ...]
    """The task's columns in predictions.csv, after path, status, reason."""
    truths: tuple[str, ...]
    """The columns of what is true, where it is known: they stand before `columns`, or after them for classes."""
    mixes: bool
    """Whether mixed images (mixup, CutMix) have a loss."""
    pooling: str | None
    """The pooling that suits the task better than the model's own, or None."""
    softens: bool
    """Whether a teacher's answer has a softened form, as probabilities have; a number has none."""

    def head(self, backbone: Backbone, pooling: str) -> nn.Module:
        """A fresh head: Features -> outputs (B, Y)."""

    def loss(self, outputs: Tensor, targets: Tensor, mixing: Mixing | None = None, train: bool = False) -> Tensor:
        """Per-sample loss (B,), float32. Smoothing and class weights apply only with `train`."""

    def meter(self) -> Meter:
        """A fresh, empty meter."""

    def decode(
        self, outputs: np.ndarray[Any, Any], sources: Sequence[str], spread: Sequence[Spread] | None = None
    ) -> list[Prediction]:
        """Raw outputs (B, Y) of any engine, (B, Y, H, W) of dense tasks, -> one Prediction each. NumPy only.

        spread: how each image's map goes back to the image's own size; without it maps stay in the model's pixels.
        """

    def align(self, teacher: Task) -> Callable[[Tensor], Tensor]:
        """What turns a teacher's raw outputs into this task's: classes by name, numbers in this standardisation.

        Raises UsageError where the teacher does not answer all that is asked here.
        """

    def imitation(self, outputs: Tensor, taught: Tensor, hard: bool, temperature: float) -> Tensor:
        """Per-sample loss (B,) of outputs against a teacher's aligned ones: its decisions (hard), or softened."""

    def inherited(self, source: Task) -> Rows | str:
        """The rows of a head for the same kind of task that answer here, by name; or why they do not, in a clause."""

    def truth(self, target: Any) -> dict[str, Any]:
        """A source's target as values for the columns `truths`."""

    def tuned(self, outputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> Task:
        """The task with what is chosen on validation outputs (thresholds); itself where nothing is."""

    def state(self) -> dict[str, Any]:
        """What labels.json holds; `tasks.restore(state)` gives an equal task back."""


class Engine(Protocol):
    """Runs a model: preprocessed images (B, C, H, W) float32 -> raw outputs, NumPy to NumPy."""

    def __call__(self, images: Floats) -> np.ndarray[Any, Any]:
        """Run one batch."""
