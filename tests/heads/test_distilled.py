"""Two heads on one backbone: DeiT's."""

from __future__ import annotations

import pytest
import torch

import vitrail
from vitrail.errors import UsageError
from vitrail.heads.distilled import DistilledHead
from vitrail.heads.linear import LinearHead


def _model(name: str = "deit_tiny_distilled", **options):
    stated = {"image_size": 16, "patch_size": 8, "width": 24, "heads": 3, "hidden": 32, "depth": 2} | options
    return vitrail.create_model(name, outputs=3, **stated)


def _images() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("training", [True, False])
def test_the_answer_is_the_mean_of_both_layers(training: bool) -> None:
    model = _model(registers=1).train(training)
    features = model.features(_images())
    by_labels = features.prefix[:, 0] @ model.head.fc.weight.T + model.head.fc.bias
    by_teacher = features.prefix[:, 1] @ model.head.fc_dist.weight.T + model.head.fc_dist.bias
    torch.testing.assert_close(model(_images()), (by_labels + by_teacher) / 2)
    for said, written in zip(model.head.both(features), (by_labels, by_teacher), strict=True):
        torch.testing.assert_close(said, written)
    assert (by_labels - by_teacher).abs().max() > 1e-3


def test_each_layer_learns_from_its_own_token() -> None:
    model = _model()
    by_labels, by_teacher = model.head.both(model.features(_images()))
    by_teacher.square().sum().backward()
    assert model.head.fc.weight.grad is None
    assert model.head.fc_dist.weight.grad.abs().sum() > 0
    by_labels.square().sum()
    assert model.backbone.dist_token.grad.abs().sum() > 0


def test_two_layers_where_cls_is_read_and_a_distillation_token_stands_beside_it() -> None:
    assert isinstance(_model().head, DistilledHead)
    assert isinstance(_model("deit_tiny").head, LinearHead)
    assert isinstance(_model(pooling="mean").head, LinearHead)
    assert isinstance(_model(pooling="map").head, LinearHead)


def test_both_layers_begin_apart() -> None:
    head = _model().head
    assert not torch.equal(head.fc.weight, head.fc_dist.weight)
    assert float(head.fc_dist.bias.detach().abs().max()) == 0


def test_a_distillation_token_without_cls_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match=r"beside \[CLS\]"):
        _model(cls=False, pooling="mean")
