"""LoRA: the numbers of peft, folded away without a trace, in every family that has linear layers."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import peft
import pytest
import torch
from torch import nn

import vitrail
from vitrail.errors import UsageError
from vitrail.layers.lora import LoRALinear, adapt, merged
from vitrail.layers.recompute import recompute

VIT = {"image_size": 16, "patch_size": 8, "width": 16, "depth": 2, "heads": 2, "hidden": 24}
SMALL = {
    "vit_tiny": VIT,
    "swin_tiny": {"image_size": 32, "patch_size": 2, "width": 8, "depths": (2, 2), "heads": (1, 2), "window": 4},
    "swinv2_tiny": {"image_size": 32, "patch_size": 2, "width": 8, "depths": (2, 2), "heads": (1, 2), "window": 4},
    "pvt_tiny": {"image_size": 32, "widths": (8, 8, 16, 16), "heads": (1, 1, 2, 2), "depths": (1, 1, 1, 1)},
    "pvt_v2_b0": {"image_size": 64, "widths": (8, 8, 16, 16), "heads": (1, 1, 2, 2), "depths": (1, 1, 1, 1)},
    "convnext_tiny": {"image_size": 32, "width": 8, "depths": (1, 1, 1, 1)},
    "timm:vit_tiny_patch16_224": {"image_size": 32, "depth": 1},
}
ADAPTED = {"vit_tiny": 8, "swin_tiny": 16, "swinv2_tiny": 16, "pvt_tiny": 20, "pvt_v2_b0": 20, "convnext_tiny": 8}
"""Linear layers of attention and MLP in all blocks; Swin V2's that make positions are none of them."""


@torch.no_grad()
def _model(name: str = "vit_tiny", **more: object) -> nn.Module:
    """As if learned: some families' branches begin at zero, and would hide what happens in them."""
    model = vitrail.create_model(name, outputs=3, **{**SMALL[name], **more}).eval()
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        if not parameter.is_meta:
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def _adapted(name: str = "vit_tiny", rank: int = 4, seed: int = 0, **more: object) -> nn.Module:
    model = _model(name, **more)
    adapt(model.backbone, rank, 8.0, seed)
    return model


def _adapters(model: nn.Module) -> Iterator[tuple[str, LoRALinear]]:
    return ((path, module) for path, module in model.named_modules() if isinstance(module, LoRALinear))


@torch.no_grad()
def _stir(model: nn.Module) -> None:
    """B away from zero, as after some training."""
    generator = torch.Generator().manual_seed(5)
    for _, adapter in _adapters(model):
        adapter.lora_b.normal_(0, 0.1, generator=generator)


def _images(model: nn.Module) -> torch.Tensor:
    return torch.randn(2, 3, *model.backbone.image_size, generator=torch.Generator().manual_seed(0))


def test_outputs_gradients_and_merged_weights_are_those_of_peft() -> None:
    ours, images = _adapted(), _images(_model())
    _stir(ours)
    targets = [path for path, _ in _adapters(ours)]
    config = peft.LoraConfig(r=4, lora_alpha=8.0, target_modules=targets, modules_to_save=["head.fc"])
    theirs = peft.get_peft_model(_model(), config).eval()
    modules = dict(theirs.base_model.model.named_modules())
    with torch.no_grad():
        for path, adapter in _adapters(ours):
            modules[f"{path}.lora_A.default"].weight.copy_(adapter.lora_a)
            modules[f"{path}.lora_B.default"].weight.copy_(adapter.lora_b)
    torch.testing.assert_close(ours(images), theirs(images))
    for model in (ours, theirs):
        model(images).square().sum().backward()
    for path, adapter in _adapters(ours):
        torch.testing.assert_close(adapter.lora_a.grad, modules[f"{path}.lora_A.default"].weight.grad)
        torch.testing.assert_close(adapter.lora_b.grad, modules[f"{path}.lora_B.default"].weight.grad)
    ours_learn = sum(p.numel() for p in ours.parameters() if p.requires_grad)
    assert ours_learn == sum(p.numel() for p in theirs.parameters() if p.requires_grad)
    expected, got = theirs.merge_and_unload().state_dict(), merged(ours).state_dict()
    assert got.keys() == expected.keys()
    for name, value in got.items():
        torch.testing.assert_close(value, expected[name], msg=name)


@pytest.mark.parametrize("name", SMALL)
def test_a_model_begins_as_it_was_and_ends_as_a_plain_one(name: str) -> None:
    plain, model = _model(name), _adapted(name)
    images = _images(model)
    with torch.no_grad():
        assert torch.equal(model(images), plain(images))
        _stir(model)
        taught, folded = model(images), merged(model)
        assert not torch.allclose(taught, plain(images), atol=1e-4)
        torch.testing.assert_close(folded(images), taught, rtol=1e-4, atol=1e-5)
        assert list(folded.state_dict()) == list(plain.state_dict())
        plain.load_state_dict(folded.state_dict())
        assert torch.equal(plain(images), folded(images))
    assert len(list(_adapters(model))) == ADAPTED.get(name, 4)
    assert not list(_adapters(folded))


@pytest.mark.parametrize("name", SMALL)
def test_only_the_differences_and_the_head_learn_and_all_of_them_do(name: str) -> None:
    model = _adapted(name)
    _stir(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    (model.train()(_images(model)).float() * torch.linspace(-1, 2, 6).reshape(2, 3)).sum().backward()
    learn = {key for key, p in model.named_parameters() if p.requires_grad}
    assert learn == {key for key in before if "lora_" in key or key.startswith("head.")}
    reached = {key for key, p in model.named_parameters() if p.grad is not None and float(p.grad.abs().sum()) > 0}
    assert reached == learn


def test_first_values_depend_on_seed_and_name_alone() -> None:
    torch.manual_seed(9)
    state = torch.get_rng_state()
    a, b, other, deeper = _adapted(seed=1), _adapted(seed=1), _adapted(seed=2), _adapted(seed=1, depth=3)
    assert torch.equal(state, torch.get_rng_state())
    for path, adapter in _adapters(a):
        assert torch.equal(adapter.lora_a, b.get_submodule(path).lora_a)
        assert torch.equal(adapter.lora_a, deeper.get_submodule(path).lora_a)
        assert not torch.equal(adapter.lora_a, other.get_submodule(path).lora_a)
        assert not adapter.lora_b.any()
        bound = 1 / math.sqrt(adapter.in_features)  # peft's: He's uniform with a = sqrt(5)
        assert 0.5 * bound < float(adapter.lora_a.detach().abs().max()) <= bound
    first, second = (adapter.lora_a for _, adapter in list(_adapters(a))[:2])
    assert not torch.equal(first, second)


def test_a_copy_learns_by_itself_and_merging_changes_nothing() -> None:
    model = _adapted()
    _stir(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    twin = copy.deepcopy(model)
    merged(model)
    with torch.no_grad():
        for _, adapter in _adapters(twin):
            adapter.lora_a.zero_()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not torch.equal(merged(twin)(_images(model)), merged(model)(_images(model)))
    plain = _model()
    assert merged(plain) is plain


def test_recomputed_blocks_and_bf16_learn_the_same() -> None:
    model, lean = _adapted(drop_path=0.5).train(), _adapted(drop_path=0.5).train()
    recompute(lean.backbone.blocks())
    gradients = []
    for each in (model, lean):
        _stir(each)
        torch.manual_seed(3)
        each(_images(each)).sum().backward()
        gradients.append({key: p.grad for key, p in each.named_parameters() if p.requires_grad})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(value, gradients[1][key]) for key, value in gradients[0].items())
    rough = _adapted()
    _stir(rough)
    exact = rough(_images(rough))
    with torch.autocast("cpu", torch.bfloat16):
        loss = rough(_images(rough))
    torch.testing.assert_close(loss.float(), exact, rtol=0.05, atol=0.05)
    loss.sum().backward()
    assert all(p.grad.isfinite().all() for p in rough.parameters() if p.requires_grad)


def test_a_model_without_memory_is_adapted_too() -> None:
    with torch.device("meta"):
        model = _adapted()
    assert all(p.is_meta for p in model.parameters())
    assert len(list(_adapters(model))) == ADAPTED["vit_tiny"]


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("resnet18", {"image_size": 16}, "no linear layers"),
        ("timm:beit_base_patch16_224", {"depth": 1, "embed_dim": 24, "num_heads": 2}, "without calling that layer"),
    ],
)
def test_models_that_lora_cannot_reach_are_refused_in_words(name: str, options: dict[str, object], why: str) -> None:
    model = vitrail.create_model(name, outputs=3, **options)
    with pytest.raises(UsageError, match=why):
        adapt(model.backbone, 4, 8.0, 0)
