"""What is held fixed stays as it is: weights, running statistics, and no memory for gradients."""

from __future__ import annotations

import torch
from torch import nn

import vitrail
from vitrail.layers.block import DropPath
from vitrail.layers.recompute import recompute
from vitrail.training.batch_statistics import has_batch_statistics
from vitrail.training.frozen import train_mode

RESNET = {"image_size": 16, "width": 4, "depths": (1, 1, 1, 1)}
VIT = {"image_size": 16, "patch_size": 4, "width": 16, "depth": 3, "heads": 2, "hidden": 32, "drop_path": 0.5}


def test_all_of_a_model_that_learns_is_in_training_mode() -> None:
    model = vitrail.create_model("resnet18", outputs=3, **RESNET).eval()
    train_mode(model)
    assert all(module.training for module in model.modules())


def test_a_frozen_backbone_is_evaluated_while_its_head_is_trained() -> None:
    model = vitrail.create_model("vit_tiny", outputs=3, **VIT)
    model.backbone.requires_grad_(False)
    train_mode(model)
    assert model.training
    assert all(module.training for module in model.head.modules())
    assert not any(module.training for module in model.backbone.modules())
    images = torch.randn(4, 3, 16, 16)
    assert torch.equal(model(images), model(images))  # no block is dropped


def test_a_part_without_parameters_goes_with_what_is_around_it() -> None:
    """Of a half-frozen model: a block that learns is dropped at random, a norm that is fixed is not in training."""
    model = vitrail.create_model("vit_tiny", outputs=3, **VIT)
    model.backbone.requires_grad_(False)
    learning = model.backbone.blocks()[1]
    learning.mlp.requires_grad_(True)
    train_mode(model)
    told = {path: module.training for path, module in model.backbone.named_modules() if isinstance(module, DropPath)}
    assert list(told.values()) == [False, True, False]
    assert not learning.norm1.training


def test_frozen_running_statistics_answer_and_stay() -> None:
    model = vitrail.create_model("resnet18", outputs=3, **RESNET)
    assert has_batch_statistics(model)
    model.backbone.requires_grad_(False)
    assert not has_batch_statistics(model)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    train_mode(model)
    images = torch.randn(8, 3, 16, 16)
    alone, together = model(images[:1]), model(images)
    torch.testing.assert_close(alone, together[:1])
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())


def _kept(model: nn.Module, images: torch.Tensor) -> int:
    """Numbers that a forward pass keeps for the backward pass, besides parameters."""
    own = {p.data_ptr() for p in model.parameters()}
    sizes: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(images).sum().backward()
    return sum(sizes)


def test_a_frozen_backbone_keeps_nothing_for_gradients() -> None:
    model, images = vitrail.create_model("vit_tiny", outputs=3, **VIT), torch.randn(4, 3, 16, 16)
    train_mode(model)
    whole = _kept(model, images)
    model.backbone.requires_grad_(False)
    train_mode(model)
    probe = _kept(model, images)
    assert probe <= 4 * 16  # the head's input
    assert whole > 10 * probe


def test_frozen_blocks_are_not_computed_again() -> None:
    model, calls = vitrail.create_model("vit_tiny", outputs=3, **VIT), []
    model.backbone.requires_grad_(False)
    recompute(model.backbone.blocks())
    for block in model.backbone.blocks():
        block.mlp.register_forward_hook(lambda *_: calls.append(1))
    train_mode(model)
    model(torch.randn(4, 3, 16, 16)).sum().backward()
    assert len(calls) == 3
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["head.fc.weight", "head.fc.bias"]
