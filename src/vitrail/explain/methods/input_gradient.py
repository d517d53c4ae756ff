"""Gradient times input: what each pixel adds to the answer, if the model were as straight as it is here."""

from __future__ import annotations

from torch import Tensor

from vitrail.explain.explainable import Explainable
from vitrail.explain.gradients import pixel_gradients
from vitrail.explain.methods import Method
from vitrail.explain.target import Target


def input_gradient(
    model: Explainable, images: Tensor, target: Target, *, layer: int | None = None, head: int | None = None
) -> Tensor:
    """Images (B, C, H, W) -> (B, H, W): sum over channels of pixel times d score / d pixel, in units of the score.

    Pixels count from the grey that normalisation calls 0.
    """
    assert layer is None, "the explainer refuses a layer: by_layer is false"
    assert head is None, "the explainer refuses a head: by_head is false"
    return (images.float() * pixel_gradients(model, images, target)).sum(dim=1)


METHOD = Method(
    name="input_gradient",
    description="each pixel times the gradient of the answer with respect to it",
    source="Shrikumar et al. 2016 (arXiv 1605.01713), section 2; Baehrens et al. 2010 for the gradient",
    compute=input_gradient,
    where=lambda model, layer, head: "every pixel",
    fits=lambda model: "",
    cost="gradient",
    by_class=True,
)
