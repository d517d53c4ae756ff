"""What the recipes that start from weights share: how long, and how much images vary."""

from __future__ import annotations

from vitrail.errors import UsageError
from vitrail.training.choices.augmentation import choose_augmentation, choose_drop_path, choose_smoothing
from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.facts import Pretrained, Wish
from vitrail.training.choices.length import choose_batch


def weights_of(chooser: Chooser, recipe: str) -> Pretrained:
    """What training starts from; UsageError where it starts from nothing."""
    begun = chooser.facts.pretrained
    if begun is None:
        raise UsageError(f"--recipe {recipe} is for weights that were trained before: name them with --from SOURCE")
    return begun


def choose_transfer_length(chooser: Chooser, begun: Pretrained, seen: int, least: int, most: int) -> int:
    """Batch and epochs: about `seen` images, between `least` and `most` epochs. Returns the epochs."""
    images = chooser.facts.images
    if chooser.facts.dense:
        choose_batch(chooser, 16, f"{images} training images, each of whose pixels is a target")
    else:
        choose_batch(chooser, 64 if images < 20_000 else 256, f"by {images} training images")
    if not begun.supervised:
        seen, least, most = 2 * seen, least, 2 * most
    told = f"about {seen:,} images seen, between {least} and {most} epochs"
    why = told if begun.supervised else f"{told}: twice what weights need that have learned from targets"
    epochs: int = chooser.pick("train.epochs", max(least, min(most, round(seen / images))), why)
    chooser.pick("train.warmup_epochs", round(min(5.0, 0.1 * epochs), 2), "a tenth of the run, at most 5 epochs")
    return epochs


def choose_gentle(chooser: Chooser, why: str) -> None:
    """Crops and mirrored images alone."""
    photos = chooser.facts.flip
    crop = (0.35, 1.0) if photos else (0.7, 1.0)
    nothing: dict[str, Wish] = {"randaugment_ops": (0, why), "mixup": (0.0, why), "cutmix": (0.0, why)}
    choose_augmentation(chooser, {"crop_scale": (crop, why), **nothing, "erase": (0.0, why)})
    choose_drop_path(chooser, 0.0, why)
    choose_smoothing(chooser, 0.0, why)
