"""What a fill draws from, as numbers ready for any backend: checked, rounded, and the same on every machine.

`docs/values.md` gives the arithmetic that a backend performs on these numbers, element by element.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpuinit._contract.arguments import complex_number, finite_in, not_negative, positive, real
from gpuinit._contract.arithmetic import exact
from gpuinit._contract.dtypes import highest, real_part, round_parameter, working
from gpuinit._contract.narrow import quantile_series
from gpuinit._contract.normal_cdf import BITS, interval

# Of a truncation interval that is not narrow, in units of its fixed-point probabilities: as many values as 32-bit words have.
LEAST_WIDTH = 2**32
# The longest narrow interval, in std. More than one std from the mean, this limit is divided by the distance to the mean in std:
# the error of the polynomial is then below 2**-25, or 2**-56, of their length.
NARROW = {np.dtype(np.float32): 1 / 4, np.dtype(np.float64): 1 / 64}


@dataclass(frozen=True, eq=False)
class Point:
    """Every element is `value`; the position advances all the same."""

    value: Any


@dataclass(frozen=True, eq=False)
class Uniform:
    """u * scale + low, clamped to [least, greatest]; all in the working precision."""

    scale: Any
    low: Any
    least: Any
    greatest: Any


@dataclass(frozen=True, eq=False)
class Normal:
    """z * std + mean in the working precision; `mean` for words of even number, `odd_mean` for the others.

    The two differ in complex arrays alone, whose imaginary parts have the odd words.
    """

    mean: Any
    std: Any
    odd_mean: Any

    @property
    def bits(self) -> int:
        """The words' unit of probability is 2**-bits."""
        return 8 * int(self.std.dtype.itemsize)


@dataclass(frozen=True, eq=False)
class Truncated:
    """z * std + mean with Phi(z) in [start, start + width] * 2**-bits, clamped to [least, greatest].

    A negative `std` stands for the interval's mirror image. `parameters` are mean, std, a and b as they were given.
    """

    start: int
    width: int
    bits: int
    mean: Any
    std: Any
    least: Any
    greatest: Any
    parameters: tuple[float, float, float, float]

    @property
    def multiplier(self) -> int:
        """The leading 32 bits of `width`, for 32-bit words."""
        return self.width >> (32 - self.shift)

    @property
    def factor(self) -> int:
        """What kernels multiply words by: `multiplier`, or the width itself for 64-bit words."""
        return self.multiplier if self.std.dtype == np.float32 else self.width

    @property
    def shift(self) -> int:
        """Right shift of word * multiplier that makes it a 64-bit fixed-point probability."""
        return 64 - self.width.bit_length()


@dataclass(frozen=True, eq=False)
class Narrow:
    """A truncated normal on a short interval: c0 + c1 s + ... + c8 s**8 with s uniform on [-1, 1], clamped to [least, greatest].

    `parameters` are mean, std, a and b as they were given.
    """

    c0: Any
    c1: Any
    c2: Any
    c3: Any
    c4: Any
    c5: Any
    c6: Any
    c7: Any
    c8: Any
    least: Any
    greatest: Any
    parameters: tuple[float, float, float, float]


# What an element makes of its word; a `Point` reads none.
Sampled = Uniform | Normal | Truncated | Narrow
Distribution = Point | Sampled


# What is cached below depends on its arguments alone: a dtype, and numbers that were made floats (0.0 for -0.0 does no harm,
# since no result depends on a zero's sign). Equal parameters give the very same object, by which backends cache in their turn.


@exact
def uniform(dtype: np.dtype[Any], a: Any, b: Any) -> Distribution:
    """Check the bounds of `uniform_`; see there."""
    return _uniform(real_part(dtype), real("a", a), real("b", b))


@functools.lru_cache
def _uniform(dtype: np.dtype[Any], a: float, b: float) -> Distribution:
    low, high = finite_in("a", a, dtype), finite_in("b", b, dtype)
    if low > high:
        raise ValueError(f"a must not exceed b, got a={low}, b={high}")
    if low == high:
        return Point(round_parameter(low, dtype))
    least, greatest = _smallest_from(low, dtype), _largest_below(high, dtype)
    if least > greatest:
        raise ValueError(f"[a, b) holds no value of {dtype}, got a={low}, b={high}")
    real_type = working(dtype)
    start = round_parameter(low, real_type)
    with np.errstate(over="ignore", under="ignore"):
        scale = round_parameter(high, real_type) - start
    if not np.isfinite(scale):
        raise ValueError(f"b - a must be finite in {real_type}, got a={low}, b={high}")
    return Uniform(scale, start, round_parameter(least, real_type), round_parameter(greatest, real_type))


@exact
def normal(dtype: np.dtype[Any], mean: Any, std: Any) -> Normal:
    """Check the parameters of `normal_`; see there."""
    if dtype.kind == "c":
        return _complex_normal(dtype, complex_number("mean", mean), real("std", std))
    return _normal(dtype, real("mean", mean), real("std", std))


@functools.lru_cache
def _normal(dtype: np.dtype[Any], mean: float, std: float) -> Normal:
    real_type = working(dtype)
    center = round_parameter(finite_in("mean", mean, real_type), real_type)
    return Normal(center, round_parameter(not_negative("std", std, real_type), real_type), center)


@functools.lru_cache
def _complex_normal(dtype: np.dtype[Any], mean: complex, std: float) -> Normal:
    real_type = working(dtype)
    width = not_negative("std", std, real_type) / math.sqrt(2)
    real_mean, imaginary_mean = (round_parameter(finite_in("mean", c, real_type), real_type) for c in (mean.real, mean.imag))
    return Normal(real_mean, round_parameter(width, real_type), imaginary_mean)


@exact
def truncated(dtype: np.dtype[Any], mean: Any, std: Any, a: Any, b: Any) -> Distribution:
    """Check the parameters of `trunc_normal_`; see there."""
    if dtype.kind == "c":
        raise TypeError(f'x must be real for a truncated normal, got {dtype}; use variance_scaling_(x, distribution="normal")')
    return _truncated(dtype, real("mean", mean), real("std", std), real("a", a), real("b", b))


@functools.lru_cache
def _truncated(dtype: np.dtype[Any], mean: float, std: float, low: float, high: float) -> Distribution:
    real_type = working(dtype)
    center, width = finite_in("mean", mean, real_type), positive("std", std, real_type)
    if math.isnan(low) or math.isnan(high) or low > high or low == high == math.inf or low == high == -math.inf:
        raise ValueError(f"a must not exceed b, and not both be the same infinity, got a={low}, b={high}")
    if low == high:
        return Point(round_parameter(finite_in("a", low, dtype), dtype))
    least, greatest = _smallest_from(low, dtype), _largest_to(high, dtype)
    if least > greatest or least == math.inf or greatest == -math.inf:
        raise ValueError(f"[a, b] holds no value of {dtype}, got a={low}, b={high}")
    bounds = round_parameter(least, real_type), round_parameter(greatest, real_type)
    parameters = center, width, low, high
    alpha, beta = (low - center) / width, (high - center) / width
    if (high - low) / width * max(1.0, abs(alpha), abs(beta)) <= NARROW[real_type]:
        series = [round_parameter(c, real_type) for c in quantile_series(*parameters)]
        return Narrow(*[*series, *bounds, parameters])
    mirrored = alpha > 0
    start, mass, bits = interval(-beta, -alpha) if mirrored else interval(alpha, beta)
    if mass < LEAST_WIDTH:
        raise ValueError(
            f"[a, b] must reach to 11 std from the mean, or be narrow, got a={low}, b={high}: from {alpha:.4g} to {beta:.4g} std "
            f"from the mean={center}; move [a, b] or raise std={width}"
        )
    deviation = round_parameter(-width if mirrored else width, real_type)
    return Truncated(start, mass, bits, round_parameter(center, real_type), deviation, *bounds, parameters)


@functools.lru_cache
def erfinv_of_uniform(dtype: np.dtype[Any], a: float, b: float) -> Distribution:
    """Return what the inverse error function makes of a uniform variable on [a, b], -1 <= a < b <= 1.

    That is N(0, 1/2) restricted to where Phi(z) lies in [(1 + a) / 2, (1 + b) / 2]; no value is infinite.
    """
    ratios = [bound.as_integer_ratio() for bound in (a, b)]
    start, end = ((numerator + denominator) * 2 ** (BITS - 1) // denominator for numerator, denominator in ratios)
    mass = min(end, 2**BITS - 1) - start
    if mass < LEAST_WIDTH:
        raise ValueError(f"b - a must be at least 2**-31 for the inverse error function, got a={a}, b={b}")
    real_type = working(dtype)
    infinity = real_type.type(math.inf)
    deviation = math.sqrt(0.5)
    # The cutoffs, for pictures only, are those that need no inverse of erf.
    parameters = 0.0, deviation, -math.inf if a < 0 else 0.0, math.inf if b > 0 else 0.0
    return Truncated(start, mass, BITS, real_type.type(0), round_parameter(deviation, real_type), -infinity, infinity, parameters)


@np.errstate(all="ignore")  # the neighbour of a subnormal number counts as an underflow
def _smallest_from(bound: float, dtype: np.dtype[Any]) -> float:
    """Return the smallest value of `dtype` >= bound; infinity if there is none."""
    end = highest(dtype)
    if bound > end:
        return math.inf
    nearest = round_parameter(max(bound, -end), dtype)
    return float(nearest if float(nearest) >= bound else np.nextafter(nearest, dtype.type(end)))


def _largest_to(bound: float, dtype: np.dtype[Any]) -> float:
    """Return the largest value of `dtype` <= bound."""
    return -_smallest_from(-bound, dtype)


@np.errstate(all="ignore")
def _largest_below(bound: float, dtype: np.dtype[Any]) -> float:
    """Return the largest value of `dtype` < bound, which is finite in `dtype`; minus infinity if there is none."""
    end = highest(dtype)
    if bound <= -end:
        return -math.inf
    nearest = round_parameter(bound, dtype)
    return float(nearest if float(nearest) < bound else np.nextafter(nearest, dtype.type(-end)))
