"""Batches of images that stay on the device keep the loader's contract: places alone decide, to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from small_sets import MemorySource, Names, config

from vitrail.contracts import Batch
from vitrail.data.batched.fit import kept_size, megabytes
from vitrail.data.batched.rectangles import crops, erasures
from vitrail.data.batched.store import ImageStore
from vitrail.data.batched.transform import BatchTransform, Places
from vitrail.data.batched.whole import Draws
from vitrail.data.loader import TrainLoader
from vitrail.data.pixels import with_channels
from vitrail.data.preprocess import Preprocessor
from vitrail.errors import BadImage, UsageError

LABELS = ["ab"[i % 2] for i in range(10)]
VARIED = {
    "augment__randaugment_ops": 2, "augment__randaugment_spread": 3.0, "augment__erase": 0.5, "augment__three": True,
    "augment__jitter": 0.3,
}  # fmt: skip
NOTHING = {"augment__crop_scale": (1.0, 1.0), "augment__flip": False}


class Varied(MemorySource):
    """Images of different sizes."""

    def read(self, index: int, channels: int) -> Any:
        if index in self.broken:
            raise BadImage("broken on purpose")
        self.decoded.append(index)
        rng = np.random.default_rng(index)
        pixels = rng.integers(0, 256, (9 + 3 * index, 12 + (7 * index) % 20, 3), dtype=np.uint8)
        return with_channels(pixels, channels)


def train(source: Any, first: int, last: int, indices: Sequence[int] | None = None, **fields: Any) -> list[Batch]:
    chosen = range(len(source.items)) if indices is None else indices
    settled = config(**{"data__batched": True, **fields})
    with TrainLoader(source, chosen, Names(LABELS), settled, first, last) as loader:
        return list(loader)


def images(batches: list[Batch]) -> torch.Tensor:
    return torch.cat([batch.images for batch in batches])


def draws(count: int, seed: int = 0) -> Draws:
    return Draws(seed, np.zeros(count, np.int64), np.arange(count))


@pytest.mark.parametrize("repeats", [1, 3])
def test_all_but_the_pixels_is_the_plain_loaders(repeats: int) -> None:
    source = Varied(LABELS, broken=[3])
    fields = {"augment__repeats": repeats, "data_seed": 4}
    ours = train(source, 8, 48, [1, 3, 4, 5, 9, 7], **fields)
    plain = train(source, 8, 48, [1, 3, 4, 5, 9, 7], data__batched=False, **fields)
    for mine, other in zip(ours, plain, strict=True):
        for name in ("targets", "weights", "positions", "indices"):
            assert torch.equal(getattr(mine, name), getattr(other, name)), name
            assert getattr(mine, name).dtype == getattr(other, name).dtype
        assert (mine.keys, mine.failures) == (other.keys, other.failures)
        assert mine.images.shape == other.images.shape
        assert mine.images.dtype == torch.float32
        assert not mine.images[mine.weights == 0].any()
    assert sum(len(batch.failures) for batch in ours) > 0


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_neither_batch_nor_start_nor_process_changes_a_bit(channels: int) -> None:
    source = Varied(LABELS, broken=[3])
    fields = {**VARIED, "data__channels": channels}
    whole = train(source, 0, 48, train__batch_size=16, **fields)
    assert torch.equal(images(train(source, 0, 48, train__batch_size=16, train__accumulate=4, **fields)), images(whole))
    assert torch.equal(images(train(source, 0, 48, train__batch_size=2, **fields)), images(whole))
    assert torch.equal(images(train(source, 32, 48, train__batch_size=16, **fields)), images(whole)[32:])
    assert bool(torch.isfinite(images(whole)).all())
    for seed in ({"data_seed": 1}, {"seed": 1}):
        again = images(train(source, 0, 48, train__batch_size=16, **{**fields, **seed}))
        assert torch.equal(again, images(whole)) == ("seed" in seed)


def test_worker_processes_only_read() -> None:
    source = Varied(LABELS, broken=[3])
    alone, helped = train(source, 0, 16, **VARIED), train(source, 0, 16, data__workers=2, **VARIED)
    assert torch.equal(images(helped), images(alone))
    assert [batch.failures for batch in helped] == [batch.failures for batch in alone]


def test_images_are_decoded_once_and_a_store_can_outlive_its_loader() -> None:
    source = Varied(LABELS)
    settled = config(data__batched=True, **VARIED)
    told: list[tuple[int, int]] = []
    store = ImageStore(source, range(10), Names(LABELS), settled, "cpu", lambda done, of: told.append((done, of)))
    once = [TrainLoader(source, range(10), Names(LABELS), settled, first, first + 40, store=store) for first in (0, 40)]
    batches = [batch for loader in once for batch in loader]
    assert sorted(source.decoded) == list(range(10))
    assert torch.equal(images(batches), images(train(source, 0, 80, **VARIED)))
    assert told == [(n + 1, 10) for n in range(10)]


@pytest.mark.parametrize("resize", ["crop", "squash", "letterbox"])
def test_without_augmentation_it_is_the_evaluations_preprocessing(resize: str) -> None:
    source = Varied(LABELS)
    fields = {**NOTHING, "preprocess__resize": resize, "preprocess__mean": (0.3, 0.5, 0.6)}
    (batch,) = train(source, 0, 4, **fields)
    plain = Preprocessor.from_config(config(**fields))
    for row, index in enumerate(batch.indices.tolist()):
        assert np.array_equal(batch.images[row].numpy(), plain(source.read(index, 3)))
    (turned,) = train(source, 0, 4, **{**fields, "augment__flip": True})
    mirrored = [torch.equal(one, other.flip(2)) for one, other in zip(turned.images, batch.images, strict=True)]
    upright = [torch.equal(one, other) for one, other in zip(turned.images, batch.images, strict=True)]
    assert all(one != other for one, other in zip(mirrored, upright, strict=True))


def test_crops_take_the_share_and_the_shape_that_are_asked_for() -> None:
    sizes = np.tile([[400, 300]], (4000, 1))
    top, left, tall, wide = crops(draws(4000), sizes, (0.25, 0.75), (0.5, 2.0)).T
    shares = tall * wide / (400 * 300)
    assert 0.245 < shares.min() < 0.27
    assert 0.73 < shares.max() < 0.755
    assert abs(shares.mean() - 0.48) < 0.02  # wide ones of large area do not fit, so a little under a half
    assert 0.49 < (wide / tall).min() < 0.53
    assert ((top >= 0) & (left >= 0) & (top + tall <= 400) & (left + wide <= 300)).all()
    room = 400 - tall > 100
    assert abs((top / np.maximum(400 - tall, 1))[room].mean() - 0.5) < 0.02  # anywhere it fits
    odd = crops(draws(20), np.tile([[10, 100]], (20, 1)), (1.0, 1.0), (0.75, 4 / 3))  # nothing fits: the middle
    assert np.array_equal(odd, np.tile([[0, 43, 10, 13]], (20, 1)))


def test_what_is_erased_is_torchvisions_share_and_shape() -> None:
    top, left, tall, wide = erasures(draws(8000), (64, 64), 0.25).T
    happens = tall * wide > 0
    assert 0.23 < happens.mean() < 0.27
    shares = (tall * wide)[happens] / 64**2
    assert 0.015 < shares.min() < 0.03
    assert 0.29 < shares.max() < 0.345
    assert abs(shares.mean() - 0.17) < 0.01
    assert ((top + tall <= 64) & (left + wide <= 64)).all()


def test_erased_pixels_are_the_mean() -> None:
    settled = config(**NOTHING, augment__erase=1.0, model__image_size=16, preprocess__mean=(0.3, 0.5, 0.7))
    vary = BatchTransform(settled, "cpu")
    white = torch.full((8, 3, 16, 16), 255, dtype=torch.uint8)
    drawn = draws(8)
    places = vary.places(drawn, np.full((8, 2), 16))
    values = vary.images(white, places, drawn)
    erased = (values == 0).all(dim=1)
    boxes = erasures(drawn, (16, 16), 1.0)
    assert erased.sum(dim=(1, 2)).tolist() == (boxes[:, 2] * boxes[:, 3]).tolist()
    assert int(erased.sum()) > 0


def test_half_are_mirrored() -> None:
    places = BatchTransform(config(), "cpu").places(draws(2000), np.full((2000, 2), 10))
    assert 900 < places.mirrored.sum() < 1100
    none = BatchTransform(config(augment__flip=False), "cpu").places(draws(200), np.full((200, 2), 10))
    assert not none.mirrored.any()


def test_large_images_are_kept_as_large_as_the_smallest_crop_needs() -> None:
    settled = config(model__image_size=32, augment__crop_scale=(0.25, 1.0), augment__crop_ratio=(1.0, 1.0))
    assert kept_size(640, 480, settled) == (85, 64)  # a quarter of 64 x 64 is 32 x 32
    assert kept_size(50, 480, settled) == (50, 480)  # never enlarged
    assert kept_size(640, 480, config(**NOTHING)) == (8, 8)
    source = MemorySource(LABELS, size=300)
    kept = ImageStore(source, range(4), Names(LABELS), settled, "cpu")
    assert kept.pixels.shape == (4, 3, 64, 64)
    assert megabytes([kept_size(300, 302, settled)], 4, 3) * 2**20 == kept.pixels.numel()


def test_what_does_not_fit_or_cannot_be_is_refused_in_words() -> None:
    source = MemorySource(LABELS, size=400)
    with pytest.raises(UsageError, match=r"keeps all 10 training images.*take 5 MB.*data.cache_mb=1"):
        train(source, 0, 4, data__cache_mb=1, model__image_size=256)
    with pytest.raises(UsageError, match=r"resize=tile.*set data.batched=false"):
        train(source, 0, 4, preprocess__resize="tile")


# ----------------------------------------------------------------------------------- targets with a value per pixel


class Planes:
    """The brightness of every pixel as its target, and its negative: whatever happens to the image shows in it."""

    dense = True

    def __init__(self, source: Varied, kind: type) -> None:
        self.source, self.kind = source, kind

    def encode(self, target: Any) -> np.ndarray:
        index = int(str(target))
        if index == 2:
            raise BadImage("its mask is broken on purpose")
        values = self.source.read(index, 1)[..., 0].astype(self.kind)
        values = values[:-1] if index == 3 else values
        return np.stack([values, -values])

    def blank(self, size: tuple[int, int]) -> np.ndarray:
        return np.full((2, *size), -999, self.kind)

    def collate(self, encoded: Sequence[Any]) -> torch.Tensor:
        return torch.from_numpy(np.stack(encoded))


@pytest.mark.parametrize("kind", [np.int64, np.float32])
@pytest.mark.parametrize("crop", [(1.0, 1.0), (0.3, 1.0)])
def test_a_target_per_pixel_follows_its_image_and_a_broken_one_fails_its_sample(kind: type, crop: Any) -> None:
    source = Varied([str(i) for i in range(6)])
    fields = {"augment__crop_scale": crop, "data__channels": 1, "preprocess__resize": "letterbox"}
    settled = config(
        **fields, data__batched=True, model__image_size=24, preprocess__mean=(0.0,), preprocess__std=(1.0,)
    )
    with TrainLoader(source, range(6), Planes(source, kind), settled, 0, 24) as loader:
        batches = list(loader)
    told = {failure.key: failure.reason for batch in batches for failure in batch.failures}
    assert told == {
        source.items[2].key: "its mask is broken on purpose",
        source.items[3].key: "its target: 13 x 17 pixels, the image 13 x 18",
    }
    for batch in batches:
        assert batch.targets.shape == (4, 2, 24, 24)
        assert batch.targets.dtype == torch.from_numpy(np.zeros(1, kind)).dtype
        for image, (values, negative), weight in zip(batch.images, batch.targets, batch.weights, strict=True):
            if not weight:
                assert bool((values == -999).all())
                assert not image.any()
                continue
            known = values != -999
            assert torch.equal(negative[known], -values[known])
            # a value is that of a pixel nearby: noise, smoothed in the image alone, but moved alike
            both = torch.stack([image[0][known] * 255, values[known].float()])
            assert float(torch.corrcoef(both)[0, 1]) > 0.5


def test_values_are_those_under_the_pixels() -> None:
    vary = BatchTransform(config(model__image_size=4), "cpu")
    values = torch.arange(64.0).view(1, 1, 8, 8)
    found = vary.values(values, Places(np.array([[2, 0, 4, 8]]), np.array([True])))
    assert found[0, 0].tolist() == [[8.0 * row + column for column in (7, 5, 3, 1)] for row in range(2, 6)]
