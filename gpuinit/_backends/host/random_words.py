"""Random words on the CPU: NumPy's own Philox, set to any place of the stream."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuinit._backends.host.workspace import Workspace
from gpuinit._contract.generator import BLOCK_BYTES, Stream

# On a big-endian machine too, the low half of a uint64 is the first 32-bit word.
RAW = np.dtype("<u8")
WORDS: dict[int, np.dtype[Any]] = {32: np.dtype("<u4"), 64: RAW}


def words(space: Workspace, stream: Stream, start: int, count: int, bits: int) -> np.ndarray:
    """Words `start` to `start + count` of a fill, as uint32 or uint64; the array is the caller's to overwrite."""
    per_block = 8 * BLOCK_BYTES // bits
    first, skipped = divmod(start, per_block)
    blocks = -(-(skipped + count) // per_block)
    space.seek(stream.key, (stream.block + first, 0, 0, 0))
    raw: np.ndarray = space.philox.random_raw(4 * blocks)
    if raw.dtype != RAW:
        raw = raw.astype(RAW)
    return raw.view(WORDS[bits])[skipped : skipped + count]
