"""float8_e4m3fn and float8_e5m2: the rounding by exhaustion, bounds, layouts, shards, tensors, models, and what is refused.

tests/contract/test_reference.py has their values, and test_sixteen_bits.py shows that those of float32 are the same everywhere.
"""

from __future__ import annotations

import itertools
import math
import random

import ml_dtypes
import numpy as np
import pytest

import gpuinit as gi
from gpuinit._backends.host import fills as host_fills
from gpuinit._backends.host import sampling
from gpuinit._contract.dtypes import as_dtype, round_into, round_once
from tests.support import fills, reference
from tests.support.arrays import by_ufuncs
from tests.support.layouts import LAYOUTS, Window
from tests.support.refusals import refused, shape_for
from tests.support.shards import CUTS, called

INF = math.inf
LARGEST = {"float8_e4m3fn": 448.0, "float8_e5m2": 57344.0}
BEHIND = {"float8_e4m3fn": 3, "float8_e5m2": 2}  # digits of the mantissa
eight = pytest.mark.parametrize("dtype", fills.EIGHT_BITS)


def patterns(values, dtype):
    """The bits of float32 values, each rounded in rational arithmetic."""
    return np.array([reference.pattern(float(value), dtype) for value in values], np.uint8)


def bits_of(values, dtype):
    """The bits that a fill gives these float32 values."""
    out = np.empty(values.shape, as_dtype(dtype))
    round_into(out, values.copy())
    return out.view(np.uint8)


def near(values):
    """Float32 values and their neighbours, with both signs."""
    values = np.asarray(values, np.float32)
    around = np.concatenate([values, np.nextafter(values, np.float32(INF)), np.nextafter(values, np.float32(-INF))])
    return np.concatenate([around, -around])


# Rounding.


@pytest.mark.parametrize("given", [np.float16, ml_dtypes.bfloat16], ids=str)
@eight
def test_rounding_of_all_values_of_sixteen_bits(dtype, given):
    values = np.arange(1 << 16, dtype=np.uint16).view(given).astype(np.float32)
    values = values[~np.isnan(values)]
    np.testing.assert_array_equal(bits_of(values, dtype), patterns(values, dtype))


@eight
def test_rounding_of_float32(dtype):
    """All values and ties with their neighbours; random ones of every size; subnormal and infinite ones."""
    grid = [value for value in reference.numbers(dtype) if 0 <= value < INF]
    grid.append(2 * grid[-1] - grid[-2])  # what would follow the largest
    ties = [(low + high) / 2 for low, high in itertools.pairwise(grid)]
    everywhere = np.random.default_rng(1).integers(0, 1 << 32, 20_000, dtype=np.uint32).view(np.float32)
    of_its_size = np.ldexp(np.random.default_rng(2).uniform(1, 2, 20_000), np.arange(20_000) % 40 - 22)
    values = np.concatenate([near(grid), near(ties), near([1e-45, 1e-38, 3e38, INF]), everywhere, of_its_size.astype(np.float32)])
    values = values[~np.isnan(values)]
    np.testing.assert_array_equal(bits_of(values, dtype), patterns(values, dtype))


@eight
def test_nan_stays(dtype):
    assert np.isnan(bits_of(np.full(3, np.nan, np.float32), dtype).view(as_dtype(dtype))).all()


@eight
def test_scalars_are_rounded_once(dtype):
    """From float64, also a hair beside a tie, where float32 would have the tie; what is too large is not finite."""
    grid = [value for value in reference.numbers(dtype) if 0 <= value < INF]
    ties = [(low + high) / 2 for low, high in itertools.pairwise(grid)]
    hairs = [tie * (1 + sign * 2.0**-k) for tie in ties for sign in (1, -1) for k in (30, 40, 52)]
    generator = random.Random(3)
    others = [math.ldexp(generator.uniform(-1, 1), generator.randint(-30, 8)) for _ in range(5000)]
    for value in [*grid, *ties, *hairs, *others, 0.0, -0.0, 5e-324]:
        result = np.asarray(round_once(value, as_dtype(dtype)))
        assert result.tobytes()[0] == reference.pattern(value, dtype), value
    tie = 2 * grid[-1] - (grid[-1] + grid[-2]) / 2
    beyond = np.nextafter(tie, INF) if dtype == "float8_e4m3fn" else tie  # the even one of the two that the tie lies between
    for value in (beyond, -beyond, 1e300, INF):
        assert not np.isfinite(round_once(value, as_dtype(dtype)))


# Bounds.


@pytest.fixture
def counted(monkeypatch):
    """All later fills read these words, counted through instead of drawn."""

    def count(words):
        monkeypatch.setattr(sampling, "run_words", lambda space, stream, starts, length, bits: words[starts[0] :][:length].copy())

    with by_ufuncs():
        yield count


WORDS = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16) | np.uint32(0xFFFF)


def found_and_due(filled, inside, a, b):
    """What share of the elements each of the values has, and of [a, b] what rounds to it; no others may be there."""
    found = np.array([(filled.astype(float) == value).sum() for value in inside])
    assert found.sum() == filled.size
    ends = np.clip(np.concatenate([[-INF], (inside[1:] + inside[:-1]) / 2, [INF]]), a, b)
    return found / filled.size, np.diff(ends) / (b - a)


def intervals(dtype):
    ulp, largest = 2.0 ** -BEHIND[dtype], LARGEST[dtype]
    tiny = reference.number(1, dtype)
    return [
        (0.0, 1.0),
        (-0.1, 0.1),
        (1 / 3, 2 / 3),
        (1.0, 1 + ulp),
        (1.0, 1 + 2 * ulp),
        (1 + 0.4 * ulp, 1 + 3.6 * ulp),
        (1 - 1.2 * ulp, 1 + 1.2 * ulp),
        (-1 - ulp, -1.0),
        (0.0, 7.3 * tiny),
        (-5.5 * tiny, 9.2 * tiny),
        (-largest, largest),
        (largest * 0.7, largest * 1.01),
    ]


@pytest.mark.parametrize(("dtype", "a", "b"), [(dtype, *row) for dtype in fills.EIGHT_BITS for row in intervals(dtype)])
def test_uniform_of_words_from_end_to_end(counted, dtype, a, b):
    """No value lies outside [a, b), and all in it come in due number."""
    counted(WORDS)
    filled = gi.uniform_(np.empty(len(WORDS), as_dtype(dtype)), a, b, generator=0)
    inside = np.array([value for value in reference.numbers(dtype) if a <= value < b])
    found, share = found_and_due(filled, inside, a, b)
    assert (abs(found - share) <= 2 / len(WORDS)).all()


@pytest.mark.parametrize(("dtype", "a", "b"), [(dtype, *row) for dtype in fills.EIGHT_BITS for row in intervals(dtype)])
def test_truncated_of_words_from_end_to_end(counted, dtype, a, b):
    """No value lies outside [a, b], and all in it come that have a share worth a few words."""
    counted(WORDS)
    filled = gi.trunc_normal_(np.empty(len(WORDS), as_dtype(dtype)), (a + b) / 2, b - a, a, b, generator=0)
    inside = np.array([value for value in reference.numbers(dtype) if a <= value <= b])
    found, share = found_and_due(filled, inside, a, b)
    assert (found[share > 4 / len(WORDS)] > 0).all()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("normal_", {"std": 1e6}),
        ("normal_", {"mean": -1e6, "std": 0}),
        ("trunc_normal_", {"std": 1e6, "a": -INF, "b": INF}),
        ("sparse_", {"sparsity": 0.1, "std": 1e6}),
        ("orthogonal_", {"gain": 1e7}),
    ],
)
@eight
def test_what_is_too_large_becomes_the_highest_value(dtype, name, arguments):
    x = fills.call(name, np.empty((30, 20), as_dtype(dtype)), arguments).astype(float)
    assert not np.isnan(x).any()
    assert abs(x).max() == (448 if dtype == "float8_e4m3fn" else INF)


# Layouts, pieces, shards, the path without a compiler.


# Fills without bounds, whose values are those of float32, rounded.
ROUNDED = ("normal_", "xavier_normal_", "kaiming_normal_", "sparse_", "orthogonal_")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("fill", "dtype"), fills.cases_of_eight_bits(fills.select()))
def test_layouts(layout, fill, dtype):
    """The bits of the contiguous fill; those of normals are the float32 fill's, rounded."""
    for shape in filter(fill.takes, [(6, 5), (4, 3, 3), (), (0, 4), (1025,)]):
        expected = fills.call(fill.name, np.zeros(shape, as_dtype(dtype)), fill.arguments, fills.generator_at(5))
        window = Window(np, layout, shape, as_dtype(dtype))
        if fill.name == "trunc_":
            window.array[...] = 0
        assert fills.call(fill.name, window.array, fill.arguments, fills.generator_at(5)) is window.array
        assert window.array.tobytes() == expected.tobytes()
        assert window.outside_untouched()
        if fill.name in ROUNDED:
            single = fills.call(fill.name, np.empty(shape, np.float32), fill.arguments, fills.generator_at(5))
            assert expected.tobytes() == patterns(single.ravel(), dtype).tobytes()


@pytest.mark.parametrize("name", ["uniform_", "normal_", "trunc_normal_"])
@eight
def test_many_pieces(dtype, name):
    size = 3 * host_fills.PIECE_BYTES // 4 + 5
    whole = getattr(gi, name)(np.empty(size, as_dtype(dtype)), generator=1)
    with by_ufuncs():
        assert getattr(gi, name)(np.empty(size, as_dtype(dtype)), generator=1).tobytes() == whole.tobytes()
    single = getattr(gi, name)(np.empty(size, np.float32), generator=1)
    step = 2.0 ** -(BEHIND[dtype] + 1) * np.maximum(abs(single), 2.0**-6)
    # Below 1, uniform_ gives the last value; trunc_normal_ has the cutoffs of every dtype here.
    step[single > (1 if name != "uniform_" else 1 - 2.0 ** -(BEHIND[dtype] + 2))] *= 2
    assert (abs(whole.astype(float) - single) <= step).all()


@pytest.mark.parametrize(("name", "arguments", "shapes"), CUTS)
@eight
def test_shards(dtype, name, arguments, shapes):
    for shape in shapes:
        whole = np.empty(shape, as_dtype(dtype))
        position = called(name, whole, arguments)
        for index in itertools.product(*([slice(0, n), slice(0, n // 2), slice(n // 2, n), slice(1, n)] for n in shape)):
            part = np.empty(whole[index].shape, as_dtype(dtype))
            assert called(name, part, arguments, shard=gi.Shard(shape, index)) == position
            assert part.tobytes() == whole[index].tobytes()


@eight
def test_trunc(dtype):
    x = np.arange(256, dtype=np.uint8).view(as_dtype(dtype))
    with np.errstate(invalid="ignore"):
        expected = np.trunc(x.astype(np.float64))
    np.testing.assert_array_equal(gi.trunc_(x).astype(np.float64), expected)


# Errors.


@pytest.mark.parametrize(
    ("name", "arguments", "match"),
    [
        ("uniform_", {"b": 1e5}, "^b must be finite in {dtype}, got b=100000.0"),
        ("uniform_", {"a": 1.01, "b": 1.1}, r"^\[a, b\) holds no value of {dtype}, got"),
        ("trunc_normal_", {"a": 1.01, "b": 1.1}, r"^\[a, b\] holds no value of {dtype}, got"),
        ("trunc_normal_", {"std": 1e5, "a": 6e4, "b": INF}, r"^\[a, b\] holds no value of {dtype}, got"),
        ("trunc_normal_", {"std": 1e5, "a": -INF, "b": -6e4}, r"^\[a, b\] holds no value of {dtype}, got"),
        ("trunc_normal_", {"a": 1e5, "b": 1e5}, "^a must be finite in {dtype}, got"),
        ("xavier_uniform_", {"gain": 1e6}, "^gain, scale or fans must suit {dtype} and shape"),
        ("variance_scaling_", {"scale": 1e12}, "^gain, scale or fans must suit {dtype} and shape"),
        ("constant_", {"val": 1e5}, "^val must lie in the range of {dtype}, got val=100000.0"),
        ("constant_", {"val": 10**400}, "^val must lie in the range of {dtype}, got val=1000"),
    ],
)
@eight
def test_refused(dtype, name, arguments, match):
    x = np.full(shape_for(name), 77, as_dtype(dtype))
    refused(name, x, ValueError, match.format(dtype=dtype), **arguments)


def test_e4m3fn_has_no_infinity():
    x = np.full((4, 6), 77, as_dtype("float8_e4m3fn"))
    for val in (INF, -INF, 464.001):
        refused("constant_", x, ValueError, f"^val must lie in the range of float8_e4m3fn, got val={val}", val=val)
    refused("uniform_", x, ValueError, r"^\[a, b\) holds no value of float8_e4m3fn", a=-460, b=-448)
    refused("uniform_", x, ValueError, r"^\[a, b\) holds no value of float8_e4m3fn", a=448.5, b=464)
    assert (gi.constant_(x, 464) == 448).all()  # a tie, to even
    assert (gi.uniform_(x, 440, 464, generator=1) == 448).all()
    assert np.isnan(gi.constant_(x, math.nan).astype(float)).all()


def test_e5m2_has_infinities():
    x = np.empty(3, as_dtype("float8_e5m2"))
    assert (gi.constant_(x, -INF).astype(float) == -INF).all()
    assert np.isnan(gi.constant_(x, math.nan).astype(float)).all()


@pytest.mark.gpu
@pytest.mark.parametrize("name", fills.NAMES)
@eight
def test_cupy_is_refused(cupy, dtype, name):
    """CuPy makes such an array only as a view of another one."""
    x = cupy.full(shape_for(name), 77, np.uint8).view(as_dtype(dtype))
    refused(
        name, x, TypeError, f"^x must have a dtype that CuPy has, got {dtype}; fill a float32 or bfloat16 array and convert it$"
    )


@pytest.mark.gpu
@eight
def test_drawing_for_cupy_is_refused(cupy, dtype):
    x = cupy.full((4, 6), 77, np.float32)
    with pytest.raises(
        ValueError, match=f"dtype must be one that CuPy has for an array of a GPU, got dtype={dtype}; give bfloat16"
    ):
        gi.initialize({"a": x}, [("*", "normal_")], seed=1, dtype=dtype)
    assert (x == 77).all()
