"""Defaults chosen from the data, each with its reason; what the user stated is never touched.

"auto" is for training from scratch on small to middling sets, after the small-data recipes of CCT (arXiv 2104.05704)
and SPT/LSA (arXiv 2112.13492): AdamW with warm-up and cosine, strong augmentation and mixing once a run is long enough
to need them. "plain" is the naive recipe to measure against: crop, flip and AdamW, nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitrail.contracts import Variant
from vitrail.errors import UsageError, unknown
from vitrail.settings import Config, Stated, build, fields

RECIPES = ("auto", "plain")


@dataclass(frozen=True)
class Pretrained:
    """What training starts from (`--from`), as far as settings depend on it.

    source: as the user wrote it.  model: its name, with the fields of its family's config in `options`.  image_size,
    pooling, mean, std: what it was trained with.  head: whether it brings a head that will be kept.  supervised:
    whether it was trained on targets, rather than on images alone.
    """

    source: str
    model: str
    options: Mapping[str, Any]
    image_size: int
    patch_size: int
    pooling: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    head: bool
    supervised: bool = True


@dataclass(frozen=True)
class Facts:
    """What the choice depends on: training images, classes (0 where there are none), typical short side (pixels),
    whether mirroring is safe; of the task its name, whether its targets have a value per pixel, whether mixed images
    and label smoothing have a loss, and the pooling it wants; the device; what training starts from, if it does.
    """

    images: int
    classes: int
    native_size: int
    flip: bool
    cores: int = 1
    task: str = "classify"
    dense: bool = False
    mixes: bool = True
    smooths: bool = True
    pooling: str | None = None
    device: str = "cpu"
    pretrained: Pretrained | None = None


@dataclass(frozen=True)
class Reason:
    """One choice, for the screen and the report."""

    field: str
    value: Any
    why: str


@dataclass(frozen=True)
class Choice:
    """The complete config and why each chosen field is what it is."""

    config: Config
    reasons: tuple[Reason, ...]


class _Chooser:
    def __init__(self, stated: Stated) -> None:
        self.stated = dict(stated)
        self.reasons: list[Reason] = []

    def pick(self, path: str, value: Any, why: str) -> Any:
        """The stated value if there is one, else `value`, recorded with its reason."""
        if path in self.stated:
            self.reasons.append(Reason(path, self.stated[path], "as stated"))
        else:
            self.stated[path] = value
            self.reasons.append(Reason(path, value, why))
        return self.stated[path]


def choose(facts: Facts, variant: Variant, stated: Stated) -> Choice:
    """Fill every field that `stated` leaves open. Raises UsageError on an unknown recipe or a value a field refuses.

    variant: the model's row; one named with its size (`vit_tiny_patch16_224`) keeps its own patch and image size,
    unless the images are small. Every other is fitted to the images by its family's rule.
    """
    recipe = str(stated.get("recipe", "auto"))
    if recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)
    checked = build(stated)  # types are read once here, so that what follows computes with numbers
    chooser = _Chooser({path: _value(checked, path) for path in stated})
    _refuse(chooser.stated, facts)
    _geometry(chooser, facts, variant)
    _length(chooser, facts)
    _regularisation(chooser, facts, variant, strong=recipe == "auto")
    _machine(chooser, facts)
    return Choice(build(chooser.stated), tuple(chooser.reasons))


SMALL = 64
"""Images of fewer pixels a side are met by the family's own rule, whatever size the model was published at."""


def has_size(variant: Variant, name: str) -> bool:
    """Whether a model was named in full and its name has the image size it was published at."""
    return name == variant.name and str(max(variant.config.size)) in re.findall(r"\d+", name)


def _geometry(chooser: _Chooser, facts: Facts, variant: Variant) -> None:
    own, name = variant.config, variant.name
    published, seen = max(own.size), chooser.stated.get("model.image_size", facts.native_size)
    sized = has_size(variant, chooser.stated.get("model.name", ""))
    if sized and not 0 < seen < SMALL:
        chooser.pick("model.image_size", published, f"{name} is defined at this size")
        chooser.pick("model.patch_size", own.patch_size, f"{name} is defined with this patch")
    else:
        size, why = _image_size(facts)
        if sized:
            keep = f"--image-size {published} --patch-size {own.patch_size}"
            why += f"; under {SMALL} px the size in the name is not taken: {keep} keeps it"
        size = chooser.pick("model.image_size", size, why)
        fitted = variant.fit(own, size)
        options = {"patch_size": own.patch_size, **fitted.options}
        patch = options.pop("patch_size")
        if facts.dense and variant.family in ONE_GRID:
            fine = _fine_patch(patch, size)
            chooser.pick("model.patch_size", fine, f"{size}/{fine} = {size // fine} patches a side: a value per pixel")
        elif chooser.pick("model.patch_size", patch, fitted.why) == patch:  # the rest was chosen for this patch
            for option, value in options.items():
                chooser.pick(f"model.options.{option}", value, fitted.why)
    wanted = f"{facts.task} asks all patches by attention"
    chooser.pick(
        "model.pooling", facts.pooling or own.pooling, wanted if facts.pooling else "as the model's table has it"
    )
    if facts.task != "classify":
        whole = "the whole image is seen: what lies at its edges counts"
        chooser.pick("preprocess.resize", "letterbox", whole)
    half = variant.normalisation == "half"
    mean, std = ((0.5,), (0.5,)) if half else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    if chooser.stated.get("data.channels", 3) != 3:
        mean, std = (0.5,), (0.5,)
    chooser.pick("preprocess.mean", mean, f"normalisation of the {variant.family} family")
    chooser.pick("preprocess.std", std, f"normalisation of the {variant.family} family")


ONE_GRID = ("vit", "deit")
"""Families whose tokens stand on one grid, as fine as their patch; the others' first grid is finer."""
FINE = 16
"""Patches a side that a value per pixel needs at least: what patch 16 leaves of 256 pixels."""


def _fine_patch(patch: int, size: int) -> int:
    """The largest patch, no larger than `patch`, that leaves FINE patches a side; 1 pixel where none does."""
    return next((p for p in range(patch, 0, -1) if size % p == 0 and size // p >= FINE), 1)


def _image_size(facts: Facts) -> tuple[int, str]:
    """Pixels a side that the images deserve, and why."""
    native = facts.native_size
    if facts.dense and native > 96:
        side = min(256, round(native / 32) * 32)
        return side, f"the images are about {native} px, and every pixel has a value" + (
            "; more than 256 cost time" if side < native else ""
        )
    if 0 < native <= 96:
        return max(8, round(native / 8) * 8), f"the images are about {native} px: no detail is lost"
    if facts.images < 20_000:
        return 96, f"{facts.images} images from scratch: more pixels cost time and bring little"
    return 224, f"{facts.images} images of about {native} px"


def _length(chooser: _Chooser, facts: Facts) -> None:
    n = facts.images
    batch = 64 if n < 5_000 else 128 if n < 50_000 else 256
    while batch > 8 and n < 4 * batch:
        batch //= 2
    batch = chooser.pick("train.batch_size", batch, f"{n} training images: some {n // batch} updates an epoch")
    epochs = max(20, min(100, round(120_000 / n)))
    epochs = chooser.pick("train.epochs", epochs, "about 120,000 images seen, between 20 and 100 epochs")
    rate = float(f"{1e-3 * min(1.0, (batch / 128) ** 0.5):.1e}")
    chooser.pick("train.lr", rate, "1e-3 from batch 128 on (SPT/LSA's), smaller with the root of the batch")
    warmup = round(min(10.0, max(1.0, 0.1 * epochs)), 1)
    chooser.pick("train.warmup_epochs", warmup, "a tenth of the run, at most 10 epochs")
    steps = -(-epochs * n // batch)
    decay = 0.0 if steps < 200 else round(min(0.9999, 1 - 10 / steps), 4)
    why = "averages about the last tenth of the run's updates" if decay else "too few updates to average"
    chooser.pick("train.ema", decay, why)


def _regularisation(chooser: _Chooser, facts: Facts, variant: Variant, strong: bool) -> None:
    epochs, size = chooser.stated["train.epochs"], chooser.stated["model.image_size"]
    keep = "class" if facts.task == "classify" else "target"
    chooser.pick("augment.flip", facts.flip, f"mirrored images keep their {keep}" if facts.flip else "the data says no")
    photos = facts.flip and size >= 32
    long = strong and epochs >= 40
    _crops(chooser, facts, photos)
    plain, gentle = "the plain recipe", "small or unmirrorable images: they would lose what tells them apart"
    enough = f"{epochs} epochs are long enough to need it" if long else f"{epochs} epochs are too short for it to pay"
    for_photos = plain if not strong else enough if photos else gentle
    randaugment = plain if not strong else "as CCT and DeiT have it" if photos else gentle
    picks = {
        "randaugment_ops": (2 if strong and photos else 0, randaugment),
        "mixup": ((0.8 if photos else 0.2) if long else 0.0, enough if strong else plain),
        "cutmix": (1.0 if long and photos else 0.0, for_photos),
        "erase": (0.25 if long and photos else 0.0, for_photos),
    }
    if facts.dense:
        mixed = f"{facts.task} has no loss for mixed images"
        picks = {"randaugment_ops": (0, "image and target would part"), "mixup": (0.0, mixed), "cutmix": (0.0, mixed)}
        picks["erase"] = (0.0, "what is erased would still have a truth")
        picks["jitter"] = (0.2 if strong and photos else 0.0, "colours may vary, places not" if strong else plain)
    elif facts.task == "regress":
        picks = {name: (type(value)(0), "it would change what is measured") for name, (value, _) in picks.items()}
    for name, (value, why) in picks.items():
        chooser.pick(f"augment.{name}", value, why)
    if variant.stochastic_depth:
        chooser.pick("train.drop_path", 0.1 if long else 0.0, enough if strong else plain)
    else:
        chooser.pick("train.drop_path", 0.0, f"{variant.name} has no stochastic depth")
    smooth = facts.task == "classify" and strong
    why = "as CCT and DeiT have it" if smooth else plain if facts.task == "classify" else "for one class per image only"
    chooser.pick("task.label_smoothing", 0.1 if smooth else 0.0, why)


def _crops(chooser: _Chooser, facts: Facts, photos: bool) -> None:
    """How much of an image a random crop takes at least."""
    scale, why = (0.35, "photographs") if photos else (0.7, "small or unmirrorable images: gentle crops")
    if facts.task == "regress":
        scale, why = 1.0, "no crops: what is cut off would be counted, or measured against another whole"
    elif facts.dense:
        scale, why = (0.5, "each part has its own truth") if photos else (0.7, why)
    elif facts.task == "multilabel":
        scale, why = 0.7, "gentle crops: what a label names may lie anywhere"
    chooser.pick("augment.crop_scale", (scale, 1.0), why)


def _refuse(stated: Stated, facts: Facts) -> None:
    """What is stated and could only be passed over in silence for this task."""
    pixels = "a task with a value per pixel"
    checks = (
        (("augment.mixup", "augment.cutmix"), facts.mixes, f"{facts.task} has no loss for mixed images"),
        (("task.label_smoothing",), facts.smooths, f"{facts.task} has no labels to smooth"),
        (("augment.randaugment_ops", "augment.erase"), not facts.dense, f"{pixels} varies colours by augment.jitter"),
        (("augment.jitter",), facts.dense, f"it is for {pixels}; here augment.randaugment_ops varies colours"),
    )
    for paths, allowed, why in checks:
        for path in paths:
            if stated.get(path) and not allowed:
                raise UsageError(f"{path}={stated[path]:g}: {why}")


def _machine(chooser: _Chooser, facts: Facts) -> None:
    workers = 0 if facts.cores <= 2 else min(8, facts.cores - 1)
    chooser.pick("data.workers", workers, f"{facts.cores} cores")


def _value(config: Config, path: str) -> Any:
    node: Any = config
    for part in path.split("."):
        node = node[part] if isinstance(node, Mapping) else getattr(node, part)
    return node


def complete(config: Config) -> Stated:
    """Every field of a complete config as stated values: what a repeated or resumed run is built from."""
    stated = {path: _value(config, path) for path, _ in fields() if path != "model.options"}
    return stated | {f"model.options.{name}": value for name, value in config.model.options.items()}
