"""From a config or a name to a model."""

from __future__ import annotations

import pytest
import torch

import vitrail
from vitrail.assemble import attach_head, build_model, fill
from vitrail.errors import IntegrityError, UsageError
from vitrail.models import create_backbone
from vitrail.settings import build
from vitrail.tasks import create_task

SMALL = {"image_size": 16, "patch_size": 8, "depth": 2, "width": 8, "heads": 2, "hidden": 16}
TASK = create_task("classify", ["a", "b", "c"])


def _config(**stated: object):
    options = {f"model.options.{name}": SMALL[name] for name in ("depth", "width", "heads", "hidden")}
    sizes = {"model.image_size": 16, "model.patch_size": 8}
    return build({"data.source": "digits", **sizes, **options, **stated})


def _same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_config_builds_what_its_fields_say() -> None:
    stated = {"data.channels": 1, "model.pooling": "map", "train.drop_path": 0.2, "seed": 3}
    model = build_model(_config(**stated), TASK)
    assert model(torch.zeros(2, 1, 16, 16)).shape == (2, 3)
    assert [block.drop_path.rate for block in model.backbone.blocks()] == [0.0, 0.2]
    named = vitrail.create_model("vit_tiny", TASK, in_channels=1, pooling="map", drop_path=0.2, seed=3, **SMALL)
    assert _same(model, named)


@pytest.mark.parametrize("field", ["image_size", "patch_size", "pooling", "in_channels", "drop_path"])
def test_a_field_is_stated_in_one_place_only(field: str) -> None:
    with pytest.raises(UsageError, match=rf"model\.options\.{field}: that is \w+\.\w+"):
        build_model(_config(**{f"model.options.{field}": 1}), TASK)


@pytest.mark.parametrize("option", ["seed", "name", "task", "dept", "__class__"])
def test_an_option_that_the_family_lacks_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match="unknown vit option"):
        build_model(_config(**{f"model.options.{option}": 1}), TASK)


def test_labels_that_nobody_named_are_numbers_in_order() -> None:
    model = vitrail.create_model("vit_tiny", outputs=12, **SMALL)
    assert model.task.state()["labels"][:3] == ["00", "01", "02"]
    assert model.task.state()["labels"][-1] == "11"


@pytest.mark.parametrize("outputs", [0, 1])
def test_a_classifier_of_less_than_two_classes_is_refused(outputs: int) -> None:
    with pytest.raises(UsageError, match="at least two"):
        vitrail.create_model("vit_tiny", outputs=outputs, **SMALL)


@pytest.mark.parametrize("pooling", ["mean", "map"])
def test_a_head_on_ones_own_backbone_begins_as_in_a_whole_model(pooling: str) -> None:
    backbone = create_backbone("vit_tiny", seed=9, **SMALL)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    model = attach_head(backbone, TASK, pooling, seed=4)
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())
    assert _same(model.head, vitrail.create_model("vit_tiny", TASK, pooling=pooling, seed=4, **SMALL).head)


def test_a_model_without_memory_is_filled_and_computes_the_same() -> None:
    whole = vitrail.create_model("vit_tiny", TASK, position="sincos", seed=1, **SMALL)
    with torch.device("meta"):
        empty = vitrail.create_model("vit_tiny", TASK, position="sincos", **SMALL)
    fill(empty, whole.state_dict(), "here")
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(empty(images), whole(images))
    assert all(parameter.requires_grad for parameter in empty.parameters())


def test_every_fault_of_a_fill_is_told_at_once() -> None:
    model = vitrail.create_model("vit_tiny", TASK, **SMALL)
    tensors = {**model.state_dict(), "more": torch.zeros(1), "head.fc.weight": torch.zeros(2, 8)}
    del tensors["backbone.norm.bias"]
    with pytest.raises(IntegrityError) as error:
        fill(model, tensors, "file")
    for told in ("backbone.norm.bias", "more", "head.fc.weight: 2 x 8 for 3 x 8"):
        assert told in str(error.value)


def test_what_weight_decay_must_spare_is_declared() -> None:
    model = vitrail.create_model("vit_tiny", TASK, pooling="map", registers=2, **SMALL)
    declared = {id(p) for m in model.modules() if hasattr(m, "undecayed") for p in m.undecayed()}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in declared}
    assert names == {"backbone.cls_token", "backbone.registers", "backbone.pos_embed", "head.pool.probe"}
