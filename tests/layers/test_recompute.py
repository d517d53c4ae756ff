"""Recomputed blocks: the same values and gradients, random draws included, and copies of their own."""

from __future__ import annotations

import copy

import torch

import vitrail
from vitrail.layers.recompute import recompute


def _model():
    return vitrail.create_model("vit_tiny", outputs=3, image_size=16, patch_size=8, depth=3, drop_path=0.5)


def _step(model, images):
    torch.manual_seed(3)
    loss = model(images).square().sum()
    loss.backward()
    return loss.detach(), [p.grad for p in model.parameters()]


def test_values_and_gradients_are_the_same_bits() -> None:
    images = torch.randn(4, 3, 16, 16)
    plain, lean = _model(), _model()
    recompute(lean.backbone.blocks())
    assert list(plain.state_dict()) == list(lean.state_dict())
    (loss, gradients), (other, others) = _step(plain, images), _step(lean, images)
    assert torch.equal(loss, other)
    assert all(torch.equal(a, b) for a, b in zip(gradients, others, strict=True))


def test_a_copy_computes_with_its_own_weights() -> None:
    model = _model().eval()
    recompute(model.backbone.blocks())
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.zero_()
    images = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(twin(images), _model().eval()(images))


def test_less_is_kept_between_the_passes() -> None:
    def kept(model) -> int:
        seen: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            seen[tensor.data_ptr()] = tensor.nelement()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(torch.randn(2, 3, 16, 16)).sum()
        return sum(seen.values())

    lean = _model()
    recompute(lean.backbone.blocks())
    assert kept(lean) < kept(_model()) / 2


def test_running_statistics_see_each_batch_once() -> None:
    def model():
        return vitrail.create_model("resnet18", outputs=3, image_size=16, patch_size=1, width=8, drop_path=0.5)

    images = torch.randn(4, 3, 16, 16)
    plain, lean = model(), model()
    recompute(lean.backbone.blocks())
    for _ in range(2):
        (loss, gradients), (other, others) = _step(plain, images), _step(lean, images)
        assert torch.equal(loss, other)
        assert all(torch.equal(a, b) for a, b in zip(gradients, others, strict=True))
    buffers = dict(lean.named_buffers())
    assert len(buffers) > 20
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in plain.named_buffers())
    assert not torch.equal(buffers["backbone.body.layer4.1.bn2.running_mean"], torch.zeros(64))
