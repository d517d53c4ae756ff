"""What is hidden is a pure function of (data seed, epoch, place), and as much as was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vitrail.contracts import Failure, Hints, Pixels
from vitrail.data.items import Items
from vitrail.data.preprocess import Preprocessor
from vitrail.models import create_backbone
from vitrail.pretraining.masks import MaskedEvalLoader, MaskedTrainLoader, Masking, masking_of, unit_for
from vitrail.pretraining.reconstruction import NoTargets
from vitrail.settings import build

MASKING = Masking((8, 8), 2, 12, 0)


class Memory:
    """Images of noise without targets."""

    name = location = "memory"
    hints, target_names = Hints(), ()
    ignored: tuple[Failure, ...] = ()
    items = Items([f"{i}" for i in range(10)], [None] * 10)

    def read(self, index: int, channels: int) -> Pixels:
        return np.random.default_rng(index).integers(0, 256, (9, 9, channels), dtype=np.uint8)

    def content(self, index: int) -> bytes:
        return bytes([index])


def config(**more: Any) -> Any:
    sizes = {"model.image_size": 8, "model.patch_size": 2, "train.batch_size": 4}
    return build({"data.source": "memory", **sizes, **more})


def test_a_mask_hides_whole_squares_and_as_many_as_asked_for() -> None:
    mask = MASKING.draw(3, 7)
    assert mask.shape == (1, 8, 8)
    squares = mask[0].reshape(4, 2, 4, 2)
    assert torch.equal(squares.amax((1, 3)), squares.amin((1, 3)))
    assert int(mask.sum()) == 12 * 4


def test_a_square_that_does_not_fit_is_cut_off() -> None:
    masking = Masking((5, 8), 3, 4, 0)
    assert masking.grid == (2, 3)
    assert masking.draw(0).shape == (1, 5, 8)


def test_masks_depend_on_their_key_alone_and_every_square_is_hidden_as_often() -> None:
    torch.manual_seed(1)
    first = MASKING.draw(3, 7)
    torch.manual_seed(2)
    assert torch.equal(first, MASKING.draw(3, 7))
    assert not torch.equal(first, MASKING.draw(3, 8))
    assert not torch.equal(first, MASKING.draw(4, 7))
    assert not torch.equal(first, Masking((8, 8), 2, 12, 1).draw(3, 7))
    share = torch.stack([MASKING.draw(0, place) for place in range(2000)]).mean(0)[0, ::2, ::2]
    assert float((share - 0.75).abs().max()) < 5 * (0.75 * 0.25 / 2000) ** 0.5


@pytest.mark.parametrize(
    ("size", "coarsest", "unit"),
    [((192, 192), 32, 32), ((224, 224), 32, 32), ((64, 64), 32, 16), ((32, 32), 8, 8), ((8, 8), 8, 2)],
)
def test_the_unit_fits_the_coarsest_stride_and_the_image(size: tuple[int, int], coarsest: int, unit: int) -> None:
    assert unit_for(size, coarsest) == unit


@pytest.mark.parametrize(("ratio", "hidden"), [(0.75, 12), (0.5, 8), (0.01, 1), (0.99, 14)])
def test_some_squares_are_hidden_and_some_are_seen_whatever_the_ratio(ratio: float, hidden: int) -> None:
    backbone = create_backbone("vit_tiny", image_size=8, patch_size=2, depth=1)
    assert masking_of(backbone, config(**{"pretrain.mask_ratio": ratio})) == Masking((8, 8), 2, hidden, 0)


def test_batches_carry_the_masks_of_their_places_wherever_they_start() -> None:
    source, targets = Memory(), NoTargets()
    made = config(**{"augment.flip": False})
    indices = list(range(8))
    whole = list(MaskedTrainLoader(source, indices, targets, made, 0, 24, MASKING))
    assert [tuple(batch.images.shape) for batch in whole] == [(4, 4, 8, 8)] * 6
    masks = torch.cat([batch.images[:, 3:] for batch in whole])
    for position in range(24):
        assert torch.equal(masks[position], MASKING.draw(position // 8, position % 8))
    later = list(MaskedTrainLoader(source, indices, targets, made, 12, 24, MASKING))
    assert all(torch.equal(a.images, b.images) for a, b in zip(later, whole[3:], strict=True))


def test_held_out_images_have_the_same_masks_every_time() -> None:
    loader = MaskedEvalLoader(Memory(), [1, 2, 3], NoTargets(), Preprocessor(size=(8, 8)), 2, 0, MASKING)
    first, second = list(loader), list(loader)
    assert [len(batch.keys) for batch in first] == [2, 1]
    assert all(torch.equal(a.images, b.images) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0].images[0, 3], first[0].images[1, 3])
    assert first[0].targets.shape == (2, 0)
