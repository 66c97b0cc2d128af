"""complex64 and complex128: the bits are those of real fills of the interleaved parts, the variance E|x|^2 is the one asked for,
orthogonal_ is Haar-distributed among the (semi-)unitary matrices, and truncated forms are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import gpuinit as gi
from tests.support.arrays import to_host
from tests.support.fills import generator_at
from tests.support.layouts import LAYOUTS, Window
from tests.support.p_values import likely, near_mean

DTYPES = {"complex64": np.dtype(np.float32), "complex128": np.dtype(np.float64)}
both = pytest.mark.parametrize("dtype", DTYPES)


def source(seed=123):
    """A generator that has come some way: five blocks."""
    return generator_at(5, seed)


def parts_of(x):
    """Real and imaginary parts in a last axis of length 2."""
    x = np.ascontiguousarray(to_host(x))
    return x.view(x.real.dtype).reshape(*x.shape, 2)


# By hand, from fills of real arrays.


def uniform_parts(shape, real, a=0.0, b=1.0):
    return gi.uniform_(np.empty((*shape, 2), real), a, b, generator=source())


def normal_parts(shape, real, mean=0.0, std=1.0):
    # A fill of reals of either mean; the real parts are taken from the first, the imaginary parts from the second.
    each = std / math.sqrt(2)
    first, second = (
        gi.normal_(np.empty((*shape, 2), real), m, each, generator=source()) for m in (complex(mean).real, complex(mean).imag)
    )
    return np.stack([first[..., 0], second[..., 1]], axis=-1)


def scaled_parts(kind, std):
    """Of a standard deviation that is a function of fan_in and fan_out."""

    def make(shape, real):
        field = math.prod(shape[2:])
        deviation = std(shape[1] * field, shape[0] * field)
        if kind == "normal":
            return normal_parts(shape, real, 0.0, deviation)
        bound = math.sqrt(3.0) * (deviation / math.sqrt(2))
        return uniform_parts(shape, real, -bound, bound)

    return make


def sparse_parts(shape, real, sparsity, std=0.01):
    parts = normal_parts(shape, real, 0.0, std)
    # In a real array of values that are not 0 by chance, the zeros tell the rows.
    parts[gi.sparse_(np.empty(shape, real), sparsity, 1.0, generator=source()) == 0] = 0
    return parts


ANY = [(), (0, 4), (1,), (2,), (9,), (1025,), (2, 3, 4), (17, 9)]
WEIGHTS = [(6, 5), (4, 3, 3, 2)]
MATRICES = [(1, 1), (5, 3), (33, 17), (40, 1), (0, 3), (3, 0)]


def positional(make, *arguments):
    return lambda shape, real: make(shape, real, *arguments)


# (function, arguments, the function above that makes the parts, shapes)
BY_HAND = [
    *(
        ("uniform_", arguments, positional(uniform_parts, *arguments), ANY)
        for arguments in ((), (-0.1, 0.1), (1.0, 1 + 2**-20), (0, 1e-42), (-1.7e38, 1.7e38), (0.3, 0.3), (-0.0, 0.0))
    ),
    *(
        ("normal_", arguments, positional(normal_parts, *arguments), ANY)
        for arguments in (
            (),
            (-3, 0.02),
            (2 - 5j, 0.1),
            (1j, 1),
            (-0.0, 1e-42),
            (complex(0.1, -0.3), 0),
            (0, 3e38),
            (np.complex64(0.5 + 2j), 1),
            (np.array(1 - 1j), 1),
        )
    ),
    ("xavier_uniform_", (), scaled_parts("uniform", lambda i, o: 1.0 * math.sqrt(2.0 / (i + o))), WEIGHTS),
    ("xavier_uniform_", (5 / 3,), scaled_parts("uniform", lambda i, o: 5 / 3 * math.sqrt(2.0 / (i + o))), WEIGHTS),
    ("xavier_normal_", (0.3,), scaled_parts("normal", lambda i, o: 0.3 * math.sqrt(2.0 / (i + o))), WEIGHTS),
    ("kaiming_uniform_", (), scaled_parts("uniform", lambda i, o: math.sqrt(2.0) / math.sqrt(i)), WEIGHTS),
    (
        "kaiming_uniform_",
        (0.5, "fan_out"),
        scaled_parts("uniform", lambda i, o: math.sqrt(2 / (1 + 0.5 * 0.5)) / math.sqrt(o)),
        WEIGHTS,
    ),
    ("kaiming_normal_", (0, "fan_in", "tanh"), scaled_parts("normal", lambda i, o: 5 / 3 / math.sqrt(i)), WEIGHTS),
    ("lecun_uniform_", (), scaled_parts("uniform", lambda i, o: math.sqrt(1 / i)), WEIGHTS),
    (
        "variance_scaling_",
        (2, "fan_avg", "uniform"),
        scaled_parts("uniform", lambda i, o: math.sqrt(2 / ((i + o) / 2))),
        WEIGHTS,
    ),
    ("variance_scaling_", (0.7, "fan_out", "normal"), scaled_parts("normal", lambda i, o: math.sqrt(0.7 / o)), WEIGHTS),
    *(
        ("sparse_", arguments, positional(sparse_parts, *arguments), MATRICES)
        for arguments in ((0,), (0.1,), (0.5, 1e-42), (0.99, 1), (1, 1))
    ),
]
BY_HAND_IDS = [f"{name}{arguments}" for name, arguments, *_ in BY_HAND]


@pytest.mark.parametrize("layout", LAYOUTS)
@both
@pytest.mark.parametrize(("name", "arguments", "by_hand", "shapes"), BY_HAND, ids=BY_HAND_IDS)
def test_bits_are_those_of_the_parts(xp, layout, dtype, name, arguments, by_hand, shapes):
    for shape in shapes:
        expected = by_hand(shape, DTYPES[dtype])
        window = Window(xp, layout, shape, dtype)
        generator = source()
        assert getattr(gi, name)(window.array, *arguments, generator=generator) is window.array
        assert parts_of(window.array).tobytes() == expected.tobytes()
        assert window.outside_untouched()
        assert generator.position == 5 + -(-expected.nbytes // 16)


@both
@pytest.mark.parametrize(("name", "arguments"), [("uniform_", (-1, 1)), ("normal_", (2 - 5j, 0.1)), ("sparse_", (0.3, 1))])
def test_large_arrays_in_any_order(xp, name, arguments, dtype):
    """More elements than a piece of work on the CPU, and rows that are longer than one."""
    for shape in ((3, 70_001), (300, 701)):
        by_hand = {"uniform_": uniform_parts, "normal_": normal_parts, "sparse_": sparse_parts}[name]
        expected = by_hand(shape, DTYPES[dtype], *arguments)
        for layout in ("C", "F"):
            window = Window(xp, layout, shape, dtype)
            getattr(gi, name)(window.array, *arguments, generator=source())
            assert parts_of(window.array).tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", [">c8", ">c16"])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [("uniform_", (-1, 1)), ("normal_", (1j, 1)), ("xavier_uniform_", ()), ("sparse_", (0.3, 1)), ("orthogonal_", ())],
)
def test_big_endian_and_unaligned_arrays(name, arguments, dtype):
    native = np.dtype(dtype).newbyteorder("=")
    fill = getattr(gi, name)
    expected = fill(np.empty((9, 5), native), *arguments, generator=3)
    swapped = fill(np.empty((9, 5), dtype), *arguments, generator=3)
    buffer = np.full(45 * native.itemsize + 2, 0x5A, np.uint8)
    unaligned = fill(buffer[1:-1].view(native).reshape(9, 5), *arguments, generator=3)
    assert not unaligned.flags.aligned
    np.testing.assert_array_equal(swapped, expected)
    np.testing.assert_array_equal(unaligned, expected)
    assert (buffer[0], buffer[-1]) == (0x5A, 0x5A)


@both
def test_the_parts_of_an_array_can_be_filled_too(dtype):
    """`.real` and `.imag` are strided real arrays in the same memory."""
    x = np.zeros((5, 7), dtype)
    gi.uniform_(x.real, 1, 2, generator=1)
    assert not x.imag.any()
    gi.normal_(x.imag, generator=2)
    assert x.real.tobytes() == gi.uniform_(np.empty((5, 7), DTYPES[dtype]), 1, 2, generator=1).tobytes()
    assert x.imag.tobytes() == gi.normal_(np.empty((5, 7), DTYPES[dtype]), generator=2).tobytes()


# Constants.


@pytest.mark.parametrize("layout", LAYOUTS)
@both
def test_constants(xp, layout, dtype):
    for name, arguments, shape, expected in (
        ("constant_", (0.1 - 2.5j,), (3, 5), np.full((3, 5), 0.1 - 2.5j, dtype)),
        ("constant_", (complex(-0.0, math.inf),), (), np.full((), complex(-0.0, math.inf), dtype)),
        ("constant_", (complex(0.0, -0.0),), (7,), np.full(7, complex(0.0, -0.0), dtype)),
        ("constant_", (complex(-0.0, 0.0),), (7,), np.full(7, complex(-0.0, 0.0), dtype)),
        ("constant_", (2,), (7,), np.full(7, 2, dtype)),
        ("zeros_", (), (3, 5), np.zeros((3, 5), dtype)),
        ("ones_", (), (3, 5), np.ones((3, 5), dtype)),
        ("eye_", (), (4, 6), np.eye(4, 6, dtype=dtype)),
        ("dirac_", (), (2, 2, 1), np.eye(2, dtype=dtype)[..., None]),
    ):
        window = Window(xp, layout, shape, dtype)
        assert getattr(gi, name)(window.array, *arguments) is window.array
        assert to_host(window.array).tobytes() == expected.tobytes()
        assert window.outside_untouched()


# Errors.

TRUNCATED = [
    ("trunc_normal_", {}),
    ("trunc_normal_", {"a": 0.5, "b": 0.5}),
    ("lecun_normal_", {}),
    ("variance_scaling_", {}),
    ("variance_scaling_", {"distribution": "truncated_normal", "mode": "fan_out"}),
]
INF, NAN = math.inf, math.nan
REFUSED = [
    *((name, arguments, TypeError, r'x must be real.*distribution="normal"') for name, arguments in TRUNCATED),
    ("trunc_", {}, TypeError, "x must be an array of one of the dtypes .*; got complex"),
    ("normal_", {"mean": complex(NAN, 0)}, ValueError, "mean must be finite"),
    ("normal_", {"mean": complex(0, INF)}, ValueError, "mean must be finite"),
    ("normal_", {"mean": "1j"}, TypeError, "mean must be a .*number"),
    ("normal_", {"std": 1j}, TypeError, "std must be a real number"),
    ("normal_", {"std": -1}, ValueError, "std must not be negative"),
    ("uniform_", {"a": -1j}, TypeError, "a must be a real number"),
    ("uniform_", {"b": 1 + 0j}, TypeError, "b must be a real number"),
    ("uniform_", {"a": 2}, ValueError, "a must not exceed b"),
    ("orthogonal_", {"gain": 1j}, TypeError, "gain must be a real number"),
    ("xavier_normal_", {"gain": 1j}, TypeError, "gain must be a real number"),
    ("variance_scaling_", {"scale": 1j, "distribution": "normal"}, TypeError, "scale must be a real number"),
    ("sparse_", {"sparsity": 0.5j}, TypeError, "sparsity must be a real number"),
    ("sparse_", {"sparsity": 0.5, "std": 1j}, TypeError, "std must be a real number"),
]


@both
@pytest.mark.parametrize(
    ("name", "arguments", "error", "match"), REFUSED, ids=[f"{name}{list(row.values())}" for name, row, *_ in REFUSED]
)
def test_refused(xp, dtype, name, arguments, error, match):
    for shape in ((4, 6), (4, 0)):
        if 0 in shape and (name, arguments) in TRUNCATED[2:]:
            continue  # scaled fills of arrays without elements only warn
        x = xp.full(shape, 7 + 7j, dtype)
        content, generator = to_host(x).tobytes(), source()
        with pytest.raises(error, match=match):
            getattr(gi, name)(x, **arguments, **({} if name == "trunc_" else {"generator": generator}))
        assert to_host(x).tobytes() == content
        assert generator.position == 5


@pytest.mark.parametrize("mean", [1e39, 1e39j])
def test_a_part_of_the_mean_that_complex64_cannot_hold(xp, mean):
    with pytest.raises(ValueError, match="mean must be finite in float32"):
        gi.normal_(xp.empty(3, np.complex64), mean)
    assert np.isfinite(to_host(gi.normal_(xp.empty(3, np.complex128), mean))).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("mean", [1j, np.complex64(1), 1 + 0j], ids=repr)
def test_a_complex_mean_needs_a_complex_array(xp, mean, dtype):
    with pytest.raises(TypeError, match="mean must be a real number"):
        gi.normal_(xp.empty(3, dtype), mean)


# Distributions.


VARIANCES = [
    ("normal_", (0, 1), 1.0, "normal"),
    ("normal_", (3 - 2j, 0.02), 0.0004, "normal"),
    ("xavier_uniform_", (), 1 / 500, "uniform"),
    ("xavier_normal_", (), 1 / 500, "normal"),
    ("kaiming_uniform_", (0, "fan_in", "relu"), 2 / 400, "uniform"),
    ("kaiming_normal_", (0, "fan_out", "relu"), 2 / 600, "normal"),
    ("lecun_uniform_", (), 1 / 400, "uniform"),
    ("variance_scaling_", (3, "fan_avg", "uniform"), 3 / 500, "uniform"),
    ("variance_scaling_", (3, "fan_avg", "normal"), 3 / 500, "normal"),
    ("variance_scaling_", (1, "fan_in", "untruncated_normal"), 1 / 400, "normal"),
]


@both
@pytest.mark.parametrize(
    ("name", "arguments", "variance", "kind"), VARIANCES, ids=[f"{name}{arguments}" for name, arguments, *_ in VARIANCES]
)
def test_variance(dtype, name, arguments, variance, kind):
    """E|x - mean|^2, split evenly over parts that do not depend on each other."""
    x = getattr(gi, name)(np.empty((600, 400), dtype), *arguments, generator=8)
    x = (x.astype(np.complex128) - (arguments[0] if name == "normal_" else 0)) / math.sqrt(variance)
    # Of the square of a part of variance 1/2: its own variance is (kurtosis - 1) / 4.
    of_square = ((3 if kind == "normal" else 9 / 5) - 1) / 4
    p_values = [
        near_mean(x.real, 0, 1 / 2),
        near_mean(x.imag, 0, 1 / 2),
        near_mean(x.real**2, 1 / 2, of_square),
        near_mean(x.imag**2, 1 / 2, of_square),
        near_mean(abs(x) ** 2, 1, 2 * of_square),
        near_mean(x.real * x.imag, 0, 1 / 4),
        near_mean(x.real[:, :-1] * x.imag[:, 1:], 0, 1 / 4),
    ]
    assert likely(p_values)


def test_normal_parts_are_normal_and_the_phase_is_uniform():
    x = gi.normal_(np.empty(2**18, np.complex64), 0, 3, generator=5)
    p_values = [
        stats.kstest(x.real, stats.norm(0, 3 / math.sqrt(2)).cdf).pvalue,
        stats.kstest(x.imag, stats.norm(0, 3 / math.sqrt(2)).cdf).pvalue,
        stats.kstest(np.angle(x), stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue,
        stats.kstest(abs(x) ** 2, stats.expon(scale=9).cdf).pvalue,
    ]
    assert likely(p_values)


# orthogonal_: (semi-)unitary, and of Haar's measure.


def tolerance(dtype):
    return {"complex64": 2e-6, "complex128": 1e-14}[dtype]


SHAPES = [(1, 1), (4, 4), (9, 5), (5, 9), (3, 2, 4), (1, 6), (6, 1), (130, 70), (70, 130), (100, 100)]


@both
def test_orthogonal_is_unitary(xp, dtype):
    for shape in SHAPES:
        q = to_host(gi.orthogonal_(xp.empty(shape, dtype), 1.5, generator=source())).reshape(shape[0], -1) / 1.5
        q = q.T if q.shape[0] < q.shape[1] else q
        np.testing.assert_allclose(q.conj().T @ q, np.eye(q.shape[1]), rtol=0, atol=3 * tolerance(dtype))
        assert shape == (1, 1) or np.iscomplex(q).any()


@pytest.mark.parametrize("layout", LAYOUTS)
@both
def test_orthogonal_to_rounding(xp, layout, dtype):
    for shape in SHAPES:
        expected = gi.orthogonal_(np.empty(shape, dtype), 1.5, generator=source())
        window = Window(xp, layout, shape, dtype)
        generator = source()
        assert gi.orthogonal_(window.array, 1.5, generator=generator) is window.array
        np.testing.assert_allclose(to_host(window.array), expected, rtol=0, atol=tolerance(dtype))
        assert window.outside_untouched()
        assert generator.position == 5 + -(-expected.nbytes // 16)


@both
@pytest.mark.parametrize("shape", [(1, 1), (6, 6), (9, 5), (5, 9)], ids=str)
def test_orthogonal_is_the_q_of_what_it_draws(dtype, shape):
    """Its first column (of the taller form) is the first vector drawn over its length: see docs/values.md."""
    rows, columns = min(shape), max(shape)
    drawn = gi.normal_(np.empty((rows, columns), dtype), 0, math.sqrt(2), generator=source())
    q = gi.orthogonal_(np.empty(shape, dtype), generator=source())
    tall = q if shape[0] >= shape[1] else q.T
    np.testing.assert_allclose(tall[:, 0], drawn[0] / np.linalg.norm(drawn[0]), rtol=0, atol=1e-6)


@both
def test_orthogonal_of_gain_0_and_negative(xp, dtype):
    q = to_host(gi.orthogonal_(xp.empty((4, 3), dtype), generator=1))
    np.testing.assert_allclose(to_host(gi.orthogonal_(xp.empty((4, 3), dtype), -2, generator=1)), -2 * q, rtol=1e-6)
    assert not to_host(gi.orthogonal_(xp.full((4, 3), 7, dtype), 0, generator=1)).any()


def unitaries(count, shape, seed):
    generator = gi.Generator(seed)
    return np.array([gi.orthogonal_(np.empty(shape, np.complex128), generator=generator) for _ in range(count)])


def phases_are_uniform(numbers):
    return stats.kstest(np.angle(numbers), stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_haar_moments_and_eigenphases(n):
    """Of the unitary group: moments of the entries and of the trace (Diaconis and Shahshahani 1994), eigenvalues' phases."""
    count = 6000
    q = unitaries(count, (n, n), 11)
    traces = np.trace(q, axis1=1, axis2=2)
    # An eigenvalue picked blindly from each matrix: those of one matrix repel each other, so are no independent sample.
    picked = np.linalg.eigvals(q)[np.arange(count), np.random.default_rng(0).integers(0, n, count)]
    p_values = [phases_are_uniform(picked), phases_are_uniform(np.linalg.det(q)), phases_are_uniform(traces)]
    p_values += [phases_are_uniform(q[:, i, j]) for i in range(n) for j in range(n)]
    if n > 1:
        squares = abs(q) ** 2
        # Each |Q_ij|^2 is Beta(1, n - 1), of mean 1 / n; E|tr Q|^2 = 1, E|tr Q|^4 = 2, E|tr Q|^8 = 24 (n = 2, 3: 14, 23).
        beta = stats.beta(1, n - 1)
        p_values += [stats.kstest(squares[:, i, j], beta.cdf).pvalue for i in range(n) for j in range(n)]
        p_values += [near_mean(squares[:, i, j], 1 / n, beta.var()) for i in range(n) for j in range(n)]
        eighth = {2: 14, 3: 23}.get(n, 24)
        p_values += [near_mean(abs(traces) ** 2, 1, 2 - 1), near_mean(abs(traces) ** 4, 2, eighth - 4)]
        # Entries of one row: E|Q_11|^2 |Q_12|^2 = 1 / (n (n + 1)), and E Q_11 Q_22 conj(Q_12 Q_21) = -1 / (n (n^2 - 1)).
        pairs = squares[:, 0, 0] * squares[:, 0, 1]
        crossed = (q[:, 0, 0] * q[:, 1, 1] * (q[:, 0, 1] * q[:, 1, 0]).conj()).real
        p_values += [
            near_mean(pairs, 1 / (n * (n + 1)), pairs.var()),
            near_mean(crossed, -1 / (n * (n * n - 1)), max(crossed.var(), 1e-30)),
        ]
    assert likely(p_values)


@pytest.mark.parametrize("shape", [(6, 2), (2, 6)], ids=str)
def test_haar_of_semi_unitary_matrices(shape):
    q = unitaries(4000, shape, 12)
    beta = stats.beta(1, max(shape) - 1)
    entries = [(i, j) for i in range(shape[0]) for j in range(shape[1])]
    p_values = [stats.kstest(abs(q[:, i, j]) ** 2, beta.cdf).pvalue for i, j in entries]
    p_values += [phases_are_uniform(q[:, i, j]) for i, j in entries]
    assert likely(p_values)
