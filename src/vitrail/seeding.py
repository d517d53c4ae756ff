"""Randomness as a pure function of a key.

Every random draw in Vitrail names what it depends on, such as (seed, epoch) or (data seed, epoch, position), and gets
its own stream from a hash of that key. Nothing depends on the order in which draws are made, on the number of workers,
or on what ran before. Torch-free, so that data and preprocessing can use it without torch.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(*key: int | str) -> int:
    """A 63-bit seed from a key of integers and strings; equal keys give equal seeds on every machine.

    Each part is tagged with its type and length before hashing, so ("a", "bc") and ("ab", "c") differ, as do 1 and "1".
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in key:
        raw = str(part).encode()
        kind = b"s" if isinstance(part, str) else b"i"
        digest.update(kind + len(raw).to_bytes(4, "big") + raw)
    return int.from_bytes(digest.digest(), "big") >> 1


def generator(*key: int | str) -> np.random.Generator:
    """A NumPy generator (PCG64) for the stream that `key` names."""
    return np.random.Generator(np.random.PCG64(derive_seed(*key)))
