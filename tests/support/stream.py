"""The stream of docs/values.md in NumPy, for many words at a time; `reference.py` has it word by word."""

from __future__ import annotations

import numpy as np

LOW = np.uint64(2**32 - 1)
HALF = np.uint64(32)


def blocks_at(seed, numbers):
    """Return the four words of each block of a seed's stream, as rows."""
    k0, k1 = np.random.SeedSequence(seed).generate_state(2, np.uint32).astype(np.uint64)
    numbers = np.asarray(numbers, np.uint64)
    c0, c1, c2, c3 = numbers & LOW, numbers >> HALF, np.zeros_like(numbers), np.zeros_like(numbers)
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = p1 >> HALF ^ c1 ^ k0, p1 & LOW, p0 >> HALF ^ c3 ^ k1, p0 & LOW
        k0, k1 = k0 + np.uint64(0x9E3779B9) & LOW, k1 + np.uint64(0xBB67AE85) & LOW
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def words_at(seed, first, count, bits, block=0):
    """Return the words of elements `first` to `first + count` of a fill that begins at a block."""
    per_block = 128 // bits
    numbers = np.arange(first // per_block, (first + count - 1) // per_block + 1, dtype=np.uint64) + np.uint64(block)
    words = blocks_at(seed, numbers).reshape(-1).view(f"u{bits // 8}")
    return words[first % per_block :][:count]


def uniform_at(seed, first, count, dtype, block=0):
    """Return the elements of `uniform_` on [0, 1) there, in float32 or float64."""
    bits = 8 * np.dtype(dtype).itemsize
    precision = {32: 24, 64: 53}[bits]
    return (words_at(seed, first, count, bits, block) >> (bits - precision)).astype(dtype) * np.dtype(dtype).type(2.0**-precision)
