"""Fills by `kernels/host.cpp`, where that was compiled when gpuinit was installed: the values of the ufuncs, in less time."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from gpuinit._backends import kernel_sources
from gpuinit._backends.host.sampler import Sampler
from gpuinit._backends.host.workspace import Workspace
from gpuinit._backends.structs import STRUCTS, layout, struct_of
from gpuinit._contract.distributions import Normal, Truncated, Uniform
from gpuinit._contract.generator import Stream
from gpuinit._contract.inverse_cdf import padded_rows

_POINTER, _WORD, _NUMBER = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
_PRECISIONS = np.dtype(np.float32), np.dtype(np.float64)


def load() -> ctypes.CDLL:
    """Load the compiled kernels.

    Raises
    ------
    OSError
        If there are none, since gpuinit was installed without a C++ compiler, or they are not of this kind of machine.
    RuntimeError
        If they read their parameters in another layout than they are given.
    """
    library = ctypes.CDLL(str(kernel_sources.host_library()))
    for name, struct in STRUCTS.items():
        for real in _PRECISIONS:
            size = library[f"{_symbol(name, real)}_size"]
            size.restype = _NUMBER
            expected = layout(struct.members, real).itemsize
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
def sampler_of(distribution: Uniform | Normal | Truncated, real: np.dtype[Any]) -> Sampler | None:
    """Return the compiled sampler of a distribution, whose parameters are of the working precision `real`, or None."""
    found = library()
    if found is None:
        return None
    struct = struct_of(distribution)
    function = found[_symbol(struct.name, real)]
    function.restype = None
    function.argtypes = [_POINTER, _WORD, _WORD, _NUMBER, _POINTER, _NUMBER, _NUMBER, _POINTER]
    values = struct.values(distribution, _table(real).ctypes.data)
    transform = np.array(values, layout(struct.members, real)).tobytes()

    def sample(space: Workspace, stream: Stream, starts: np.ndarray, length: int, out: np.ndarray) -> None:
        function(transform, *stream.key, stream.block, starts.tobytes(), len(starts), length, _place(out))

    return sample


def _symbol(name: str, real: np.dtype[Any]) -> str:
    return f"gpuinit_{name}{8 * real.itemsize}"


@functools.cache
def repeat() -> Callable[[bytes, np.ndarray], None] | None:
    """Return the compiled function that writes a value of eight bytes again and again to a contiguous array, or None."""
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
    """Return an array's memory as ctypes takes it, in a third of the time that `ndarray.ctypes` takes."""
    return ctypes.byref(ctypes.c_char.from_buffer(out.data))


_tables: dict[np.dtype[Any], np.ndarray] = {}


def _table(real: np.dtype[Any]) -> np.ndarray:
    """Return the inverse CDF's table, at an address that stays: threads that make it at the same time all get the same one."""
    if real not in _tables:
        _tables.setdefault(real, padded_rows(real))
    return _tables[real]
