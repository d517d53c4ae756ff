"""Draws by counter: Philox as published, the same bits everywhere, uniform, and independent from key to key."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrail.data.draws import philox, uniforms

PUBLISHED = [  # known answers of philox4x32-10 that its authors ship (Random123, kat_vectors)
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def draws(epoch: int = 0, count: int = 8, samples: int = 4096, seed: int = 0, purpose: str = "test") -> np.ndarray:
    places = np.arange(samples, dtype=np.int64)
    return uniforms(seed, purpose, np.full_like(places, epoch), places, count)


@pytest.mark.parametrize(("counter", "key", "answer"), PUBLISHED)
def test_the_words_are_those_its_authors_publish(counter: tuple, key: tuple, answer: tuple) -> None:
    in_numpy = philox(tuple(np.array([word], np.int64) for word in counter), key)
    in_torch = philox(tuple(torch.tensor([word]) for word in counter), key)
    assert tuple(int(word[0]) for word in in_numpy) == answer
    assert tuple(int(word[0]) for word in in_torch) == answer


@given(seed=st.integers(0, 2**80), epoch=st.integers(0, 10**6), first=st.integers(0, 2**40), count=st.integers(1, 9))
@settings(deadline=None, max_examples=40)
def test_numpy_and_torch_agree_to_the_bit(seed: int, epoch: int, first: int, count: int) -> None:
    places = first + np.arange(5, dtype=np.int64)
    epochs = epoch + np.arange(5, dtype=np.int64) % 2
    ours = uniforms(seed, "test", epochs, places, count)
    theirs = uniforms(seed, "test", torch.from_numpy(epochs), torch.from_numpy(places), count)
    assert ours.dtype == np.float32
    assert theirs.dtype == torch.float32
    assert ours.shape == (5, count)
    assert np.array_equal(ours, theirs.numpy())


def test_a_samples_draws_do_not_depend_on_the_company_or_on_how_many_are_asked_for() -> None:
    whole = draws(epoch=3, count=11)
    some = np.array([7, 4000, 12], np.int64)
    assert np.array_equal(uniforms(0, "test", np.full(3, 3, np.int64), some, 11), whole[some])
    assert np.array_equal(draws(epoch=3, count=5), whole[:, :5])


def test_draws_fill_the_unit_interval_evenly() -> None:
    values = draws(count=32, samples=8192).ravel().astype(np.float64)
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.histogram(values, bins=256, range=(0, 1))[0]
    expected = len(values) / 256
    chi = ((counts - expected) ** 2 / expected).sum()
    assert 150 < chi < 380  # 255 degrees of freedom: mean 255, deviation 22.6
    assert np.allclose(values * 2**24, np.round(values * 2**24))  # what float32 holds exactly, and so every device


@pytest.mark.parametrize(
    "other",
    [
        draws(epoch=1),
        draws(seed=1),
        draws(purpose="another"),
        np.roll(draws(), 1, axis=0),  # the sample before
        np.roll(draws(), 1, axis=1),  # the draw before
        np.roll(draws(), 4, axis=1),  # the block before
    ],
)
def test_neighbours_share_nothing(other: np.ndarray) -> None:
    mine = draws().astype(np.float64)
    assert (mine != other).mean() > 0.999
    correlation = np.corrcoef(mine.ravel(), other.astype(np.float64).ravel())[0, 1]
    assert abs(correlation) < 5 / np.sqrt(mine.size)


def test_words_do_not_come_again() -> None:
    words = philox(tuple(np.arange(2**14, dtype=np.int64) * (i == 0) for i in range(4)), (1, 2))
    assert len(np.unique(np.stack(words[:2], axis=-1), axis=0)) == 2**14  # 64 bits for each counter, all different


def test_later_epochs_and_places_beyond_a_word_have_draws_of_their_own() -> None:
    far = np.array([5, 5 + 2**32, 5 + 2**40], np.int64)
    values = uniforms(0, "test", np.zeros(3, np.int64), far, 4)
    assert len({tuple(row) for row in values.tolist()}) == 3
