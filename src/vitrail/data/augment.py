"""What is random about a training image: crop, flip, changed colours and erasing, drawn as torchvision draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from vitrail.contracts import Pixels
from vitrail.data.colour_changes import Change, Jitter, RandAugment, ThreeAugment
from vitrail.data.preprocess import Preprocessor, resample
from vitrail.seeding import derive_seed
from vitrail.settings import AugmentConfig, Config

_IMAGES = {1: (slice(0, 1),), 3: (slice(0, 3),), 4: (slice(0, 3), slice(3, 4))}
"""Number of channels -> the grey or RGB images they are augmented as."""


class TrainTransform:
    """A pure function of (pixels, key): the key seeds every draw, and the caller's generator is left as it was.

    In this order: a random crop resized to the model's size (Szegedy et al. 2015), or the evaluation's own geometry
    where augment.crop_scale is (1, 1); a mirror image every other time; RandAugment (Cubuk et al. 2020), filling with
    the mean colour; ThreeAugment (DeiT III); jitter; the evaluation's normalisation; random erasing (Zhong et al.
    2020) to the mean colour.

    Changes of colour act on a grey image (C = 1) as on a brightness. Of four channels the first three go as RGB, and
    the fourth goes through the same draws as a grey image, but for the jitter: an alpha has no colour.
    """

    def __init__(self, config: Config) -> None:
        augment = config.augment
        self._preprocessor = Preprocessor.from_config(config)
        self._crop = None if augment.crop_scale == (1, 1) else _Crop(augment)
        self._flip = augment.flip
        changes = [(image, self._changes_of(image, augment)) for image in _IMAGES[self._preprocessor.channels]]
        self._changes = changes if changes[0][1] else []
        self._erase = v2.RandomErasing(augment.erase, value=0) if augment.erase else None  # 0: the mean, normalised

    def __call__(self, pixels: Pixels, key: tuple[int, ...]) -> Tensor:
        """(h, w, C) uint8 -> (C, H, W) float32, normalised."""
        draws = torch.Generator().manual_seed(derive_seed("augment", *key))
        varied = self._geometry(pixels, draws)
        if not self._changes and self._erase is None:
            return torch.from_numpy(self._preprocessor.normalise(varied))
        with seeded(draws) as restart:  # torchvision's own draw from the global generator, and go on from here
            if self._changes:
                varied = np.dstack([_changed(varied[..., image], how, restart) for image, how in self._changes])
            tensor = torch.from_numpy(self._preprocessor.normalise(varied))
            if self._erase is not None:
                tensor = self._erase(tensor)
        return tensor

    def _geometry(self, pixels: Pixels, draws: torch.Generator) -> Pixels:
        """(h, w, C) -> (H, W, C), cropped and mirrored."""
        if self._crop is None:
            pixels = self._preprocessor.fit(pixels)
        else:
            top, left, height, width = self._crop.draw(pixels.shape[0], pixels.shape[1], draws)
            part = np.ascontiguousarray(pixels[top : top + height, left : left + width])
            whole = (0.0, 0.0, float(width), float(height))
            pixels = resample(part, whole, self._preprocessor.size, self._preprocessor.interpolation)
        if self._flip and float(torch.rand(1, generator=draws)) < 0.5:
            pixels = pixels[:, ::-1]
        return pixels

    def _changes_of(self, image: slice, augment: AugmentConfig) -> list[Change]:
        """What changes the colours of one of the images that the channels are, in order."""
        changes: list[Change] = []
        if augment.randaugment_ops:
            strength, fill = (augment.randaugment_magnitude, augment.randaugment_spread), self._preprocessor.mean_colour
            changes.append(RandAugment(augment.randaugment_ops, *strength, fill[image]))
        if augment.three:
            changes.append(ThreeAugment(max(self._preprocessor.size)))
        if augment.jitter and image.start == 0:
            changes.append(Jitter(augment.jitter, colours=self._preprocessor.channels > 1))
        return changes


class _Crop:
    """The place of torchvision's RandomResizedCrop, the same under the same seed, at a quarter of its cost."""

    def __init__(self, augment: AugmentConfig) -> None:
        self._scale, self._ratio = augment.crop_scale, augment.crop_ratio
        low, high = torch.log(torch.tensor(self._ratio)).tolist()
        self._log_ratio = (low, high)

    def draw(self, height: int, width: int, draws: torch.Generator) -> tuple[int, int, int, int]:
        """top, left, height, width of a part of an image of (height, width)."""
        for _ in range(10):
            area = height * width * torch.empty(1).uniform_(*self._scale, generator=draws).item()
            aspect = torch.empty(1).uniform_(*self._log_ratio, generator=draws).exp_().item()
            wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < wide <= width and 0 < tall <= height:
                top = int(torch.randint(0, height - tall + 1, (1,), generator=draws))
                return top, int(torch.randint(0, width - wide + 1, (1,), generator=draws)), tall, wide
        narrowest, widest = self._ratio
        tall, wide = height, width
        if width / height < narrowest:
            tall = round(width / narrowest)
        elif width / height > widest:
            wide = round(height * widest)
        return (height - tall) // 2, (width - wide) // 2, tall, wide


def _changed(pixels: Pixels, changes: Sequence[Change], restart: Callable[[], object]) -> Pixels:
    restart()
    picture = _picture(pixels)
    for change in changes:
        picture = change(picture)
    return np.asarray(picture)


def _picture(pixels: Pixels) -> Image.Image:
    """(h, w, 1 or 3) uint8 as a grey or RGB image: Pillow's resampling is the fastest there is on a CPU."""
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))


@contextmanager
def seeded(start: int | torch.Generator) -> Iterator[Callable[[], object]]:
    """Run with torch's global CPU generator at `start`, a seed or where another stands, and put it back.

    Yields what starts the draws, and starts them anew. torch.manual_seed would reseed every GPU as well, which nothing
    here draws from.
    """
    before = torch.get_rng_state()
    try:
        if isinstance(start, int):
            yield lambda: torch.default_generator.manual_seed(start)
        else:
            state = start.get_state()
            torch.set_rng_state(state)  # what draws without starting goes on from there
            yield lambda: torch.set_rng_state(state)
    finally:
        torch.set_rng_state(before)
