"""The inverse normal CDF on every octave of both tables, against SciPy and, in the far tail, mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy.special import ndtri

from gpuinit._backends.host.ufuncs import inverse_cdf_of
from gpuinit._backends.host.workspace import Workspace
from gpuinit._contract.inverse_cdf import OCTAVES, TABLES, coefficients
from gpuinit._contract.normal_cdf import cdf, interval

BOUNDS = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-14}


def inverse(words, dtype, bits=None):
    """Of the words in units of 2**-bits, by default as fractions of their range."""
    out = np.empty(len(words), dtype)
    inverse_cdf_of(out.dtype, 8 * words.itemsize, bits or 8 * words.itemsize)(Workspace(), words.copy(), out)
    return out


def every_row(dtype, bits):
    """Words whose |v| begin and end each row that words of this width reach, with some between, and their mirror images."""
    layout = TABLES[np.dtype(dtype)]
    rng = np.random.default_rng(1)
    found = []
    for octave in range(bits - 1):
        for segment in range(2**layout.segment_bits):
            start = (2**octave * (2**layout.segment_bits + segment)) >> layout.segment_bits
            end = ((2**octave * (2**layout.segment_bits + segment + 1)) >> layout.segment_bits) - 1
            inside = [start + int((end - start) * f) for f in (0, *rng.random(6), 1)]
            found += [v | 1 for v in inside]
    words = np.unique(np.array(found, f"u{bits // 8}"))
    return np.concatenate([words, -words])


def exact(words, bits):
    """Phi^-1 through |v|, which has full relative precision on both sides."""
    signed = words.view(f"i{words.itemsize}")
    magnitude = np.abs(signed.astype(np.longdouble)) * np.longdouble(2) ** -bits
    return np.sign(signed) * ndtri(magnitude.astype(float))


@pytest.mark.parametrize(("dtype", "bits"), [(np.float32, 32), *((dtype, bits) for dtype in BOUNDS for bits in (64, 97, 128))])
def test_error_bound_on_every_row(dtype, bits):
    words = every_row(dtype, min(bits, 64))
    # Within 2 ulp of a probability, which SciPy reads as a double, ndtri itself is good to a few ulp of z.
    error = np.abs(inverse(words, dtype, bits).astype(float) - exact(words, bits))
    assert error.max() <= BOUNDS[np.dtype(dtype)]


@pytest.mark.parametrize("bits", [64, 101, 128])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_tail_against_mpmath(dtype, bits):
    words = np.array([1, 3, 5, 1001, 2**20 + 1, 2**30 + 7, 2**40 + 1, 2**50 + 3, 2**62 + 5, 2**63 - 1], np.uint64)
    with mpmath.workdps(40):
        for word, z in zip(words.tolist(), inverse(words, dtype, bits).tolist()):
            guess = mpmath.mpf(float(ndtri(word * 2.0**-bits)))
            exact_z = guess - (mpmath.ncdf(guess) - mpmath.ldexp(word, -bits)) / mpmath.npdf(guess)  # a Newton step: 1e-30
            assert abs(z - exact_z) <= BOUNDS[np.dtype(dtype)]


@pytest.mark.parametrize(("dtype", "bits", "largest"), [(np.float32, 32, 6.2), (np.float32, 64, 9.0), (np.float64, 64, 9.0)])
def test_odd_and_growing_with_the_word(dtype, bits, largest):
    top = 2**bits - 1
    words = np.array(sorted({int(top * f) for f in np.random.default_rng(2).random(20000)} | {0, top}), f"u{bits // 8}")
    z = inverse(words, dtype)
    assert np.array_equal(z[::-1].astype(dtype), -inverse(~words[::-1], dtype)[::1])
    assert (np.diff(z) >= -BOUNDS[np.dtype(dtype)]).all()
    assert z[0] == -z[-1]
    assert largest < z[-1] < largest + 0.2


def test_half_is_zero():
    for dtype, bits in ((np.float32, 32), (np.float64, 64)):
        assert (inverse(np.array([2 ** (bits - 1) - 1, 2 ** (bits - 1)], f"u{bits // 8}"), dtype) == 0).all()


@pytest.mark.parametrize("dtype", TABLES)
def test_stored_tables_are_finite_and_whole(dtype):
    table = coefficients(dtype)
    assert table.shape == (OCTAVES << TABLES[dtype].segment_bits, TABLES[dtype].degree + 1)
    assert table.dtype == dtype
    assert np.isfinite(table).all()


@pytest.mark.parametrize("x", [0.0, -0.3, 1.0, 2.0, -5.5, 9.25, -15.5, 16.0])
def test_cdf_to_fifty_digits(x):
    with mpmath.workdps(80):
        assert abs(mpmath.mpf(str(cdf(x))) - mpmath.ncdf(x)) < mpmath.mpf(10) ** -50


@pytest.mark.parametrize(
    ("alpha", "beta"),
    [
        (-2.0, 2.0),
        (-np.inf, 0.0),
        (-np.inf, np.inf),
        (-6.3, -6.2),
        (-50.0, -1.0),
        (-17.0, 17.0),
        (-0.1, 1e-300),
        (-1e-300, 1.0),
        (-np.inf, -1e-300),
        (-1.0, -5e-324),
        (-2.0, -1.0),
        (-8.0, -7.0),
        (-11.0, -10.0),
        (-np.inf, -10.0),
        (-13.0, -12.0),
        (-np.inf, -20.0),
    ],
)
def test_interval_is_rounded_down(alpha, beta):
    with mpmath.workdps(400):
        low, high = mpmath.ncdf(alpha), mpmath.ncdf(beta)
        bits = 64
        while bits < 128 and high * 2 ** (bits - 63) < 0.5:
            bits += 1
        expected = int(mpmath.floor(low * 2**bits)), min(int(mpmath.floor((high - low) * 2**bits)), 2**64 - 1), bits
    assert interval(alpha, beta) == expected
