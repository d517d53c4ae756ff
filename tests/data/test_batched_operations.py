"""What is done to a batch's pixels is what Pillow and torchvision do to one image's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from vitrail.data.batched import operations, strengths
from vitrail.data.batched.layers import Layer
from vitrail.data.batched.randaugment import SPACE, RandAugment, settle
from vitrail.data.batched.resample import resample
from vitrail.data.batched.whole import Draws
from vitrail.data.preprocess import resample as resample_one

HEIGHT, WIDTH = 24, 31
FILL = (100, 120, 140)
REFERENCE = v2.RandAugment(interpolation=v2.InterpolationMode.BILINEAR)


def photo(seed: int, channels: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(height, width, channels) uint8: smooth, of many values, over the whole range and beyond."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(-40, 295, (1, channels, 5, 6)))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0] + torch.from_numpy(
        rng.normal(0, 4, (channels, height, width))
    )
    return fine.clamp(0, 255).to(torch.uint8).numpy().transpose(1, 2, 0)


def stacked(images: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2)).float()


def picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


def pixels_of(shown: Image.Image) -> np.ndarray:
    return np.atleast_3d(np.asarray(shown)).transpose(2, 0, 1).astype(int)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", SPACE)
def test_an_operation_is_torchvisions_at_every_magnitude_and_sign(name: str, channels: int) -> None:
    """Against what torchvision does of a Pillow image; all magnitudes in one batch, each with an image of its own."""
    at, signed = REFERENCE._AUGMENTATION_SPACE[name]
    cases = [(level, other) for level in range(31) for other in ((False, True) if signed else (False,))]
    images = [photo(number, channels) for number in range(len(cases))]
    levels, others = np.array([float(level) for level, _ in cases]), np.array([other for _, other in cases])
    settings = torch.from_numpy(settle(SPACE[name], levels, others, (HEIGHT, WIDTH)))
    fill = FILL[:channels]
    ours = SPACE[name].operation(stacked(images), settings, torch.tensor(fill).float()).numpy()
    assert np.array_equal(ours, np.clip(np.round(ours), 0, 255))
    apart = []
    for (level, other), image, mine in zip(cases, images, ours, strict=True):
        magnitudes = at(31, HEIGHT, WIDTH)
        magnitude = 0.0 if magnitudes is None else float(magnitudes[level]) * (-1 if other else 1)
        shown = REFERENCE._apply_image_or_video_transform(
            picture(image), name, magnitude, v2.InterpolationMode.BILINEAR, {Image.Image: list(fill)}
        )
        away = np.abs(pixels_of(shown) - mine)
        if name == "Solarize":  # whether a pixel of just the least value turns is a matter of the last digit
            away[np.abs(image.transpose(2, 0, 1) - 255 * magnitude) < 1e-3] = 0
        apart.append(away)
    differences = np.stack(apart)
    if name.startswith("Shear"):  # whether a place on the very edge is inside of the image, likewise
        assert (differences > 1).mean() < 1e-3
    else:
        assert differences.max() <= 1
    assert differences.mean() < 0.1


@pytest.mark.parametrize("name", ["Rotate", "Brightness", "Color", "Contrast", "Sharpness", "AutoContrast", "Equalize"])
def test_an_operation_is_torchvisions_of_tensors_too(name: str) -> None:
    image = photo(3, 3)
    magnitude = float(REFERENCE._AUGMENTATION_SPACE[name][0](31, HEIGHT, WIDTH)[17]) if name[0] in "RBCS" else 0.0
    settings = torch.from_numpy(settle(SPACE[name], np.array([17.0]), np.array([False]), (HEIGHT, WIDTH)))
    ours = SPACE[name].operation(stacked([image]), settings, torch.tensor(FILL).float())[0].numpy()
    shown = REFERENCE._apply_image_or_video_transform(
        functional.to_image(image), name, magnitude, v2.InterpolationMode.BILINEAR, {torch.Tensor: list(FILL)}
    )
    away = np.abs(shown.numpy().astype(int) - ours)
    inside = away[:, HEIGHT // 3 : -HEIGHT // 3, WIDTH // 3 : -WIDTH // 3] if name == "Rotate" else away
    assert inside.max() <= 1  # edges of what is rotated are blended there, and not in Pillow


def test_the_three_of_three_augment_are_pillows() -> None:
    image = photo(1, 3, 40, 40)
    settings = strengths.gaussian(np.array([1.2, 0.2]), 2.0)
    blurred = operations.blur(stacked([image, image]), torch.from_numpy(settings), torch.zeros(3)).numpy()
    assert settings[:, 0].tolist() != settings[::-1, 0].tolist()
    for mine, deviation in zip(blurred, (1.2, 0.2), strict=True):
        # Pillow's own is of three boxes, only nearly a Gaussian
        assert np.abs(pixels_of(picture(image).filter(ImageFilter.GaussianBlur(deviation))) - mine).mean() < 1
        exact = functional.gaussian_blur(functional.to_image(image), [13, 13], [deviation] * 2).numpy().astype(int)
        assert np.abs(exact - mine)[:, 7:-7, 7:-7].max() <= 1
    grey = operations.grey(stacked([image]), torch.zeros(1, 1), torch.zeros(3))[0].numpy()
    assert np.array_equal(grey, pixels_of(picture(image).convert("L").convert("RGB")))
    half = torch.tensor([[128]])
    solarised = operations.solarize(stacked([image]), half, torch.zeros(3))[0].numpy()
    assert np.array_equal(solarised, pixels_of(ImageOps.solarize(picture(image), 128)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width", "side"), [(32, 32, 32), (64, 80, 32), (100, 90, 48), (17, 40, 64)])
def test_a_crop_is_torchvisions_and_pillows(height: int, width: int, side: int, interpolation: str) -> None:
    rng = np.random.default_rng(0)
    images = [photo(number, 3, height, width) for number in range(8)]
    tall, wide = rng.integers(1, height + 1, 8), rng.integers(1, width + 1, 8)
    boxes = np.stack([rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1), tall, wide], axis=1)
    boxes[0] = (0, 0, height, width)
    upright = torch.zeros(8, dtype=torch.bool)
    measured = torch.from_numpy(boxes).float()
    ours = resample(stacked(images), measured, upright, (side, side), interpolation).numpy()
    mode = {"bilinear": v2.InterpolationMode.BILINEAR, "bicubic": v2.InterpolationMode.BICUBIC}[interpolation]
    for image, (top, left, tall, wide), mine in zip(images, boxes.tolist(), ours, strict=True):
        tensor = functional.to_image(image)
        theirs = functional.resized_crop(tensor, top, left, tall, wide, [side, side], mode, antialias=True)
        assert np.abs(theirs.numpy().astype(int) - mine).max() <= 2
        part = np.ascontiguousarray(image[top : top + tall, left : left + wide])
        one = resample_one(part, (0, 0, wide, tall), (side, side), interpolation).transpose(2, 0, 1).astype(int)
        assert np.abs(one - mine).mean() < 0.5
    turned = resample(stacked(images), measured, ~upright, (side, side), interpolation).numpy()
    assert np.array_equal(turned, ours[..., ::-1])


def test_an_image_of_the_models_size_is_copied() -> None:
    images = stacked([photo(0, 3, 20, 20)])
    whole = torch.tensor([[0.0, 0.0, 20.0, 20.0]])
    for interpolation in ("bilinear", "bicubic"):
        assert torch.equal(resample(images, whole, torch.tensor([False]), (20, 20), interpolation), images)


def test_flat_images_stay_flat() -> None:
    """No weight is lost: what is white is white after any crop."""
    white = torch.full((1, 1, 50, 50), 255.0)
    for side in (7, 50, 64):
        box = torch.tensor([[3.0, 4.0, 41.0, 37.0]])
        assert bool((resample(white, box, torch.tensor([False]), (side, side), "bicubic") == 255).all())


def test_each_image_of_a_layer_goes_its_own_way() -> None:
    images = stacked([photo(number, 4) for number in range(9)])
    kinds = np.array([2, 0, 1, 1, 2, 0, 2, 1, 0])
    factors = np.linspace(0.2, 1.8, 9)
    chosen = (operations.identity, operations.brightness, operations.contrast)
    fill = torch.zeros(4)
    together = Layer(chosen, kinds, strengths.blend(factors, (1, 1)))(images, fill)
    for row in range(9):
        settings = torch.from_numpy(strengths.blend(factors[row : row + 1], (1, 1)))
        colour = chosen[kinds[row]](images[row : row + 1, :3], settings, fill)
        assert torch.equal(together[row : row + 1, :3], colour)
        assert torch.equal(together[row : row + 1, 3:], chosen[kinds[row]](images[row : row + 1, 3:], settings, fill))
    apart = Layer(chosen, kinds, strengths.blend(factors, (1, 1)), alpha=False)(images, fill)
    assert torch.equal(apart[:, :3], together[:, :3])
    assert torch.equal(apart[:, 3], images[:, 3])


@pytest.mark.parametrize("spread", [0.0, 4.0])
def test_operations_are_drawn_evenly_and_magnitudes_spread_as_asked(spread: float) -> None:
    count = 7000
    draws = Draws(0, np.zeros(count, np.int64), np.arange(count))
    first, second = RandAugment(2, 12, spread).layers(draws, (32, 32))
    shares = np.bincount(first.kinds, minlength=14) / count
    assert np.abs(shares - 1 / 14).max() < 5 * math.sqrt(1 / 14 / count)
    assert abs((first.kinds == second.kinds).mean() - 1 / 14) < 0.02
    slopes: Any = first.settings[first.kinds == list(SPACE).index("ShearX"), 1] / strengths.MAP_ONE
    assert 0.4 < (slopes < 0).mean() < 0.6
    levels = np.abs(slopes) / 0.3 * 30
    assert np.allclose(levels, np.round(levels), atol=1e-2)
    assert abs(levels.mean() - 12) < (0.8 if spread else 1e-2)
    assert abs(levels.std() - spread) < (0.6 if spread else 1e-2)
