"""Colours change as the papers say, by torchvision's functions, and as a pure function of the key."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_sets import config
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from vitrail.data.augment import TrainTransform
from vitrail.data.colour_changes import BLUR, STRONGEST, Jitter, RandAugment, ThreeAugment
from vitrail.data.preprocess import Preprocessor
from vitrail.seeding import derive_seed

RNG = np.random.default_rng(0)
SMOOTH = np.asarray(Image.fromarray(RNG.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize((48, 48)))
PICTURE = Image.fromarray(SMOOTH)
WHOLE = {"augment__crop_scale": (1.0, 1.0), "augment__flip": False, "model__image_size": 48}


def transform(**fields: Any) -> TrainTransform:
    return TrainTransform(config(**{**WHOLE, **fields}))


def _tensor(picture: Image.Image) -> torch.Tensor:
    return F.pil_to_tensor(picture)


def _drawn(change: Any, seed: int, picture: Image.Image = PICTURE) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _tensor(change(picture))


def _kind(drawn: torch.Tensor) -> str:
    """Which of the three it is, by torchvision's own functions on tensors."""
    plain = _tensor(PICTURE)
    if (drawn.int() - F.rgb_to_grayscale(plain, 3).int()).abs().max() <= 1:
        return "grey"
    if torch.equal(drawn, F.solarize(plain, 128)):
        return "solarised"
    least, most = (sigma * 48 / 224 for sigma in BLUR)
    sigmas = np.linspace(least, most, 60)
    off = min(float((drawn.float() - F.gaussian_blur(plain.float(), [9, 9], [s, s])).abs().mean()) for s in sigmas)
    return "blurred" if off < 0.5 else f"neither of the three: {off}"


def test_one_of_three_is_drawn_each_as_often() -> None:
    counts = Counter(_kind(_drawn(ThreeAugment(48), seed)) for seed in range(120))
    assert set(counts) == {"grey", "solarised", "blurred"}
    assert min(counts.values()) > 22


def test_the_blur_is_in_proportion_to_the_image_and_the_published_one_at_224() -> None:
    def spread(side: int) -> float:
        """The largest standard deviation, in pixels, to which any of many draws spreads a white line."""
        line = np.zeros((side, side, 3), np.uint8)
        line[:, side // 2] = 255
        widest = 0.0
        for seed in range(60):
            row = _drawn(ThreeAugment(side), seed, Image.fromarray(line))[0, side // 2].double()
            if row[side // 2] not in (0, 255):
                share = row / row.sum()
                places = torch.arange(side) - side / 2
                widest = max(widest, float((share * places**2).sum() - (share * places).sum() ** 2) ** 0.5)
        return widest

    assert 1.6 < spread(224) < 2.2
    assert spread(224) / 4 == pytest.approx(spread(56), abs=0.15)


@pytest.mark.parametrize("strength", [0.3, 0.4])
def test_jitter_is_torchvisions_under_the_same_seed(strength: float) -> None:
    for seed in range(4):
        assert torch.equal(_drawn(Jitter(strength, True), seed), _drawn(v2.ColorJitter(*[strength] * 3), seed))


def test_all_of_them_are_drawn_one_after_another_from_the_key() -> None:
    vary = transform(augment__three=True, augment__jitter=0.3, augment__randaugment_ops=1)
    chain = v2.Compose(
        [
            v2.RandAugment(1, 9, interpolation=v2.InterpolationMode.BILINEAR, fill=[128] * 3),
            ThreeAugment(48),
            v2.ColorJitter(0.3, 0.3, 0.3),
        ]
    )
    normalise = Preprocessor(size=(48, 48)).normalise
    for number in range(8):
        expected = _drawn(chain, derive_seed("augment", 0, 0, number)).permute(1, 2, 0).numpy()
        assert torch.equal(vary(SMOOTH, (0, 0, number)), torch.from_numpy(normalise(expected)))
        assert torch.equal(vary(SMOOTH, (0, 0, number)), vary(SMOOTH, (0, 0, number)))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_they_take_every_number_of_channels(channels: int) -> None:
    vary = transform(data__channels=channels, augment__three=True, augment__jitter=0.3, augment__randaugment_spread=3.0,
                     augment__randaugment_ops=2)  # fmt: skip
    pixels = np.dstack([SMOOTH, SMOOTH[..., 0]])[..., :channels]
    seen = [vary(pixels, (0, 0, number)) for number in range(20)]
    assert all(image.shape == (channels, 48, 48) for image in seen)
    assert not torch.equal(seen[0], seen[1])


def test_an_alpha_is_blurred_with_its_colours_and_has_no_light_of_its_own() -> None:
    grey = np.repeat(SMOOTH[..., :1], 4, axis=2)
    for number in range(12):
        varied = transform(data__channels=4, augment__three=True)(grey, (0, 0, number))
        assert torch.equal(varied[3], varied[0])
    lit = transform(data__channels=4, augment__jitter=0.4)(grey, (0, 0, 1))
    plain = transform(data__channels=4)(grey, (0, 0, 1))
    assert torch.equal(lit[3], plain[3])
    assert not torch.equal(lit[0], plain[0])


# ------------------------------------------------------------------------------------------ the spread of RandAugment


def test_each_operation_is_torchvisions_at_a_magnitude_of_its_own() -> None:
    ours = RandAugment(2, 27, 1.5, [128] * 3)

    def theirs(picture: Image.Image) -> Image.Image:
        for _ in range(2):
            level = min(30, max(0, round(27 + 1.5 * float(torch.randn(())))))
            bilinear = v2.InterpolationMode.BILINEAR
            picture = v2.RandAugment(1, level, interpolation=bilinear, fill=[128] * 3)(picture)
        return picture

    for seed in range(20):
        assert torch.equal(_drawn(ours, seed), _drawn(theirs, seed))


@pytest.mark.parametrize(("magnitude", "spread"), [(27, 1.5), (0, 4.0), (15, 3.0)])
def test_magnitudes_are_drawn_around_the_stated_one(magnitude: int, spread: float) -> None:
    augment = RandAugment(1, magnitude, spread, [0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = np.array([augment._level() for _ in range(4000)])
    expected = np.clip(np.rint(RNG.normal(magnitude, spread, 400_000)), 0, STRONGEST)
    assert drawn.mean() == pytest.approx(expected.mean(), abs=0.2)
    assert drawn.std() == pytest.approx(expected.std(), abs=0.15)
    assert 0 <= drawn.min() <= drawn.max() <= STRONGEST
