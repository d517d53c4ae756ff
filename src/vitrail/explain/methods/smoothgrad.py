"""SmoothGrad: gradients of many noisy copies, whose mean changes less from one pixel to the next than a single one."""

from __future__ import annotations

import torch
from torch import Tensor

from vitrail.explain.explainable import Explainable
from vitrail.explain.gradients import summed_gradients
from vitrail.explain.methods import Method
from vitrail.explain.target import Target
from vitrail.seeding import generator

SAMPLES = 24
"""Noisy copies. The paper sees little change beyond 50 and most of it by 20 (section 3.2)."""
NOISE = 0.15
"""Standard deviation over the range of the image's values: the paper finds 0.1 to 0.2 the best."""


def smoothgrad(
    model: Explainable,
    images: Tensor,
    target: Target,
    *,
    layer: int | None = None,
    head: int | None = None,
    samples: int = SAMPLES,
    noise: float = NOISE,
) -> Tensor:
    """Images (B, C, H, W) -> (B, H, W): sum over channels of pixel times the mean gradient of `samples` noisy copies.

    In units of the score. The noise of copy n is the same for every image but for its scale, and a function of n alone.
    """
    assert layer is None, "the explainer refuses a layer: by_layer is false"
    assert head is None, "the explainer refuses a head: by_head is false"
    spread = noise * (images.amax(dim=(1, 2, 3), keepdim=True) - images.amin(dim=(1, 2, 3), keepdim=True))
    mean = summed_gradients(model, images, target, lambda n: images + spread * draw(n, images), [1 / samples] * samples)
    return (images.float() * mean).sum(dim=1)


def draw(copy: int, images: Tensor) -> Tensor:
    """The noise of a copy before it is scaled: standard normal (C, H, W), of the images' type and device."""
    values = generator("smoothgrad", copy).standard_normal(tuple(images.shape[1:]))
    return torch.from_numpy(values).to(images)


METHOD = Method(
    name="smoothgrad",
    description="each pixel times the mean gradient of noisy copies of the image",
    source="Smilkov et al. 2017 (arXiv 1706.03825), section 3.1, times the input",
    compute=smoothgrad,
    where=lambda model, layer, head: f"every pixel, {SAMPLES} noisy copies",
    fits=lambda model: "",
    cost="passes",
    by_class=True,
)
