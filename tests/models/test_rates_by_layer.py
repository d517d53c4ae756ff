"""Layer-wise learning rates: every parameter of every family in one layer, and the layers that timm and MAE have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import pytest
import timm
import torch
from reduced import Reduced, structures
from timm.optim import param_groups_layer_decay
from torch import nn

import vitrail
from vitrail.settings import TrainConfig
from vitrail.training.layer_decay import layers
from vitrail.training.optimizer import Updater, groups

every_structure = pytest.mark.parametrize("small", structures(), ids=str)


def _layer_of(model: nn.Module) -> dict[str, int]:
    """Name -> layer."""
    numbered = {id(p): number for number, members in enumerate(layers(model)) for p in members}
    return {name: numbered[id(p)] for name, p in model.named_parameters()}


@every_structure
def test_every_parameter_stands_in_one_layer_from_stem_to_head(small: Reduced) -> None:
    with torch.device("meta"):
        model = small.model()
    backbone, found = model.backbone, layers(model)
    placed = [id(p) for members in found for p in members]
    assert sorted(placed) == sorted(id(p) for p in model.parameters())
    blocks = list(backbone.blocks())
    assert len(found) == len(blocks) + 2
    for number, block in enumerate(blocks):
        assert {id(p) for p in block.parameters()} <= {id(p) for p in found[number + 1]}
    assert {id(p) for p in backbone.stem().parameters()} <= {id(p) for p in found[0]}
    assert {id(p) for p in model.head.parameters()} <= {id(p) for p in found[-1]}


@every_structure
def test_only_the_last_norm_and_the_head_learn_at_the_full_rate(small: Reduced) -> None:
    """Nothing between two stages was forgotten, which would leave it in the last layer."""
    with torch.device("meta"):
        model = small.model()
    last = {id(p) for p in layers(model)[-1]} - {id(p) for p in model.head.parameters()}
    beside = [module for module in model.backbone.modules() if {id(p) for p in module.parameters(recurse=False)} & last]
    assert all("Norm" in type(module).__name__ for module in beside)
    assert len(beside) <= 1


@every_structure
def test_what_leads_to_a_stage_learns_with_its_first_block(small: Reduced) -> None:
    with torch.device("meta"):
        model = small.model()
    found, stages = layers(model), model.backbone.stages()
    numbered = {id(p): number for number, members in enumerate(found) for p in members}
    first = len(stages[0].blocks)
    for stage in stages[1:]:
        begins = numbered[id(next(stage.blocks[0].parameters()))]
        assert begins == first + 1
        if stage.merge is not None:
            assert {numbered[id(p)] for p in stage.merge.parameters()} == {begins}
        first += len(stage.blocks)


def test_layers_of_a_vit_are_those_of_mae() -> None:
    """get_layer_id_for_vit of the official util/lr_decay.py, on our names."""
    model = vitrail.create_model("deit_tiny_distilled", outputs=3, image_size=32, depth=3)

    def layer(name: str) -> int:
        if name.endswith(("_token", "pos_embed")) or "patch_embed" in name:
            return 0
        return int(name.split(".")[2]) + 1 if "encoder" in name else 4

    assert _layer_of(model) == {name: layer(name) for name, _ in model.named_parameters()}


SAME = {
    "vit_tiny_patch16_224": "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224": "deit_tiny_distilled_patch16_224",
    "swin_tiny_patch4_window7_224": "swin_tiny_patch4_window7_224",
    "convnext_tiny": "convnext_tiny",
    "resnet18": "resnet18",
    **{
        f"timm:{name}": name
        for name in (
            "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_tiny", "resnet18",
            "deit3_small_patch16_224", "vit_base_patch16_clip_224",
        )
    },
}  # fmt: skip
"""Our model -> timm's of the same parameters."""


def _sizes(made: list[dict[str, Any]], share: str, full: Collection[int] = ()) -> Counter[tuple[float, float]]:
    """(share of the rate, weight decay) -> numbers that learn so. full: parameters to count at the full rate."""
    found: Counter[tuple[float, float]] = Counter()
    for group in made:
        for p in group["params"]:
            found[1.0 if id(p) in full else round(group[share], 9), group["weight_decay"]] += p.numel()
    return found


@pytest.mark.parametrize("name", SAME)
def test_each_share_of_the_rate_has_as_many_parameters_as_in_timm(name: str) -> None:
    """But for the last norm, which timm counts to the last block, and BEiT, MAE and we to the head."""
    with torch.device("meta"):
        ours = vitrail.create_model(name, outputs=10, image_size=224)
        theirs = timm.create_model(SAME[name], num_classes=10)
    spared = [f"*{entry}*" for entry in getattr(theirs, "no_weight_decay", set)()]
    expected = param_groups_layer_decay(theirs, 0.05, spared, layer_decay=0.75)
    norm = {id(p) for p in getattr(theirs, "norm", nn.Identity()).parameters()}
    assert _sizes(groups(ours, 0.05, 0.75), "share") == _sizes(expected, "lr_scale", norm)


def test_the_rate_of_the_schedule_is_shared_out_by_layer() -> None:
    model = vitrail.create_model("vit_tiny", outputs=3, image_size=32, depth=2, width=8, heads=2, hidden=8)
    objective = nn.Linear(3, 3)  # a projection that learns beside the model
    whole = nn.ModuleDict({"model": model, "objective": objective})
    updater = Updater(whole, TrainConfig(optimizer="sgd", layer_decay=0.5, beta1=0.0, weight_decay=0.0, clip=0.0))
    before = {id(p): p.detach().clone() for p in whole.parameters()}
    for parameter in whole.parameters():
        parameter.grad = torch.ones_like(parameter)
    updater.update(0.8, torch.tensor(1.0), torch.tensor(1.0))
    moved = {name: float((before[id(p)] - p.detach()).mean()) for name, p in whole.named_parameters()}
    by_layer = {name.removeprefix("model."): step for name, step in moved.items()}
    for name, layer in _layer_of(model).items():
        assert by_layer[name] == pytest.approx(0.8 * 0.5 ** (3 - layer), rel=1e-4)
    assert moved["objective.weight"] == pytest.approx(0.8, rel=1e-4)


def test_one_rate_for_all_needs_no_backbone() -> None:
    assert [group["share"] for group in groups(nn.Linear(2, 2), 0.1)] == [1.0, 1.0]
