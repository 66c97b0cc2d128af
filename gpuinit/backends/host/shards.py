"""The words of an array that is part of a larger one: runs of consecutive elements, far from each other.

An element's number is its place in the larger array's C order; that of element (i, j, ...) of the array or of a piece of it is
start + i * strides[0] + j * strides[1] + ...
"""

from __future__ import annotations

import numpy as np

from gpuinit.backends.host.philox import philox
from gpuinit.backends.host.scratch import scratch
from gpuinit.backends.host.words import BLOCK_BITS, words
from gpuinit.generator import Stream
from gpuinit.shards import Runs, runs

# Shorter runs cost less by `philox`, longer ones by setting NumPy's to each.
LONG_RUN_BITS = 2**14


def shard_words(stream: Stream, start: int, shape: tuple[int, ...], strides: tuple[int, ...], bits: int) -> np.ndarray:
    """The words of a piece's elements, in C order, as uint32 or uint64; the array is the caller's to overwrite."""
    found = runs(shape, strides[len(strides) - len(shape) :])
    if not found.counts:
        return words(stream, start, found.length, bits)
    starts = _starts(start, found)
    if found.length * bits < LONG_RUN_BITS:
        return _words_of_short_runs(stream, starts, found.length, bits)
    gathered = scratch("gathered", len(starts) * found.length, np.dtype(f"<u{bits // 8}"))
    for run, first in zip(gathered.reshape(len(starts), found.length), starts.tolist()):
        run[...] = words(stream, first, found.length, bits)
    return gathered


def _starts(start: int, found: Runs) -> np.ndarray:
    """The number of each run's first element."""
    starts = np.array(start, np.int64)
    for count, step in zip(found.counts, found.steps):
        starts = np.add.outer(starts, np.arange(count) * step)
    return starts.reshape(-1)


def _words_of_short_runs(stream: Stream, starts: np.ndarray, length: int, bits: int) -> np.ndarray:
    per_block = BLOCK_BITS // bits
    first, skipped = np.divmod(starts, per_block)
    blocks = -(-(int(skipped.max()) + length) // per_block)
    counters = np.add.outer(first.astype(np.uint64), np.arange(1, blocks + 1, dtype=np.uint64)) + np.uint64(stream.block)
    raw = philox(stream.key, counters.reshape(-1)).astype("<u8", copy=False).view(f"<u{bits // 8}").reshape(-1)
    places = np.arange(len(starts)) * (blocks * per_block) + skipped
    return raw[np.add.outer(places, np.arange(length)).reshape(-1)]
