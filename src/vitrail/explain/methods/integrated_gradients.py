"""Integrated gradients: gradients on the way from a grey image to this one, so that the parts add up to the answer."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from vitrail.explain.explainable import Explainable
from vitrail.explain.gradients import summed_gradients
from vitrail.explain.methods import Method
from vitrail.explain.target import Target

STEPS = 32
"""Points on the way. The paper finds 20 to 300 enough; Gauss-Legendre needs fewer of them than equal steps."""


def integrated_gradients(
    model: Explainable,
    images: Tensor,
    target: Target,
    *,
    layer: int | None = None,
    head: int | None = None,
    steps: int = STEPS,
) -> Tensor:
    """Images (B, C, H, W) -> (B, H, W), in units of the score, summing to score(image) - score(grey image).

    Pixel times the mean gradient on the straight way from the grey that normalisation calls 0, by Gauss-Legendre
    quadrature over `steps` points; the sum over channels.
    """
    assert layer is None, "the explainer refuses a layer: by_layer is false"
    assert head is None, "the explainer refuses a head: by_head is false"
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # of [-1, 1]
    way = [float(node) for node in (nodes + 1) / 2]
    shares = [float(weight) for weight in weights / 2]
    mean = summed_gradients(model, images, target, lambda n: images * way[n], shares)
    return (images.float() * mean).sum(dim=1)


METHOD = Method(
    name="integrated_gradients",
    description="each pixel times its mean gradient on the way from a grey image to this one",
    source="Sundararajan et al. 2017 (arXiv 1703.01365), equation 1",
    compute=integrated_gradients,
    where=lambda model, layer, head: f"every pixel, {STEPS} steps from grey",
    fits=lambda model: "",
    cost="passes",
    by_class=True,
)
