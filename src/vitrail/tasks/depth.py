"""One number per pixel, or several: depth, height, distance, density; known everywhere or in places.

Importing this module and decoding load no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vitrail.contracts import Backbone, Floats, Meter, Mixing, Prediction, Rows, Spread, Task
from vitrail.data.maps import read_map
from vitrail.data.units import split_unit
from vitrail.errors import BadImage, DataError, UsageError
from vitrail.settings import TaskConfig
from vitrail.tasks import chosen, counterparts, refuse_taken
from vitrail.tasks.meters.maps import DepthMeter
from vitrail.tasks.regress import rescaled, same_units, short

if TYPE_CHECKING:
    from torch import Tensor, nn

LOSSES = ("l1", "silog")
VARIANCE_FOCUS = 0.85
"""lambda of the scale-invariant loss (Lee et al. 2019, arXiv 1907.10326, equation 3)."""
MOST_READ = 500
"""Training maps that are read for mean and spread, evenly spaced; more would not move them."""


class Depth:
    """The task `depth`: maps of numbers in their own units, standardised inside.

    names: of the maps, one for each.  units: of each, "" unknown.  scale: units per stored value.  missing: the stored
    value of pixels whose truth is not known, besides NaN; None is none.  mean, std: over known training pixels, of
    the logarithm with loss=silog.  loss: "l1", or "silog" (scale-invariant in the logarithm), for positive truths.
    decoder: of `heads.dense`.
    """

    name: str = "depth"
    maximise: bool = False
    truths: tuple[str, ...] = ()
    dense: bool = True
    mixes: bool = False
    pooling: str | None = None
    softens: bool = False

    def __init__(
        self, names: Sequence[str], units: Sequence[str], mean: Sequence[float], std: Sequence[float], *,
        scale: float = 1.0, missing: float | None = None, loss: str = "l1", decoder: str = "pyramid",
    ) -> None:  # fmt: skip
        self.names, self.units = tuple(names), tuple(units)
        self.mean, self.std = tuple(mean), tuple(std)
        self.scale, self.missing = scale, missing
        self.loss_name, self.decoder = loss, decoder
        self.logarithmic = loss == "silog"
        self.outputs = len(self.names)
        self.headline = "mae" if self.outputs == 1 else "loss"
        """Errors in different units have no mean: several maps are weighed by the standardised loss."""
        self.usual = tuple(math.exp(min(m, 80.0)) for m in self.mean) if self.logarithmic else self.mean
        """What is always answered by one who never looks: the training pixels' mean, of each map, in units."""
        assert self.outputs == len(self.units) == len(self.mean) == len(self.std) >= 1
        self.columns: tuple[str, ...] = tuple(
            f"{name}_{what}" for name in self.names for what in ("mean", "min", "max")
        )

    # -------------------------------------------------------------------------------------------------------- targets

    def encode(self, target: Any) -> Floats:
        """A map, a file or an array (h, w) or (M, h, w), -> (M, h, w) float32 in units, NaN where nothing is known.

        Raises BadImage where the file cannot be used or has another number of maps.
        """
        stored = read_map(target)
        maps = stored[None] if stored.ndim == 2 else stored
        if len(maps) != self.outputs:
            raise BadImage(f"its target has {len(maps)} maps where {self.outputs} are expected")
        return self._in_units(maps)

    def _in_units(self, stored: np.ndarray[Any, Any]) -> Floats:
        known = np.isfinite(stored) if self.missing is None else np.isfinite(stored) & (stored != self.missing)
        units = np.where(known, stored.astype(np.float64) * self.scale, np.nan)
        if self.logarithmic:
            units[~(units > 0)] = np.nan
        return units.astype(np.float32)

    def blank(self, size: tuple[int, int]) -> Floats:
        """What stands for the truth of an image that failed: nothing is known, (M, H, W)."""
        return np.full((self.outputs, *size), np.nan, np.float32)

    def collate(self, encoded: Sequence[Floats]) -> Tensor:
        """Maps after the geometry -> (B, M, H, W) float32, in units, NaN where nothing is known."""
        import torch

        return torch.from_numpy(np.stack(encoded))

    # -------------------------------------------------------------------------------------------------------- learning

    def head(self, backbone: Backbone, pooling: str) -> nn.Module:
        """A decoder on the backbone's pyramid: Features -> (B, M, H, W)."""
        from vitrail.heads.dense import decoder

        return decoder(self.decoder, backbone, self.outputs)

    def loss(self, outputs: Tensor, targets: Tensor, mixing: Mixing | None = None, train: bool = False) -> Tensor:
        """On known pixels only, standardised, per sample: (B,) float32.

        l1 is the mean absolute error. silog, of d = log said - log true, is the root of mean(d^2) - 0.85 mean(d)^2.
        """
        from vitrail.data.transfer import beside

        assert mixing is None, "mixes is false"
        known = targets.isfinite()
        count = known.sum(dim=(1, 2, 3)).clamp(min=1)
        wanted = targets.nan_to_num(nan=1.0).to(outputs.device)  # 1 has a logarithm; what is unknown is masked below
        mean, std = (beside(v, wanted)[:, None, None] for v in (self.mean, self.std))
        if self.logarithmic:
            wanted = wanted.log()
        apart = (outputs.float() - (wanted - mean) / std) * known
        if not self.logarithmic:
            return apart.abs().sum(dim=(1, 2, 3)) / count
        apart = apart * std  # back in logarithms, whose differences are what is invariant to scale
        first, second = apart.sum(dim=(1, 2, 3)) / count, apart.square().sum(dim=(1, 2, 3)) / count
        return (second - VARIANCE_FOCUS * first.square()).clamp(min=1e-12).sqrt()

    def align(self, teacher: Task) -> Callable[[Tensor], Tensor]:
        """A teacher's outputs -> its maps of those here, by name, in units: (B, M, H, W).

        NaN, which counts in no loss, where it says a value that the scale-invariant loss has no logarithm for.
        """
        import torch

        state = teacher.state()
        places = counterparts(self, teacher, "maps", self.names, state.get("maps", ()))
        same_units(self.names, self.units, [state["units"][place] for place in places])
        mean, std = (torch.tensor(state[key], dtype=torch.float32)[:, None, None] for key in ("mean", "std"))
        logarithmic = state["loss"] == "silog"

        def aligned(outputs: Tensor) -> Tensor:
            units = outputs.float() * std.to(outputs.device) + mean.to(outputs.device)
            units = units.clamp(max=80.0).exp() if logarithmic else units
            return chosen(units.where(units > 0, torch.nan) if self.logarithmic else units, places)

        return aligned

    def imitation(self, outputs: Tensor, taught: Tensor, hard: bool, temperature: float) -> Tensor:
        """The loss with a teacher's maps (B, M, H, W) in the place of the truth, per sample: (B,) float32.

        Every pixel counts, those whose truth is not known as well. A number has no softened form: `softens` is false.
        """
        return self.loss(outputs, taught)

    def meter(self) -> Meter:
        """mae and rmse in units, r2 over known pixels; abs_rel, delta1 to delta3 over those whose truth is positive, as
        depth benchmarks have them (Eigen et al. 2014, arXiv 1406.2283, section 4.1); left out where none is.

        Several maps: r2 is the mean over them, and each has its own mae/NAME and rmse/NAME.
        """
        return DepthMeter(self.names, self.usual, self.values)

    def tuned(self, outputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> Task:
        """Itself."""
        return self

    # -------------------------------------------------------------------------------------------------------- answers

    def values(self, outputs: np.ndarray[Any, Any]) -> Floats:
        """Raw outputs (B, M, H, W) -> the same in units, float32."""
        mean, std = (np.asarray(v)[:, None, None] for v in (self.mean, self.std))
        units = outputs.astype(np.float64) * std + mean
        told: Floats = (np.exp(units.clip(max=80.0)) if self.logarithmic else units).astype(np.float32)
        return told

    def decode(
        self, outputs: np.ndarray[Any, Any], sources: Sequence[str], spread: Sequence[Spread] | None = None
    ) -> list[Prediction]:
        """Raw outputs (B, M, H, W) -> mean, least and greatest value of each map, in units.

        `arrays["maps"]`, (M, h, w) float32, in units, NaN where the model saw nothing.
        """
        made = []
        for row, (source, maps) in enumerate(zip(sources, self.values(outputs), strict=True)):
            wide = np.stack([spread[row](each) for each in maps]) if spread else maps
            numbers = [float(get(each)) for each in wide for get in (np.nanmean, np.nanmin, np.nanmax)]
            values = dict(zip(self.columns, numbers, strict=True))
            words = [
                f"{name} {short(low)} to {short(high)} {unit}".rstrip()
                for name, unit, low, high in zip(self.names, self.units, numbers[1::3], numbers[2::3], strict=True)
            ]
            made.append(Prediction(source, values=values, arrays={"maps": wide}, answer=", ".join(words)))
        return made

    def truth(self, target: Any) -> dict[str, Any]:
        """Nothing: a map does not fit in a cell."""
        return {}

    def state(self) -> dict[str, Any]:
        """What labels.json holds."""
        kept = {"maps": self.names, "units": self.units, "mean": self.mean, "std": self.std}
        lists = {key: list(value) for key, value in kept.items()}
        rest = {"scale": self.scale, "missing": self.missing, "loss": self.loss_name, "decoder": self.decoder}
        return {"task": self.name, **lists, **rest}

    def inherited(self, source: Task) -> Rows | str:
        """Its maps by name and unit, rescaled so that values in units stay what they were."""
        state = source.state()
        if (state["loss"] == "silog") != self.logarithmic:
            return f"with loss={state['loss']} it answers " + ("numbers" if self.logarithmic else "logarithms")
        return rescaled("maps", (self.names, self.units, self.mean, self.std), state, state["maps"])


def fit(targets: Iterable[Any], config: TaskConfig, named: Sequence[str] = ()) -> Depth:
    """The task for these training maps. named: the maps' names, with units in brackets; "depth" if there is one.

    Raises DataError where none can be read, they differ in number, or a map never varies.
    """
    loss = "l1" if config.loss == "auto" else config.loss
    if loss not in LOSSES:
        raise UsageError(f"task.loss {loss}: depth has {', '.join(LOSSES)}")
    listed = list(targets)
    chosen = listed[:: max(1, -(-len(listed) // MOST_READ))]
    sums: np.ndarray[Any, np.dtype[np.float64]] | None = None
    reader = Depth(["map"], [""], [0.0], [1.0], scale=config.scale, missing=config.missing, loss=loss)
    for target in chosen:
        try:
            stored = read_map(target)
        except BadImage:
            continue  # the audit's to name
        maps = reader._in_units(stored[None] if stored.ndim == 2 else stored).astype(np.float64)
        values = np.log(maps) if reader.logarithmic else maps
        moments = np.stack([np.isfinite(values).sum((1, 2)), np.nansum(values, (1, 2)), np.nansum(values**2, (1, 2))])
        if sums is not None and sums.shape != moments.shape:
            raise DataError(f"some targets have {sums.shape[1]} maps and some {moments.shape[1]}")
        sums = moments if sums is None else sums + moments
    if sums is None:
        raise DataError("no map of the training images can be read")
    count = sums.shape[1]
    headers = list(config.labels or named) or (["depth"] if count == 1 else [f"map{i}" for i in range(count)])
    if len(headers) != count:
        raise DataError(f"{count} maps per image, but {len(headers)} names: {', '.join(headers)}")
    names, units = zip(*map(split_unit, headers), strict=True)
    refuse_taken(names, ("_mean", "_min", "_max"), "map")
    known, total, squares = sums
    mean = total / np.maximum(1, known)
    std = np.sqrt(np.maximum(0, squares / np.maximum(1, known) - mean**2))
    for name, deviation, pixels in zip(names, std, known, strict=True):
        if not pixels or not deviation > 1e-12 * max(1.0, float(np.abs(mean).max())):
            why = "has the same value everywhere" if pixels else "is known nowhere"
            raise DataError(f"map '{name}' {why} in the training images: there is nothing to learn")
    return Depth(
        names, units, mean.tolist(), std.tolist(), scale=config.scale, missing=config.missing, loss=loss,
        decoder=config.decoder if config.decoder != "auto" else "pyramid",
    )  # fmt: skip


def numbered(outputs: int) -> Depth:
    """The task with maps that are standardised already."""
    names = ["depth"] if outputs == 1 else [f"map{i}" for i in range(outputs)]
    return Depth(names, [""] * outputs, [0.0] * outputs, [1.0] * outputs)


def restore(state: Mapping[str, Any]) -> Depth:
    """The task of a labels.json."""
    names, units = [str(n) for n in state["maps"]], [str(u) for u in state["units"]]
    mean, std = [float(m) for m in state["mean"]], [float(s) for s in state["std"]]
    scale, missing = float(state["scale"]), state["missing"]
    if not names or not len(names) == len(units) == len(mean) == len(std):
        raise ValueError("maps, units, mean and std differ in length")
    if not all(map(math.isfinite, [*mean, *std, scale])) or not min(std) > 0 or not scale > 0:
        raise ValueError("mean, std or scale is no usable number")
    if state["loss"] not in LOSSES:
        raise ValueError(f"loss {state['loss']!r} is none of {', '.join(LOSSES)}")
    return Depth(
        names, units, mean, std, scale=scale, missing=None if missing is None else float(missing), loss=state["loss"],
        decoder=str(state["decoder"]),
    )  # fmt: skip
