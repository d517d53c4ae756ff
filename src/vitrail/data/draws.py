"""Uniform draws for many samples at once, each a pure function of its key: the same bits in NumPy and in torch.

The generator is Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): it turns a counter
into four words of 32 bits, and nothing is carried from one counter to the next. So a sample's draws can be made
anywhere, alone or among others, in any order. Whole numbers of 64 bits that wrap around are all it takes.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from vitrail.seeding import derive_seed

Integers = TypeVar("Integers", np.ndarray[Any, np.dtype[np.int64]], Tensor)
"""An int64 array of NumPy's or torch's, on whatever device; not a single number."""

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox(
    counter: tuple[Integers, Integers, Integers, Integers], key: tuple[int, int]
) -> tuple[Integers, Integers, Integers, Integers]:
    """Four words of 32 bits for each counter. Counter and key are words of 32 bits as well, held in int64."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # a product of two words fills all 64 bits, the sign's too: the mask makes its upper half a word again
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = ((p1 >> 32) & _WORD) ^ c1 ^ k0, p1 & _WORD, ((p0 >> 32) & _WORD) ^ c3 ^ k1, p0 & _WORD
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return c0, c1, c2, c3


def uniforms(seed: int, purpose: str, epochs: Integers, places: Integers, count: int) -> Any:
    """(B, count) float32 in [0, 1), multiples of 2^-24: draws 0 to count - 1 of each sample, for one purpose.

    epochs, places: (B,) int64 from 0 on, as NumPy's or torch's; so is what comes back, on the same device. Draw number
    d of a sample is the same however many are asked for, and whatever samples stand beside it.
    """
    whole = derive_seed(purpose, seed)
    blocks = np.arange(-(-count // 4), dtype=np.int64)[None, :]
    if isinstance(places, Tensor):
        numbers = torch.from_numpy(blocks).to(places.device)
        words = torch.stack(_words(whole, numbers, epochs, places), dim=-1)
        return (words.flatten(1)[:, :count] >> 8).to(torch.float32) * 2.0**-24
    drawn = np.stack(_words(whole, blocks, epochs, places), axis=-1).reshape(len(places), -1)[:, :count]
    return (drawn >> 8).astype(np.float32) * np.float32(2.0**-24)


def _words(seed: int, blocks: Integers, epochs: Integers, places: Integers) -> tuple[Integers, ...]:
    """Four of (B, blocks): the counter is (block, place, place's upper word, epoch)."""
    here, epoch = places[:, None], epochs[:, None]
    nothing = 0 * (here + blocks)  # gives each part of the counter its full shape
    counter = (blocks + nothing, (here & _WORD) + nothing, (here >> 32) + nothing, epoch + nothing)
    return philox(counter, (seed & _WORD, seed >> 32))
