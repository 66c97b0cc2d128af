"""What is known of dtypes: which can be filled, the precision values are computed in, their words and parts, rounding once."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np

FLOATS = frozenset(("float16", "bfloat16", "float32", "float64"))
COMPLEX = frozenset(("complex64", "complex128"))
INEXACT = FLOATS | COMPLEX
INTEGERS = frozenset(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))
EVERY = INEXACT | INTEGERS | {"bool"}


def as_dtype(name: Any) -> np.dtype[Any]:
    """Return `numpy.dtype(name)`, which knows "bfloat16" only once ml_dtypes is imported."""
    dtype: np.dtype[Any] = np.dtype(bfloat16() if name == "bfloat16" else name)
    return dtype


@functools.cache
def native(dtype: Any) -> tuple[np.dtype[Any], str]:
    """Return a dtype in native byte order, and its name, which NumPy makes again at each look; longdouble has none here."""
    dtype = np.dtype(dtype).newbyteorder("=")
    return dtype, "" if dtype.char in "gG" else dtype.name


@functools.cache
def working(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the precision that values of `dtype` are computed in: float64 for float64 and complex128, float32 for all others."""
    return np.dtype(np.float64) if dtype.newbyteorder("=") in (np.float64, np.complex128) else np.dtype(np.float32)


@functools.cache
def word_bytes(dtype: np.dtype[Any]) -> int:
    """Return the bytes of random words that an element takes: a complex one takes those of two reals."""
    return working(dtype).itemsize * (2 if dtype.kind == "c" else 1)


def real_part(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of a complex dtype's parts; any other is its own."""
    return working(dtype) if dtype.kind == "c" else dtype


def complex_of(real: np.dtype[Any]) -> np.dtype[Any]:
    """Return the complex dtype whose parts have at least the precision of `real`."""
    return np.result_type(real, np.complex64)


def has_bfloat16() -> bool:
    """Check whether NumPy can have bfloat16 here."""
    try:
        bfloat16()
    except TypeError:
        return False
    return True


def bfloat16() -> Any:
    """Return the bfloat16 of ml_dtypes, as which NumPy sees bfloat16 memory.

    Raises
    ------
    TypeError
        If ml_dtypes is not installed.
    """
    try:
        return importlib.import_module("ml_dtypes").bfloat16
    except ImportError as error:
        raise TypeError("bfloat16 on the CPU needs the package ml_dtypes: install gpuinit[bfloat16]") from error


def round_once(value: float, dtype: np.dtype[Any]) -> Any:
    """Round to a scalar of `dtype`, infinite where the value is too large."""
    with np.errstate(over="ignore", under="ignore"):
        return dtype.type(_round_to_odd(value) if dtype.kind == "V" else value)  # bfloat16 is not a float to NumPy


def round_parameter(value: float, dtype: np.dtype[Any]) -> Any:
    """Round once, but never to -0, so that no result depends on a zero's sign."""
    return round_once(value, dtype) + dtype.type(0)


def _round_to_odd(value: float) -> np.float32:
    """Round to float32, to an odd last bit where that is inexact.

    ml_dtypes goes to bfloat16 by way of float32, and from such a float32 its rounding is that of `value` itself (Boldo and
    Melquiond 2008, "Emulation of FMA and correctly rounded sums").
    """
    single: np.float32 = np.float32(value)
    if float(single) == value or not np.isfinite(single) or single.view(np.uint32) & 1:
        return single
    neighbour: np.float32 = np.nextafter(single, np.float32(np.copysign(np.inf, value - float(single))))
    return neighbour
