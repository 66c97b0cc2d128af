"""Where arrays lie, and whether two of them share any of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

from gpuinit.backends.views import view_of


class Memory(NamedTuple):
    """The place of an array's elements: equal where arrays have all in common."""

    device: str
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    itemsize: int

    @property
    def layout(self) -> np.ndarray:
        """An array of NumPy at these addresses, which may be a device's: to compute with them, never to read."""
        interface = {
            "version": 3,
            "data": (self.start, True),
            "shape": self.shape,
            "strides": self.strides,
            "typestr": f"|V{self.itemsize}",
        }
        return np.asarray(SimpleNamespace(__array_interface__=interface))

    @property
    def bounds(self) -> tuple[int, int]:
        """The first byte, and the one after the last."""
        return byte_bounds(self.layout)

    def overlaps(self, other: Memory) -> bool:
        return self.device == other.device and np.shares_memory(self.layout, other.layout)


def memory_of(x: Any) -> Memory | None:
    """Where an array lies; None of one that has no elements, or cannot be filled."""
    try:
        array = view_of(x).array
    except (TypeError, RuntimeError):
        return None
    if not array.size:
        return None
    start = array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr
    return Memory(str(getattr(array, "device", "cpu")), start, array.shape, array.strides, str(array.dtype), array.itemsize)
