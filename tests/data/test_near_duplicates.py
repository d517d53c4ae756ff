"""Near duplicates: the quick search finds what comparing everything finds, and only what a person would call a copy."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import draw
from PIL import Image, ImageEnhance, ImageFilter

from vitrail.contracts import Pixels
from vitrail.data import image, near_duplicates
from vitrail.data.appearance import Looks, look
from vitrail.data.near_duplicates import LIMIT, agree, near_groups, near_pairs

words = st.integers(0, 2**64 - 1)


def pairs_found(fingerprints: np.ndarray[Any, np.dtype[np.uint64]], limit: int) -> list[tuple[int, int]]:
    return sorted(
        (min(pair), max(pair))
        for left, right in near_pairs(fingerprints, limit)
        for pair in zip(left.tolist(), right.tolist(), strict=True)
    )


def pairs_by_comparing_all(fingerprints: np.ndarray[Any, np.dtype[np.uint64]], limit: int) -> list[tuple[int, int]]:
    values = [int(value) for value in fingerprints]
    return [
        (i, j) for i, j in itertools.combinations(range(len(values)), 2) if (values[i] ^ values[j]).bit_count() <= limit
    ]


@given(
    st.lists(words, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.sets(st.integers(0, 63), max_size=13)), max_size=24),
    st.integers(0, 11),
)
def test_the_search_is_exact(centres: list[int], copies: list[tuple[int, set[int]]], limit: int) -> None:
    """Random words and copies of them with some bits turned, on both sides of every limit; no pair twice."""
    turned = [centres[of % len(centres)] ^ sum(1 << bit for bit in bits) for of, bits in copies] if centres else []
    fingerprints = np.array([*centres, *turned], np.uint64)
    assert pairs_found(fingerprints, limit) == pairs_by_comparing_all(fingerprints, limit)


@pytest.mark.parametrize("pairs_at_once", [1, 7, 2**18])
def test_the_search_is_exact_in_a_crowd(pairs_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of near pairs in full buckets, in batches of any size."""
    monkeypatch.setattr(near_duplicates, "_PAIRS", pairs_at_once)
    draws = np.random.default_rng(0)
    flips = (draws.random((150, 64)) < 0.12) @ (np.uint64(1) << np.arange(64, dtype=np.uint64))
    fingerprints = draws.integers(0, 2**64, 3, dtype=np.uint64)[np.arange(150) % 3] ^ flips.astype(np.uint64)
    found = pairs_found(fingerprints, LIMIT)
    assert len(found) > 300
    assert found == pairs_by_comparing_all(fingerprints, LIMIT)


def test_the_search_is_far_from_comparing_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the images cost some four times the comparisons, not sixteen times (while buckets are not full)."""
    compared = {}
    original = near_duplicates._candidates
    for count in (10_000, 40_000):
        compared[count] = 0

        def counting(*words: Any, count: int = count) -> Any:
            for left, right in original(*words):
                compared[count] += len(left)
                yield left, right

        monkeypatch.setattr(near_duplicates, "_candidates", counting)
        fingerprints = np.random.default_rng(1).integers(0, 2**64, count, dtype=np.uint64)
        for _ in near_pairs(fingerprints):
            pass
    assert compared[40_000] < 0.02 * 40_000**2 / 2
    assert compared[10_000] < 0.02 * 10_000**2 / 2


def looks_of(images: list[Pixels]) -> Looks:
    looks = Looks.room(len(images), images[0].shape[2])
    for row, pixels in enumerate(images):
        looks.put(row, look(pixels))
    return looks


def groups(images: list[Pixels], content: list[str] | None = None) -> tuple[tuple[int, ...], ...]:
    sizes = [(pixels.shape[1], pixels.shape[0]) for pixels in images]
    return near_groups(looks_of(images), sizes, content or [str(i) for i in range(len(images))])


def jpeg(photo: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    photo.save(out, "JPEG", quality=quality)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 20": lambda photo: jpeg(photo, 20),
    "half the size": lambda photo: photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.LANCZOS),
    "double the size": lambda photo: photo.resize((photo.width * 2, photo.height * 2), Image.Resampling.BICUBIC),
    "squashed": lambda photo: photo.resize((photo.width, photo.height * 3 // 4)),
    "brighter": lambda photo: ImageEnhance.Brightness(photo).enhance(1.15),
    "darker": lambda photo: ImageEnhance.Brightness(photo).enhance(0.7),
    "less contrast": lambda photo: ImageEnhance.Contrast(photo).enhance(0.7),
    "blurred": lambda photo: photo.filter(ImageFilter.GaussianBlur(1.5)),
}


@pytest.mark.parametrize("copy", COPIES)
def test_an_edited_copy_is_found_and_nothing_else(copy: str) -> None:
    originals = [draw(seed, 200, 300) for seed in range(40)]
    copies = [np.asarray(COPIES[copy](Image.fromarray(pixels))) for pixels in originals]
    assert groups([*originals, *copies]) == tuple((i, i + 40) for i in range(40))


@pytest.mark.data
def test_photos_and_their_copies(shared_data: Path) -> None:
    """Real photos, each with a copy that was cropped by 2 % at each side and saved again: nearly all are found."""
    paths = sorted((shared_data / "caltech24" / "images").rglob("*.jpg"))[::10]
    photos = [Image.fromarray(image.read(path)) for path in paths]
    cut = [p.crop((p.width // 50, p.height // 50, p.width - p.width // 50, p.height - p.height // 50)) for p in photos]
    found = groups([np.asarray(photo) for photo in [*photos, *(jpeg(photo, 60) for photo in cut)]])
    copies = [group for group in found if group[1] == group[0] + len(photos)]
    assert len(copies) > 0.9 * len(photos)
    assert len(found) - len(copies) <= 0.02 * len(photos), "pairs that are really there, such as two scans of one photo"


def test_noise_alike_in_nothing_is_never_near() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 20, 20, 3), dtype=np.uint8)
    assert groups(list(noise)) == ()


def test_another_colour_is_another_picture() -> None:
    shape = draw(0)[..., :1].astype(np.int64)
    red, blue = (np.clip(shape * tint, 0, 255).astype(np.uint8) for tint in ([0.9, 0.4, 0.2], [0.2, 0.5, 0.7]))
    assert groups([red, blue]) == ()
    assert groups([red, np.asarray(COPIES["darker"](Image.fromarray(red)))]) == ((0, 1),)


def test_what_has_no_picture_or_too_few_pixels_is_left_to_other_findings() -> None:
    flat = [np.full((30, 30, 3), level, np.uint8) for level in (10, 11, 200)]
    small = [draw(0, 15, 40), np.asarray(COPIES["darker"](Image.fromarray(draw(0, 15, 40))))]
    assert groups([*flat, *small]) == ()


def test_files_with_the_same_bytes_count_once() -> None:
    again = np.asarray(COPIES["darker"](Image.fromarray(draw(0))))
    assert groups([draw(0), draw(0), again], ["a", "a", "b"]) == ((0, 2),)
    assert groups([draw(0), draw(0)], ["a", "a"]) == ()


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels(channels: int) -> None:
    pictures = [
        draw(seed)[..., :1] if channels == 1 else np.dstack([draw(seed), np.full((36, 48), 255, np.uint8)])
        for seed in (1, 2, 1)
    ]
    pictures[2] = np.minimum(pictures[2], 250)
    assert groups(pictures) == ((0, 2),)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=24), st.integers(0, 2**32))
def test_groups_are_what_comparing_all_connects(kinds: list[tuple[int, int]], seed: int) -> None:
    """Against a search through all pairs and a walk through the graph of them."""
    draws = np.random.default_rng(seed)
    centres = draws.integers(0, 2**64, 6, dtype=np.uint64)
    shapes = draws.integers(0, 256, (6, 256), dtype=np.uint8)
    looks = Looks.room(len(kinds), 3)
    for row, (of, turned) in enumerate(kinds):
        looks.fingerprints[row] = centres[of] ^ np.uint64(
            sum(1 << int(bit) for bit in draws.permutation(64)[: 3 * turned])
        )
        looks.thumbnails[row] = shapes[of] if draws.random() < 0.9 else draws.integers(0, 256, 256)
        looks.std[row] = 0.2
    count = len(kinds)
    rows = np.arange(count)
    near = np.zeros((count, count), bool)
    for i in range(count):
        close = np.bitwise_count(looks.fingerprints[i] ^ looks.fingerprints) <= LIMIT
        near[i] = close & agree(looks, np.full(count, i), rows)
    expected, seen = [], set[int]()
    for i in range(count):
        if i not in seen:
            reached, pending = {i}, [i]
            while pending:
                new = set(np.flatnonzero(near[pending.pop()]).tolist()) - reached
                reached |= new
                pending += new
            seen |= reached
            if len(reached) > 1:
                expected.append(tuple(sorted(reached)))
    assert near_groups(looks, [(99, 99)] * count, [str(i) for i in range(count)]) == tuple(expected)
