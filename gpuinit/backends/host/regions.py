"""The words of a region of a larger array: runs of consecutive elements, far from each other."""

from __future__ import annotations

import numpy as np

from gpuinit.backends.host.philox import philox
from gpuinit.backends.host.scratch import scratch
from gpuinit.backends.host.words import BLOCK_BITS, words
from gpuinit.generator import Stream
from gpuinit.regions import Region

# Shorter runs than these, if there are so many of them, cost less by `philox`, others by setting NumPy's to each.
LONG_RUN_BITS = 2**14
MANY_RUNS = 2**5


def region_words(stream: Stream, within: Region, bits: int) -> np.ndarray:
    """The words of a region's elements, in C order, as uint32 or uint64; the array is the caller's to overwrite."""
    _, _, length = within.runs
    starts = _starts(within)
    if len(starts) == 1:
        return words(stream, within.start, length, bits)
    if length * bits < LONG_RUN_BITS and len(starts) >= MANY_RUNS:
        return _words_of_short_runs(stream, starts, length, bits)
    gathered = scratch("gathered", len(starts) * length, np.dtype(f"<u{bits // 8}"))
    for run, first in zip(gathered.reshape(-1, length), starts.tolist()):
        run[...] = words(stream, first, length, bits)
    return gathered


def _starts(within: Region) -> np.ndarray:
    """The number of each run's first element."""
    counts, steps, _ = within.runs
    starts = np.array(within.start, np.int64)
    for count, step in zip(counts, steps):
        starts = np.add.outer(starts, np.arange(count) * step)
    return starts.reshape(-1)


def _words_of_short_runs(stream: Stream, starts: np.ndarray, length: int, bits: int) -> np.ndarray:
    """By computing the blocks that the runs touch, as many for each as the one that begins last in its first block needs."""
    per_block = BLOCK_BITS // bits
    first, skipped = np.divmod(starts, per_block)
    blocks = -(-(int(skipped.max()) + length) // per_block)
    counters = np.add.outer(first.astype(np.uint64), np.arange(1, blocks + 1, dtype=np.uint64)) + np.uint64(stream.block)
    raw = philox(stream.key, counters.reshape(-1)).astype("<u8", copy=False).view(f"<u{bits // 8}").reshape(-1)
    places = np.arange(len(starts)) * (blocks * per_block) + skipped
    return raw[np.add.outer(places, np.arange(length)).reshape(-1)]
