"""What depends on the machine."""

from __future__ import annotations

from vitrail.training.choices.chooser import Chooser
from vitrail.training.choices.facts import Facts
from vitrail.training.choices.length import choose_micro_steps

WORTH_BF16 = 32
"""Pixels a side from which on half the digits pay on a CPU: measured with vit_tiny and resnet18."""


def choose_machine(chooser: Chooser) -> None:
    """Processes that read images, the parts a batch goes through in, and the numbers to compute with."""
    cores = chooser.facts.cores
    workers = 0 if cores <= 2 else min(8, cores - 1)
    chooser.pick("data.workers", workers, f"{cores} cores")
    choose_micro_steps(chooser)
    chooser.pick("train.precision", *_precision(chooser.facts, chooser.of("model.image_size")))


def _precision(facts: Facts, size: int) -> tuple[str, str]:
    """bf16 where it is faster and nothing is lost: weights, their update and every evaluation stay fp32."""
    if not facts.fast_bf16:
        return "fp32", f"{facts.device} gains nothing from bf16 here"
    if facts.task in ("regress", "depth"):
        return "fp32", f"{facts.task} asks for numbers finer than the three digits of bf16"
    if facts.device == "cpu" and size < WORTH_BF16:
        return "fp32", f"at {size} px bf16 brings next to nothing on a CPU"
    return "bf16", f"this {facts.device} multiplies bf16 faster; weights and evaluation stay fp32"
