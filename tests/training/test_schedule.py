"""Steps, epochs and the rate as functions of the step."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitrail.settings import TrainConfig
from vitrail.training.schedule import Schedule


@given(images=st.integers(1, 500), batch=st.integers(1, 200), epochs=st.integers(1, 12))
def test_steps_cover_every_epoch_and_no_step_is_wasted(images: int, batch: int, epochs: int) -> None:
    schedule = Schedule(images, TrainConfig(epochs=epochs, batch_size=batch))
    assert schedule.steps * batch >= images * epochs > (schedule.steps - 1) * batch
    assert schedule.epochs_done(schedule.steps) == epochs
    assert schedule.ends_epoch(schedule.steps)
    assert not schedule.ends_epoch(0)


@given(images=st.integers(1, 500), batch=st.integers(1, 64), epochs=st.integers(1, 12))
def test_every_epoch_that_fits_a_step_ends_once(images: int, batch: int, epochs: int) -> None:
    schedule = Schedule(max(images, batch), TrainConfig(epochs=epochs, batch_size=batch))
    ends = [schedule.epochs_done(s) for s in range(1, schedule.steps + 1) if schedule.ends_epoch(s)]
    assert ends == list(range(1, epochs + 1))


@given(images=st.integers(1, 500), batch=st.integers(1, 64), epochs=st.floats(0.01, 12, allow_subnormal=False))
def test_a_cut_epoch_ends_with_the_last_step(images: int, batch: int, epochs: float) -> None:
    schedule = Schedule(max(images, batch), TrainConfig(epochs=epochs, batch_size=batch))
    ends = [schedule.epochs_done(s) for s in range(1, schedule.steps + 1) if schedule.ends_epoch(s)]
    whole = [e for e in range(1, 13) if -(-e * schedule.images // batch) < schedule.steps]
    assert ends == [*whole, epochs]
    assert schedule.ends_epoch(schedule.steps)


def test_the_rate_comes_down_within_a_cut_epoch() -> None:
    schedule = Schedule(100, TrainConfig(epochs=0.5, batch_size=10, lr=0.1, min_lr=0.0, warmup_epochs=0))
    assert [schedule.lr(s) for s in range(6)] == pytest.approx(
        [0.05 * (1 + math.cos(math.pi * s / 5)) for s in range(6)]
    )


def test_rate_is_warm_up_then_torch_cosine() -> None:
    config = TrainConfig(epochs=10, batch_size=10, lr=0.1, min_lr=0.01, warmup_epochs=2)
    schedule = Schedule(100, config)
    warm = [schedule.lr(s) for s in range(20)]
    assert warm == pytest.approx([0.1 * (s + 1) / 21 for s in range(20)])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=80, eta_min=0.01)
    for step in range(20, 100):
        assert schedule.lr(step) == pytest.approx(cosine.get_last_lr()[0])
        optimizer.step()
        cosine.step()


def test_a_floor_above_the_rate_is_lowered_to_it() -> None:
    schedule = Schedule(100, TrainConfig(epochs=2, batch_size=10, lr=1e-6, min_lr=1e-5, warmup_epochs=0))
    assert all(schedule.lr(s) == pytest.approx(1e-6) for s in range(schedule.steps))


@pytest.mark.parametrize(("epochs", "off", "mixed"), [(4, 0, 10), (4, 1, 8), (4, 1.5, 7), (4, 9, 0), (2.5, 1, 4)])
def test_images_are_mixed_until_so_many_epochs_are_left(epochs: float, off: float, mixed: int) -> None:
    schedule = Schedule(40, TrainConfig(epochs=epochs, batch_size=16))
    assert [step for step in range(schedule.steps) if schedule.mixes(step, off)] == list(range(mixed))
