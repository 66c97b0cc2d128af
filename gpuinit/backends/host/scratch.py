"""What a thread uses again for each piece: memory, since fresh pages would cost as much as the arithmetic done in them, and a
bit generator, since to make one costs more than to set it.

A thread that is interrupted in a piece, by a signal handler that fills, gets another set for that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


class _Sets(threading.local):
    def __init__(self) -> None:
        self.used: list[dict[Any, Any]] = [{}]
        self.free: list[dict[Any, Any]] = []


_sets = _Sets()


@contextmanager
def workspace() -> Iterator[None]:
    """A set of its own for all that this thread does within."""
    own = _sets.free.pop() if _sets.free else {}
    _sets.used.append(own)
    try:
        yield
    finally:
        _sets.used.pop()
        _sets.free.append(own)


def scratch(name: str, size: int, dtype: np.dtype[Any] | type) -> np.ndarray:
    """An array, not initialized; it is valid until the same name and dtype are asked for again."""
    kept = _sets.used[-1]
    key = name, dtype
    if key not in kept or kept[key].size < size:
        kept[key] = np.empty(size, dtype)
    found: np.ndarray = kept[key][:size]
    return found


def philox() -> Any:
    """A Philox bit generator, in any state."""
    kept = _sets.used[-1]
    if "philox" not in kept:
        kept["philox"] = np.random.Philox(key=0)
    return kept["philox"]
