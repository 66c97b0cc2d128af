"""Fills that ask nothing of the array's shape: uniform, normal, truncated normal, constants, truncation."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

import numpy as np

from gpuinit._backends.operations import Constant, Fill, Truncate
from gpuinit._backends.targets import Target, target, write
from gpuinit._contract import distributions
from gpuinit._contract.arguments import boolean, finite, number, real, short_repr, unwrap
from gpuinit._contract.arithmetic import exact
from gpuinit._contract.dtypes import EVERY, FLOATS, INTEGERS, round_once, word_bytes
from gpuinit._contract.generator import BLOCK_BYTES, Generator, Stream, as_generator
from gpuinit._contract.shards import Shard
from gpuinit._initializers.calling import initializer

Array = TypeVar("Array")
RandomSource = Generator | int | None


@initializer
def uniform_(x: Array, a: float = 0.0, b: float = 1.0, generator: RandomSource = None, *, shard: Shard | None = None) -> Array:
    """Fill with values uniform on [a, b).

    Parameters
    ----------
    x : array of float8 (e4m3fn, e5m2), float16, bfloat16, float32, float64, complex64 or complex128, any shape and layout
        Filled in place.
    a, b : float
        The bounds, finite in the array's dtype. `b` is never returned, in any dtype; `a == b` fills the nearest value.
        In a complex array, the bounds of either part.
    generator : Generator, int seed or None
        The source of random bits; None means `gpuinit.default_generator`.
    shard : Shard, optional
        What part of a larger array `x` is; see `Shard`.

    Returns
    -------
    array
        `x` itself.

    Raises
    ------
    TypeError
        If `x` is no array of these dtypes that can be written, or another argument is of a wrong type.
    ValueError
        If `x` overlaps itself or has not the shard's shape, a bound is not finite, a > b, or [a, b) holds no value of the dtype.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> gi.uniform_(np.empty(3, np.float32), -1, 1, generator=42)
    array([-0.6851398, -0.8645679, -0.8854753], dtype=float32)
    """
    to = target(x, shard=shard)
    fill_from(to, distributions.uniform(to.dtype, a, b), generator)
    return x


@initializer
def normal_(
    x: Array, mean: complex = 0.0, std: float = 1.0, generator: RandomSource = None, *, shard: Shard | None = None
) -> Array:
    """Fill with values of the normal distribution N(mean, std**2).

    Parameters
    ----------
    x : array of float8 (e4m3fn, e5m2), float16, bfloat16, float32, float64, complex64 or complex128, any shape and layout
        Filled in place.
    mean, std : float
        Finite in the working precision (float32 for smaller types); `std >= 0`, and 0 fills `mean`. In a complex array, `mean`
        may be complex, and `std` is that of the whole: each part has std / sqrt(2).
    generator : Generator, int seed or None
        The source of random bits; None means `gpuinit.default_generator`.
    shard : Shard, optional
        What part of a larger array `x` is; see `Shard`.

    Returns
    -------
    array
        `x` itself.

    Raises
    ------
    TypeError, ValueError
        As for `uniform_`; also if `std` is negative.

    Notes
    -----
    By inversion of the normal CDF, at most 1e-6 (float32) and 1e-14 (float64) from the exact inverse, which reaches
    +-6.2 in float32 and smaller types, +-9.1 in float64. A result that is too large for a 16-bit or 8-bit type becomes
    infinite, or +-448 in float8_e4m3fn, which has no infinity.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> gi.normal_(np.empty(3), std=0.02, generator=42)
    array([-0.02986038,  0.00951078, -0.01637718])
    """
    to = target(x, shard=shard)
    fill_from(to, distributions.normal(to.dtype, mean, std), generator)
    return x


@initializer
def trunc_normal_(
    x: Array,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: RandomSource = None,
    *,
    shard: Shard | None = None,
    in_std: bool = False,
) -> Array:
    """Fill with values of N(mean, std**2) restricted to [a, b].

    Parameters
    ----------
    x : array of float8 (e4m3fn, e5m2), float16, bfloat16, float32 or float64, any shape and layout
        Filled in place.
    mean, std : float
        Of the normal distribution before it is cut; finite, `std > 0`.
    a, b : float
        Cutoffs, infinite ones allowed; no value lies outside. `a == b` fills the nearest value.
    generator : Generator, int seed or None
        The source of random bits; None means `gpuinit.default_generator`.
    shard : Shard, optional
        What part of a larger array `x` is; see `Shard`.
    in_std : bool
        Whether `a` and `b` are in units of `std` from the mean, as timm's `trunc_normal_tf_` and JAX have them.

    Returns
    -------
    array
        `x` itself.

    Raises
    ------
    TypeError, ValueError
        As for `normal_`; also if std <= 0, a > b, [a, b] holds no value of the dtype, or begins more than 11 std from the mean
        (unless it is narrow: shorter than 1 / 4 std, divided by its distance from the mean in std; 1 / 64 in float64).

    Notes
    -----
    By inversion of the CDF on a 64-bit fixed-point probability, or, for narrow intervals, by a polynomial of the interval's
    own (docs/values.md, section "Truncated normal"): right however short [a, b] is, and however far from the mean, where
    torch warns of a wrong distribution.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> w = gi.trunc_normal_(np.empty(1000, np.float32), 0, 1, 3, 4, generator=42)
    >>> bool(w.min() >= 3 and w.max() <= 4)
    True
    """
    to = target(x, shard=shard)
    if boolean("in_std", in_std):
        a, b = _absolute(mean, std, a, b)
    fill_from(to, distributions.truncated(to.dtype, mean, std, a, b), generator)
    return x


@initializer
def constant_(x: Array, val: complex, *, shard: Shard | None = None) -> Array:
    """Fill with one value.

    Parameters
    ----------
    x : array of any integer, bool, real or complex dtype, any shape and layout
        Filled in place.
    val : number
        nan and infinities too, but no infinity in float8_e4m3fn. An integer or bool array takes only a value that it holds
        exactly.
    shard : Shard, optional
        Of no influence on the values: any initializer can be called with one.

    Returns
    -------
    array
        `x` itself.

    Raises
    ------
    TypeError
        If `x` is no array of these dtypes that can be written, or `val` no number.
    ValueError
        If `x` overlaps itself or has not the shard's shape, or its dtype cannot hold `val`.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> gi.constant_(np.empty(3), 0.1)
    array([0.1, 0.1, 0.1])
    """
    return _fill_with(x, val, shard)


@initializer
def ones_(x: Array, *, shard: Shard | None = None) -> Array:
    """Fill with ones; `constant_(x, 1)`.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> gi.ones_(np.empty(3, bool))
    array([ True,  True,  True])
    """
    return _fill_with(x, 1, shard)


@initializer
def zeros_(x: Array, *, shard: Shard | None = None) -> Array:
    """Fill with zeros; `constant_(x, 0)`.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> gi.zeros_(np.empty(3))
    array([0., 0., 0.])
    """
    return _fill_with(x, 0, shard)


@initializer
def trunc_(x: Array) -> Array:
    """Round every element toward zero, in place, as libtorch's `trunc_` does.

    Parameters
    ----------
    x : array of any integer or real floating dtype, any shape and layout
        Integers stay as they are.

    Returns
    -------
    array
        `x` itself.

    Raises
    ------
    TypeError, ValueError
        If `x` is no such array that can be written; bool and complex arrays are refused.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> gi.trunc_(np.array([-1.5, 2.7]))
    array([-1.,  2.])
    """
    to = target(x, FLOATS | INTEGERS)
    if to.dtype.name in FLOATS:
        write(to, Truncate())
    return x


@exact
def _absolute(mean: Any, std: Any, *cutoffs: Any) -> list[float]:
    """Return cutoffs that are given in units of std, from the mean on."""
    centre, unit = finite("mean", mean), finite("std", std)
    return [centre + real(name, cutoff) * unit for name, cutoff in zip("ab", cutoffs)]


def fill_from(to: Target, distribution: distributions.Distribution, generator: RandomSource) -> None:
    """Fill a checked target from the generator's next blocks."""
    stream = take_blocks(to, generator)
    write(to, Fill(distribution, stream))


def take_blocks(to: Target, generator: RandomSource) -> Stream:
    """Reserve the blocks that a fill of the target reads."""
    return as_generator(generator)._reserve(blocks_of(to))


def blocks_of(to: Target) -> int:
    """Return how many blocks a fill of the target reads."""
    return -(-to.size * word_bytes(to.dtype) // BLOCK_BYTES)


def _fill_with(x: Array, val: Any, shard: Shard | None) -> Array:
    """Fill with one value, which the array's dtype must be able to hold."""
    to = target(x, EVERY, shard)
    # Not of floats, whose cache would take -0 for 0.
    write(to, Constant(_parse_int(val, to.dtype) if type(val) is int else _parse_value(val, to.dtype)))
    return x


@functools.lru_cache
def _parse_int(val: int, dtype: np.dtype[Any]) -> Any:
    return _parse_value(val, dtype)


@exact
def _parse_value(val: Any, dtype: np.dtype[Any]) -> Any:
    """Return `val` as a scalar of `dtype`, if the dtype can hold it."""
    given = number("val", val)
    if dtype.kind != "c" and isinstance(given, complex):
        if given.imag != 0:
            raise _value_error(f"be real for an array of {dtype}", val)
        given = given.real
    if dtype.kind in "iub":
        if not _is_exact(given, dtype):
            raise _value_error(f"be a number that {dtype} holds exactly", val)
        return dtype.type(given)
    try:
        with np.errstate(all="ignore"):
            value = dtype.type(given) if dtype.kind == "c" else round_once(float(given.real), dtype)
    except OverflowError:
        value = dtype.type(np.inf)
    is_finite = isinstance(given, int) or np.isfinite(given)
    if not np.isfinite(value) and (is_finite or (np.isinf(given) and not np.isinf(value))):
        raise _value_error(f"lie in the range of {dtype}", val)
    return value


def _value_error(requirement: str, val: Any) -> ValueError:
    return ValueError(f"val must {requirement}, got val={short_repr(unwrap(val))}")


def _is_exact(number: Any, dtype: np.dtype[Any]) -> bool:
    """Whether an integer or bool dtype has a value equal to `number`."""
    least, greatest = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return bool(least <= number <= greatest and number == int(number))
