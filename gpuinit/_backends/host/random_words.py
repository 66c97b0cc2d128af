"""The words of runs of consecutive elements of a fill, in NumPy."""

from __future__ import annotations

import sys

import numpy as np

from gpuinit._backends.host.philox import philox
from gpuinit._backends.host.workspace import Workspace
from gpuinit._contract.generator import BLOCK_BYTES, Stream
from gpuinit._contract.regions import Region


def run_words(space: Workspace, stream: Stream, starts: np.ndarray, length: int, bits: int) -> np.ndarray:
    """Return the words of runs from elements `starts` on, as uint32 or uint64; the array is the caller's to overwrite."""
    per_block = 8 * BLOCK_BYTES // bits
    first, skipped = np.divmod(starts, per_block)
    # As many blocks for each run as the one that begins last in its first block touches.
    blocks = -(-(int(skipped.max()) + length) // per_block)
    numbers = np.add.outer(first.astype(np.uint64), np.arange(blocks, dtype=np.uint64)) + np.uint64(stream.block)
    words = _words(philox(space, stream.key, numbers.reshape(-1)), bits)
    if len(starts) == 1:
        return words[skipped[0] : skipped[0] + length]
    places = np.arange(len(starts)) * (blocks * per_block) + skipped
    return words[np.add.outer(places, np.arange(length)).reshape(-1)]


def run_starts(within: Region) -> np.ndarray:
    """Return the number of the first element of each of a region's runs."""
    counts, steps, _ = within.runs
    starts = np.array(within.start, np.int64)
    for count, step in zip(counts, steps):
        starts = np.add.outer(starts, np.arange(count, dtype=np.int64) * step)
    return starts.reshape(-1)


def _words(blocks: np.ndarray, bits: int) -> np.ndarray:
    """Return the words of blocks in one axis; of two 32-bit ones, the low half of a 64-bit word comes first."""
    if bits == 32:
        return blocks.reshape(-1)
    if sys.byteorder == "little":
        return blocks.reshape(-1).view(np.uint64)
    words: np.ndarray = blocks[:, ::2] | blocks[:, 1::2].astype(np.uint64) << np.uint64(32)
    return words.reshape(-1)
