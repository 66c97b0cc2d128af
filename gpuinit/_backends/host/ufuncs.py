"""From random words to values, in ufuncs over one piece at a time: the arithmetic of docs/values.md, line by line.

Each transform is called as `transform(workspace, words, out)`: it overwrites both, `out` in the working precision.

Between two ufuncs a thread holds the interpreter's lock, and all others may wait for it: what can be computed beforehand is;
and ufuncs are given 0-d arrays, since they would make one of each scalar.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gpuinit._backends.host.workspace import Workspace
from gpuinit._contract.arithmetic import exact
from gpuinit._contract.distributions import Narrow, Normal, Sampled, Truncated, Uniform
from gpuinit._contract.inverse_cdf import TABLES, coefficients, first_row
from gpuinit._contract.narrow import DEGREE

_SIGNED: dict[np.dtype[Any], Any] = {np.dtype(np.uint32): np.int32, np.dtype(np.uint64): np.int64}
_UNSIGNED: dict[np.dtype[Any], Any] = {np.dtype(np.float32): np.uint32, np.dtype(np.float64): np.uint64}
# Bits of a uniform value.
_PRECISION: dict[np.dtype[Any], int] = {np.dtype(np.float32): 24, np.dtype(np.float64): 53}
_LEAST_NORMAL = {dtype: np.finfo(dtype).tiny for dtype in _PRECISION}
Transform = Callable[[Workspace, np.ndarray, np.ndarray], None]


def uniform(distribution: Uniform) -> Transform:
    """u * scale + low on the upper 24 or 53 bits of each word."""
    real = distribution.scale.dtype
    precision = _PRECISION[real]
    unused = np.array(8 * real.itemsize - precision, _UNSIGNED[real])
    signed = _SIGNED[np.dtype(_UNSIGNED[real])]
    stretch = _stretching(distribution, real.type(2.0**-precision))

    def transform(space: Workspace, words: np.ndarray, out: np.ndarray) -> None:
        np.right_shift(words, unused, words)
        out[...] = words.view(signed)
        stretch(out)

    return transform


def _stretching(distribution: Uniform, unit: Any) -> Callable[[np.ndarray], None]:
    """The last steps of a uniform value, u * scale + low and the clamp, on u in multiples of `unit`, a power of two."""
    d = distribution
    # The steps that change nothing are left out. To multiply by scale and by unit at once is the same exact product.
    folds = d.scale * unit >= _LEAST_NORMAL[d.scale.dtype]
    factors = [np.asarray(f) for f in ((d.scale * unit,) if folds else (unit, d.scale)) if f != 1]
    last = d.scale.dtype.type(1 - 2.0 ** -_PRECISION[d.scale.dtype])
    too_low, too_high = d.low < d.least, last * d.scale + d.low > d.greatest

    @np.errstate(all="ignore")
    def stretch(out: np.ndarray) -> None:
        for factor in factors:
            np.multiply(out, factor, out)
        if d.low != 0:
            np.add(out, d.low, out)
        if too_low:
            np.maximum(out, d.least, out=out)
        if too_high:
            np.minimum(out, d.greatest, out=out)

    return stretch


def normal(distribution: Normal) -> Transform:
    """z * std + mean, z from each word as a signed odd integer."""
    d = distribution
    real = d.std.dtype
    inverse_cdf = inverse_cdf_of(real, 8 * real.itemsize, d.bits)
    scale = _scaling(d.std, d.mean, d.odd_mean)

    def transform(space: Workspace, words: np.ndarray, out: np.ndarray) -> None:
        inverse_cdf(space, words, out)
        scale(out)

    return transform


def truncated(distribution: Truncated) -> Transform:
    """z * std + mean, z from a 64-bit probability inside the interval."""
    d = distribution
    one, width = np.array(1, _UNSIGNED[d.std.dtype]), np.uint64(d.width)
    start, multiplier, shift = (np.array(number, np.uint64) for number in (d.start, d.multiplier, d.shift))
    inverse_cdf = inverse_cdf_of(d.std.dtype, 64, d.bits)
    scale = _scaling(d.std, d.mean, d.mean)

    def transform(space: Workspace, words: np.ndarray, out: np.ndarray) -> None:
        np.bitwise_or(words, one, words)
        if words.itemsize == 4:
            probability = space.array("probability", words.size, np.uint64)
            np.multiply(words, multiplier, probability)
            np.right_shift(probability, shift, probability)
        else:
            probability = multiply_high(space, words, width)
        np.add(probability, start, probability)
        inverse_cdf(space, probability, out)
        scale(out)
        out.clip(d.least, d.greatest, out)

    return transform


def narrow(distribution: Narrow) -> Transform:
    """The polynomial in s, each word as an odd number of steps from the middle of their range."""
    d = distribution
    real = d.least.dtype
    unsigned = np.dtype(_UNSIGNED[real])
    signed, unit = _SIGNED[unsigned], np.array(2.0 ** (1 - 8 * real.itemsize), real)
    one, middle = np.array(1, unsigned), np.array(1 << (8 * real.itemsize - 1), unsigned)
    *lower, highest = (np.asarray(getattr(d, f"c{power}")) for power in range(DEGREE + 1))
    lower.reverse()

    @np.errstate(all="ignore")
    def transform(space: Workspace, words: np.ndarray, out: np.ndarray) -> None:
        np.bitwise_or(words, one, words)
        np.bitwise_xor(words, middle, words)
        s = space.array("argument", out.size, real)
        s[...] = words.view(signed)
        np.multiply(s, unit, s)
        out[...] = highest
        for coefficient in lower:
            np.multiply(out, s, out)
            np.add(out, coefficient, out)
        out.clip(d.least, d.greatest, out)

    return transform


_TRANSFORMS: dict[type, Callable[[Any], Transform]] = {
    Uniform: uniform,
    Normal: normal,
    Truncated: truncated,
    Narrow: narrow,
}


@functools.lru_cache
@exact
def transform_of(distribution: Sampled) -> Transform:
    """The transform that draws from a distribution."""
    with np.errstate(all="ignore"):  # of scalars that underflow
        return _TRANSFORMS[type(distribution)](distribution)


def _scaling(std: Any, mean: Any, odd_mean: Any) -> Callable[[np.ndarray], None]:
    """The last steps of a normal, z * std + mean, without those that change nothing."""
    scales = std != 1
    # A mean of 0 changes -0 alone, and a product is that only if it underflows: no z but 0 itself is below 2**-60.
    adds = mean != 0 or abs(std) < 2.0**-60
    pair = None if mean == odd_mean else np.array([mean, odd_mean])
    if not scales and not adds and pair is None:
        return lambda out: None

    @np.errstate(all="ignore")
    def scale(out: np.ndarray) -> None:
        if scales:
            np.multiply(out, std, out)
        if pair is not None:
            pairs = out.reshape(-1, 2)
            np.add(pairs, pair, pairs)
        elif adds:
            np.add(out, mean, out)

    return scale


@functools.lru_cache
def inverse_cdf_of(real: np.dtype[Any], word_bits: int, bits: int) -> Transform:
    """The transform that writes Phi^-1 of each odd word `word | 1`, in units of 2**-bits."""
    # 64-bit words would scale c_2 by 2**-126, which float32 has no room for.
    exponent = -32 if (real.itemsize, word_bits) == (4, 64) else 0
    *lower, highest = (coefficient.take for coefficient in _lookup(real, word_bits, bits, exponent))
    lower.reverse()
    word, unsigned = np.dtype(f"u{word_bits // 8}"), np.dtype(_UNSIGNED[real])
    one, shift = np.array(1, word), np.array(TABLES[real].row_shift, unsigned)
    scale = np.array(2.0**exponent, real)
    signed = _SIGNED[word]
    is_index = real.itemsize == np.dtype(np.intp).itemsize

    def transform(space: Workspace, words: np.ndarray, out: np.ndarray) -> None:
        np.bitwise_or(words, one, words)
        argument = space.array("argument", out.size, real)
        argument[...] = words.view(signed)
        if exponent:
            np.multiply(argument, scale, argument)
        row = space.array("row", out.size, np.intp)
        free = words if word == unsigned else words.view(unsigned)[: out.size]  # the words are used up
        shifted = row.view(unsigned) if is_index else free
        np.right_shift(argument.view(unsigned), shift, shifted)
        if not is_index:
            row[...] = shifted
        term = free.view(real)
        highest(row, None, out, "wrap")
        for take in lower:
            np.multiply(out, argument, out)
            take(row, None, term, "wrap")
            np.add(out, term, out)

    return transform


def _lookup(real: np.dtype[Any], word_bits: int, bits: int, exponent: int) -> np.ndarray:
    """The table for arguments v * 2**exponent: one array a coefficient, indexed by sign, exponent and leading mantissa bits.

    Polynomials in the mantissa r become ones in r * 2**e: with c_j * 2**(-e j), each rounding is that of c_j and r, scaled.
    Most of the index range is never touched (nor, therefore, paid for in memory).
    """
    layout = TABLES[real]
    row = first_row(real, bits) + np.arange(word_bits << layout.segment_bits)
    exponents = np.repeat(np.arange(word_bits), 1 << layout.segment_bits) + exponent
    powers = np.arange(layout.degree + 1)[:, None]
    scaled = np.ldexp(coefficients(real).T[:, row], -exponents * powers)
    one = (layout.exponent_bias + exponent) << layout.segment_bits
    half = 1 << (8 * real.itemsize - 1 - layout.row_shift)
    lookup = np.zeros((layout.degree + 1, 2 * half), real)
    lookup[:, one : one + len(row)] = scaled
    # Odd in v: coefficients of even powers change sign, and no zero is -0.
    lookup[:, half + one : half + one + len(row)] = 0 - scaled * (-1) ** powers
    return lookup


def multiply_high(space: Workspace, words: np.ndarray, factor: np.uint64) -> np.ndarray:
    """Return the upper 64 bits of the 128-bit products, by halves of 32 bits; valid until the next call."""
    names = "low", "high", "middle", "carry"
    low, high, middle, carry = (space.array(name, words.size, np.uint64).reshape(words.shape) for name in names)
    half, mask = np.uint64(32), np.uint64(2**32 - 1)
    np.bitwise_and(words, mask, out=low)
    np.right_shift(words, half, out=high)
    np.multiply(low, factor & mask, out=carry)
    carry >>= half
    np.multiply(high, factor & mask, out=middle)
    middle += carry
    np.bitwise_and(middle, mask, out=carry)
    low *= factor >> half
    low += carry
    low >>= half
    middle >>= half
    high *= factor >> half
    high += middle
    high += low
    return high
