"""Checks of scalar arguments: each returns the plain Python value or raises an error that says what is accepted."""

from __future__ import annotations

import importlib
import math
from numbers import Integral, Real
from typing import Any

import numpy as np


def real(name: str, value: Any) -> float:
    """`value` as a float; a 0-d array counts as the number that it holds."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number, got {value!r} of type {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} must lie in the range of float64, got {name}={value!r}") from None


def complex_number(name: str, value: Any) -> complex:
    """`value` as a complex number."""
    return complex(value) if isinstance(value, (complex, np.complexfloating)) else complex(real(name, value))


def finite(name: str, value: Any) -> float:
    """`value` as a finite float."""
    number = real(name, value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {name}={number}")
    return number


def finite_in(name: str, value: Any, dtype: np.dtype[Any]) -> float:
    """`value` as a float that is finite in `dtype` too."""
    number = finite(name, value)
    if not np.isfinite(rounded(number, dtype)):
        raise ValueError(f"{name} must be finite in {dtype}, got {name}={number}")
    return number


def not_negative(name: str, value: Any) -> float:
    """`value` as a finite float >= 0."""
    number = finite(name, value)
    if number < 0:
        raise ValueError(f"{name} must not be negative, got {name}={number}")
    return number


def fraction(name: str, value: Any) -> float:
    """`value` as a float in [0, 1]."""
    number = real(name, value)
    if not 0 <= number <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {name}={number}")
    return number


def integer(name: str, value: Any, least: int = 0) -> int:
    """`value` as an int that is at least `least`; a bool is none."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, got {value!r} of type {type(value).__name__}")
    if value < least:
        accepted = f"be at least {least}" if least else "not be negative"
        raise ValueError(f"{name} must {accepted}, got {name}={value}")
    return int(value)


def as_dtype(name: Any) -> np.dtype[Any]:
    """`numpy.dtype(name)`, which knows "bfloat16" once ml_dtypes is imported."""
    if name == "bfloat16":
        importlib.import_module("ml_dtypes")
    dtype: np.dtype[Any] = np.dtype(name)
    return dtype


def nearest(value: float, dtype: np.dtype[Any]) -> Any:
    """`value` rounded once to `dtype`, infinite where it is too large."""
    with np.errstate(over="ignore", under="ignore"):
        return dtype.type(_rounded_to_odd(value) if dtype.kind == "V" else value)  # bfloat16 is no float to NumPy


def rounded(value: float, dtype: np.dtype[Any]) -> Any:
    """The same, but never -0, so that no result depends on a zero's sign."""
    return nearest(value, dtype) + dtype.type(0)


def _rounded_to_odd(value: float) -> np.float32:
    """`value` in float32, on an odd last bit where it is inexact: ml_dtypes goes to bfloat16 by way of float32, and from
    here its rounding is that of `value` itself (Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums")."""
    single: np.float32 = np.float32(value)
    if single == value or not np.isfinite(single) or single.view(np.uint32) & 1:
        return single
    neighbour: np.float32 = np.nextafter(single, np.float32(np.copysign(np.inf, value - float(single))))
    return neighbour
