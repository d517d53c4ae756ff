"""One update: equal to torch's and timm's plain optimizers, and closed to anything that is not finite."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from timm.optim import Lamb
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


OPTIMIZERS = ("adamw", "lamb", "sgd")


def _oracle(optimizer: str, model: nn.Module, clip: float) -> torch.optim.Optimizer:
    if optimizer == "adamw":
        return torch.optim.AdamW(groups(model, 0.1), lr=0.1, betas=(0.9, 0.999), foreach=False, fused=False)
    if optimizer == "sgd":
        return torch.optim.SGD(groups(model, 0.1), lr=0.1, momentum=0.9, foreach=False, fused=False)
    return Lamb(groups(model, 0.1), lr=0.1, betas=(0.9, 0.999), max_grad_norm=clip or None, foreach=False)


@pytest.mark.parametrize("clip", [0.0, 0.01])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_updates_equal_those_of_torch_and_timm_on_mean_clipped_gradients(optimizer: str, clip: float) -> None:
    torch.manual_seed(0)
    ours, theirs = Small(), Small()
    theirs.load_state_dict(ours.state_dict())
    updater = Updater(ours, TrainConfig(optimizer=optimizer, clip=clip, weight_decay=0.1))
    oracle = _oracle(optimizer, theirs, clip)
    for _ in range(5):
        x = torch.randn(8, 4)
        norm, refused = updater.update(0.1, _backward(ours, x), torch.tensor(8.0))
        _backward(theirs, x)
        for p in theirs.parameters():
            p.grad /= 8
        limit = clip if clip and optimizer != "lamb" else float("inf")  # timm's LAMB clips by itself
        expected = nn.utils.clip_grad_norm_(theirs.parameters(), limit)
        oracle.step()
        oracle.zero_grad()
        assert refused.item() == 0
        torch.testing.assert_close(norm, expected, rtol=1e-4, atol=1e-6)
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=name)


def _state(model: nn.Module, updater: Updater) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in (model.state_dict() | updater.tensors()).items()}


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("poison", ["gradient", "loss", "weight"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_nothing_non_finite_reaches_weights_or_moments(optimizer: str, poison: str) -> None:
    model = Small()
    updater = Updater(model, TrainConfig(optimizer=optimizer))
    updater.update(1e-3, _backward(model, torch.randn(8, 4)), torch.tensor(8.0))
    before = _state(model, updater)
    loss = _backward(model, torch.randn(8, 4))
    if poison == "gradient":
        model.linear.weight.grad[0, 0] = float("nan")
    refusals = updater.update(
        1e-3,
        torch.tensor(float("inf")) if poison == "loss" else loss,
        torch.tensor(0.0 if poison == "weight" else 8.0),
    )
    assert refusals[1].item() == 1
    assert _same(before, _state(model, updater))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_after_a_refused_first_update_is_as_if_there_had_been_none(optimizer: str) -> None:
    torch.manual_seed(1)
    start, batches = Small().state_dict(), [torch.randn(8, 4) for _ in range(3)]
    ended = []
    for refuse in (False, True):
        model = Small()
        model.load_state_dict(start)
        updater = Updater(model, TrainConfig(optimizer=optimizer))
        if refuse:
            loss = _backward(model, torch.full((8, 4), float("nan")))
            assert updater.update(0.1, loss, torch.tensor(8.0))[1].item() == 1
            assert _same(start, model.state_dict())
        for x in batches:
            updater.update(0.1, _backward(model, x), torch.tensor(8.0))
        ended.append(_state(model, updater))
    assert _same(*ended)
    assert not torch.equal(ended[0]["linear.weight"], start["linear.weight"])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_updates_go_on_from_a_saved_state_to_the_same_bits(optimizer: str) -> None:
    torch.manual_seed(2)
    model, batches = Small(), [torch.randn(8, 4) for _ in range(4)]
    updater = Updater(model, TrainConfig(optimizer=optimizer))
    for number, x in enumerate(batches):
        updater.update(0.1, _backward(model, x), torch.tensor(8.0))
        if number == 1:
            weights, saved = copy.deepcopy(model.state_dict()), {k: v.clone() for k, v in updater.tensors().items()}
    again = Small()
    again.load_state_dict(weights)
    other = Updater(again, TrainConfig(optimizer=optimizer))
    other.restore(saved)
    for x in batches[2:]:
        other.update(0.1, _backward(again, x), torch.tensor(8.0))
    assert _same(_state(model, updater), _state(again, other))


def test_momentum_is_optional() -> None:
    model = Small()
    updater = Updater(model, TrainConfig(optimizer="sgd", beta1=0.0, weight_decay=0.0, clip=0.0))
    before, loss = model.linear.weight.detach().clone(), _backward(model, torch.randn(8, 4))
    expected = before - 0.1 * model.linear.weight.grad / 8
    updater.update(0.1, loss, torch.tensor(8.0))
    torch.testing.assert_close(model.linear.weight, expected)
    assert updater.tensors() == {}


def test_what_has_no_gradient_is_left_alone() -> None:
    model = Small()
    updater = Updater(model, TrainConfig(optimizer="lamb"))
    before = model.token.detach().clone()
    loss = model.norm(model.linear(torch.randn(8, 4))).square().sum()
    loss.backward()
    updater.update(0.1, loss.detach(), torch.tensor(8.0))
    assert torch.equal(model.token, before)
    assert not [name for name in updater.tensors() if name.startswith("token")]
