"""What holds for every method by gradients or passes, and what integrated gradients and SmoothGrad promise beyond."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lively_families import FAMILIES, asked, family, pictures
from torch import Tensor

import vitrail.explain.gradients
import vitrail.explain.inner_maps
import vitrail.explain.perturbation
from vitrail.errors import UsageError
from vitrail.explain.methods import get_method
from vitrail.explain.methods.input_gradient import input_gradient
from vitrail.explain.methods.integrated_gradients import integrated_gradients
from vitrail.explain.methods.smoothgrad import draw, smoothgrad
from vitrail.explain.target import Target

METHODS = ("grad_cam", "input_gradient", "integrated_gradients", "mean_ablation", "occlusion", "smoothgrad")


def explained(name: str, model: Any, images: Tensor, target: Target) -> Tensor:
    return get_method(name).compute(model, images, target, layer=None, head=None)


# ---------------------------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["vit", "swin", "resnet"])
def test_one_output_against_another_is_the_difference_of_their_maps(kind: str, name: str) -> None:
    model, images = family(kind), pictures()
    one, other = (explained(name, model, images, asked(images, output)) for output in (2, 0))
    both = explained(name, model, images, asked(images, 2, against=torch.tensor([0, 0])))
    assert float(both.std()) > 1e-4
    torch.testing.assert_close(both, one - other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_read_from_each_token_of_a_distilled_model_adds_up(name: str) -> None:
    """The answer is the mean of two, one token each: a map per token, while the other is held, sums to the whole."""
    model, images = family("deit"), pictures()
    parts = [explained(name, model, images, asked(images, reader=reader)) for reader in ("cls", "dist")]
    assert (parts[0] - parts[1]).abs().max() > 1e-3
    torch.testing.assert_close(parts[0] + parts[1], explained(name, model, images, asked(images)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_reader_that_is_not_there_is_refused_in_words(name: str) -> None:
    images = pictures()
    with pytest.raises(UsageError, match="no token 'dist' to read from in this model: it has cls, register"):
        explained(name, family("vit"), images, asked(images, reader="dist"))
    with pytest.raises(UsageError, match="it has none"):
        explained(name, family("resnet"), images, asked(images, reader="cls"))


@pytest.mark.parametrize("name", [name for name in METHODS if name != "occlusion"])
def test_a_token_that_the_head_does_not_read_is_refused_in_words(name: str) -> None:
    images = pictures()
    with pytest.raises(UsageError, match="does not depend on what it should be read from"):
        explained(name, family("vit", cls=True, pooling="mean"), images, asked(images, reader="cls"))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was_found(name: str, fails: bool) -> None:
    model, images = family("vit"), pictures()
    model.train()
    model.backbone.encoder[1].eval()  # type: ignore[index, union-attr]
    model.head.requires_grad_(False)
    next(model.backbone.parameters()).grad = torch.ones_like(next(model.backbone.parameters()))
    before = state(model)
    if fails:
        with pytest.raises(UsageError, match="images are"):
            explained(name, model, images[..., :40], asked(images))
    else:
        explained(name, model, images, asked(images))
    assert state(model) == before


def state(model: torch.nn.Module) -> list[Any]:
    modes = [module.training for module in model.modules()]
    hooks = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()]
    grads = [(p.requires_grad, None if p.grad is None else float(p.grad.sum())) for p in model.parameters()]
    return [*modes, *hooks, *grads, torch.is_grad_enabled()]


@pytest.mark.parametrize("name", METHODS)
def test_batches_go_through_in_parts_and_each_image_by_itself_where_it_is_large(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = family("vit"), pictures(3)
    at_once = explained(name, model, images, asked(images))
    seen: list[int] = []
    model.backbone.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    budgets = {"FORWARD": (vitrail.explain.perturbation, vitrail.explain.methods.occlusion),
               "BACKWARD": (vitrail.explain.gradients, vitrail.explain.inner_maps)}  # fmt: skip
    for budget, largest in ((2 * 32 * 48, 2), (32 * 48 - 1, 1)):
        for constant, modules in budgets.items():
            for module in modules:
                monkeypatch.setattr(module, constant, budget)
        seen.clear()
        torch.testing.assert_close(explained(name, model, images, asked(images)), at_once, rtol=1e-4, atol=1e-5)
        assert max(seen) == largest


# ------------------------------------------------------------------------------------------------ integrated gradients


@pytest.mark.parametrize("kind", FAMILIES)
def test_integrated_gradients_sum_to_what_the_image_adds_to_grey(kind: str) -> None:
    model, images = family(kind), pictures(1)
    with torch.no_grad():
        added = (model(images) - model(torch.zeros_like(images)))[:, 1]
    made = integrated_gradients(model, images, asked(images), steps=200)
    torch.testing.assert_close(made.sum(dim=(1, 2)), added, rtol=0.01, atol=0.005)


# ----------------------------------------------------------------------------------------------------------- smoothgrad


def test_without_noise_smoothgrad_is_the_gradient_times_the_input() -> None:
    model, images = family("vit"), pictures()
    made = smoothgrad(model, images, asked(images), samples=3, noise=0.0)
    torch.testing.assert_close(made, input_gradient(model, images, asked(images)), rtol=1e-4, atol=1e-6)


def test_the_noise_of_a_copy_is_a_function_of_its_number_alone() -> None:
    images = pictures()
    before = torch.random.get_rng_state()
    assert torch.equal(draw(3, images), draw(3, images[1:] * 2))
    assert not torch.equal(draw(3, images), draw(4, images))
    assert torch.equal(before, torch.random.get_rng_state())
    many = torch.stack([draw(n, images) for n in range(40)])
    assert abs(float(many.mean())) < 0.02
    assert abs(float(many.std()) - 1) < 0.02


def test_noise_is_scaled_by_each_images_own_range(aim: Callable[..., Target]) -> None:
    """An image of twice the contrast gets twice the noise, whatever stands beside it in the batch."""
    model, images = family("vit"), pictures(1)
    seen: list[Tensor] = []
    handle = model.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    both = torch.cat([images, 2 * images])
    smoothgrad(model, both, aim(both), samples=2)
    handle.remove()
    first, second = (seen[0].reshape(2, 2, *images.shape[1:]) - both[:, None]).unbind()
    torch.testing.assert_close(second, 2 * first)
    assert abs(float(first.std()) / float(images.max() - images.min()) - 0.15) < 0.01
