"""Philox4x32-10 (Salmon et al. 2011) in NumPy's ufuncs, for many blocks at once, wherever they are."""

from __future__ import annotations

import numpy as np

from gpuinit._backends.host.workspace import Workspace
from gpuinit._contract.philox import INCREMENTS, MULTIPLIERS, ROUNDS

# Blocks at a time: what the rounds hold then lies in the L2 cache.
PIECE = 2**13
_FACTORS = np.array(MULTIPLIERS, np.uint64)[:, None]
_HALF, _MASK = np.uint64(32), np.uint64(2**32 - 1)


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
    """Do the rounds on words 0 and 2 of all blocks, and on words 1 and 3, as rows of uint64 below 2**32."""
    even, odd, products = (
        space.array(name, 2 * len(numbers), np.uint64).reshape(2, -1) for name in ("even words", "odd words", "products")
    )
    np.bitwise_and(numbers, _MASK, even[0])
    np.right_shift(numbers, _HALF, odd[0])
    even[1], odd[1] = third, 0
    for number in range(ROUNDS):
        round_key = [[word + number * increment & 0xFFFFFFFF] for word, increment in zip(key, INCREMENTS)]
        np.multiply(even, _FACTORS, products)
        np.right_shift(products[::-1], _HALF, even)
        even ^= odd
        even ^= np.array(round_key, np.uint64)
        np.bitwise_and(products[::-1], _MASK, odd)
    out[:, ::2], out[:, 1::2] = even.T, odd.T
