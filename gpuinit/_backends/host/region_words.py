"""The words of a region of a larger array: runs of consecutive elements, far from each other."""

from __future__ import annotations

import numpy as np

from gpuinit._backends.host.philox import philox
from gpuinit._backends.host.random_words import RAW, WORDS, words
from gpuinit._backends.host.workspace import Workspace
from gpuinit._contract.generator import BLOCK_BYTES, Stream
from gpuinit._contract.regions import Region

# Shorter runs than these, if there are so many of them, cost less by `philox`, others by setting NumPy's to each.
LONG_RUN_BITS = 2**14
MANY_RUNS = 2**5


def run_words(space: Workspace, stream: Stream, starts: np.ndarray, length: int, bits: int) -> np.ndarray:
    """The words of runs from elements `starts` on, as uint32 or uint64; the array is the caller's to overwrite."""
    if len(starts) == 1:
        return words(space, stream, int(starts[0]), length, bits)
    if length * bits < LONG_RUN_BITS and len(starts) >= MANY_RUNS:
        return _words_of_short_runs(space, stream, starts, length, bits)
    gathered = space.array("gathered", len(starts) * length, WORDS[bits])
    for run, first in zip(gathered.reshape(-1, length), starts.tolist()):
        run[...] = words(space, stream, first, length, bits)
    return gathered


def run_starts(within: Region) -> np.ndarray:
    """The number of the first element of each of a region's runs."""
    counts, steps, _ = within.runs
    starts = np.array(within.start, np.int64)
    for count, step in zip(counts, steps):
        starts = np.add.outer(starts, np.arange(count) * step)
    return starts.reshape(-1)


def _words_of_short_runs(space: Workspace, stream: Stream, starts: np.ndarray, length: int, bits: int) -> np.ndarray:
    """By computing the blocks that the runs touch, as many for each as the one that begins last in its first block needs."""
    per_block = 8 * BLOCK_BYTES // bits
    first, skipped = np.divmod(starts, per_block)
    blocks = -(-(int(skipped.max()) + length) // per_block)
    counters = np.add.outer(first.astype(np.uint64), np.arange(1, blocks + 1, dtype=np.uint64)) + np.uint64(stream.block)
    raw = philox(space, stream.key, counters.reshape(-1)).astype(RAW, copy=False).view(WORDS[bits]).reshape(-1)
    places = np.arange(len(starts)) * (blocks * per_block) + skipped
    return raw[np.add.outer(places, np.arange(length)).reshape(-1)]
