"""Fills by `kernels/host.cpp`, where that was compiled when gpuinit was installed: the values of the ufuncs, in less time."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from struct import Struct
from typing import Any

import numpy as np

from gpuinit._backends import kernel_sources
from gpuinit._backends.host.sampler import Sampler
from gpuinit._backends.structs import STRUCTS, layout, struct_of
from gpuinit._contract.distributions import Distribution, Normal, Point, Sampled, Truncated
from gpuinit._contract.generator import Stream
from gpuinit._contract.inverse_cdf import first_row, padded_rows

_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_uint64
_pack_task = Struct("=IIQQQ").pack  # the members of `Task` in `kernels/host.cpp`, of which none needs padding
_DTYPES = "float16", "bfloat16", "float32", "float64"


def load(level: int | None = None) -> ctypes.CDLL:
    """Load the compiled kernels for a level of CPUs, or the best one that this CPU has and that was compiled.

    Raises
    ------
    OSError
        If there are none, since gpuinit was installed without a C++ compiler, or they are not of this kind of machine.
    RuntimeError
        If they read their parameters in another layout than they are given.
    """
    if level is None:
        best = ctypes.CDLL(str(kernel_sources.host_library())).gpuinit_level()
        there = [level for level in kernel_sources.HOST_LEVELS if kernel_sources.host_library(level).exists()]
        level = max(level for level in there if level <= best)
    library = ctypes.CDLL(str(kernel_sources.host_library(level)))
    for name, struct in STRUCTS.items():
        for dtype in _DTYPES:
            size = library[f"gpuinit_{name}_{dtype}_size"]
            size.restype = _NUMBER
            expected = layout(struct.members, _real(dtype)).itemsize
            if size() != expected:
                raise RuntimeError(
                    f"{library._name} has a {name} of {size()} bytes where gpuinit has {expected}: install gpuinit again"
                )
    return library


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the same, or None where there are none."""
    try:
        return load()
    except OSError:
        return None


@functools.lru_cache
def sampler_of(distribution: Sampled, dtype: np.dtype[Any]) -> Sampler | None:
    """Return the compiled sampler of a distribution for an array of a floating dtype in native byte order, or None."""
    found = _kernel(distribution, dtype)
    if found is None:
        return None
    function, transform = found
    has_buffer = dtype.kind == "f"  # bfloat16 is unknown to Python's buffers

    def sample(stream: Stream, starts: np.ndarray, length: int, out: np.ndarray) -> None:
        out = out if has_buffer else out.view(np.uint16)
        task = _pack_task(*stream.key, stream.block, len(starts), length)
        function(task + starts.tobytes() + transform, place(out))

    return sample


@functools.lru_cache
def filler_of(distribution: Distribution, dtype: np.dtype[Any]) -> Callable[[Stream, int, Any], None] | None:
    """Return what fills so many consecutive elements at an address, from the first word of a stream on; None if there is none.

    It takes a third of the time of `sampler_of` and an array, which counts for a small tensor of another library.
    """
    found = None if isinstance(distribution, Point) or dtype.kind == "c" else _kernel(distribution, dtype)
    if found is None:
        return None
    function, transform = found
    one_run = np.zeros(1, np.int64).tobytes() + transform

    def fill(stream: Stream, size: int, address: Any) -> None:
        (low, high), block = stream
        function(_pack_task(low, high, block, 1, size) + one_run, address)

    return fill


def _kernel(distribution: Sampled, dtype: np.dtype[Any]) -> tuple[Any, bytes] | None:
    """Return the compiled function for a distribution and a dtype, and the parameters that it reads after those of the task."""
    found = library()
    if found is None or not dtype.isnative or dtype.name not in _DTYPES:
        return None
    struct, real = struct_of(distribution), _real(dtype.name)
    function = found[f"gpuinit_{struct.name}_{dtype.name}"]
    function.restype = None
    function.argtypes = [_POINTER, _POINTER]
    rows = _table(real)
    if isinstance(distribution, (Normal, Truncated)):
        rows = rows[first_row(real, distribution.bits) :]
    values = struct.values(distribution, rows.ctypes.data)
    return function, np.array(values, layout(struct.members, real)).tobytes()


def _real(dtype: str) -> np.dtype[Any]:
    """Return the precision that values of a dtype are computed in; not every NumPy knows bfloat16."""
    return np.dtype(np.float64 if dtype == "float64" else np.float32)


@functools.cache
def repeat() -> Callable[[bytes, np.ndarray], None] | None:
    """Return the compiled function that writes a value of eight bytes again and again to a contiguous array, or None."""
    function = _repeat()
    if function is None:
        return None

    def write(value: bytes, out: np.ndarray) -> None:
        function(int.from_bytes(value, sys.byteorder), place(out), out.nbytes // 8)

    return write


@functools.cache
def _repeat() -> Any:
    """Return the compiled function itself, or None."""
    found = library()
    if found is None:
        return None
    function = found["gpuinit_repeat"]
    function.restype = None
    function.argtypes = [_NUMBER, _POINTER, _NUMBER]
    return function


def constant_at(value: Any, size: int, address: int) -> bool:
    """Write a NumPy scalar to so many consecutive elements at an address; False if nothing compiled can do it."""
    itemsize = value.dtype.itemsize
    write = _repeat()
    if write is None or itemsize > 8 or size * itemsize % 8:
        return False
    write(int.from_bytes(value.tobytes() * (8 // itemsize), sys.byteorder), address, size * itemsize // 8)
    return True


def place(out: np.ndarray) -> Any:
    """Return an array's memory as ctypes takes it, in a third of the time that `ndarray.ctypes` takes."""
    return ctypes.byref(ctypes.c_char.from_buffer(out.data))


_tables: dict[np.dtype[Any], np.ndarray] = {}


def _table(real: np.dtype[Any]) -> np.ndarray:
    """Return the inverse CDF's table, at an address that stays: threads that make it at the same time all get the same one."""
    if real not in _tables:
        _tables.setdefault(real, padded_rows(real))
    return _tables[real]
