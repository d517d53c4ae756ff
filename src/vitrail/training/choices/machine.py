"""What depends on the machine."""

from __future__ import annotations

from vitrail.data.batched.fit import kept_size, megabytes
from vitrail.settings import build
from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.facts import Facts
from vitrail.training.choices.length import choose_micro_steps

SMALL_SIDE, SMALL_KEPT = 32, 64
"""Pixels a side of the model's images, and of images as they are kept, up to which batches pay on a CPU: measured."""
WORTH_BF16 = 32
"""Pixels a side from which on half the digits pay on a CPU: measured with vit_tiny and resnet18."""


def choose_machine(chooser: Chooser) -> None:
    """Processes that read images, the parts a batch goes through in, where it is augmented, and the numbers it is
    computed with."""
    cores = chooser.facts.cores
    workers = 0 if cores <= 2 else min(8, cores - 1)
    chooser.pick("data.workers", workers, f"{cores} cores")
    choose_micro_steps(chooser)
    chooser.pick("data.batched", *_batched(chooser))
    chooser.pick("train.precision", *_precision(chooser.facts, chooser.of("model.image_size")))


def _batched(chooser: Chooser) -> tuple[bool, str]:
    """Batches are made on the device where images fit there: always on a GPU, on a CPU only small ones gain."""
    facts, config = chooser.facts, build(chooser.stated)
    if facts.dense:
        return False, f"{facts.task}: image and target are made together, one by one"
    if config.preprocess.resize == "tile":
        return False, "images are looked at at their own size"
    if not facts.sizes:
        return False, "the images' sizes are not known"
    kept = [kept_size(height, width, config) for width, height in facts.sizes]
    side = max(max(size) for size in kept)
    if facts.device not in ("cpu", "cuda"):
        return False, f"not tried on {facts.device}"
    if facts.device == "cpu" and (config.model.image_size > SMALL_SIDE or side > SMALL_KEPT):
        return False, f"on a CPU only images of up to {SMALL_SIDE} px are made faster in batches"
    need = megabytes(kept, facts.images, config.data.channels)
    if need > config.data.cache_mb:
        return False, f"the training images would take {need:.0f} MB, more than data.cache_mb={config.data.cache_mb}"
    return True, f"the training images take {max(need, 1):.0f} MB, and are augmented on the {facts.device} in batches"


def _precision(facts: Facts, size: int) -> tuple[str, str]:
    """bf16 where it is faster and nothing is lost: weights, their update and every evaluation stay fp32."""
    if not facts.fast_bf16:
        return "fp32", f"{facts.device} gains nothing from bf16 here"
    if facts.task in ("regress", "depth"):
        return "fp32", f"{facts.task} asks for numbers finer than the three digits of bf16"
    if facts.device == "cpu" and size < WORTH_BF16:
        return "fp32", f"at {size} px bf16 brings next to nothing on a CPU"
    return "bf16", f"this {facts.device} multiplies bf16 faster; weights and evaluation stay fp32"
