"""One update: equal to torch's plain recipe, and closed to anything that is not finite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from vitrail.settings import TrainConfig
from vitrail.training.optimizer import Updater, groups


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.full((1, 1, 4), 0.5))
        self.linear = nn.Linear(4, 3)
        self.norm = nn.LayerNorm(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.linear(x + self.token[0]))

    def undecayed(self) -> Iterator[nn.Parameter]:
        yield self.token


def _backward(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    loss = model(x).square().mul(torch.tensor([1.0, 2.0, 3.0])).sum()
    loss.backward()
    return loss.detach()


def test_norms_biases_and_declared_tokens_are_not_decayed() -> None:
    model = Small()
    decayed, spared = (group["params"] for group in groups(model, 0.1))
    assert [id(p) for p in decayed] == [id(model.linear.weight)]
    assert {id(p) for p in spared} == {id(p) for p in (model.token, model.linear.bias, *model.norm.parameters())}


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_updates_equal_mean_gradient_clipped_adamw(clip: float) -> None:
    torch.manual_seed(0)
    ours, oracle = Small(), Small()
    oracle.load_state_dict(ours.state_dict())
    updater = Updater(ours, TrainConfig(clip=clip, weight_decay=0.1))
    adamw = torch.optim.AdamW(groups(oracle, 0.1), lr=1e-3, betas=(0.9, 0.999), foreach=False, fused=False)
    for _ in range(5):
        x = torch.randn(8, 4)
        norm, refused = updater.update(1e-3, _backward(ours, x), torch.tensor(8.0))
        _backward(oracle, x)
        for p in oracle.parameters():
            p.grad /= 8
        expected = nn.utils.clip_grad_norm_(oracle.parameters(), clip or float("inf"))
        adamw.step()
        adamw.zero_grad()
        assert refused.item() == 0
        torch.testing.assert_close(norm, expected)
    for (name, a), b in zip(ours.named_parameters(), oracle.parameters(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


@pytest.mark.parametrize("poison", ["gradient", "loss", "weight"])
def test_nothing_non_finite_reaches_weights_or_moments(poison: str) -> None:
    model = Small()
    updater = Updater(model, TrainConfig())
    updater.update(1e-3, _backward(model, torch.randn(8, 4)), torch.tensor(8.0))
    before = {k: v.clone() for k, v in (model.state_dict() | updater.tensors()).items()}
    loss = _backward(model, torch.randn(8, 4))
    if poison == "gradient":
        model.linear.weight.grad[0, 0] = float("nan")
    refusals = updater.update(
        1e-3,
        torch.tensor(float("inf")) if poison == "loss" else loss,
        torch.tensor(0.0 if poison == "weight" else 8.0),
    )
    assert refusals[1].item() == 1
    after = model.state_dict() | updater.tensors()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_state_survives_a_round_trip() -> None:
    model = Small()
    updater = Updater(model, TrainConfig())
    updater.update(1e-3, _backward(model, torch.randn(8, 4)), torch.tensor(8.0))
    other = Updater(model, TrainConfig())
    other.restore({k: v.clone() for k, v in updater.tensors().items()})
    assert all(torch.equal(a, other.tensors()[k]) for k, a in updater.tensors().items())
