"""Philox4x32-10 (Salmon et al. 2011) in NumPy's ufuncs, for many blocks at once, wherever they are."""

from __future__ import annotations

import numpy as np

from gpuinit._backends.host.workspace import Workspace
from gpuinit._contract.philox import INCREMENTS, MULTIPLIERS, ROUNDS

# Blocks at a time: what the rounds hold then lies in the L2 cache.
PIECE = 2**14
_FACTORS = [np.array(factor, np.uint64) for factor in MULTIPLIERS]
_HALF, _MASK = np.array(32, np.uint64), np.array(2**32 - 1, np.uint64)


def philox(space: Workspace, key: tuple[int, int], numbers: np.ndarray, third: int = 0) -> np.ndarray:
    """Return the four words of each block, as rows of uint32.

    The block's number, a uint64, gives the first two words of its counter, the low one first; the fourth is 0.
    """
    blocks = np.empty((len(numbers), 4), np.uint32)
    for first in range(0, len(numbers), PIECE):
        piece = slice(first, first + PIECE)
        _write_blocks(space, key, numbers[piece], third, blocks[piece])
    return blocks


def _write_blocks(space: Workspace, key: tuple[int, int], numbers: np.ndarray, third: int, out: np.ndarray) -> None:
    """Do the rounds on each word of all blocks at a time, as uint64 below 2**32; ufuncs are fastest in one axis."""
    c0, c1, c2, c3, p0, p1 = (space.array(f"word {name}", len(numbers), np.uint64) for name in "0123pq")
    np.bitwise_and(numbers, _MASK, c0)
    np.right_shift(numbers, _HALF, c1)
    c2[...], c3[...] = third, 0
    for number in range(ROUNDS):
        k0, k1 = (np.array(word + number * increment & 0xFFFFFFFF, np.uint64) for word, increment in zip(key, INCREMENTS))
        np.multiply(c0, _FACTORS[0], p0)
        np.multiply(c2, _FACTORS[1], p1)
        for product, even, odd, word in ((p1, c0, c1, k0), (p0, c2, c3, k1)):
            np.right_shift(product, _HALF, even)
            np.bitwise_xor(even, odd, even)
            np.bitwise_xor(even, word, even)
            np.bitwise_and(product, _MASK, odd)
    for column, words in enumerate((c0, c1, c2, c3)):
        out[:, column] = words
