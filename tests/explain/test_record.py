from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from lively_families import family, pictures
from torch import Tensor, nn

from vitrail.assemble import VisionModel
from vitrail.errors import UsageError
from vitrail.explain.recorder import record
from vitrail.layers.attention import ScaledDotProduct


def hooks_left(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())


def test_observing_changes_no_bit_of_the_outputs(model: VisionModel, images: Tensor) -> None:
    with torch.inference_mode():
        plain = model(images)
        with record(model) as recording:
            observed = model(images)
    assert torch.equal(plain, observed)
    assert len(recording.calls) == 3


@pytest.mark.parametrize("kind", ["vit", "swin", "pvt_v2"])
@pytest.mark.parametrize("graph", [False, True])
def test_in_every_family_observing_changes_no_bit_with_gradients_or_without(kind: str, graph: bool) -> None:
    """PyTorch itself rounds otherwise where gradients are enabled, so both passes are of the same kind."""
    model = family(kind)
    with torch.set_grad_enabled(graph):
        plain = model(pictures())
        with record(model) as recording:
            observed = model(pictures())
    assert torch.equal(plain, observed)
    assert len(recording.calls) >= 2


def test_weights_are_those_of_the_equation(model: VisionModel, images: Tensor) -> None:
    """Oracle: the projected queries and keys, taken where they leave the linear layer, in float64."""
    seen: list[Tensor] = []
    handle = model.backbone.blocks()[1].attn.qkv.register_forward_hook(lambda *call: seen.append(call[2].double()))
    with record(model) as recording:
        model(images)
    handle.remove()
    q, k, _ = seen[0].reshape(2, 17, 3, 3, 8).unbind(2)  # (B, T, A, d) each
    scores = torch.einsum("bqad,bkad->baqk", q, k) / 8**0.5
    expected = scores.exp() / scores.exp().sum(-1, keepdim=True)
    torch.testing.assert_close(recording.calls[1].weights.double(), expected, rtol=1e-4, atol=1e-6)
    assert expected.max() > 0.3, "the attention of the test model must not be flat"


def test_observed_weights_carry_no_gradient(model: VisionModel, images: Tensor) -> None:
    with record(model) as recording:
        model(images)
    assert not any(call.weights.requires_grad for call in recording.calls)


def test_differentiable_weights_carry_gradients_to_the_outputs(model: VisionModel, images: Tensor) -> None:
    with record(model, differentiable=True) as recording:
        outputs = model(images)
    gradients = torch.autograd.grad(outputs[:, 1].sum(), [call.weights for call in recording.calls])
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    torch.testing.assert_close(outputs, model(images), rtol=1e-4, atol=1e-5)


def test_gradients_of_the_weights_match_finite_differences(make_model: Callable[..., VisionModel]) -> None:
    """Oracle: change one attention weight by hand in the last block and see what the output does."""
    model = make_model(depth=1).double()
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with record(model, differentiable=True) as recording:
        out = model(image)[0, 0]
    weights = recording.calls[0].weights
    (gradient,) = torch.autograd.grad(out, weights)

    def output_with(change: float) -> float:
        def nudge(core: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            moved = weights.detach().clone()
            moved[0, 1, 0, 4] += change
            return moved @ args[2]

        handle = model.backbone.blocks()[0].attn.core.register_forward_hook(nudge)
        try:
            return float(model(image)[0, 0].detach())
        finally:
            handle.remove()

    slope = (output_with(1e-4) - output_with(-1e-4)) / 2e-4
    assert slope == pytest.approx(float(gradient[0, 1, 0, 4]), rel=1e-5)


def test_no_hook_is_left(model: VisionModel, images: Tensor) -> None:
    with record(model) as recording:
        recording.model(images)
        assert hooks_left(model) == 3
    assert hooks_left(model) == 0


def test_no_hook_is_left_after_an_exception(model: VisionModel, images: Tensor) -> None:
    with pytest.raises(UsageError, match="the model is set to"), record(model):
        model(images[..., :8])
    assert hooks_left(model) == 0
    with record(model):
        model(images)


def test_recording_nothing_is_an_error(model: VisionModel) -> None:
    with pytest.raises(RuntimeError, match="no attention was recorded"), record(model):
        pass


def test_an_exception_inside_is_not_hidden_by_the_missing_calls(model: VisionModel) -> None:
    with pytest.raises(KeyError), record(model):
        raise KeyError


def test_a_model_without_attention_is_refused_at_once() -> None:
    with pytest.raises(RuntimeError, match="Linear has no attention"), record(nn.Linear(2, 2)):
        pass


def test_recording_the_same_model_twice_is_refused_and_the_outer_goes_on(model: VisionModel, images: Tensor) -> None:
    with record(model) as outer:
        with pytest.raises(RuntimeError, match="recorded already"), record(model.backbone):
            pass
        model(images)
    assert len(outer.calls) == 3


def test_a_compiled_model_is_recorded_on_its_eager_module(model: VisionModel, images: Tensor) -> None:
    compiled = torch.compile(model, backend="eager")
    expected = model(images)
    with record(compiled) as recording:
        outputs = recording.model(images)
    assert recording.model is model
    assert len(recording.calls) == 3
    assert torch.equal(outputs, expected)


def test_calling_the_compiled_model_itself_is_recorded_too(model: VisionModel, images: Tensor) -> None:
    model.compile(backend="eager")
    model(images)  # compiled before the hooks are there
    with record(model) as recording:
        model(images)
    assert len(recording.calls) == 3


def test_bias_and_keyword_arguments_are_heard() -> None:
    class Owner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = ScaledDotProduct()

        def forward(self, x: Tensor, bias: Tensor) -> Tensor:
            return self.core(x, x, v=x, bias=bias)

    owner, x = Owner(), torch.randn(1, 1, 3, 4)
    hidden = torch.tensor([[0.0, -torch.inf, 0.0]]).expand(3, 3)
    with record(owner) as recording:
        owner(x, hidden)
    assert torch.equal(recording.calls[0].weights[..., 1], torch.zeros(1, 1, 3))


def test_weights_of_half_precision_are_formed_in_float32(model: VisionModel, images: Tensor) -> None:
    with record(model.bfloat16()) as recording:
        model(images.bfloat16())
    rows = recording.calls[0].weights
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows.sum(-1), torch.ones(2, 3, 17), rtol=0, atol=1e-5)
