"""First values depend on the seed and the parameter's name, and on nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitrail.layers.block import LayerScale
from vitrail.layers.initialise import fan_in_uniform, initialise, truncated_normal


def _parts(order: tuple[str, ...] = ("first", "second")) -> nn.Module:
    made = nn.Module()
    for name in order:
        made.add_module(name, nn.Linear(6, 4) if name == "first" else nn.Conv2d(3, 4, 2))
    return made


def test_the_order_of_construction_changes_nothing() -> None:
    one, other = _parts(), _parts(("second", "first"))
    initialise(one, 7)
    torch.manual_seed(123)
    initialise(other, 7)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_model_that_was_on_meta_begins_like_any_other() -> None:
    one = _parts()
    with torch.device("meta"):
        other = _parts()
    other.to_empty(device="cpu")
    initialise(one, 7)
    initialise(other, 7)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_part_begins_as_it_does_in_the_whole() -> None:
    whole, part = _parts(), nn.Linear(6, 4)
    initialise(whole, 7)
    initialise(part, 7, prefix="first.")
    assert torch.equal(whole.first.weight, part.weight)


def test_two_parameters_of_one_shape_begin_apart_and_so_do_two_seeds() -> None:
    model = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])
    initialise(model, 0)
    before = model[0].weight.detach().clone()
    assert not torch.equal(before, model[1].weight)
    initialise(model, 1)
    assert not torch.equal(before, model[0].weight)


def test_a_wider_type_holds_the_same_float32_values() -> None:
    single, double = nn.Linear(6, 6), nn.Linear(6, 6).double()
    initialise(single, 0)
    initialise(double, 0)
    assert torch.equal(single.weight.double(), double.weight)


def test_a_layer_scale_begins_at_its_value() -> None:
    scale = LayerScale(5, 0.1)
    initialise(scale, 0)
    torch.testing.assert_close(scale(torch.ones(2, 5)), torch.full((2, 5), 0.1))


def test_a_parameter_that_nobody_initialises_is_our_mistake() -> None:
    model = nn.Module()
    model.orphan = nn.Parameter(torch.empty(2))
    with pytest.raises(AssertionError, match="orphan"):
        initialise(model, 0)


def test_the_convolution_has_the_distribution_of_pytorchs_default() -> None:
    """Kolmogorov-Smirnov distance between ours and torch's own reset_parameters."""
    theirs = nn.Conv2d(3, 512, 8)
    values = torch.empty_like(theirs.weight)
    fan_in_uniform(3 * 8 * 8)(values, torch.Generator().manual_seed(0))
    points = torch.linspace(-0.08, 0.08, 33)
    ours, default = ((x.detach().flatten()[:, None] < points).double().mean(0) for x in (values, theirs.weight))
    assert float((ours - default).abs().max()) < 0.01


def test_a_truncated_normal_stays_within_two() -> None:
    values = torch.empty(20_000)
    truncated_normal(1.0)(values, torch.Generator().manual_seed(0))
    assert float(values.abs().max()) <= 2
    assert float(values.std()) == pytest.approx(0.8796, abs=0.02)  # of a unit normal cut at +-2
