"""Methods by attention: what they compute, how they leave a model, and in what company they work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import torch
from lively_families import asked, family, pictures
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.explain import layer as layers
from vitrail.explain.attention import attend
from vitrail.explain.explainable import attending
from vitrail.explain.methods import get_method
from vitrail.explain.methods.attention_gradient import attention_gradient
from vitrail.explain.methods.relevance import relevance

METHODS = ("attention_gradient", "raw_attention", "relevance", "rollout")
SEEN = ("vit", "vit_map", "deit", "swin", "pvt", "pvt_v2")


def compute(name: str, model: Any, images: Tensor, **parts: Any) -> Tensor:
    return get_method(name).compute(model, images, asked(images, **parts), layer=None, head=None)


@pytest.mark.parametrize("kind", ["vit_mean", "swin", "pvt_v2"])
def test_attention_gradient_is_the_change_of_the_score_with_that_layers_attention(kind: str) -> None:
    """Oracle: a head's attention made stronger by a millionth in float64, after the fused kernel, without any hook of
    ours. Asked of all patches in equal parts, the map's sum is that slope over their number."""
    model, images = family(kind).double(), pictures().double()
    blocks = attending(model)
    place = len(blocks) - 1
    block, stage = blocks[place]
    core = next(part for part in block.modules() if type(part).__name__ == "ScaledDotProduct")
    grid = model.backbone.stages()[stage].grid

    def score(change: float, head: int) -> Tensor:
        def stronger(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            changed = output.clone()
            heads = attend_heads
            changed[:, head::heads] *= 1 + change  # windows and heads share a dimension, heads within windows
            return changed

        handle = core.register_forward_hook(stronger)
        try:
            with torch.no_grad():
                return model(images)[:, 1]
        finally:
            handle.remove()

    attend_heads = attend(model, images).layers[place].heads
    for head in range(attend_heads):
        slope = (score(1e-5, head) - score(-1e-5, head)) / 2e-5
        made = attention_gradient(model, images, asked(images), layer=place, head=head)
        side = images.shape[2] // grid[0]
        sums = made[:, ::side, ::side].sum(dim=(1, 2)).double() * grid[0] * grid[1]
        torch.testing.assert_close(sums, slope, rtol=1e-4, atol=1e-6)
        assert float(slope.abs().min()) > 1e-6


def test_relevance_tells_classes_apart_and_one_against_another() -> None:
    model, images = family("vit"), pictures()
    first, second = (compute("relevance", model, images, output=output) for output in (0, 1))
    assert float((first - second).abs().max()) > 1e-3 * float(first.max())
    either = compute("relevance", model, images, output=0, against=torch.tensor([1, 1]))
    assert not torch.allclose(either, first)
    other = compute("relevance", model, images, output=1, against=torch.tensor([0, 0]))
    assert not torch.allclose(either, other), "evidence for one is not evidence for the other"


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", SEEN)
def test_few_queries_at_a_time_give_what_all_at_once_give(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = family(kind), pictures()
    whole = compute(name, model, images)
    monkeypatch.setattr(layers, "AT_ONCE", 100)
    torch.testing.assert_close(compute(name, model, images), whole, rtol=1e-4, atol=1e-6 * float(whole.abs().max()))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", SEEN)
def test_an_image_is_explained_alike_in_any_company(kind: str, name: str) -> None:
    model, images = family(kind), pictures(3)
    both = compute(name, model, images)
    for place in range(3):
        alone = compute(name, model, images[place : place + 1])
        torch.testing.assert_close(both[place], alone[0], rtol=1e-3, atol=1e-5 * float(both.abs().max()))


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_the_model_is_left_as_it_was_found(name: str, fails: bool) -> None:
    model, images = family("swin"), pictures()
    model.train()
    model.backbone.blocks()[0].eval()
    frozen = next(model.parameters()).requires_grad_(False)
    model.head.fc.weight.grad = torch.ones_like(model.head.fc.weight)
    modes = [part.training for part in model.modules()]
    hooks = [len(part._forward_hooks) for part in model.modules()]
    if fails:
        with pytest.raises(UsageError, match="the model is set to"):
            compute(name, model, images[..., :8])
    else:
        compute(name, model, images)
    assert [part.training for part in model.modules()] == modes
    assert [len(part._forward_hooks) for part in model.modules()] == hooks
    assert not frozen.requires_grad
    assert sum(parameter.requires_grad for parameter in model.parameters()) == len(list(model.parameters())) - 1
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert len(grads) == 1
    assert bool((grads[0] == 1).all())


@pytest.mark.parametrize("name", METHODS)
def test_a_frozen_model_is_explained_and_inside_inference_mode_too(name: str) -> None:
    model, images = family("vit"), pictures()
    expected = compute(name, model, images)
    model.requires_grad_(False)
    with torch.inference_mode():
        made = compute(name, model, images)
    torch.testing.assert_close(made, expected)
    assert not made.requires_grad


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("how", ["wrapped", "in place", "block by block"])
def test_a_compiled_model_is_explained_as_the_eager_one(name: str, how: str) -> None:
    model, images = family("vit"), pictures()
    expected = compute(name, model, images)
    seen: Any = model
    if how == "wrapped":
        seen = torch.compile(model, backend="eager")
    elif how == "in place":
        model.compile(backend="eager")
    else:
        for block in model.backbone.blocks():
            block.compile(backend="eager")
    with torch.no_grad():
        seen(images)  # compiled before any hook is there
    torch.testing.assert_close(compute(name, seen, images), expected)
    with torch.no_grad():
        torch.testing.assert_close(seen(images), model(images))
    torch.compiler.reset()


def together(count: int, work: Callable[[int], Tensor]) -> list[Tensor]:
    """Results of `work` in as many threads, which all begin at once."""
    gate = Barrier(count)

    def begin(number: int) -> Tensor:
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


@pytest.mark.parametrize("name", ["relevance", "rollout"])
def test_threads_explain_with_one_model_each_its_own_images(name: str) -> None:
    model, images = family("vit"), pictures(4)
    alone = [compute(name, model, images[n : n + 1]) for n in range(4)]
    for _ in range(3):
        for made, expected in zip(together(4, lambda n: compute(name, model, images[n : n + 1])), alone, strict=True):
            torch.testing.assert_close(made, expected)
    assert not any(part._forward_hooks for part in model.modules())


def test_threads_may_predict_with_a_model_while_it_is_explained() -> None:
    model, images = family("vit"), pictures(4)
    with torch.no_grad():
        expected = model(images)
    alone = compute("relevance", model, images)

    def work(number: int) -> Tensor:
        if number:
            with torch.no_grad():
                return torch.stack([model(images) for _ in range(5)])
        return compute("relevance", model, images)

    for _ in range(3):
        explained, *predicted = together(3, work)
        torch.testing.assert_close(explained, alone)
        assert all(torch.equal(said, expected.expand_as(said)) for said in predicted)


def test_attention_that_the_answer_does_not_depend_on_is_said() -> None:
    model, images = family("vit"), pictures()
    with torch.no_grad():
        model.head.fc.weight.zero_()
    assert float(relevance(model, images, asked(images)).abs().max()) == 0

    class Deaf(nn.Module):
        def forward(self, features: Any) -> Tensor:
            return torch.ones(len(features.tokens), 3)

    model.head = Deaf()
    with pytest.raises(UsageError, match="does not depend on any attention"):
        relevance(model, images, asked(images))
