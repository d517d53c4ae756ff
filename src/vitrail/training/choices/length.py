"""How long training lasts, in what batches, and at what rate."""

from __future__ import annotations

from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.geometry import ONE_GRID

SMALLEST_BATCH = 8


def choose_batch(chooser: Chooser, batch: int, why: str) -> int:
    """Images per update: `batch`, or so many halves of it that an epoch has four updates."""
    images, wanted = chooser.facts.images, batch
    while batch > SMALLEST_BATCH and images < 4 * batch:
        batch //= 2
    if batch < wanted:
        why = f"{images} training images: four updates an epoch or more"
    size: int = chooser.pick("train.batch_size", batch, why)
    return size


def choose_rate(chooser: Chooser, base: float, per: int, source: str) -> None:
    """The largest rate: `base` for a batch of `per`, in proportion to the batch (Goyal et al., arXiv 1706.02677)."""
    batch = chooser.of("train.batch_size")
    rate = float(f"{base * batch / per:.3g}")
    scaled = f"{base:g}" if batch == per else f"{base:g} x batch / {per}"
    chooser.pick("train.lr", rate, f"{source}'s {scaled}")


def choose_schedule(chooser: Chooser, epochs: int, warmup: float, min_lr: float, source: str) -> None:
    """Epochs, warm-up and the rate at the end. A shorter run than the published one warms up for a tenth of it."""
    epochs = chooser.pick("train.epochs", epochs, source)
    short = round(0.1 * epochs, 2)
    if short < warmup:
        chooser.pick("train.warmup_epochs", short, f"a tenth of the run; {source}'s {warmup:g} are for its own length")
    else:
        chooser.pick("train.warmup_epochs", warmup, source)
    rate = chooser.of("train.lr")
    chooser.pick("train.min_lr", min(min_lr, rate), source)


def choose_micro_steps(chooser: Chooser) -> None:
    """In how many parts a batch goes through the model, to the same update: as few as memory is sure to hold.

    A part is a multiple of 8, so that mixing, whose groups are of 8, is the same in parts.
    """
    batch, device = chooser.of("train.batch_size"), chooser.facts.device
    at_once = AT_ONCE.get(device, AT_ONCE["cpu"]) / _load(chooser)
    fitting = (parts for parts in range(1, batch // 8 + 1) if batch % (8 * parts) == 0 and batch / parts <= at_once)
    parts = 1 if batch <= at_once else next(fitting, max(1, batch // 8) if batch % 8 == 0 else 1)
    why = "the batch goes through at once"
    if parts > 1:
        why = f"{batch // parts} images at a time on {device}; the update is that of all {batch}, batch norms aside"
    chooser.pick("train.accumulate", parts, why)


AT_ONCE = {"cpu": 64, "cuda": 256, "mps": 64}
"""Images of 224 pixels that go through a model of ViT-S/16's kind at a time."""


def _load(chooser: Chooser) -> float:
    """Memory of one image in training, ViT-S/16's at 224 pixels being 1; of a hierarchy by its pixels alone."""
    size, config = float(chooser.of("model.image_size")), chooser.variant.config
    if chooser.variant.family not in ONE_GRID:
        return max(1e-3, (size / 224) ** 2)
    tokens = (size / chooser.of("model.patch_size")) ** 2
    options = {name: chooser.stated.get(f"model.options.{name}", getattr(config, name)) for name in ("width", "depth")}
    width, depth = float(options["width"]), float(options["depth"])
    return max(1e-3, float(tokens / 196 * width / 384 * depth / 12))
