"""What a thread uses again for each piece: memory, since fresh pages would cost as much as the arithmetic done in them, and a
bit generator, since to make one costs more than to set it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


class Workspace:
    """Scratch arrays by name, and NumPy's Philox."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, Any], np.ndarray] = {}
        self._philox = np.random.Philox(key=0)

    def array(self, name: str, size: int, dtype: np.dtype[Any] | type) -> np.ndarray:
        """An array, not initialized; it is valid until the same name and dtype are asked for again."""
        kept = self._arrays.get((name, dtype))
        if kept is None or kept.size < size:
            kept = self._arrays[name, dtype] = np.empty(size, dtype)
        return kept[:size]

    def philox_blocks(self, key: tuple[int, int], counter: tuple[int, int, int, int], blocks: int) -> np.ndarray:
        """The uint64 words of the blocks whose counters follow `counter` (least word first), in an array of the caller's own."""
        self._philox.state = {
            "bit_generator": "Philox",
            "state": {"counter": counter, "key": key},
            "buffer": _NO_WORDS,
            "buffer_pos": 4,
            "has_uint32": 0,
            "uinteger": 0,
        }
        raw: np.ndarray = self._philox.random_raw(4 * blocks)
        return raw


_NO_WORDS = (0, 0, 0, 0)


class _Free(threading.local):
    def __init__(self) -> None:
        self.workspaces: list[Workspace] = []


_free = _Free()


@contextmanager
def workspace() -> Iterator[Workspace]:
    """A workspace for all that this thread does within; what interrupts that, a signal handler that fills, gets another."""
    free = _free.workspaces
    space = free.pop() if free else Workspace()
    try:
        yield space
    finally:
        free.append(space)
