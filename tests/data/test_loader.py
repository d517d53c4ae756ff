"""Batches depend on positions alone: not on workers, not on where one starts, not on what fails beside them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sets import MemorySource, Names, config, tree

from vitrail.contracts import Batch, Hints, Item, Pixels
from vitrail.data.augment import TrainTransform
from vitrail.data.cache import CachedSource
from vitrail.data.items import Items
from vitrail.data.loader import EvalLoader, TrainLoader
from vitrail.data.order import epoch_order
from vitrail.data.preprocess import Preprocessor
from vitrail.data.sources import FolderSource
from vitrail.errors import BadImage

LABELS = ["ab"[i % 2] for i in range(10)]
VARIED = {"augment__randaugment_ops": 2, "augment__erase": 0.5}


def train(source: Any, first: int, last: int, indices: Sequence[int] | None = None, **fields: Any) -> list[Batch]:
    chosen = range(len(source.items)) if indices is None else indices
    with TrainLoader(source, chosen, Names(LABELS), config(**fields), first, last) as loader:
        return list(loader)


def assert_same(ours: Iterable[Batch], theirs: Iterable[Batch]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        for name in ("images", "targets", "weights", "positions", "indices"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        assert (one.keys, one.failures) == (other.keys, other.failures)


def test_the_order_is_a_permutation_that_seed_and_epoch_decide() -> None:
    assert sorted(epoch_order(0, 3, 50)) == list(range(50))
    assert np.array_equal(epoch_order(0, 3, 50), epoch_order(0, 3, 50))
    assert not np.array_equal(epoch_order(0, 3, 50), epoch_order(0, 4, 50))
    assert not np.array_equal(epoch_order(0, 3, 50), epoch_order(1, 3, 50))


@given(length=st.integers(1, 30), first=st.integers(0, 40), batches=st.integers(0, 12))
@settings(deadline=None, max_examples=30)
def test_positions_are_epochs_laid_end_to_end(length: int, first: int, batches: int) -> None:
    source = MemorySource(["a"] * 60)
    indices = list(range(7, 7 + length))
    endless = np.concatenate([epoch_order(0, epoch, length) + 7 for epoch in range(100)])
    got = train(source, first, first + 4 * batches, indices)
    assert [len(batch.keys) for batch in got] == [4] * batches
    seen = [int(i) for batch in got for i in batch.indices]
    assert seen == list(endless[first : first + 4 * batches])
    assert [int(p) for batch in got for p in batch.positions] == list(range(first, first + 4 * batches))


@given(repeats=st.integers(1, 5), length=st.integers(1, 30), first=st.integers(0, 40), batches=st.integers(0, 12))
@settings(deadline=None, max_examples=30)
def test_repeated_images_stand_in_a_row_and_an_epoch_is_as_long_as_without(
    repeats: int, length: int, first: int, batches: int
) -> None:
    source, indices = MemorySource(["a"] * 60), list(range(7, 7 + length))
    once = np.concatenate([epoch_order(0, epoch, length) + 7 for epoch in range(100)])
    got = train(source, first, first + 4 * batches, indices, augment__repeats=repeats)
    seen = [int(i) for batch in got for i in batch.indices]
    assert seen == list(np.repeat(once, repeats)[first : first + 4 * batches])


def test_every_copy_of_a_repeated_image_has_an_augmentation_of_its_own() -> None:
    source = MemorySource(LABELS)
    (batch,) = train(source, 6, 12, **VARIED, train__batch_size=6, augment__repeats=3, data_seed=5)
    assert len(set(batch.keys)) == 2
    assert not torch.equal(batch.images[0], batch.images[1])
    vary = TrainTransform(config(**VARIED, data_seed=5))
    for row, position in enumerate(range(6, 12)):
        index = int(batch.indices[row])
        assert torch.equal(batch.images[row], vary(source.read(index, 3), (5, position // 10, position % 10)))


def test_a_sample_is_the_transform_of_its_key() -> None:
    source, settled = MemorySource(LABELS), config(**VARIED, data_seed=5)
    (batch,) = train(source, 24, 28, **VARIED, data_seed=5)
    vary = TrainTransform(settled)
    for row, position in enumerate(range(24, 28)):
        index = int(epoch_order(5, position // 10, 10)[position % 10])
        assert torch.equal(batch.images[row], vary(source.read(index, 3), (5, position // 10, position % 10)))
        assert int(batch.targets[row]) == index % 2
        assert batch.keys[row] == source.items[index].key


def test_the_number_of_workers_changes_nothing() -> None:
    """Promise 4."""
    source = MemorySource(LABELS, broken=[3])
    alone = train(source, 0, 48, **VARIED)
    assert sum(len(batch.failures) for batch in alone) > 3
    for workers in (1, 3):
        assert_same(train(source, 0, 48, data__workers=workers, **VARIED), alone)


def test_micro_batches_are_the_batch_cut() -> None:
    source = MemorySource(LABELS)
    (whole,) = train(source, 16, 24, train__batch_size=8)
    halves = train(source, 16, 24, train__batch_size=8, train__accumulate=2)
    assert torch.equal(torch.cat([half.images for half in halves]), whole.images)


class Counting:
    """A million samples that cost nothing until they are read."""

    name = location = "million"
    hints = Hints()
    target_names: tuple[str, ...] = ()

    def __init__(self, length: int) -> None:
        self.items = Lazy(length)
        self.decoded: list[int] = []

    def read(self, index: int, channels: int) -> Pixels:
        self.decoded.append(index)
        return np.zeros((8, 8, channels), np.uint8)

    def content(self, index: int) -> bytes:
        return b""


class Lazy(Sequence[Item]):
    """Items made when asked for."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        return Item(f"{index}", "a")


def test_starting_far_in_decodes_nothing_that_was_skipped() -> None:
    """Promise 2, at 90 % of a million samples."""
    source = Counting(10**6)
    started = time.perf_counter()
    batches = train(source, 900_000, 900_012)
    assert time.perf_counter() - started < 5  # no promise on speed: only that nothing walks there
    assert source.decoded == list(epoch_order(0, 0, 10**6)[900_000:900_012])
    assert [int(p) for batch in batches for p in batch.positions] == list(range(900_000, 900_012))


@pytest.mark.parametrize("repeats", [1, 3])
def test_starting_anywhere_gives_the_same_batches_as_passing_by(repeats: int) -> None:
    source, varied = MemorySource(LABELS), {**VARIED, "augment__repeats": repeats}
    assert_same(train(source, 12, 40, **varied), train(source, 0, 40, **varied)[3:])


def test_a_sample_that_fails_keeps_its_place_and_counts_for_nothing() -> None:
    source = MemorySource(LABELS, broken=[2, 5])
    batches, sound = train(source, 0, 20), train(MemorySource(LABELS), 0, 20)
    assert [f.key for batch in batches for f in batch.failures].count("0002") == 2
    assert batches[0].failures == () or batches[0].failures[0].reason == "broken on purpose"
    for batch, reference in zip(batches, sound, strict=True):
        failed = torch.tensor([int(i) in (2, 5) for i in batch.indices])
        assert torch.equal(batch.weights, (~failed).float())
        assert not batch.images[failed].any()
        assert torch.equal(batch.images[~failed], reference.images[~failed])  # no sample takes another's place
        assert torch.equal(batch.targets, reference.targets)


def test_a_file_that_vanished_after_the_audit_is_named(tmp_path: Path) -> None:
    source = FolderSource(tree(tmp_path, {"a": 3, "b": 3}))
    (tmp_path / "b/1.png").unlink()
    evaluated = list(EvalLoader(source, range(6), Names("ab"), Preprocessor(size=(8, 8)), 4))
    (failure,) = [failure for batch in evaluated for failure in batch.failures]
    assert (failure.key, failure.reason) == ("b/1.png", "no such file")
    assert evaluated[1].weights.tolist() == [0, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_goes_through_the_split_in_order(workers: int) -> None:
    source, preprocessor = MemorySource(LABELS), Preprocessor(size=(8, 8))
    indices = [9, 0, 4, 4, 7]
    with EvalLoader(source, indices, Names(LABELS), preprocessor, 2, workers) as loader:
        batches = list(loader)
        assert len(loader) == len(batches) == 3
        assert [int(i) for batch in batches for i in batch.indices] == indices
        assert [int(p) for batch in batches for p in batch.positions] == [0, 1, 2, 3, 4]
        assert [int(t) for batch in batches for t in batch.targets] == [i % 2 for i in indices]
        assert np.array_equal(batches[0].images[1].numpy(), preprocessor(source.read(0, 3)))
        next(iter(loader))  # a pass that is left half-way
        assert_same(loader, batches)


def test_without_targets_there_are_none() -> None:
    (batch,) = EvalLoader(MemorySource([None] * 3), range(3), None, Preprocessor(size=(8, 8)), 4)
    assert batch.targets.shape == (3, 0)


def test_loading_leaves_the_callers_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    train(MemorySource(LABELS), 0, 8, **VARIED)
    assert torch.equal(torch.rand(2), expected)


def test_images_that_fit_in_memory_are_decoded_once() -> None:
    source, plain = MemorySource(LABELS), MemorySource(LABELS)
    kept = train(source, 0, 40, **VARIED)
    assert sorted(source.decoded) == list(range(10))
    assert_same(train(plain, 0, 40, data__cache_mb=0, **VARIED), kept)
    assert len(plain.decoded) == 40


def test_past_the_limit_nothing_is_kept() -> None:
    source = MemorySource(LABELS, size=400)  # 0.46 MB each
    cached = CachedSource(source, 2)
    for _ in range(2):
        for index in range(10):
            cached.read(index, 3)
    assert len(source.decoded) == 20
    assert not cached._kept


def test_what_is_kept_cannot_be_changed_and_the_sources_own_can() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    source = MemorySource(LABELS)
    source.read = lambda index, channels: pixels  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="read-only"):
        CachedSource(source, 1).read(0, 3)[0] = 1
    pixels[0] = 1


# ----------------------------------------------------------------------------------- targets with a value per pixel


class Planes:
    """The brightness of every pixel as its target: whatever happens to the image shows in it."""

    dense = True

    def __init__(self, source: MemorySource) -> None:
        self.source = source

    def encode(self, target: Any) -> np.ndarray:
        index = int(str(target))
        if index == 2:
            raise BadImage("its mask is broken on purpose")
        values = self.source.read(index, 1)[..., 0].astype(np.float32)
        return values[:-1] if index == 3 else values

    def blank(self, size: tuple[int, int]) -> np.ndarray:
        return np.full(size, -1.0, np.float32)

    def collate(self, encoded: Sequence[Any]) -> torch.Tensor:
        return torch.from_numpy(np.stack(encoded))


def _dense_source() -> MemorySource:
    return MemorySource([str(i) for i in range(6)])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_target_per_pixel_follows_its_image_and_a_broken_one_fails_its_sample(workers: int) -> None:
    source = _dense_source()
    plain = {"augment__crop_scale": (1.0, 1.0), "augment__flip": True, "preprocess__mean": (0.0,), "data__channels": 1}
    settings = config(**plain, preprocess__std=(1.0,), preprocess__resize="crop", data__workers=workers)
    with TrainLoader(source, range(6), Planes(source), settings, 0, 12) as loader:
        batches = list(loader)
    told = {failure.key: failure.reason for batch in batches for failure in batch.failures}
    assert told == {
        source.items[2].key: "its mask is broken on purpose",
        source.items[3].key: "its target: 10 x 7 pixels, the image 10 x 8",
    }
    for batch in batches:
        assert batch.targets.shape == (4, 8, 8)
        good = batch.weights > 0
        torch.testing.assert_close(batch.images[good, 0] * 255, batch.targets[good], atol=0.6, rtol=0)
        assert (batch.targets[~good] == -1).all()


def test_large_images_are_evaluated_at_their_own_size() -> None:
    source = _dense_source()
    preprocessor = Preprocessor(size=(4, 4), resize="tile", mean=(0.0,), std=(1.0,), channels=1)
    with EvalLoader(source, [0, 1, 2], Planes(source), preprocessor, batch_size=8) as loader:
        first, second, failed = list(loader)
    assert first.images.shape == (1, 1, 8, 10)
    torch.testing.assert_close(second.images[:, 0] * 255, second.targets, atol=0.6, rtol=0)
    assert failed.weights.tolist() == [0.0]


def test_weights_of_samples_reach_training_and_not_evaluation() -> None:
    source = MemorySource(LABELS, broken=[2])
    source.items = Items([f"{i:04d}" for i in range(10)], LABELS, weights=[0.5 * i for i in range(10)])
    weights = {int(i): float(w) for b in train(source, 0, 12) for i, w in zip(b.indices, b.weights, strict=True)}
    assert weights == {i: 0.0 if i == 2 else 0.5 * i for i in range(10)}
    with EvalLoader(source, range(10), Names(LABELS), Preprocessor.from_config(config()), 4) as loader:
        assert torch.cat([batch.weights for batch in loader]).tolist() == [1, 1, 0, 1, 1, 1, 1, 1, 1, 1]
