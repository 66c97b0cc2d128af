"""From random words to values, in ufuncs over one piece at a time: the arithmetic of docs/values.md, line by line.

Each transform is made once a fill and called as `transform(words, out)`: it overwrites both, `out` in the working precision.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gpuinit.backends.host.philox import multiply_high
from gpuinit.backends.host.scratch import scratch
from gpuinit.distributions import Normal, Truncated, Uniform
from gpuinit.inverse_cdf import OCTAVES, TABLES, coefficients

_SIGNED = {np.dtype(np.uint32): np.int32, np.dtype(np.uint64): np.int64}
_UNSIGNED = {np.dtype(np.float32): np.uint32, np.dtype(np.float64): np.uint64}
Transform = Callable[[np.ndarray, np.ndarray], None]


def uniform(distribution: Uniform) -> Transform:
    """u * scale + low on the upper 24 or 53 bits of each word."""
    d = distribution
    real = d.scale.dtype
    precision = np.finfo(real).nmant + 1
    unit = real.type(2.0**-precision)
    # The steps that change nothing are left out. Multiplying by scale and by unit at once is the same exact product.
    step = d.scale * unit
    folded = step >= np.finfo(real).tiny
    largest = (1 - unit) * d.scale + d.low
    clamps = d.low < d.least or largest > d.greatest

    def transform(words: np.ndarray, out: np.ndarray) -> None:
        words >>= words.dtype.type(8 * words.itemsize - precision)
        np.copyto(out, words.view(_SIGNED[words.dtype]), casting="unsafe")
        np.multiply(out, step if folded else unit, out=out)
        if not folded:
            np.multiply(out, d.scale, out=out)
        if d.low != 0:
            np.add(out, d.low, out=out)
        if clamps:
            np.clip(out, d.least, d.greatest, out=out)

    return transform


def normal(distribution: Normal) -> Transform:
    """z * std + mean, z from each word as a signed odd integer."""
    d = distribution

    def transform(words: np.ndarray, out: np.ndarray) -> None:
        _inverse_cdf(words, out)
        _scale(out, d.std, d.mean, d.odd_mean)

    return transform


def truncated(distribution: Truncated) -> Transform:
    """z * std + mean, z from a 64-bit probability inside the interval."""
    d = distribution
    start, width = np.uint64(d.start), np.uint64(d.width)
    multiplier, shift = np.uint64(d.multiplier), np.uint64(d.shift)

    def transform(words: np.ndarray, out: np.ndarray) -> None:
        words |= words.dtype.type(1)
        if words.itemsize == 4:
            probability = scratch("probability", words.size, np.uint64)
            np.multiply(words, multiplier, out=probability)
            probability >>= shift
        else:
            probability = multiply_high(words, width)
        probability += start
        _inverse_cdf(probability, out)
        _scale(out, d.std, d.mean, d.mean)
        np.clip(out, d.least, d.greatest, out=out)

    return transform


TRANSFORMS: dict[type, Callable[[Any], Transform]] = {Uniform: uniform, Normal: normal, Truncated: truncated}


def _scale(out: np.ndarray, std: Any, mean: Any, odd_mean: Any) -> None:
    if std != 1:
        np.multiply(out, std, out=out)
    if mean == odd_mean:
        # A mean of 0 changes only -0, which a product is if it underflows: no z but 0 itself is below 2**-60.
        if mean != 0 or abs(std) < 2.0**-60:
            np.add(out, mean, out=out)
    else:
        pairs = out.reshape(-1, 2)
        np.add(pairs, np.array([mean, odd_mean]), out=pairs)


def _inverse_cdf(words: np.ndarray, out: np.ndarray) -> None:
    """Write Phi^-1 of each odd word `word | 1`, as a fraction of its range, to `out`; the words are overwritten."""
    shift = TABLES[out.dtype].row_shift
    words |= words.dtype.type(1)
    argument = scratch("argument", out.size, out.dtype)
    np.copyto(argument, words.view(_SIGNED[words.dtype]), casting="unsafe")
    lookup = _lookup(out.dtype, 8 * words.itemsize)
    if lookup.exponent:
        np.multiply(argument, out.dtype.type(2.0**lookup.exponent), out=argument)
    row = scratch("row", out.size, np.intp)
    bits = argument.view(_UNSIGNED[out.dtype])
    np.right_shift(bits, bits.dtype.type(shift), out=row, casting="unsafe")
    term = words.view(out.dtype)[: out.size]
    lookup.coefficients[-1].take(row, out=out, mode="wrap")
    for coefficient in lookup.coefficients[-2::-1]:
        np.multiply(out, argument, out=out)
        coefficient.take(row, out=term, mode="wrap")
        np.add(out, term, out=out)


class _Lookup(NamedTuple):
    """The table for arguments v * 2**exponent as they stand; one array a coefficient, indexed by sign, exponent and leading
    mantissa bits of the argument."""

    coefficients: np.ndarray
    exponent: int


@functools.cache
def _lookup(dtype: np.dtype[Any], word_bits: int) -> _Lookup:
    """The polynomials in the mantissa r as ones in r * 2**e: with c_j * 2**(-e j), every rounding is that of c_j and r, scaled.

    Most of the index range is never touched (nor, therefore, paid for in memory).
    """
    layout = TABLES[dtype]
    # 64-bit words would scale by up to 2**-126, which float32 has no room for beside c_2.
    exponent = -32 if (dtype.itemsize, word_bits) == (4, 64) else 0
    row = np.arange((OCTAVES - word_bits) << layout.segment_bits, layout.rows)
    exponents = (row >> layout.segment_bits) - (OCTAVES - word_bits) + exponent
    powers = np.arange(layout.degree + 1)[:, None]
    scaled = np.ldexp(coefficients(dtype).T[:, row], -exponents * powers)
    one = (layout.exponent_bias + exponent) << layout.segment_bits
    half = 1 << (8 * dtype.itemsize - 1 - layout.row_shift)
    lookup = np.zeros((layout.degree + 1, 2 * half), dtype)
    lookup[:, one : one + len(row)] = scaled
    # Odd in v: coefficients of even powers change sign, and no zero is -0.
    lookup[:, half + one : half + one + len(row)] = 0 - scaled * (-1) ** powers
    return _Lookup(lookup, exponent)
