"""What is known of dtypes: which can be filled, the precision values are computed in, their words and parts, rounding once."""

from __future__ import annotations

import functools
import importlib
import math
from typing import Any

import numpy as np

# Of 8 bits; CuPy lacks them, so only the CPU fills them.
EIGHT_BITS = frozenset(("float8_e4m3fn", "float8_e5m2"))
# Those that NumPy has from ml_dtypes.
FROM_ML_DTYPES = EIGHT_BITS | {"bfloat16"}
FLOATS = FROM_ML_DTYPES | {"float16", "float32", "float64"}
COMPLEX = frozenset(("complex64", "complex128"))
INEXACT = FLOATS | COMPLEX
INTEGERS = frozenset(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))
EVERY = INEXACT | INTEGERS | {"bool"}


def as_dtype(name: Any) -> np.dtype[Any]:
    """Return `numpy.dtype(name)`, which knows some names only once ml_dtypes is imported.

    Raises
    ------
    TypeError
        If it needs ml_dtypes, and that is not installed.
    """
    dtype: np.dtype[Any] = np.dtype(_from_ml_dtypes(name) if isinstance(name, str) and name in FROM_ML_DTYPES else name)
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


def has_dtype(name: str) -> bool:
    """Check whether NumPy can have a dtype of this name here."""
    try:
        as_dtype(name)
    except TypeError:
        return False
    return True


def _from_ml_dtypes(name: str) -> Any:
    """Return a scalar type of ml_dtypes, as which NumPy sees memory of that dtype."""
    try:
        return getattr(importlib.import_module("ml_dtypes"), name)
    except ImportError as error:
        raise TypeError(f"{name} on the CPU needs the package ml_dtypes: install gpuinit[bfloat16]") from error


@functools.cache
def highest(dtype: np.dtype[Any]) -> float:
    """Return the highest value of a floating dtype: infinity, or the greatest number where the dtype has no infinity."""
    return 448.0 if dtype.name == "float8_e4m3fn" else math.inf


@np.errstate(all="ignore")  # of values that are too large or too small
def round_into(x: Any, values: Any) -> None:
    """Write values to an array of any library, each rounded once to its dtype; `values` may be overwritten.

    What is too large becomes the dtype's highest value, for which ml_dtypes gives nan where that is not infinity.
    """
    end = highest(x.dtype)
    if end < math.inf:
        np.clip(values, -end, end, values)
    x[...] = values


def round_once(value: float, dtype: np.dtype[Any]) -> Any:
    """Round to a scalar of `dtype`; a value that is too large becomes infinite, or nan where the dtype has no infinity."""
    with np.errstate(all="ignore"):
        return dtype.type(_round_to_odd(value) if dtype.name in FROM_ML_DTYPES else value)


def round_parameter(value: float, dtype: np.dtype[Any]) -> Any:
    """Round once, but never to -0, so that no result depends on a zero's sign."""
    return round_once(value, dtype) + dtype.type(0)


def _round_to_odd(value: float) -> np.float32:
    """Round to float32, to an odd last bit where that is inexact.

    ml_dtypes goes to its dtypes by way of float32, and from such a float32 its rounding is that of `value` itself (Boldo and
    Melquiond 2008, "Emulation of FMA and correctly rounded sums").
    """
    single: np.float32 = np.float32(value)
    if float(single) == value or not np.isfinite(single) or single.view(np.uint32) & 1:
        return single
    neighbour: np.float32 = np.nextafter(single, np.float32(np.copysign(np.inf, value - float(single))))
    return neighbour
