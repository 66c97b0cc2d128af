"""Densities, their means and standard deviations, beside SciPy's."""

from __future__ import annotations

import math

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._contract import distributions
from gpuinit._contract.densities import density
from gpuinit._contract.dtypes import as_dtype

stats = pytest.importorskip("scipy.stats")
integrate = pytest.importorskip("scipy.integrate")

DTYPES = ["float16", "bfloat16", "float32", "float64"]
# (mean, std, a, b) of trunc_normal_ -> accuracy
CUTS = {
    (0, 1, -2, 2): 1e-12,
    (0, 1, -9, 0.125): 1e-12,
    (1, 2, -math.inf, math.inf): 1e-12,
    (0, 1, 3, math.inf): 1e-10,
    (0, 1, -math.inf, -5): 1e-9,
    (5, 0.125, 5.25, 5.5): 1e-12,
    (0, 1, 6, 6.25): 1e-6,
    (0, 1, -6.25, -6): 1e-6,
    (0, 1, 0.5, 0.515625): 1e-12,
    (0, 2**-10, -(2**-10), 0.5): 1e-12,
    (-30, 8, 0, 1000): 1e-9,
    (0, 1, 7, 8): 1e-12,
    (-10, 1, 0, 1): 1e-12,
    (0, 1, -0.00390625, 0.00390625): 1e-12,
    (-4, 1, 0, 0.001953125): 1e-12,
}


def moments(reference, low, high):
    """By SciPy's adaptive quadrature: its own moments of narrow intervals are nan."""

    def expected(f):
        return integrate.quad(lambda x: f(x) * reference.pdf(x), low, high, epsabs=1e-14, epsrel=1e-13)[0]

    mean = expected(lambda x: x)
    return mean, math.sqrt(expected(lambda x: (x - mean) ** 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("cut", "tolerance"), CUTS.items())
def test_truncated(dtype, cut, tolerance):
    mean, std, a, b = cut
    ours = density(distributions.truncated(as_dtype(dtype), mean, std, a, b))
    theirs = stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std)
    expected_mean, expected_std = moments(theirs, max(a, mean - 12 * std), min(b, mean + 12 * std))
    assert ours.mean == pytest.approx(expected_mean, abs=tolerance * std)
    assert ours.std == pytest.approx(expected_std, rel=tolerance)
    inside = np.linspace(*ours.support, 50)[1:-1]
    np.testing.assert_allclose(ours.pdf(inside), theirs.pdf(inside), rtol=10 * tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "arguments", "reference"),
    [("uniform", (-0.5, 1.5), stats.uniform(-0.5, 2)), ("normal", (0.5, 0.25), stats.norm(0.5, 0.25))],
)
def test_uniform_and_normal(dtype, name, arguments, reference):
    ours = density(getattr(distributions, name)(as_dtype(dtype), *arguments))
    assert (ours.mean, ours.std) == pytest.approx((reference.mean(), reference.std()), rel=1e-12)
    x = np.linspace(-2.1, 3.1, 100)
    np.testing.assert_allclose(ours.pdf(x), reference.pdf(x), rtol=1e-12)


@pytest.mark.parametrize("make", [lambda t: distributions.uniform(t, 3, 3), lambda t: distributions.normal(t, 3, 0)])
def test_a_single_value(make):
    ours = density(make(np.dtype(np.float32)))
    assert (ours.mean, ours.std, ours.support) == (3, 0, (3, 3))
    assert ours.pdf([2, 3, 4]).tolist() == [0, math.inf, 0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "arguments"),
    [("uniform", (1, 2)), ("normal", (1, 3)), *(("truncated", cut) for cut in CUTS)],
)
def test_support_holds_nearly_all_of_it(dtype, name, arguments):
    ours = density(getattr(distributions, name)(as_dtype(dtype), *arguments))
    low, high = ours.support
    assert integrate.quad(ours.pdf, low, high, epsabs=0)[0] == pytest.approx(1, abs=1e-4)
    beyond = np.array([low - 10 * (high - low), high + 10 * (high - low), -math.inf, math.inf])
    assert np.all(ours.pdf(beyond) <= 1e-6 * ours.pdf(ours.mean))


@pytest.mark.parametrize("cut", CUTS)
def test_what_is_drawn(cut):
    x = gi.trunc_normal_(np.empty(10**5), *cut, generator=0)
    ours = density(distributions.truncated(x.dtype, *cut))
    assert x.std() == pytest.approx(ours.std, rel=0.02)
    assert x.mean() == pytest.approx(ours.mean, abs=5 * ours.std / x.size**0.5)


def test_of_extreme_scales():
    least = np.finfo(np.float64).tiny
    ours = density(distributions.normal(np.dtype(np.float64), 0, least))
    assert ours.std == pytest.approx(least)
    assert ours.pdf(1.0) == 0
