"""Random words on the CPU: NumPy's own Philox, set to any place of the stream."""

from __future__ import annotations

import numpy as np

from gpuinit.backends.host.scratch import philox
from gpuinit.generator import Stream

BLOCK_BITS = 256


def words(stream: Stream, start: int, count: int, bits: int) -> np.ndarray:
    """Words `start` to `start + count` of a fill, as uint32 or uint64; the array is the caller's to overwrite."""
    per_block = BLOCK_BITS // bits
    first, skipped = divmod(start, per_block)
    blocks = -(-(skipped + count) // per_block)
    raw = philox_blocks(stream.key, (stream.block + first, 0, 0, 0), blocks)
    # On a big-endian machine the low half of a uint64 still is the first 32-bit word.
    return raw.astype("<u8", copy=False).view(f"<u{bits // 8}")[skipped : skipped + count]


def philox_blocks(key: tuple[int, int], counter: tuple[int, int, int, int], blocks: int) -> np.ndarray:
    """The uint64 words of the blocks whose counters follow `counter` (least word first)."""
    generator = philox()
    generator.state = {
        "bit_generator": "Philox",
        "state": {"counter": np.array(counter, np.uint64), "key": np.array(key, np.uint64)},
        "buffer": np.zeros(4, np.uint64),
        "buffer_pos": 4,
        "has_uint32": 0,
        "uinteger": 0,
    }
    raw: np.ndarray = generator.random_raw(4 * blocks)
    return raw
