"""The fills have the distributions that their names promise: statistical tests, with fixed seeds.

`tests/support/p_values.py` says which p-values pass. There are about 460 comparisons, so with other seeds the chance that any
fails on a right implementation is at most 460 * 1e-4, about 5 %. CuPy gives the same bits as NumPy (orthogonal_: the same to
rounding), so it adds little to that.
"""

from __future__ import annotations

import functools
import math
from itertools import combinations

import numpy as np
import pytest
from scipy import special, stats

import gpuinit as gi
from tests.support.arrays import to_host
from tests.support.p_values import likely, normal_p

INF = math.inf
FLOATS = ("float16", "float32", "float64")


def filled(xp, name, shape, dtype, *arguments, generator, **options):
    """What a fill writes, on the host."""
    return to_host(getattr(gi, name)(xp.empty(shape, dtype), *arguments, generator=generator, **options))


# One fill: the whole distribution, its moments, its tails.


def uniform_cdf(x, a, b):
    return np.clip((x - a) / (b - a), 0, 1)


def truncated_cdf(x, mean, std, a, b):
    """From the tail on the interval's own side, as the other one would cancel."""
    z, alpha, beta = (np.clip(x, a, b) - mean) / std, (a - mean) / std, (b - mean) / std
    if alpha > 0:
        return 1 - truncated_cdf(-z, 0, 1, -beta, -alpha)
    return (special.ndtr(z) - special.ndtr(alpha)) / (special.ndtr(beta) - special.ndtr(alpha))


# Name of the fill, its arguments, the CDF of what they ask for; the greatest value is the largest float64 that may be returned.
CASES = [
    *(
        ("uniform_", (a, b), functools.partial(uniform_cdf, a=a, b=b), math.nextafter(b, -INF))
        for a, b in ((0, 1), (-1, 1), (-0.1, 0.1), (1, 1.01), (-3.3, 1000))
    ),
    *(
        ("normal_", (mean, std), functools.partial(stats.norm.cdf, loc=mean, scale=std), INF)
        for mean, std in ((0, 1), (0, 0.02), (-3, 1), (100, 10))
    ),
    *(
        ("trunc_normal_", row, functools.partial(truncated_cdf, mean=row[0], std=row[1], a=row[2], b=row[3]), row[3])
        for row in (
            (0, 1, -2, 2),
            (0, 0.02, -0.04, 0.04),
            (2, 3, -1, 2.5),
            (0, 1, -8, 8),
            (0, 1, 0, INF),
            (0, 1, -0.5, INF),
            (0, 1, -INF, 3),
            (0, 1, -INF, -1),
            (0, 1, 3, 4),
            (0, 1, -6, -5),
            (0, 1, 5, INF),
            (0, 1, 6.1, INF),
            (1, 0.1, -INF, 0.5),
            (0, 1, 0.5, 0.51),
            (0, 1, -3.001, -3),
        )
    ),
]


def rounded_cdf(cdf, values, greatest):
    """P(X <= value), at each of some values of a dtype, for a variable of that CDF rounded to nearest and clamped."""
    following = np.nextafter(values, values.dtype.type(INF)).astype(np.float64)
    return np.where(following > greatest, 1.0, cdf((values + following) / 2))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("name", "arguments", "cdf", "greatest"), CASES, ids=[f"{name}{arguments}" for name, arguments, *_ in CASES]
)
def test_kolmogorov_smirnov(xp, name, arguments, cdf, greatest, dtype):
    """The one-sample test, at the distinct values; where float16 has few of them it only errs to the lenient side."""
    values = filled(xp, name, 2**19, dtype, *arguments, generator=12)
    # Sorted in float64: NumPy 2.4 leaves some negative values of float16 out of order on CPUs with AVX-512 (Ice Lake's, Zen 4).
    values = np.sort(values.astype(np.float64)).astype(dtype)
    last = np.append(values[1:] != values[:-1], True)
    empirical = (np.flatnonzero(last) + 1) / values.size
    distance = np.abs(empirical - rounded_cdf(cdf, values[last], greatest)).max()
    assert likely(stats.kstwobign.sf(distance * math.sqrt(values.size)))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("name", "arguments", "distribution"),
    [
        ("uniform_", (-1, 3), stats.uniform(-1, 4)),
        ("normal_", (2, 0.5), stats.norm(2, 0.5)),
        ("trunc_normal_", (0, 1, -2, 2), stats.truncnorm(-2, 2)),
        ("trunc_normal_", (0, 1, -1, 3), stats.truncnorm(-1, 3)),
        ("trunc_normal_", (1, 2, 1, INF), stats.truncnorm(0, INF, 1, 2)),
    ],
    ids=lambda value: value.dist.name if hasattr(value, "dist") else str(value),  # no addresses: pytest-xdist compares the ids
)
def test_moments(xp, name, arguments, distribution, dtype):
    """Mean, variance, skewness and kurtosis about the true mean, in units of the true std."""
    mean, std = distribution.mean(), distribution.std()
    moment = [distribution.expect(lambda x, k=k: ((x - mean) / std) ** k) for k in range(9)]
    scaled = (filled(xp, name, 2**20, dtype, *arguments, generator=2).astype(np.float64) - mean) / std
    z = [(np.mean(scaled**k) - moment[k]) / math.sqrt((moment[2 * k] - moment[k] ** 2) / scaled.size) for k in (1, 2, 3, 4)]
    assert likely(normal_p(z))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tails(xp, dtype):
    values = filled(xp, "normal_", 2**24, dtype, generator=3)
    counts = [np.count_nonzero(side * values > bound) for side in (1, -1) for bound in (2, 3, 4, 4.5, 5)]
    chances = [stats.norm.sf(bound) for _ in (1, -1) for bound in (2, 3, 4, 4.5, 5)]
    assert likely([stats.binomtest(count, values.size, chance).pvalue for count, chance in zip(counts, chances)])


# Names of fills and what multiplies 1/fan_in, 1/fan_out or 2/(fan_in + fan_out) in the variance; the distribution's kurtosis.
KURTOSIS = {"uniform": 9 / 5, "normal": 3.0, "truncated": float(stats.truncnorm(-2, 2).stats("k")) + 3}
FANS = {"fan_in": lambda i, o: i, "fan_out": lambda i, o: o, "fan_avg": lambda i, o: (i + o) / 2}
SCALED = [
    *((f"xavier_{kind}_", {"gain": gain}, gain**2, "fan_avg", kind) for kind in ("uniform", "normal") for gain in (1, 5 / 3)),
    *(
        (f"kaiming_{kind}_", {"mode": mode, "nonlinearity": nonlinearity, "a": a}, factor, mode, kind)
        for kind in ("uniform", "normal")
        for mode in ("fan_in", "fan_out")
        for nonlinearity, a, factor in (
            ("relu", 0, 2),
            ("leaky_relu", 0.5, 1.6),
            ("linear", 0, 1),
            ("tanh", 0, 25 / 9),
            ("selu", 0, 9 / 16),
        )
    ),
    ("kaiming_uniform_", {}, 2, "fan_in", "uniform"),
    ("kaiming_normal_", {}, 2, "fan_in", "normal"),
    ("lecun_uniform_", {}, 1, "fan_in", "uniform"),
    ("lecun_normal_", {}, 1, "fan_in", "truncated"),
    ("variance_scaling_", {}, 1, "fan_in", "truncated"),
    *(
        ("variance_scaling_", {"scale": scale, "mode": mode, "distribution": distribution}, scale, mode, kind)
        for mode, scale in (("fan_in", 2), ("fan_out", 0.3), ("fan_avg", 1))
        for distribution, kind in (
            ("truncated_normal", "truncated"),
            ("normal", "normal"),
            ("untruncated_normal", "normal"),
            ("uniform", "uniform"),
        )
    ),
]


@pytest.mark.parametrize("shape", [(300, 700), (96, 32, 7, 9)], ids=str)
@pytest.mark.parametrize(("name", "options", "factor", "fan", "kind"), SCALED)
def test_variance_of_scaled_fills(xp, name, options, factor, fan, kind, shape):
    field = math.prod(shape[2:])
    variance = factor / FANS[fan](shape[1] * field, shape[0] * field)
    for dtype in FLOATS:
        values = filled(xp, name, shape, dtype, generator=4, **options).astype(np.float64)
        n = values.size
        z_mean = values.mean() / math.sqrt(variance / n)
        z_variance = (np.mean(values**2) / variance - 1) / math.sqrt((KURTOSIS[kind] - 1) / n)
        assert likely(normal_p([z_mean, z_variance]))
        most = {"uniform": math.sqrt(3), "truncated": 2 / 0.8796256610342398, "normal": 6.3}[kind] * math.sqrt(variance)
        assert np.abs(values).max() <= most * (1 + np.finfo(dtype).eps)


# Independence.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["uniform_", "normal_", "trunc_normal_"])
def test_serial_correlation(xp, name, dtype):
    """Of the values and of their sizes; in a matrix of 1024 columns, lag 1024 is the row below."""
    values = filled(xp, name, 2**20, dtype, generator=5).astype(np.float64)
    z = []
    for x in (values - values.mean(), np.abs(values - values.mean())):
        x = (x - x.mean()) / x.std()
        z += [x[lag:] @ x[:-lag] / math.sqrt(x.size - lag) for lag in (*range(1, 33), 64, 128, 1000, 1024, 4096, 65536)]
    assert likely(normal_p(z))


# Ways to get 64 streams of 4096 values from one seed, or from seeds that are alike.
def matrix(xp, dtype, axis):
    shape = (4096, 64) if axis else (64, 4096)
    return np.moveaxis(filled(xp, "normal_", shape, dtype, generator=6), axis, 0)


def fills(xp, dtype, generators):
    return np.stack([filled(xp, "normal_", 4096, dtype, generator=g) for g in generators])


STREAMS = {
    "rows": lambda xp, dtype: matrix(xp, dtype, 0),
    "columns": lambda xp, dtype: matrix(xp, dtype, 1),
    "fills, one after the other": lambda xp, dtype: fills(xp, dtype, [gi.Generator(6)] * 64),
    "numbered children": lambda xp, dtype: fills(xp, dtype, gi.Generator(6).spawn(64)),
    "named children": lambda xp, dtype: fills(xp, dtype, [gi.Generator(6).spawn(f"layer{i}.weight") for i in range(64)]),
    "a parent and its descendants": lambda xp, dtype: fills(xp, dtype, lineage(gi.Generator(6), 64)),
    "seeds in a row": lambda xp, dtype: fills(xp, dtype, range(64)),
    "seeds of one bit": lambda xp, dtype: fills(xp, dtype, [2**i for i in range(64)]),
}


def lineage(generator, length):
    """The generator, its first child, that one's first child, and so on."""
    generators = [generator]
    while len(generators) < length:
        generators += generators[-1].spawn(1)
    return generators


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("streams", STREAMS)
def test_streams_are_independent(xp, streams, dtype):
    values = STREAMS[streams](xp, dtype)
    if dtype == "float64":  # 2**18 values of 2**64: two that are equal come from the same word
        assert np.unique(values).size == values.size
    for x in (values, np.abs(values)):
        correlations = np.corrcoef(x.astype(np.float64))[np.triu_indices(64, 1)]
        z = np.arctanh(correlations) * math.sqrt(4096 - 3)  # Fisher's transform
        assert likely(normal_p(z))
        assert likely([stats.chi2.sf(z @ z, z.size), stats.chi2.cdf(z @ z, z.size)])


# sparse_: which elements are zero.


def zeros_of(xp, rows, columns, zeros, generator=7):
    """Where sparse_ puts its zeros, as 0.0 and 1.0. In float32 2e-8 of the normal values are 0 too, in float64 none is."""
    found = filled(xp, "sparse_", (rows, columns), "float64", (zeros - 0.5) / rows, generator=generator) == 0
    assert (found.sum(axis=0) == zeros).all()
    return found.astype(np.float64)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 10, 33, 64, 100, 1000])
@pytest.mark.parametrize("sparsity", [0, 1e-9, 0.1, 0.25, 1 / 3, 0.3, 0.5, 0.7, 0.9, 0.999, 1])
def test_zeros_per_column(xp, rows, sparsity):
    for dtype in FLOATS:
        values = filled(xp, "sparse_", (rows, 5), dtype, sparsity, 1.0, generator=8)
        assert ((values == 0).sum(axis=0) == math.ceil(sparsity * rows)).all()


@pytest.mark.parametrize(
    ("rows", "zeros", "columns"),
    [
        (5, 1, 200_000),
        (10, 3, 200_000),
        (33, 16, 100_000),
        (64, 32, 50_000),
        (100, 10, 50_000),
        (100, 90, 50_000),
        (1000, 300, 10_000),
    ],
)
def test_each_row_is_as_likely(xp, rows, zeros, columns):
    counts = zeros_of(xp, rows, columns, zeros).sum(axis=1)
    share = zeros / rows
    # A column's indicators have variance share * (1 - share), and covariances that make their sum constant.
    statistic = ((counts - columns * share) ** 2).sum() / (columns * share * (1 - share)) * (rows - 1) / rows
    assert likely([stats.chi2.sf(statistic, rows - 1), stats.chi2.cdf(statistic, rows - 1)])


@pytest.mark.parametrize(
    ("rows", "zeros"),
    [*((rows, rows // 2) for rows in range(2, 9)), (3, 2), (4, 1), (5, 3), (6, 2), (7, 4), (8, 2), (8, 5), (12, 6)],
)
def test_each_subset_is_as_likely(xp, rows, zeros):
    weights = 2.0 ** np.arange(rows)
    numbers = (weights @ zeros_of(xp, rows, 200_000, zeros)).astype(np.intp)
    subsets = [sum(2**row for row in chosen) for chosen in combinations(range(rows), zeros)]
    counts = np.bincount(numbers, minlength=2**rows)[subsets]
    assert counts.sum() == 200_000
    assert likely(stats.chisquare(counts).pvalue)


@pytest.mark.parametrize(("rows", "zeros", "columns"), [(64, 32, 50_000), (64, 8, 50_000), (100, 50, 50_000), (1000, 500, 4000)])
def test_pairs_of_rows(xp, rows, zeros, columns):
    """How often two rows are zero in one column: for each pair, and, far more sharply, for each distance."""
    found = zeros_of(xp, rows, columns, zeros)
    chance = zeros * (zeros - 1) / (rows * (rows - 1))
    pairs = (found @ found.T)[np.triu_indices(rows, 1)]
    assert likely(normal_p((pairs - columns * chance) / math.sqrt(columns * chance * (1 - chance))))
    spectrum = np.abs(np.fft.rfft(found, 2 * rows, axis=0)) ** 2
    at_distance = np.fft.irfft(spectrum, axis=0)[1:rows]  # pairs at each distance, in each column
    expected = chance * (rows - np.arange(1, rows))
    z = (at_distance.mean(axis=1) - expected) / (at_distance.std(axis=1) / math.sqrt(columns))
    assert likely(normal_p(z))


def next_column(xp, rows, columns, zeros):
    found = zeros_of(xp, rows, columns + 1, zeros)
    return found[:, 1:], found[:, :-1]


def next_fill(xp, rows, columns, zeros):
    generator = gi.Generator(7)
    return zeros_of(xp, rows, columns, zeros, generator), zeros_of(xp, rows, columns, zeros, generator)


def next_seed(xp, rows, columns, zeros):
    return zeros_of(xp, rows, columns, zeros, 7), zeros_of(xp, rows, columns, zeros, 8)


@pytest.mark.parametrize("rows", [4, 32, 100])
@pytest.mark.parametrize("two", [next_column, next_fill, next_seed])
def test_zeros_are_independent(xp, two, rows):
    """The zeros that columns have in common are hypergeometric in number: of two columns, two fills, two seeds."""
    one, other = two(xp, rows, 40_000, rows // 2)
    common = (one * other).sum(axis=0)
    mean, variance, excess = stats.hypergeom(rows, rows // 2, rows // 2).stats("mvk")
    squares = (common - mean) ** 2
    z = [(common.mean() - mean) / math.sqrt(variance), (squares.mean() / variance - 1) / math.sqrt(excess + 2)]
    assert likely(normal_p(np.multiply(z, math.sqrt(common.size))))


# orthogonal_: Haar's measure is the only one that no rotation changes; each test names a consequence of that.

SAMPLES = 3000


@functools.cache
def matrices(xp, rows, columns):
    """As many matrices as there are SAMPLES, from successive fills of one generator."""
    generator, x = gi.Generator(9), xp.empty((rows, columns))
    return np.stack([to_host(gi.orthogonal_(x, generator=generator)).copy() for _ in range(SAMPLES)])


def coordinate_cdf(x, axes):
    """Of one coordinate of a point uniform on the sphere: (x + 1) / 2 has a symmetric beta distribution."""
    return stats.beta.cdf((np.clip(x, -1, 1) + 1) / 2, (axes - 1) / 2, (axes - 1) / 2)


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (8, 8), (8, 3), (3, 8), (5, 1), (1, 5), (2, 7)], ids=str)
def test_images_are_uniform_on_the_sphere(xp, shape):
    """Of each unit vector, and of others: columns where there are fewer columns than rows, else rows."""
    q = matrices(xp, *shape)
    q = q if shape[0] >= shape[1] else q.swapaxes(1, 2)
    axes, count = q.shape[1:]
    directions = np.concatenate([np.eye(count), [[(-1) ** i / math.sqrt(count) for i in range(count)]]])
    images = q @ directions.T
    p_values = [stats.kstest(image, coordinate_cdf, (axes,)).pvalue for image in images.reshape(SAMPLES, -1).T]
    assert likely(p_values)


@pytest.mark.parametrize("n", [2, 3, 4, 8])
def test_moments_of_traces_and_entries(xp, n):
    """E[tr Q] = 0, E[(tr Q)^2] = E[tr Q^2] = 1, E[Q_ij^2] = 1/n, E[Q_ij^4] = 3 / n(n + 2), E[Q_ij^2 Q_ik^2] = 1 / n(n + 2)."""
    q = matrices(xp, n, n)
    trace = np.trace(q, axis1=1, axis2=2)
    samples = [
        (trace, 0),
        (trace**2, 1),
        (np.trace(q @ q, axis1=1, axis2=2), 1),
        ((q**4).mean(axis=(1, 2)), 3 / (n * (n + 2))),
        (q[:, 0, 0] ** 2 * q[:, 0, 1] ** 2, 1 / (n * (n + 2))),
        (q[:, 0, 0] ** 2 * q[:, 1, 0] ** 2, 1 / (n * (n + 2))),
        *((q[:, i, j] ** 2, 1 / n) for i in range(n) for j in range(n)),
    ]
    assert likely([stats.ttest_1samp(sample, expected).pvalue for sample, expected in samples])


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_determinants(xp, n):
    determinants = np.linalg.det(matrices(xp, n, n))
    assert np.abs(np.abs(determinants) - 1).max() < 1e-12
    assert likely(stats.binomtest(int((determinants > 0).sum()), SAMPLES).pvalue)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_eigenvalues(xp, n):
    """As those of SciPy's Haar matrices. The phases of one matrix repel one another, which only makes the test more lenient."""
    reference = stats.ortho_group(n, seed=10).rvs(SAMPLES)
    # In conjugate pairs, with 1 and -1 among them, up to rounding: the upper half of the circle tells all.
    phases = [np.abs(np.angle(np.linalg.eigvals(q))).round(6).ravel() for q in (matrices(xp, n, n), reference)]
    assert likely(stats.ks_2samp(*phases).pvalue)


# Unit roundoffs by which the product of a result with itself may miss the identity.
TOLERANCE = {"float16": 4, "float32": 16, "float64": 16}


@pytest.mark.parametrize("gain", [1, math.sqrt(2), 0.3])
@pytest.mark.parametrize(
    "shape",
    [(1, 1), (2, 2), (64, 64), (200, 50), (50, 200), (65, 64), (130, 129), (1, 9), (9, 1), (16, 8, 3, 3), (80, 2, 3), (2, 0, 3)],
    ids=str,
)
@pytest.mark.parametrize("dtype", FLOATS)
def test_orthonormal(xp, shape, dtype, gain):
    q = filled(xp, "orthogonal_", shape, dtype, gain, generator=11).reshape(shape[0], math.prod(shape[1:])).astype(np.float64)
    product = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    error = np.abs(product / gain**2 - np.eye(len(product))).max(initial=0)
    assert error <= TOLERANCE[dtype] * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        ("uniform_", {"a": 0.0, "b": 5e-8}),
        ("uniform_", {"a": -1e-44, "b": 1e-44}),
        ("uniform_", {"a": 0.0, "b": 1e-308}),
        ("normal_", {"std": 1e-40}),
        ("normal_", {"std": 3e4}),
        ("trunc_normal_", {"std": 1e-30, "a": -2e-30, "b": 2e-30}),
    ],
)
def test_values_do_not_depend_on_numpys_error_state(function, parameters, dtype):
    """Bounds that only a wider dtype can tell apart are refused in either state."""
    filled = []
    for state in ("raise", "ignore"):  # in this order: transforms are kept once made
        with np.errstate(all=state):
            try:
                filled.append(getattr(gi, function)(np.empty(100, dtype), **parameters, generator=1).tobytes())
            except ValueError as error:
                filled.append(str(error))
    assert filled[0] == filled[1]
