"""The one place that knows which library an array belongs to: `target` finds the backend that fills it.

A backend is a module with the functions of `host`: `check`, `fill`, `constant`, `eye`, `dirac`, `sparse`, `orthogonal`,
`trunc`. It is imported when the first array of its library comes, and finds the library in `sys.modules`.
"""

from __future__ import annotations

import importlib
import math
import sys
from typing import Any, NamedTuple

import numpy as np

# Library -> the module that fills its arrays. The array class is `ndarray` in both.
_BACKENDS = {"numpy": "gpuinit.backends.host", "cupy": "gpuinit.backends.cuda"}

FLOATS = frozenset(map(np.dtype, (np.float16, np.float32, np.float64)))
INTEGERS = frozenset(np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8))
EVERY = FLOATS | INTEGERS | frozenset(map(np.dtype, (np.bool_, np.complex64, np.complex128)))


class Target(NamedTuple):
    """A checked array: its backend, the array itself, and its dtype in native byte order."""

    backend: Any
    array: Any
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def target(x: Any, dtypes: frozenset[np.dtype[Any]] = FLOATS) -> Target:
    """Check that `x` is an array that can be filled, of one of `dtypes`.

    Raises
    ------
    TypeError
        If `x` is no array of a known library, or of another dtype.
    ValueError
        If it is read-only or overlaps itself.
    RuntimeError
        If no device can be used for it.
    """
    backend = _backend(x)
    array = backend.check(x)
    dtype = np.dtype(array.dtype).newbyteorder("=")
    if dtype not in dtypes:
        accepted = ", ".join(sorted(map(str, dtypes)))
        raise TypeError(f"x must be an array of one of the dtypes {accepted}; got {dtype}")
    if _may_overlap(array):
        raise ValueError(
            f"x must not overlap itself, got shape {tuple(array.shape)} with strides {tuple(array.strides)} "
            "(a broadcast or as_strided array?); fill a copy of it instead"
        )
    return Target(backend, array, dtype)


def _may_overlap(array: Any) -> bool:
    """Whether two elements may share a byte: true unless each axis steps over all that the smaller steps reach."""
    if array.size == 0:
        return False
    reach = array.itemsize
    for step, length in sorted((abs(stride), length) for stride, length in zip(array.strides, array.shape) if length > 1):
        if step < reach:
            return True
        reach += step * (length - 1)
    return False


def _backend(x: Any) -> Any:
    for library, module in _BACKENDS.items():
        loaded = sys.modules.get(library)
        if loaded is not None and isinstance(x, getattr(loaded, "ndarray", ())):
            return importlib.import_module(module)
    kind = f"{type(x).__module__}.{type(x).__qualname__}".removeprefix("builtins.")
    raise TypeError(f"x must be a numpy.ndarray or a cupy.ndarray, which are filled in place; got {kind}")
