"""Checks of scalar arguments: each returns the plain Python value or raises an error that says what is accepted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Complex, Integral, Rational, Real
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from gpuinit._contract.dtypes import round_once

if TYPE_CHECKING:
    from typing_extensions import TypeIs  # in typing since Python 3.13

Kind = TypeVar("Kind")


def is_a(value: Any, kind: type[Kind] | tuple[type[Kind], ...]) -> TypeIs[Kind]:
    """Whether `value` is an instance of a class, or of one of a tuple; an object that raises when it is asked is none."""
    try:
        return isinstance(value, kind)
    except Exception:  # of its `__class__`, which may be anything
        return False


def attribute(value: Any, name: str, default: Any = None) -> Any:
    """An attribute of any object, which has none of those whose look-up raises."""
    try:
        return getattr(value, name, default)
    except Exception:  # of its `__getattr__`
        return default


def type_name(value: Any) -> str:
    """An object's type as error messages name it."""
    try:
        return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    except Exception:  # of a metaclass, which may be anybody's
        return "an object whose type has no name"


def short_repr(value: Any) -> str:
    """`value` as an error message shows it: short, and whatever its own `repr` does."""
    try:
        text = repr(value)
    except Exception as error:  # it may be anybody's, and an error about it must not hide behind an error of its own
        text = f"<no repr: {type(error).__name__}>"
    return text if len(text) <= 100 else f"{text[:60]}...{text[-30:]}"


def shorten(items: Sequence[str], most: int = 10) -> list[str]:
    """The first `most` items, and how many others there are, as an error message lists them."""
    return [*items[:most], f"and {len(items) - most:,} more"] if len(items) > most else list(items)


def unwrap(value: Any) -> Any:
    """The Python number in a 0-d array or NumPy scalar; anything else itself."""
    try:
        if getattr(value, "ndim", None) == 0 and not isinstance(value, (np.timedelta64, np.datetime64)):
            return value.item()
    except Exception:  # no array after all, whatever it calls `ndim` and `item`; what it is, the caller's error says
        pass
    return value


def real(name: str, value: Any) -> float:
    """`value` as a float; a 0-d array counts as the number that it holds."""
    if type(value) is float:
        return value
    number = unwrap(value)
    if not is_a(number, Real) or isinstance(number, np.timedelta64):
        raise TypeError(f"{name} must be a real number, got {short_repr(value)} of type {type_name(value)}")
    try:
        return float(number)
    except OverflowError:
        raise ValueError(f"{name} must lie in the range of float64, got {name}={short_repr(value)}") from None
    except Exception as error:  # of a class of numbers that is not NumPy's or Python's
        raise TypeError(f"{name} must be a real number, got {short_repr(value)}: {error}") from error


def number(name: str, value: Any) -> int | complex:
    """`value` as an int, if it is whole and exact, else as a complex number."""
    plain = unwrap(value)
    if not is_a(plain, Complex) or isinstance(plain, np.timedelta64):
        raise TypeError(f"{name} must be a number, got {short_repr(plain)} of type {type_name(plain)}")
    try:
        if isinstance(plain, Rational) and plain.denominator == 1:
            return int(plain.numerator)
        result = complex(plain)
        if np.isinf(result) and plain - plain == 0:  # a finite number, of a type with more range than float64
            raise OverflowError
    except OverflowError:
        raise ValueError(f"{name} must lie in the range of float64, got {name}={short_repr(value)}") from None
    except Exception as error:  # of a class of numbers that is not NumPy's or Python's
        raise TypeError(f"{name} must be a number, got {short_repr(value)}: {error}") from error
    return result


def complex_number(name: str, value: Any) -> complex:
    """`value` as a complex number."""
    number = unwrap(value)
    return number if is_a(number, complex) else complex(real(name, number))


def finite(name: str, value: Any) -> float:
    """`value` as a finite float."""
    number = real(name, value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {name}={number}")
    return number


def finite_in(name: str, value: Any, dtype: np.dtype[Any]) -> float:
    """`value` as a float that is finite in `dtype` too."""
    return _fitting(name, finite(name, value), dtype)


_FITS_EVERY_FLOAT = 448.0  # float8_e4m3fn's largest number


def _fitting(name: str, number: float, dtype: np.dtype[Any]) -> float:
    if abs(number) > _FITS_EVERY_FLOAT and not np.isfinite(round_once(number, dtype)):
        raise ValueError(f"{name} must be finite in {dtype}, got {name}={number}")
    return number


def not_negative(name: str, value: Any, dtype: np.dtype[Any]) -> float:
    """`value` as a float >= 0 that is finite in `dtype` too."""
    number = finite(name, value)
    if number < 0:
        raise ValueError(f"{name} must not be negative, got {name}={number}")
    return _fitting(name, number, dtype)


def positive(name: str, value: Any, dtype: np.dtype[Any]) -> float:
    """`value` as a float > 0 that is finite in `dtype` too."""
    number = finite_in(name, value, dtype)
    if number <= 0:
        raise ValueError(f"{name} must be positive, got {name}={number}")
    return number


def fraction(name: str, value: Any) -> float:
    """`value` as a float in [0, 1]."""
    number = real(name, value)
    if not 0 <= number <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {name}={number}")
    return number


def boolean(name: str, value: Any) -> bool:
    """`value` as a bool; no other object counts as true or false."""
    if not is_a(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {short_repr(value)} of type {type_name(value)}")
    return bool(value)


def is_integer(value: Any) -> bool:
    """Whether `value` is an integer of Python or NumPy; a bool is none."""
    return type(value) is int or (is_a(value, Integral) and not isinstance(value, (bool, np.timedelta64)))


def integer(name: str, value: Any, least: int = 0) -> int:
    """`value` as an int that is at least `least`."""
    if not is_integer(value):
        raise TypeError(f"{name} must be an int, got {short_repr(value)} of type {type_name(value)}")
    try:
        plain = int(value)
    except Exception as error:  # of a class of numbers that is not NumPy's or Python's
        raise TypeError(f"{name} must be an int, got {short_repr(value)}: {error}") from error
    if plain < least:
        accepted = f"be at least {least}" if least else "not be negative"
        raise ValueError(f"{name} must {accepted}, got {name}={short_repr(plain)}")
    return plain
