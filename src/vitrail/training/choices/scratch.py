"""From scratch on small to middling sets: what `small` and `plain` share, which differ in how much they vary images."""

from __future__ import annotations

from vitrail.training.choices.augmentation import Wish, choose_augmentation
from vitrail.training.choices.chooser import Chooser


def choose_length(chooser: Chooser) -> None:
    """Batch, epochs, rate, warm-up and average, by the number of images."""
    n = chooser.facts.images
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


def choose_regularisation(chooser: Chooser, strong: bool) -> None:
    """How much an image varies, and what else keeps a model from learning images by heart."""
    facts, variant = chooser.facts, chooser.variant
    epochs, size = chooser.of("train.epochs"), chooser.of("model.image_size")
    photos = facts.flip and size >= 32
    long = strong and epochs >= 40
    plain, gentle = "the plain recipe", "small or unmirrorable images: they would lose what tells them apart"
    enough = f"{epochs} epochs are long enough to need it" if long else f"{epochs} epochs are too short for it to pay"
    for_photos = plain if not strong else enough if photos else gentle
    randaugment = plain if not strong else "as CCT and DeiT have it" if photos else gentle
    wishes: dict[str, Wish] = {
        "crop_scale": _crops(chooser, photos),
        "randaugment_ops": (2 if strong and photos else 0, randaugment),
        "mixup": ((0.8 if photos else 0.2) if long else 0.0, enough if strong else plain),
        "cutmix": (1.0 if long and photos else 0.0, for_photos),
        "erase": (0.25 if long and photos else 0.0, for_photos),
    }
    if facts.dense:
        colours = "colours may vary, places not" if strong else plain
        wishes["jitter"] = (0.2 if strong and photos else 0.0, colours)
    choose_augmentation(chooser, wishes)
    if variant.stochastic_depth:
        chooser.pick("train.drop_path", 0.1 if long else 0.0, enough if strong else plain)
    else:
        chooser.pick("train.drop_path", 0.0, f"{variant.name} has no stochastic depth")
    smooth = facts.task == "classify" and strong
    why = "as CCT and DeiT have it" if smooth else plain if facts.task == "classify" else "for one class per image only"
    chooser.pick("task.label_smoothing", 0.1 if smooth else 0.0, why)


def _crops(chooser: Chooser, photos: bool) -> Wish:
    """How much of an image a random crop takes at least."""
    least, why = (0.35, "photographs") if photos else (0.7, "small or unmirrorable images: gentle crops")
    if chooser.facts.dense:
        least, why = (0.5, "each part has its own truth") if photos else (0.7, why)
    elif chooser.facts.task == "multilabel":
        least, why = 0.7, "gentle crops: what a label names may lie anywhere"
    return (least, 1.0), why
