"""Every model of the catalogue keeps the contract: shapes, sizes, channels, parts. Large ones have no memory here."""

from __future__ import annotations

import itertools

import pytest
import torch
from reduced import SIDE, Reduced, images, sizes, structures
from torch import nn

import vitrail
from vitrail.contracts import Backbone
from vitrail.errors import UsageError
from vitrail.heads.pooling import POOLINGS
from vitrail.models import list_models, variant

STRUCTURES = structures()
every_structure = pytest.mark.parametrize("small", STRUCTURES, ids=str)


def _ceil(size: tuple[int, int], stride: int) -> tuple[int, int]:
    return -(-size[0] // stride), -(-size[1] // stride)


def _check_shapes(backbone, batch: int, device: str) -> None:
    shape = (batch, backbone.in_channels, *backbone.image_size)
    features = backbone(torch.zeros(shape, device=device), pyramid=True)
    height, width = features.grid
    assert features.tokens.shape == (batch, height * width, backbone.width)
    assert features.prefix.shape == (batch, len(backbone.prefix_names), backbone.width)
    assert list(backbone.strides) == sorted(set(backbone.strides))
    assert len(features.pyramid) == len(backbone.strides) == len(backbone.channels)
    for level, stride, channels in zip(features.pyramid, backbone.strides, backbone.channels, strict=True):
        assert level.shape == (batch, channels, *_ceil(backbone.image_size, stride))
    assert features.grid in [level.shape[2:] for level in features.pyramid]


# ------------------------------------------------------------------------------------- the whole catalogue, on meta


@pytest.mark.parametrize("name", list_models())
def test_a_model_has_shapes_and_no_memory_on_meta(name: str) -> None:
    with torch.device("meta"):
        model = vitrail.create_model(name, outputs=7).requires_grad_(False)
    tensors = [*model.parameters(), *model.buffers()]
    assert all(tensor.is_meta for tensor in tensors)
    backbone = model.backbone
    assert isinstance(backbone, Backbone)
    assert backbone.image_size == variant(name).config.size
    model.eval()
    with torch.no_grad():
        _check_shapes(backbone, 2, "meta")
    _check_parts(backbone)


def _check_parts(backbone) -> None:
    """stages() are blocks() by grid; what weight decay must spare is the model's own and is no plain weight."""
    blocks, stages = list(backbone.blocks()), list(backbone.stages())
    assert blocks
    assert all(isinstance(block, nn.Module) for block in [*blocks, backbone.stem()])
    assert len({id(block) for block in blocks}) == len(blocks)
    listed = [block for stage in stages for block in stage.blocks]
    assert [id(block) for block in listed] == [id(block) for block in blocks]
    assert stages[0].entry is None
    for before, stage in itertools.pairwise(stages):
        assert stage.entry is not None
        assert stage.entry.grid == before.grid
        assert stage.entry.cells.shape[0] == 1
        assert stage.entry.cells.shape[1] == stage.grid[0] * stage.grid[1]
    assert stages[-1].prefix <= len(backbone.prefix_names)

    weights = {
        id(module.weight): name
        for name, module in backbone.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d)) and "cpb" not in name  # that one's output is a position bias
    }
    spared = [id(parameter) for parameter in backbone.undecayed()]
    assert len(set(spared)) == len(spared)
    assert set(spared) <= {id(parameter) for parameter in backbone.parameters()}
    assert [weights[key] for key in spared if key in weights] == []
    others = {id(p): name for name, p in backbone.named_parameters() if p.ndim > 1 and id(p) not in weights}
    assert [name for key, name in others.items() if key not in spared and "cpb" not in name] == []


# --------------------------------------------------------------------------------------------- reduced, with values


@every_structure
def test_features_are_as_declared_at_every_image_size(small: Reduced) -> None:
    for case in (small, small.as_published()):
        backbone = case.backbone()
        taken = sizes(backbone)
        assert any(height != width for height, width in taken)
        for size in taken:
            backbone.set_image_size(size)
            assert backbone.image_size == size
            with torch.no_grad():
                _check_shapes(backbone, 2, "cpu")
            _check_parts(backbone)


@every_structure
def test_a_model_built_for_a_size_equals_one_set_to_it(small: Reduced) -> None:
    """But for positions that are learned, which are resized and so have other values."""
    for size in [size for size in sizes(small.backbone()) if size != (SIDE, SIDE)][:3]:
        built, set_to = small.backbone(image_size=size), small.backbone()
        set_to.set_image_size(size)
        learned = {name for name, p in built.named_parameters() if not torch.equal(p, set_to.state_dict()[name])}
        spared = {id(p) for p in set_to.undecayed()}
        assert learned <= {name for name, p in set_to.named_parameters() if id(p) in spared}
        set_to.load_state_dict(built.state_dict())
        with torch.no_grad():
            assert torch.equal(built(images(built)).tokens, set_to(images(built)).tokens)


@every_structure
def test_going_to_the_same_size_and_back_costs_nothing(small: Reduced) -> None:
    """The same size keeps every bit; another and back keeps what is not resized, and resizes smoothly what is."""
    backbone = small.backbone()
    before, dtypes = {k: v.clone() for k, v in backbone.state_dict().items()}, [p.dtype for p in backbone.parameters()]
    answer = backbone(images(backbone)).tokens
    backbone.set_image_size(backbone.image_size)
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    assert torch.equal(answer, backbone(images(backbone)).tokens)
    backbone.set_image_size((128, 96))
    backbone.set_image_size((64, 64))
    assert [p.dtype for p in backbone.parameters()] == dtypes
    assert list(backbone.state_dict()) == list(before)
    spared = {id(p) for p in backbone.undecayed()}
    moved = [name for name, p in backbone.named_parameters() if not torch.equal(before[name], p)]
    assert all(id(backbone.get_parameter(name)) in spared for name in moved)
    if not moved:
        assert torch.equal(answer, backbone(images(backbone)).tokens)


@every_structure
def test_a_size_that_is_none_is_refused_in_words(small: Reduced) -> None:
    backbone = small.backbone()
    for size in ((0, 64), (64, 0), (-64, 64)):
        with pytest.raises(UsageError, match="size"):
            backbone.set_image_size(size)
    assert backbone.image_size == (64, 64)
    backbone(images(backbone))


@every_structure
def test_an_image_of_another_shape_is_refused_in_words(small: Reduced) -> None:
    backbone = small.backbone()
    for shape in ((1, 3, 64, 96), (1, 3, 96, 64), (1, 1, 64, 64), (1, 4, 64, 64)):
        with pytest.raises(UsageError, match=r"\(C, H, W\)"):
            backbone(torch.zeros(shape))


@every_structure
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_may_have_any_number_of_channels(small: Reduced, channels: int) -> None:
    backbone = small.backbone(in_channels=channels)
    assert backbone.in_channels == channels
    _check_shapes(backbone, 1, "cpu")
    pixels = images(backbone).requires_grad_()
    backbone(pixels).tokens.square().sum().backward()
    assert (pixels.grad.abs().sum(dim=(0, 2, 3)) > 0).all()


@every_structure
def test_the_pyramid_has_no_parameters_and_changes_nothing(small: Reduced) -> None:
    backbone = small.backbone()
    with torch.no_grad():
        plain, rich = backbone(images(backbone)), backbone(images(backbone), pyramid=True)
    assert plain.pyramid is None
    assert torch.equal(plain.tokens, rich.tokens)
    assert torch.equal(plain.prefix, rich.prefix)
    last = next(level for level in reversed(rich.pyramid) if level.shape[2:] == rich.grid)
    torch.testing.assert_close(last.flatten(2).transpose(1, 2), rich.tokens)
    for parameter in backbone.parameters():
        parameter.grad = None
    backbone(images(backbone), pyramid=True).tokens.square().sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


@every_structure
def test_every_pooling_works_or_is_refused_in_words(small: Reduced) -> None:
    for pooling in POOLINGS:
        try:
            model = small.model(pooling=pooling)
        except UsageError:
            assert pooling == "cls"
            assert "cls" not in small.backbone().prefix_names
            continue
        assert model(images(model.backbone)).shape == (2, 3)


@every_structure
def test_the_rule_for_small_images_names_fields_and_says_why(small: Reduced) -> None:
    row = variant(small.name)
    for side in (8, 16, 28, 32, 48, 64, 100, 224):
        fitted = row.fit(row.config, side)
        assert set(fitted.options) <= set(type(row.config).model_fields)
        assert len(fitted.why.split()) > 3
        with torch.device("meta"):
            model = vitrail.create_model(small.name, outputs=3, image_size=side, **fitted.options).eval()
        assert model(torch.zeros(1, 3, side, side, device="meta")).shape == (1, 3)
