"""Memory that a thread uses again for each piece: fresh pages would cost as much as the arithmetic done in them."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np


class Workspace:
    """Scratch arrays by name."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, Any], np.ndarray] = {}

    def array(self, name: str, size: int, dtype: np.dtype[Any] | type) -> np.ndarray:
        """An array, not initialized; it is valid until the same name and dtype are asked for again."""
        kept = self._arrays.get((name, dtype))
        if kept is None or len(kept) < size:
            kept = self._arrays[name, dtype] = np.empty(size, dtype)
        return kept if len(kept) == size else kept[:size]


class _Free(threading.local):
    def __init__(self) -> None:
        self.workspaces: list[Workspace] = []


_free = _Free()


class workspace:  # noqa: N801  # used like a function, as contextlib's are; a generator would take longer
    """A workspace for all that this thread does within; what interrupts that, a signal handler that fills, gets another."""

    def __enter__(self) -> Workspace:
        free = _free.workspaces
        self._space = free.pop() if free else Workspace()
        return self._space

    def __exit__(self, *_: object) -> None:
        _free.workspaces.append(self._space)
