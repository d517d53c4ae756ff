"""Running statistics: out of reach of what is not finite and of images that failed; in the average and on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import vitrail
from vitrail.contracts import Batch, Failure, Mixing
from vitrail.settings import TrainConfig
from vitrail.training import checkpoint
from vitrail.training.batch_statistics import Statistics, has_batch_statistics, without_failures
from vitrail.training.checkpoint import Progress
from vitrail.training.ema import Average
from vitrail.training.optimizer import Updater


def _model(seed: int = 0) -> nn.Module:
    options = {"width": 4, "depths": (1, 1, 1, 1)}
    return vitrail.create_model("resnet18", outputs=3, image_size=8, patch_size=1, seed=seed, **options).train()


def _images(count: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def _update(model: nn.Module, updater: Updater, images: torch.Tensor, parts: int = 1) -> bool:
    """One update as the loop makes it; whether it was refused."""
    updater.begin()
    total = torch.zeros(())
    for part in images.chunk(parts):
        loss = model(part).square().sum()
        loss.backward()
        total += loss.detach()
    return bool(updater.update(1e-3, total, torch.tensor(float(len(images))))[1])


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _changed(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_what_is_learned_beside_parameters_is_found() -> None:
    model = _model()
    found = {id(buffer) for buffer in Statistics(model).buffers}
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert found == {id(buffer) for norm in norms for buffer in norm.buffers()}
    assert len(found) == 3 * len(norms) > 20
    assert has_batch_statistics(model)
    for name in ("vit_tiny", "convnext_tiny"):
        with torch.device("meta"):
            plain = vitrail.create_model(name)
        assert not has_batch_statistics(plain)
        assert Statistics(plain).buffers == []


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("poison", ["nan", "inf"])
def test_a_refused_update_leaves_weights_and_statistics_as_they_were(poison: str, parts: int) -> None:
    model = _model()
    updater = Updater(model, TrainConfig())
    assert not _update(model, updater, _images())
    before = _state(model)
    spoilt = _images(seed=1)
    spoilt[-1, 0, 3, 3] = float(poison)
    assert _update(model, updater, spoilt, parts)
    assert _changed(model, before) == set()
    assert not _update(model, updater, _images(seed=2))
    assert len(_changed(model, before)) == len(before)


def test_statistics_alone_that_overflow_refuse_the_update() -> None:
    """The variance of huge values is infinite in float32, and the loss behind the norm is finite all the same."""
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, 2))
    updater = Updater(model, TrainConfig())
    assert not _update(model, updater, _images())
    before = _state(model)
    with torch.no_grad():
        assert bool(model(1e25 * _images()).isfinite().all())
    model.load_state_dict(before)
    assert _update(model, updater, 1e25 * _images())
    assert _changed(model, before) == set()


def test_an_update_that_stands_moves_statistics_as_torch_does() -> None:
    ours, plain = _model(), _model()
    _update(ours, Updater(ours, TrainConfig()), _images())
    plain(_images())
    theirs = dict(plain.named_buffers())
    assert all(torch.equal(buffer, theirs[name]) for name, buffer in ours.named_buffers())


def test_the_average_and_the_checkpoint_hold_the_statistics(tmp_path: Path) -> None:
    model = _model()
    average, updater = Average(model, 0.9), Updater(model, TrainConfig())
    for step in range(3):
        _update(model, updater, _images(seed=step))
        average.update(step)
    kept = dict(average.model.named_buffers())
    assert all(torch.equal(buffer, kept[name]) for name, buffer in model.named_buffers())
    folder = checkpoint.save(tmp_path, Progress(step=3), model, average, updater, keep=2)
    again = _model(seed=1)
    twin, other = Average(again, 0.9), Updater(again, TrainConfig())
    checkpoint.load(folder, again, twin, other)
    assert _changed(again, _state(model)) == set()
    assert _changed(twin.model, _state(average.model)) == set()
    for each, its in ((model, updater), (again, other)):  # and they go on alike
        _update(each, its, _images(seed=9))
    assert _changed(again, _state(model)) == set()


# ------------------------------------------------------------------------------------------------------ failed images


def _batch(good: list[bool], mixing: bool = False) -> Batch:
    count = len(good)
    weights = torch.tensor([float(each) for each in good])
    images = _images(count) * weights[:, None, None, None]
    mixed = None
    if mixing:
        partners = torch.arange(count).roll(-1)
        share = torch.where(weights[partners] > 0, torch.full((count,), 0.7), torch.ones(count))
        mixed = Mixing(partners, share)
    keys = tuple(f"{i}.png" for i in range(count))
    places = torch.arange(count)
    failures = tuple(Failure(key, "broken") for key, each in zip(keys, good, strict=True) if not each)
    return Batch(images, places % 3, weights, 10 + places, 20 + places, keys, failures, mixed)


def test_a_whole_batch_is_handed_through() -> None:
    batch = _batch([True] * 4)
    assert without_failures(batch) is batch


def test_failed_images_are_left_out_with_all_that_belongs_to_them() -> None:
    batch = _batch([True, False, True, True, False], mixing=True)
    left = without_failures(batch)
    assert left.keys == ("0.png", "2.png", "3.png")
    rows = torch.tensor([0, 2, 3])
    for name in ("images", "targets", "weights", "positions", "indices"):
        assert torch.equal(getattr(left, name), getattr(batch, name)[rows]), name
    assert left.failures == batch.failures
    assert torch.equal(left.mixing.share, torch.tensor([1.0, 0.7, 1.0]))  # partners of 0 and 3 failed
    assert left.mixing.partners.tolist() == [0, 2, 2]  # 2 was mixed with 3, which is row 2 now


@pytest.mark.parametrize("mixing", [False, True])
def test_loss_and_statistics_are_those_of_the_good_images_alone(mixing: bool) -> None:
    model, alone = _model(), _model()
    batch = _batch([True, False, True, True, True], mixing)
    left = without_failures(batch)
    loss = model.task.loss(model(left.images), left.targets, left.mixing, train=True)
    rows = batch.weights > 0
    outputs = alone(batch.images[rows])
    own = alone.task.loss(outputs, batch.targets[rows], train=True)
    if mixing:
        partner = alone.task.loss(outputs, batch.targets[batch.mixing.partners[rows]], train=True)
        share = batch.mixing.share[rows]
        own = share * own + (1 - share) * partner
    torch.testing.assert_close(loss, own)
    theirs = dict(alone.named_buffers())
    assert all(torch.equal(buffer, theirs[name]) for name, buffer in model.named_buffers())


def test_one_good_image_is_given_twice_and_counts_once() -> None:
    left = without_failures(_batch([False, True, False], mixing=True))
    assert left.keys == ("1.png", "1.png")
    assert left.weights.tolist() == [1.0, 0.0]
    assert left.mixing.partners.tolist() == [0, 1]
    assert bool(_model()(left.images).isfinite().all())


def test_where_all_failed_nothing_is_left() -> None:
    assert without_failures(_batch([False, False])).keys == ()


def test_an_update_without_images_is_refused_and_changes_nothing() -> None:
    model = _model()
    updater = Updater(model, TrainConfig())
    assert not _update(model, updater, _images())
    before = _state(model)
    updater.begin()
    assert bool(updater.update(1e-3, torch.zeros(()), torch.zeros(()))[1])
    assert _changed(model, before) == set()
