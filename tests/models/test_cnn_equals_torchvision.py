"""Our ResNet and ConvNeXt compute what torchvision's do, from the same weights: forwards, backwards, in training."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import ConvNeXt, ResNet
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.resnet import BasicBlock, Bottleneck

sys.path.insert(0, str(Path(__file__).parent))

from reference import close32, close64, outputs_and_gradients, randomise

import vitrail
from vitrail.contracts import Features
from vitrail.heads.pooling import MeanPooling
from vitrail.layers.pooled_norm import PooledLayerNorm

PRECISIONS = pytest.mark.parametrize(("dtype", "close"), [(torch.float64, close64), (torch.float32, close32)])
DEPTHS = (1, 2, 1, 1)


def _ours_from(name: str) -> str:
    """The name that a tensor of torchvision has in ours."""
    for theirs, ours in (("fc.", "head.fc."), ("classifier.0.", "backbone.norm."), ("classifier.2.", "head.fc.")):
        if name.startswith(theirs):
            return ours + name[len(theirs) :]
    return f"backbone.body.{name}"


def _shallow(family: str) -> tuple[nn.Module, nn.Module]:
    """Theirs and ours with few blocks."""
    if family == "convnext":
        widths = (16, 32, 64, 128)
        stages = [CNBlockConfig(w, o, d) for w, o, d in zip(widths, (*widths[1:], None), DEPTHS, strict=True)]
        theirs: nn.Module = ConvNeXt(stages, num_classes=10)
        options: dict = {"width": 16}
        ours = vitrail.create_model("convnext_tiny", outputs=10, image_size=64, depths=DEPTHS, **options)
    else:
        theirs = ResNet(BasicBlock if family == "basic" else Bottleneck, list(DEPTHS), num_classes=10)
        name = "resnet18" if family == "basic" else "resnet50"
        ours = vitrail.create_model(name, outputs=10, image_size=64, depths=DEPTHS)
    return theirs, ours


def _stir(model: nn.Module) -> None:
    """Weights and running statistics that no default hides."""
    randomise(model)
    generator = torch.Generator().manual_seed(7)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.add_(1.0)
            module.running_mean.copy_(0.3 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))


def _give(theirs: nn.Module, ours: nn.Module) -> None:
    ours.load_state_dict({_ours_from(name): value for name, value in theirs.state_dict().items()})


def _images(ours: nn.Module, dtype: torch.dtype, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, *ours.backbone.image_size, generator=generator).to(dtype)


def _agree(theirs: nn.Module, ours: nn.Module, dtype: torch.dtype, close, batch: int = 2) -> bool:
    theirs, ours = theirs.to(dtype), ours.to(dtype)
    images = _images(ours, dtype, batch)
    torch.manual_seed(0)
    reference, reference_gradients = outputs_and_gradients(theirs, images)
    torch.manual_seed(0)
    logits, gradients = outputs_and_gradients(ours, images)
    assert len(gradients) == len(reference_gradients)
    pairs = [(logits, reference)] + [(gradients[_ours_from(k)], g) for k, g in reference_gradients.items()]
    buffers = dict(ours.named_buffers())
    pairs += [(buffers[_ours_from(k)].double(), b.double()) for k, b in theirs.named_buffers()]
    return all(close(a, b) for a, b in pairs)


@PRECISIONS
@pytest.mark.parametrize("family", ["basic", "bottleneck", "convnext"])
def test_logits_and_gradients_equal_torchvision(family: str, dtype: torch.dtype, close) -> None:
    theirs, ours = _shallow(family)
    _stir(theirs)
    _give(theirs, ours)
    assert _agree(theirs.eval(), ours.eval(), dtype, close)


@pytest.mark.parametrize("family", ["basic", "bottleneck"])
def test_training_steps_leave_the_same_running_statistics(family: str) -> None:
    theirs, ours = _shallow(family)
    _stir(theirs)
    _give(theirs, ours)
    theirs, ours = theirs.double().train(), ours.double().train()
    for _ in range(2):
        assert _agree(theirs, ours, torch.float64, close64, batch=4)
    assert int(ours.backbone.body["bn1"].num_batches_tracked) == 2


@pytest.mark.parametrize("family", ["basic", "bottleneck", "convnext"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_wrong_epsilon_is_noticed(family: str, dtype: torch.dtype) -> None:
    theirs, ours = _shallow(family)
    _stir(theirs)
    _give(theirs, ours)
    for module in ours.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            module.eps = 1e-5 if family == "convnext" else 1e-4
    assert not _agree(theirs.eval(), ours.eval(), dtype, close64 if dtype == torch.float64 else close32)


def test_the_epsilon_of_the_config_reaches_every_norm() -> None:
    for name in ("resnet18", "resnet50", "convnext_tiny"):
        model = vitrail.create_model(name, image_size=32, width=8, depths=(1, 1, 1, 1), eps=0.25)
        norms = [m for m in model.modules() if isinstance(m, (nn.BatchNorm2d, nn.LayerNorm))]
        assert len(norms) > 8
        assert {norm.eps for norm in norms} == {0.25}


def test_stochastic_depth_of_convnext_draws_what_torchvision_draws() -> None:
    theirs, _ = _shallow("convnext")
    rates = [0.0, 0.1, 0.2, 0.3, 0.4]
    for block, rate in zip([m for m in theirs.modules() if type(m).__name__ == "CNBlock"], rates, strict=True):
        block.stochastic_depth.p = rate
    ours = vitrail.create_model("convnext_tiny", outputs=10, image_size=64, depths=DEPTHS, width=16, drop_path=0.4)
    _stir(theirs)
    _give(theirs, ours)
    assert _agree(theirs.train(), ours.train(), torch.float64, close64, batch=8)


def test_stochastic_depth_of_resnet_drops_the_branch_and_nothing_else() -> None:
    """With the last branch always dropped the last block is its shortcut; without, or evaluating, nothing changes."""
    model = vitrail.create_model("resnet18", outputs=3, image_size=32, patch_size=1, width=8, drop_path=0.5).train()
    blocks = model.backbone.blocks()
    rates = [block.bn2.drop_path.rate for block in blocks]
    assert rates == pytest.approx([0.5 * i / 7 for i in range(8)])
    x = torch.randn(16, 64, 4, 4).relu()
    torch.manual_seed(0)
    out = blocks[-1](x)
    kept = [not torch.equal(a, b) for a, b in zip(out, x, strict=True)]
    assert 2 < sum(kept) < 14
    still = vitrail.create_model("resnet18", outputs=3, image_size=32, patch_size=1, width=8)
    still.load_state_dict(model.state_dict())
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.equal(model.eval()(pixels), still.eval()(pixels))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "convnext_tiny"])
def test_a_whole_model_equals_torchvision_at_224(name: str) -> None:
    theirs, ours = getattr(torchvision.models, name)(num_classes=10), vitrail.create_model(name, outputs=10)
    _stir(theirs)
    _give(theirs, ours)
    assert _agree(theirs.eval(), ours.eval(), torch.float64, close64, batch=1)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "convnext_small", "convnext_base"])
def test_every_tensor_of_torchvision_has_its_place(name: str) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)()
        ours = vitrail.create_model(name, outputs=1000)
    shapes = {_ours_from(k): v.shape for k, v in theirs.state_dict().items()}
    assert {k: v.shape for k, v in ours.state_dict().items()} == shapes


# ------------------------------------------------------------------------------------------------------ first values


def test_first_values_have_the_published_distributions() -> None:
    resnet = vitrail.create_model("resnet50", depths=(1, 1, 1, 1), image_size=32).backbone
    for module in resnet.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 10_000:
            expected = math.sqrt(2 / (module.out_channels * math.prod(module.kernel_size)))
            assert float(module.weight.detach().std()) == pytest.approx(expected, rel=0.05)
        if isinstance(module, nn.BatchNorm2d):
            assert bool((module.weight == 1).all() and (module.bias == 0).all())
            assert bool((module.running_mean == 0).all() and (module.running_var == 1).all())
            assert int(module.num_batches_tracked) == 0
    convnext = vitrail.create_model("convnext_tiny", depths=(1, 1, 1, 1), image_size=32, layer_scale=0.5).backbone
    for module in convnext.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.weight.numel() > 10_000:
            assert float(module.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
            assert bool((module.bias == 0).all())
    assert all(bool((block.layer_scale == 0.5).all()) for block in convnext.blocks())


# ----------------------------------------------------------------------------------------- what is ours in the wrapping


@PRECISIONS
def test_the_mean_of_pooled_norm_is_the_norm_of_the_mean(dtype: torch.dtype, close) -> None:
    norm = PooledLayerNorm(24, eps=1e-2).to(dtype)
    randomise(norm)
    tokens = 3 * torch.randn(2, 9, 24, generator=torch.Generator().manual_seed(0)).to(dtype) + 1
    plain = torch.nn.functional.layer_norm(tokens.mean(dim=1), (24,), norm.weight, norm.bias, norm.eps)
    pooled = MeanPooling()(Features(norm(tokens), (3, 3), tokens[:, :0]))
    assert close(pooled.detach(), plain.detach())


@pytest.mark.parametrize(("patch", "grid"), [(1, (4, 4)), (2, (2, 2)), (4, (1, 1))])
@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny"])
def test_the_patch_decides_how_soon_an_image_of_32_pixels_is_a_single_cell(name: str, patch: int, grid) -> None:
    backbone = vitrail.create_model(name, image_size=32, patch_size=patch, width=8, depths=(1, 1, 1, 1)).backbone.eval()
    assert backbone(torch.zeros(1, 3, 32, 32)).grid == grid
    assert backbone.strides == (patch, 2 * patch, 4 * patch, 8 * patch)
    assert backbone.stem()(torch.zeros(2, 3, 32, 32)).shape[2:] == backbone.grids[0]


def test_a_convnext_sees_every_row_of_an_image_that_strides_do_not_divide() -> None:
    backbone = vitrail.create_model("convnext_tiny", image_size=(37, 33), width=8, depths=(1, 1, 1, 1)).backbone
    pixels = torch.randn(1, 3, 37, 33, requires_grad=True)
    backbone.norm = nn.Identity()  # which would look at all pixels
    features = backbone(pixels)
    assert features.grid == (2, 2)
    features.tokens.square().sum().backward()
    assert bool((pixels.grad[..., -1, :] != 0).any() and (pixels.grad[..., -1] != 0).any())


def test_layer_scale_is_not_decayed() -> None:
    from vitrail.training.optimizer import groups

    model = vitrail.create_model("convnext_tiny", image_size=32, width=8, depths=(1, 1, 1, 1))
    decayed, spared = (group["params"] for group in groups(model, 0.1))
    scales = {id(block.layer_scale) for block in model.backbone.blocks()}
    assert scales <= {id(p) for p in spared}
    assert all(p.ndim > 1 for p in decayed)
