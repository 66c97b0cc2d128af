"""Fills by `kernels/host.cpp`, where that was compiled when gpuinit was installed: the values of the ufuncs, in less time."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from gpuinit import kernel_sources
from gpuinit.backends.host.scratch import Workspace
from gpuinit.distributions import Distribution
from gpuinit.generator import Stream
from gpuinit.inverse_cdf import padded_rows

if TYPE_CHECKING:
    from gpuinit.backends.host.draw import Draw

# The members of the transforms in `kernels/uniform.cuh` and `normal.cuh`, in their order; those not named here are of the
# working precision.
_MEMBERS = {
    "uniform": ("scale", "low", "least", "greatest"),
    "normal": ("table", "mean", "odd_mean", "std"),
    "truncated": ("table", "start", "factor", "shift", "mean", "std", "least", "greatest"),
}
_TYPES = {"table": np.uintp, "start": np.uint64, "factor": np.uint64, "shift": np.int32}
_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_uint64


def load() -> ctypes.CDLL:
    """The compiled kernels.

    Raises
    ------
    OSError
        If there are none, since gpuinit was installed without a C++ compiler, or they are not of this kind of machine.
    """
    return ctypes.CDLL(str(kernel_sources.host_library()))


@functools.cache
def library() -> ctypes.CDLL | None:
    """The same; None where there are none, or not even their sources."""
    try:
        return load()
    except (OSError, RuntimeError):
        return None


@functools.lru_cache
def draw_of(distribution: Distribution, real: np.dtype[Any]) -> Draw | None:
    """How to draw from a distribution, whose parameters are of the working precision `real`; None if it is not compiled."""
    found = library()
    if found is None:
        return None
    name = type(distribution).__name__.lower()
    function = found[f"gpuinit_{name}{8 * real.itemsize}"]
    function.restype = None
    function.argtypes = [_POINTER, _NUMBER, _NUMBER, _NUMBER, _POINTER, _NUMBER, _NUMBER, _POINTER]
    transform = _transform(name, distribution, real)

    def draw(space: Workspace, stream: Stream, starts: np.ndarray, length: int, out: np.ndarray) -> None:
        function(transform, *stream.key, stream.block, starts.tobytes(), len(starts), length, _place(out))

    return draw


@functools.cache
def repeat() -> Callable[[bytes, np.ndarray], None] | None:
    """The function that writes a value of eight bytes again and again to a contiguous array; None if it is not compiled."""
    found = library()
    if found is None:
        return None
    function = found["gpuinit_repeat"]
    function.restype = None
    function.argtypes = [_NUMBER, _POINTER, _NUMBER]

    def write(value: bytes, out: np.ndarray) -> None:
        function(int.from_bytes(value, sys.byteorder), _place(out), out.nbytes // 8)

    return write


def _place(out: np.ndarray) -> Any:
    """An array's memory as ctypes takes it, in a third of the time that the array takes to tell its address."""
    return ctypes.byref(ctypes.c_char.from_buffer(out.data))


def _transform(name: str, distribution: Distribution, real: np.dtype[Any]) -> bytes:
    """The transform's parameters as C++ lays them out."""
    members = _MEMBERS[name]
    values = [_table(real).ctypes.data if member == "table" else getattr(distribution, member) for member in members]
    layout = np.dtype([(member, _TYPES.get(member, real)) for member in members], align=True)
    return np.array(tuple(values), layout).tobytes()


_tables: dict[np.dtype[Any], np.ndarray] = {}


def _table(real: np.dtype[Any]) -> np.ndarray:
    """The inverse CDF's table, at an address that stays: of threads that make it at the same time, all get the same one."""
    if real not in _tables:
        _tables.setdefault(real, padded_rows(real))
    return _tables[real]
