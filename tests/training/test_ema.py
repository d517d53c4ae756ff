"""The moving average of the weights."""

from __future__ import annotations

import torch
from torch import nn

from vitrail.training.ema import Average


def test_average_is_the_written_out_recurrence() -> None:
    model = nn.Linear(3, 2)
    average = Average(model, 0.9)
    expected = model.weight.detach().clone().double()
    for step in range(30):
        with torch.no_grad():
            model.weight.add_(torch.randn(2, 3))
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach().double()
    torch.testing.assert_close(average.model.weight.double(), expected, rtol=1e-5, atol=1e-5)
    assert not average.model.weight.requires_grad


def test_buffers_are_copied() -> None:
    model = nn.BatchNorm1d(2)
    average = Average(model, 0.9)
    model(torch.randn(8, 2))
    average.update(0)
    assert torch.equal(average.model.running_mean, model.running_mean)


def test_without_decay_the_model_itself_is_kept() -> None:
    model = nn.Linear(3, 2)
    average = Average(model, 0.0)
    average.update(0)
    assert average.model is model
