"""Truncated normals on short intervals: the series against mpmath, and what comes of it wherever the interval lies."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy import stats

import gpuinit as gi
from gpuinit._contract import distributions
from gpuinit._contract.narrow import quantile_series
from tests.support.p_values import likely

# Standard deviations from the mean to the interval's end that is nearer to it; None: the mean is its middle.
PLACES = [None, 0, 1, 3, -5, 10, 100]
WORKING = ["float32", "float64"]


def quantile(u, mean, std, a, b):
    """In forty digits, by Newton's iteration on the density's integral, which is taken relative to the density at a."""
    alpha, w = (mpmath.mpf(a) - mean) / std, (mpmath.mpf(b) - a) / std

    def density(t):
        return mpmath.exp(-t * w * (alpha + t * w / 2))

    whole, t = mpmath.quad(density, [0, 1]), mpmath.mpf(u)
    for _ in range(7):
        t -= (mpmath.quad(density, [0, t]) - u * whole) / density(t)
    return a + (mpmath.mpf(b) - a) * t


def longest(place, dtype):
    """The length in std of the longest narrow interval at a place, a little shorter."""
    limit = 0.999 * distributions.NARROW[np.dtype(dtype)]
    at = abs(place or 0)
    return limit if at < 1 - limit else (math.sqrt(at * at + 4 * limit) - at) / 2


def interval(place, width):
    """Mean, a and b of such an interval of N(mean, 1) whose nearer end is 0, where floats are closest, or its middle."""
    if place is None:
        return 0, -width / 2, width / 2
    return (-place, 0, width) if place >= 0 else (-place, -width, 0)


@pytest.mark.parametrize("dtype", WORKING)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("share", [1, 1e-3])
def test_the_series_is_the_quantile(place, share, dtype):
    """Within 2**-25 or 2**-56 of the interval's length, and the rounding of the coefficients."""
    mean, a, b = interval(place, share * longest(place, dtype))
    bound = (b - a) * {"float32": 2**-25, "float64": 2**-56 + 2**-53}[dtype]
    series = quantile_series(mean, 1.0, a, b)
    with mpmath.workdps(40):
        for s in (-1, -0.75, -0.1, 0, 0.5, 1):
            value = sum(mpmath.mpf(c) * mpmath.mpf(s) ** k for k, c in enumerate(series))
            assert abs(value - quantile((1 + mpmath.mpf(s)) / 2, mean, 1, a, b)) <= bound


def test_odd_quantiles_have_no_even_coefficients():
    assert not any(quantile_series(0.0, 3.0, -0.1, 0.1)[::2])


@pytest.mark.parametrize("dtype", WORKING)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("factor", "kind"), [(1, distributions.Narrow), (1.002, distributions.Truncated)])
def test_which_intervals_are_narrow(place, dtype, factor, kind):
    if place == 100 and kind is distributions.Truncated:
        pytest.skip("beyond the reach of those that are not narrow")
    mean, a, b = interval(place, factor * longest(place, dtype))
    assert type(distributions.truncated(np.dtype(dtype), mean, 1, a, b)) is kind


def relative_cdf(t, place, width):
    """P(X <= the share t of the interval from its nearer end on), by the trapezoid rule on a grid of 2**-14."""
    grid = np.linspace(0, 1, 2**14 + 1)
    first = -width / 2 if place is None else abs(place)
    density = np.exp(-width * grid * (first + width * grid / 2))
    cdf = np.cumsum((density[1:] + density[:-1]) / 2)
    return np.interp(t, grid, np.append(0, cdf / cdf[-1]))


WIDTHS = [1e-8, 1e-3, 0.1, 3, *(pytest.param(width, marks=pytest.mark.slow) for width in (1e-5, 0.02, 0.5, 10))]


@pytest.mark.parametrize("dtype", WORKING)
@pytest.mark.parametrize("place", [None, 0, 3, -5, 7, 10])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_million_draws(place, width, dtype):
    """They follow the distribution, and nearly all differ, as far as the dtype and 32-bit words can tell them apart."""
    mean, a, b = interval(place, width)
    x = gi.trunc_normal_(np.empty(10**6, dtype), mean, 1, a, b, generator=11)
    assert a <= x.min()
    assert x.max() <= b
    t = np.sort(np.abs(x.astype(np.float64) - (a if place is None or place >= 0 else b)) / width)
    distance = np.abs(relative_cdf(t, place, width) - (np.arange(t.size) + 0.5) / t.size).max()
    assert likely(stats.kstwobign.sf(distance * 1000))
    assert np.unique(x).size >= distinct_values(dtype, place, width, distributions.truncated(x.dtype, mean, 1, a, b))


def distinct_values(dtype, place, width, distribution):
    """The least of a million draws: float32 has 2**24 steps of a narrow interval, of any other those of z."""
    if dtype == "float64":
        return 0.9998e6
    if isinstance(distribution, distributions.Narrow):
        return 0.97e6
    return 0.9 * min(0.25e6, width / np.spacing(np.float32(abs(place or 1))))
