"""Images that are the same picture though not the same bytes: re-encoded, resized, brightened, cropped by a hair.

Two images are near when their fingerprints differ in at most LIMIT of 64 bits and their thumbnails and mean colours
agree. Searching is exact and far from quadratic: 64 bits are four bands of 16, and where at most 11 bits differ, some
band differs in at most two. So only images in neighbouring buckets of a band are compared (multi-index hashing;
Norouzi, Punjani and Fleet, "Fast Exact Search in Hamming Space with Multi-Index Hashing", 2014, proposition 1).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vitrail.data.appearance import Looks

LIMIT = 10
"""Bits of 64 in which the fingerprints of near images may differ; the bands allow at most 11.

Measured by benchmarks/near_duplicates.py on caltech24, CIFAR-10 and dsb2018 (docs/log.md): of copies that were saved as
JPEG of quality 20, halved or doubled in size, brightened, darkened, blurred, or cropped by 1 % at each side, 98 to 100
of 100 are found.
"""

CORRELATION = 0.95
"""Least correlation of near images' thumbnails: it keeps the pairs within LIMIT that a person calls the same."""

COLOUR = 0.08
"""Largest difference of near images' mean colours, luma left out: of two shirts, the red and the blue are no copies."""

FLAT = 2 / 255
"""Images of less contrast have no picture to compare; they are found as constant."""

SMALLEST = 16
"""Images with a shorter side have too few pixels for a fingerprint; they are compared by their bytes alone."""

SHORT = f"near: a perceptual hash within {LIMIT} of 64 bits, thumbnails and colours alike"

WHY = (
    f"at most {LIMIT} of 64 bits of a perceptual hash differ, thumbnails correlate by {CORRELATION} or more and mean "
    "colours agree. So chosen that copies which were re-encoded, resized, brightened, blurred or cropped by 1 % pass "
    "and hardly any other photo does; mirrored copies, larger crops and pasted labels are mostly not found"
)

_BANDS = 4
_FLIPS = 2
_PAIRS = 2**18
"""Pairs compared together: what bounds the memory of a search."""

Indices = np.ndarray[Any, np.dtype[np.int64]]
Fingerprints = np.ndarray[Any, np.dtype[np.uint64]]


def near_groups(
    looks: Looks, sizes: Sequence[tuple[int, int]], content: Sequence[str], limit: int = LIMIT
) -> tuple[tuple[int, ...], ...]:
    """Rows of `looks` that belong together, each group rising, groups by their first row.

    sizes, content: (width, height) and hash of the bytes, per row; of rows with the same bytes the first stands for
    all. A group is what is connected by near pairs: its first and last may differ by more than a pair may.
    """
    clear = (looks.contrast >= FLAT) & (np.array(sizes, np.int64).reshape(-1, 2).min(axis=1) >= SMALLEST)
    first = dict[str, int]()
    for row, hashed in enumerate(content):
        first.setdefault(hashed, row)
    kept = np.array([row for row in first.values() if clear[row]], np.int64)
    parent = np.arange(len(kept))
    for left, right in near_pairs(looks.fingerprints[kept], limit):
        apart = _roots(parent, left) != _roots(parent, right)
        left, right = left[apart], right[apart]
        same = agree(looks, kept[left], kept[right])
        _join(parent, left[same], right[same])
    roots = _roots(parent, np.arange(len(kept)))
    groups: dict[int, list[int]] = {}
    for row, root in zip(kept.tolist(), roots.tolist(), strict=True):
        groups.setdefault(root, []).append(row)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def near_pairs(fingerprints: Fingerprints, limit: int = LIMIT) -> Iterator[tuple[Indices, Indices]]:
    """Batches of (left, right) rows whose fingerprints (n,) differ in at most `limit` bits, each pair just once."""
    assert limit < _BANDS * (_FLIPS + 1)
    parts = [((fingerprints >> np.uint64(16 * band)) & np.uint64(0xFFFF)).astype(np.int64) for band in range(_BANDS)]
    for band, part in enumerate(parts):
        order = np.argsort(part, kind="stable")
        starts = np.searchsorted(part[order], np.arange(2**16 + 1))  # where each bucket begins in `order`
        for flips in _neighbours():
            for left, right in _candidates(part, order, starts, flips):
                close = np.bitwise_count(fingerprints[left] ^ fingerprints[right]) <= limit
                left, right = left[close], right[close]
                new = np.ones(len(left), np.bool_)
                for earlier in parts[:band]:  # in whose buckets the pair was met before
                    new &= np.bitwise_count(earlier[left] ^ earlier[right]) > _FLIPS
                if new.any():
                    yield left[new], right[new]


def agree(looks: Looks, left: Indices, right: Indices) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether the thumbnails and colours of pairs of rows agree."""
    same = np.zeros(len(left), np.bool_)
    for start in range(0, len(left), 2**14):
        rows = slice(start, start + 2**14)
        one, other = (_standardised(looks.thumbnails[side[rows]]) for side in (left, right))
        same[rows] = np.einsum("ij,ij->i", one, other) >= CORRELATION
    if looks.mean.shape[1] > 1:
        colours = looks.mean[:, :3] - looks.mean[:, :3].mean(axis=1, keepdims=True)
        same &= np.abs(colours[left] - colours[right]).max(axis=1, initial=0) <= COLOUR
    return same


def _standardised(thumbnails: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    centred = thumbnails.astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True) + 1e-6
    return centred


def _neighbours() -> list[int]:
    """Every 16-bit word of at most two ones: how a bucket's name may differ from another's."""
    return [sum(1 << bit for bit in bits) for n in range(_FLIPS + 1) for bits in itertools.combinations(range(16), n)]


def _candidates(part: Indices, order: Indices, starts: Indices, flips: int) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of rows whose bucket names differ by exactly `flips`, in batches of bounded size."""
    if flips:
        left = np.flatnonzero(part < part ^ flips)  # each pair of buckets from its lower side alone
        begin, end = starts[part[left] ^ flips], starts[(part[left] ^ flips) + 1]
    else:
        left = order
        begin, end = np.arange(1, len(order) + 1), starts[part[left] + 1]
    busy = end > begin
    left, begin, end = left[busy], begin[busy], end[busy]
    sums = np.concatenate([[0], np.cumsum(end - begin)])
    at = 0
    while at < len(left):
        upto = max(at + 1, int(np.searchsorted(sums, sums[at] + _PAIRS, side="right")) - 1)
        counts = end[at:upto] - begin[at:upto]
        offsets = np.arange(counts.sum()) - np.repeat(sums[at:upto] - sums[at], counts)
        yield np.repeat(left[at:upto], counts), order[np.repeat(begin[at:upto], counts) + offsets]
        at = upto


def _roots(parent: Indices, rows: Indices) -> Indices:
    """The root of each row in a forest; the way there is shortened."""
    roots = parent[rows]
    while not np.array_equal(above := parent[roots], roots):
        roots = above
    parent[rows] = roots
    return roots


def _join(parent: Indices, left: Indices, right: Indices) -> None:
    """Join the trees of each pair; a root is the smallest of its tree."""
    while len(left):
        one, other = _roots(parent, left), _roots(parent, right)
        low, high = np.minimum(one, other), np.maximum(one, other)
        np.minimum.at(parent, high, low)
        apart = low != high
        left, right = left[apart], right[apart]
