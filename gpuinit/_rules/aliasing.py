"""Where arrays lie, and whether two of them share any of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from gpuinit._backends import torch_private
from gpuinit._backends.views import view_of

# Candidate solutions that NumPy tries, some milliseconds; without a bound, two odd views can take it minutes.
_MOST_WORK: Any = 10**5  # NumPy's annotations know only the special values


class Memory(NamedTuple):
    """The place of an array's elements: equal where arrays have all in common.

    `first` and `end` bound the bytes from the first to the last in memory; `start` is where the first element lies.
    """

    device: str
    first: int
    end: int
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: Any  # NumPy's, or torch's
    itemsize: int

    @classmethod
    def at(cls, device: str, start: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any, itemsize: int) -> Memory:
        """Return that of an array with elements."""
        first = last = start
        for length, step in zip(shape, strides):
            if step < 0:
                first += (length - 1) * step
            else:
                last += (length - 1) * step
        return cls(device, first, last + itemsize, start, shape, strides, dtype, itemsize)

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


def overlap(a: Any, b: Any) -> bool:
    """Whether two arrays that can be filled share memory."""
    first, second = memory_of(a), memory_of(b)
    if first is None or second is None or first.device != second.device:
        return False
    return _may_share(first.layout, second.layout)


def memory_of(x: Any) -> Memory | None:
    """Where an array lies; None of one that has no elements, or cannot be filled."""
    if torch_private.is_plain(x):
        return _memory_of_plain_tensor(x)
    try:
        array = view_of(x).array
    except (TypeError, RuntimeError):
        return None
    if not array.size:
        return None
    start = array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr
    return Memory.at(str(getattr(array, "device", "cpu")), start, array.shape, array.strides, array.dtype, array.itemsize)


def _memory_of_plain_tensor(x: Any) -> Memory | None:
    """The same of one of torch's own tensors, without a view, which takes ten times as long."""
    start, size = x.data_ptr(), x.element_size()
    if not (start and x.numel()):  # or it was freed
        return None
    return Memory.at("cpu", start, tuple(x.shape), tuple([step * size for step in x.stride()]), x.dtype, size)


def _may_share(a: np.ndarray, b: np.ndarray) -> bool:
    """Check whether two arrays share memory; those whose strides make that a hard problem count as if they did."""
    try:
        return np.shares_memory(a, b, max_work=_MOST_WORK)
    except np.exceptions.TooHardError:
        return True


def check_apart(memories: list[tuple[Memory, str]]) -> None:
    """Refuse arrays that share a part of their memory, whatever their strides: rows, columns, a transposed tie."""
    earlier: list[tuple[Memory, str]] = []  # those that reach beyond where the next begins
    for memory, name in sorted(memories, key=_by_place):
        earlier = [(other, its) for other, its in earlier if other.device == memory.device and other.end > memory.first]
        for other, its in earlier:
            if _may_share(other.layout, memory.layout):
                raise ValueError(
                    f"model must have parameters that lie apart or are the same, got {its} and {name}, which overlap"
                )
        earlier.append((memory, name))


def _by_place(named: tuple[Memory, str]) -> tuple[Any, ...]:
    return named[0][:3]
