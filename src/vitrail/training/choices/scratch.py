"""From scratch on small to middling sets: what `small` and `plain` share, which differ in how much they vary images."""

from __future__ import annotations

from vitrail.training.choices.augmentation import choose_augmentation, choose_drop_path, choose_smoothing
from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.facts import Wish
from vitrail.training.choices.length import choose_batch


def choose_length(chooser: Chooser) -> None:
    """Batch, epochs, rate, warm-up and average, by the number of images."""
    n = chooser.facts.images
    if chooser.facts.dense:
        batch, why = (8 if n < 2_000 else 16), f"{n} training images, each of whose pixels is a target"
    else:
        batch, why = 64 if n < 5_000 else 128 if n < 50_000 else 256, f"by {n} training images"
    batch = choose_batch(chooser, batch, why)
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


def choose_regularisation(chooser: Chooser, strong: bool) -> None:
    """How much an image varies, and what else keeps a model from learning images by heart."""
    facts = chooser.facts
    epochs, size = chooser.of("train.epochs"), chooser.of("model.image_size")
    photos = facts.flip and size >= 32
    long = strong and epochs >= 40
    plain, gentle = "the plain recipe", "small or unmirrorable images: they would lose what tells them apart"
    enough = f"{epochs} epochs are long enough to need it" if long else f"{epochs} epochs are too short for it to pay"
    for_photos = plain if not strong else enough if photos else gentle
    randaugment = plain if not strong else "as CCT and DeiT have it" if photos else gentle
    wishes: dict[str, Wish] = {
        "crop_scale": ((0.35, 1.0), "photographs")
        if photos
        else ((0.7, 1.0), "small or unmirrorable images: gentle crops"),
        "randaugment_ops": (2 if strong and photos else 0, randaugment),
        "mixup": ((0.8 if photos else 0.2) if long else 0.0, enough if strong else plain),
        "cutmix": (1.0 if long and photos else 0.0, for_photos),
        "erase": (0.25 if long and photos else 0.0, for_photos),
    }
    if facts.dense:
        colours = "colours may vary, places not" if strong else plain
        wishes["jitter"] = (0.2 if strong and photos else 0.0, colours)
    choose_augmentation(chooser, wishes)
    choose_drop_path(chooser, 0.1 if long else 0.0, enough if strong else plain)
    choose_smoothing(chooser, 0.1 if strong else 0.0, "as CCT and DeiT have it" if strong else plain)
