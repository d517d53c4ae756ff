"""How the answer changes with the pixels: gradients of a target's score, at one image or summed over many nearby."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.explain.explainable import Explainable
from vitrail.explain.passes import BACKWARD, chunks, evaluating, rows, score
from vitrail.explain.target import Target


def pixel_gradients(model: Explainable, images: Tensor, target: Target) -> Tensor:
    """d score / d pixel: images (B, C, H, W), normalised, -> (B, C, H, W) float32, each image's of its own score.

    Raises UsageError where the answer does not depend on what the target reads from.
    """
    return torch.cat(
        [
            _gradients(model, images[chosen], rows(target, chosen))
            for chosen in chunks(len(images), images.shape[2:], BACKWARD)
        ]
    )


def summed_gradients(
    model: Explainable, images: Tensor, target: Target, point: Callable[[int], Tensor], weights: Sequence[float]
) -> Tensor:
    """The sum over n of weights[n] times the gradient at point(n), (B, C, H, W), one for each image: (B, C, H, W).

    Points go through the model together as far as the budget of a backward pass allows.
    """
    total = torch.zeros_like(images, dtype=torch.float32)
    for chosen in chunks(len(weights), (len(images) * images.shape[2], images.shape[3]), BACKWARD):
        numbers = range(len(weights))[chosen]
        points = torch.stack([point(n) for n in numbers], dim=1)  # (B, S, C, H, W)
        found = pixel_gradients(model, points.flatten(0, 1), target.repeated(len(numbers)))
        shares = found.new_tensor([weights[n] for n in numbers])  # (S,)
        total += torch.einsum("s,bs...->b...", shares, found.reshape(points.shape))
    return total


def _gradients(model: Explainable, images: Tensor, target: Target) -> Tensor:
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        pixels = images.detach().clone().requires_grad_()
        return gradient_of(score(model, pixels, target), pixels).float()


def gradient_of(scores: Tensor, at: Tensor) -> Tensor:
    """Gradient of scores (B,) at a tensor that the scores of different images do not share; parameters get none.

    Raises UsageError where the scores do not depend on it.
    """
    found = torch.autograd.grad(scores.sum(), at, allow_unused=True)[0] if scores.requires_grad else None
    if found is None:
        raise UsageError("the answer asked for does not depend on what it should be read from: choose another")
    return found
