"""Streams of oneMKL's vector statistics, by ctypes from `libmkl_rt`, which the PyPI package `mkl` installs.

The numbers below are those of `mkl_vsl_defines.h` and `mkl_service.h`.
"""

from __future__ import annotations

import ctypes
import functools
from importlib import metadata
from typing import Any

import numpy as np

GENERATORS = {"Philox": 16 << 20, "ARS5": 15 << 20}  # VSL_BRNG_PHILOX4X32X10, VSL_BRNG_ARS5
_UNIFORM_STD, _GAUSSIAN_ICDF = 0, 2
_SEQUENTIAL = 1  # MKL_THREADING_SEQUENTIAL: each thread here has a stream of its own
_REALS: dict[Any, tuple[str, Any]] = {np.float32: ("s", ctypes.c_float), np.float64: ("d", ctypes.c_double)}


@functools.cache
def _library() -> ctypes.CDLL:
    """Load oneMKL.

    Raises
    ------
    OSError
        If the package `mkl` is not installed.
    """
    try:
        files = metadata.files("mkl") or []
    except metadata.PackageNotFoundError as error:
        raise OSError("oneMKL is not installed: pip install mkl") from error
    (path,) = [file for file in files if file.name.startswith("libmkl_rt.so")]
    library = ctypes.CDLL(str(path.locate()))
    library.MKL_Set_Threading_Layer(_SEQUENTIAL)
    return library


class Stream:
    """A stream of a generator with seed 1, from its element number `skipped` on."""

    def __init__(self, generator: str, skipped: int) -> None:
        self._handle = ctypes.c_void_p()
        _check(_library().vslNewStream(ctypes.byref(self._handle), GENERATORS[generator], 1))
        _check(_library().vslSkipAheadStream(self._handle, ctypes.c_longlong(skipped)))

    def __del__(self) -> None:
        _library().vslDeleteStream(ctypes.byref(self._handle))

    def uniform(self, out: np.ndarray, low: float, high: float) -> None:
        self._draw("Uniform", _UNIFORM_STD, out, low, high)

    def normal(self, out: np.ndarray, mean: float, std: float) -> None:
        """Normals by inversion, as gpuinit's are; Box-Muller takes longer."""
        self._draw("Gaussian", _GAUSSIAN_ICDF, out, mean, std)

    def _draw(self, name: str, method: int, out: np.ndarray, *parameters: float) -> None:
        letter, real = _REALS[out.dtype.type]
        place = out.ctypes.data_as(ctypes.c_void_p)
        _check(getattr(_library(), f"v{letter}Rng{name}")(method, self._handle, out.size, place, *map(real, parameters)))


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"oneMKL's vector statistics report error {status}")
