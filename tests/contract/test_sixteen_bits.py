"""float16 and bfloat16 by exhaustion: every word that matters, every bit pattern that a fill can give.

The fills run as users call them, but on words that are counted through instead of drawn. What the results must be is computed
in float64, which holds each value, sum and product of two float32 with bits to spare, and by exact comparison of integers.
"""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from scipy import special

import gpuinit as gi
from gpuinit._backends.host import compiled, sampling
from gpuinit._contract.dtypes import round_parameter
from tests.support import fills
from tests.support.arrays import to_host
from tests.support.layouts import LAYOUTS, Window

INF = math.inf
DTYPES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
MANTISSA = {"float16": 10, "bfloat16": 7}
sixteen = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def values_of(dtype):
    """The finite values >= 0 of a 16-bit dtype, in order, as float64; then the power of two that would follow."""
    infinity = (1 << 15) - (1 << MANTISSA[dtype.name])
    values = np.arange(infinity, dtype=np.uint16).view(dtype).astype(np.float64)
    return np.append(values, 2 * values[-1] - values[-2])


def nearest(values, dtype):
    """Bits of float64 `values` that float32 holds, rounded to nearest even: by the two neighbours, not by a conversion."""
    grid = values_of(dtype)
    size = np.abs(values)
    below = np.clip(np.searchsorted(grid, size, side="right") - 1, 0, len(grid) - 2)
    # The differences are exact: all three numbers have few bits, and lie within a factor of two or on one grid.
    to_below, to_above = size - grid[below], grid[below + 1] - size
    bits = below + ((to_above < to_below) | ((to_above == to_below) & (below % 2 == 1)))
    bits = np.minimum(bits, len(grid) - 1)  # the last is the pattern of infinity
    return (bits | np.where(np.signbit(values), 1 << 15, 0)).astype(np.uint16)


def nearest_exactly(value, dtype):
    """A Python float rounded to nearest even in rational arithmetic; -0 and what rounds to it as 0."""
    grid = values_of(dtype)
    size = abs(Fraction(value))
    below = min(int(np.searchsorted(grid, abs(value), side="right")) - 1, len(grid) - 2)
    twice_over = 2 * size - Fraction(grid[below]) - Fraction(grid[below + 1])
    bits = below + (twice_over > 0 or (twice_over == 0 and below % 2 == 1))
    result = np.uint16(bits).view(dtype)
    return -result if value < 0 and bits else result


@pytest.fixture
def counted(monkeypatch):
    """Call it with words: all later fills by NumPy's ufuncs, as these are from now on, read these instead of Philox's."""
    for name in ("sampler_of", "filler_of"):
        monkeypatch.setattr(compiled, name, lambda distribution, real: None)

    def count(words):
        def counted_words(space, stream, starts, length, bits):
            return words[starts[0] : starts[0] + length].copy()

        monkeypatch.setattr(sampling, "run_words", counted_words)

    return count


def between(dtype, low, high, *, with_high):
    """The values of a dtype in [low, high) or [low, high], as float64, in order."""
    positive = values_of(dtype)[:-1]
    values = np.concatenate([-positive[:0:-1], positive])
    return values[(values >= low) & ((values <= high) if with_high else (values < high))]


def cells(values, low, high):
    """For values in order, the ends of the intervals within [low, high] that round to each of them or are clamped to it."""
    middles = (values[:-1] + values[1:]) / 2
    return np.concatenate([[low], middles]), np.concatenate([middles, [high]])


def counts_of(filled, values):
    """How often each of the float64 `values` was written; nothing else may have been."""
    counts = np.bincount(filled.view(np.uint16), minlength=1 << 16)
    patterns = values.astype(filled.dtype).view(np.uint16)
    found = counts[patterns].copy()
    if values[0] <= 0 <= values[-1]:  # rounding may give -0 for 0
        found[values == 0] += counts[1 << 15]
    strangers = filled[~np.isin(filled.astype(np.float64), values)]
    assert not len(strangers), f"{strangers[:5]} lie outside"
    return found


# 1 and some values that follow it, ends between two values, both signs, subnormals, whole ranges.
def intervals(dtype):
    ulp = 2.0 ** -MANTISSA[dtype.name]
    tiny = float(values_of(dtype)[1])
    largest = float(values_of(dtype)[-2])
    return [
        (0.0, 1.0),
        (-1.0, 1.0),
        (-0.1, 0.1),
        (-0.5, 1.5),
        (1 / 3, 2 / 3),
        (1.0, 1 + ulp),
        (1.0, 1 + 2 * ulp),
        (1.0, 1 + 4.5 * ulp),
        (1 + 0.4 * ulp, 1 + 3.6 * ulp),
        (1 - 1.2 * ulp, 1 + 1.2 * ulp),
        (-1 - ulp, -1.0),
        (-2.0, -2 + 1.01 * ulp),
        (100.0, 101.0),
        (-tiny, tiny),
        (0.0, 7.3 * tiny),
        (-5.5 * tiny, 9.2 * tiny),
        (-largest / 2, largest / 2),
        (0.0, largest),
        (largest * 0.99, largest),
    ]


def interval_table(make):
    return [
        pytest.param(dtype, *row, id=f"{dtype}-{'-'.join(f'{end:.6g}' for end in row)}")
        for dtype in DTYPES
        for row in make(dtype)
    ]


ALL_UPPER_BITS = np.arange(1 << 24, dtype=np.uint32) << np.uint32(8)
U = np.arange(1 << 24, dtype=np.float32) * np.float32(2.0**-24)


def expected_counts(ascending, values, dtype):
    """Bits of the float64 `values`, and how many of the `ascending` float32 between the first and the last are nearest to each.

    What is negative and nearest to 0 has the bits of -0, as the rounding of IEEE 754 gives it.
    """
    zero = np.searchsorted(values, 0.0)
    bits = np.abs(values).astype(dtype).view(np.uint16) | np.where(values < 0, 1 << 15, 0).astype(np.uint16)
    middles = ((values[:-1] + values[1:]) / 2).astype(np.float32)  # exact
    if zero < len(values) and values[zero] == 0:
        bits, middles = np.insert(bits, zero, 1 << 15), np.insert(middles, zero, np.float32(0))
    # A tie is the even one's.
    goes_down = (bits[:-1] % 2 == 0) & (middles != 0)
    ends = np.where(goes_down, *(np.searchsorted(ascending, middles, side=side) for side in ("right", "left")))
    return bits, np.diff(ends, prepend=0, append=len(ascending))


@pytest.mark.parametrize(("dtype", "a", "b"), interval_table(intervals))
def test_uniform_of_all_words(counted, dtype, a, b):
    """All 2**24 values of u: the bits are right, none lies outside [a, b), and all in it come in due number."""
    counted(ALL_UPPER_BITS)
    filled = gi.uniform_(np.empty(1 << 24, dtype), a, b, generator=0).view(np.uint16)
    inside = between(dtype, a, b, with_high=False)

    low, high = np.float32(a), np.float32(b)
    scale = high - low
    expected = np.multiply(U, scale)
    expected += low
    np.clip(expected, np.float32(inside[0]), np.float32(inside[-1]), out=expected)
    bits, counts = expected_counts(expected, inside, dtype)
    assert np.array_equal(filled, np.repeat(bits, counts))

    # Of the interval [a', b'), each value gets the share that rounds to it, but for the grids of u and of float32.
    step = max(scale * 2.0**-24, float(np.spacing(max(abs(low), abs(high))))) / scale
    left, right = cells(inside, min(low, inside[0]), max(high, inside[-1]))
    share = (np.minimum(right, high) - np.maximum(left, low)) / float(scale)
    negative_zero = np.flatnonzero(bits == 1 << 15)
    found = np.delete(counts, negative_zero)
    found[negative_zero] += counts[negative_zero]  # now the place of 0
    assert (np.abs(found / 2.0**24 - share) <= 3 * step).all()
    assert (found[share > 4 * step] > 0).all()


# Words of which one in 2**12 is taken, and all of them at both ends and about the middle; the results are monotone in the word
# up to the errors of the inverse CDF, so no word between gives a value beyond its neighbours' by more.
def _sample_of_words():
    ends = np.arange(1 << 12, dtype=np.uint64)
    return np.unique(
        np.concatenate(
            [np.arange(1 << 20, dtype=np.uint64) << np.uint64(12), ends, (1 << 32) - 1 - ends, (1 << 31) - 2048 + ends]
        )
    ).astype(np.uint32)


SAMPLE = _sample_of_words()


def cutoffs(dtype):
    ulp = 2.0 ** -MANTISSA[dtype.name]
    tiny = float(values_of(dtype)[1])
    return [
        (0.0, 1.0, -2.0, 2.0),
        (0.0, 1.0, -0.1, 0.1),
        (0.0, 1.0, 1.0, 1 + ulp),
        (0.0, 1.0, 1.0, 1 + 3.5 * ulp),
        (0.0, 1.0, 1 + 0.4 * ulp, 1 + 2.6 * ulp),
        (0.0, 1.0, -1 - 2 * ulp, -1.0),
        (0.0, 1.0, 3.0, 4.0),
        (0.0, 1.0, -6.1, -6.0),
        (0.0, 1.0, 6.2, INF),
        (0.0, 1.0, -INF, 1 / 3),
        (0.0, 1.0, -INF, INF),
        (0.0, 0.02, -0.04, 0.04),
        (0.01, 0.02, -0.05, 0.03),
        (5.0, 1.0, 4.99, 5.02),
        (1.0, 1e-4, 1 - 1.2 * ulp, 1 + 2.2 * ulp),
        (0.0, 3 * tiny, -6 * tiny, 2.5 * tiny),
        (0.0, 1e4, -30000.5, 2e4),
    ]


@pytest.mark.parametrize(("dtype", "mean", "std", "a", "b"), interval_table(cutoffs))
def test_truncated_of_words_from_end_to_end(counted, dtype, mean, std, a, b):
    """No value lies outside [a, b], none is an infinity, and all those inside come that have a share worth a few words."""
    counted(SAMPLE)
    filled = gi.trunc_normal_(np.empty(len(SAMPLE), dtype), mean, std, a, b, generator=0)
    inside = between(dtype, a, b, with_high=True)
    found = counts_of(filled, inside)

    def cdf(x):
        return special.ndtr((x - mean) / std)

    low, high = (mean - 10 * std if a == -INF else a), (mean + 10 * std if b == INF else b)
    left, right = cells(inside, low, high)
    in_upper_half = left > mean  # there the difference of the upper tails does not cancel
    share = np.where(
        in_upper_half, special.ndtr((mean - left) / std) - special.ndtr((mean - right) / std), cdf(right) - cdf(left)
    )
    share /= cdf(b) - cdf(a) if a < mean else special.ndtr((mean - a) / std) - special.ndtr((mean - b) / std)
    assert (found[share > 2.0**-18] > 0).all()


@pytest.mark.parametrize(
    ("mean", "std"),
    [(0, 1), (-3, 0.02), (0.1, 0), (0, 1e-6), (1000, 1), (0, 5e4), (0, 3e38), (0, 1e-39), (-1e-40, 1e-41)],
    ids=lambda value: f"{value:g}",
)
@sixteen
def test_normal_is_that_of_float32_rounded_once(counted, dtype, mean, std):
    counted(SAMPLE)
    filled = gi.normal_(np.empty(len(SAMPLE), dtype), mean, std, generator=0)
    single = gi.normal_(np.empty(len(SAMPLE), np.float32), mean, std, generator=0)
    assert np.array_equal(filled.view(np.uint16), nearest(single.astype(np.float64), dtype))


# Scalars.


def hard_cases(dtype):
    """About each middle of two neighbours: float32 has the middle, so a rounding by way of it loses on which side a value lay."""
    grid = values_of(dtype)
    chosen = sorted({*range(5), *range(125, 132), *random.Random(1).sample(range(len(grid) - 1), 500), len(grid) - 2})
    for i in chosen:
        middle = (grid[i] + grid[i + 1]) / 2
        for near in (middle, np.nextafter(middle, INF), np.nextafter(middle, 0), middle * (1 + 2**-30), middle * (1 - 2**-30)):
            yield from (float(near), -float(near))
        yield float(grid[i])


@sixteen
def test_scalars_are_rounded_once(dtype):
    generator = random.Random(3)
    largest = float(values_of(dtype)[-2])
    random_ones = [math.ldexp(generator.uniform(-1, 1), generator.randint(-140, 16)) for _ in range(5000)]
    extremes = [0.0, -0.0, 5e-324, -5e-324, 1e-50, largest, largest * 1.001, largest * 1.01, -1.7e308]
    for value in itertools.chain(hard_cases(dtype), random_ones, extremes):
        result, expected = np.asarray(round_parameter(value, dtype)), np.asarray(nearest_exactly(value, dtype))
        assert result.dtype == dtype
        assert result.tobytes() == expected.tobytes(), f"{value.hex()} to {dtype}: {result}, not {expected}"


@sixteen
def test_one_value_is_rounded_once(xp, dtype):
    """constant_ and the fills of a single value."""
    for value in list(hard_cases(dtype))[::97]:
        if not np.isfinite(np.float64(nearest_exactly(value, dtype))):
            continue
        expected = np.full(3, nearest_exactly(value, dtype), dtype)
        for filled in (
            gi.uniform_(xp.empty(3, dtype), value, value, generator=1),
            gi.trunc_normal_(xp.empty(3, dtype), 0, 1, value, value, generator=1),
            gi.constant_(xp.empty(3, dtype), value),
        ):
            # The sign of a zero is the contract's for constant_ alone.
            assert to_host(abs(filled) if value == 0 else filled).astype(float).tolist() == expected.astype(float).tolist()


@sixteen
def test_bounds_are_those_of_the_dtype(xp, dtype):
    """Bounds a hair inside or outside a value: 1 is drawn or not by the side on which the bound truly lies."""
    ulp, hair = 2.0 ** -MANTISSA[dtype.name], 2.0**-40

    def drawn(name, *arguments):
        filled = getattr(gi, name)(xp.empty(2000, dtype), *arguments, generator=1)
        return sorted(set(((to_host(filled).astype(float) - 1) / ulp).tolist()))

    assert drawn("uniform_", 1.0, 1 + 2 * ulp) == [0, 1]
    assert drawn("uniform_", 1 + hair, 1 + 2 * ulp) == [1]
    assert drawn("uniform_", 1 - hair, 1 + 2 * ulp + hair) == [0, 1, 2]
    assert drawn("uniform_", 1.0, 1 + hair) == [0]
    assert drawn("trunc_normal_", 0, 1, 1.0, 1 + 2 * ulp) == [0, 1, 2]
    assert drawn("trunc_normal_", 0, 1, 1 + hair, 1 + 2 * ulp - hair) == [1]
    middle = 1 + ulp / 2  # a tie, that rounding would move to 1
    assert drawn("uniform_", middle, 1 + 2 * ulp) == [1]
    assert drawn("trunc_normal_", 0, 1, middle, 1 + 2 * ulp) == [1, 2]
    for name, arguments in (("uniform_", ()), ("trunc_normal_", (0, 1))):
        with pytest.raises(ValueError, match=f"holds no value of {dtype}"):
            getattr(gi, name)(xp.empty(3, dtype), *arguments, 1 + hair, 1 + ulp - hair)


# Layouts and devices.

BFLOAT16 = DTYPES[1]
FILLS = [row for row in fills.select(fills.DRAWN, fills.SCALED, fills.SPARSE, edges=True) if "bfloat16" in row.dtypes]
NORMAL = ("normal_", "xavier_normal_", "kaiming_normal_")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fill", FILLS, ids=str)
def test_bfloat16_over_layouts(xp, layout, fill):
    """The bits are those of the float32 fill of the same words, clamped to the dtype's bounds and rounded once."""
    for shape in filter(fill.takes, [(6, 5), (33, 17), (), (0, 4), (9,), (1025,), (2, 3, 4)]):
        window = Window(xp, layout, shape, BFLOAT16)
        generator = fills.generator_at(5)
        assert fills.call(fill.name, window.array, fill.arguments, generator) is window.array
        assert generator.position == 5 + -(-math.prod(shape) // 4)
        assert window.outside_untouched()
        on_host = fills.call(fill.name, np.empty(shape, BFLOAT16), fill.arguments, fills.generator_at(5))
        assert to_host(window.array).tobytes() == on_host.tobytes()
        if fill.name in NORMAL:
            single = fills.call(fill.name, np.empty(shape, np.float32), fill.arguments, fills.generator_at(5))
            assert np.array_equal(on_host.view(np.uint16), nearest(single.astype(np.float64), BFLOAT16))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bfloat16_constants_over_layouts(xp, layout):
    for name, parameters, shapes in (
        ("constant_", {"val": 0.1}, [(), (7,), (3, 5)]),
        ("constant_", {"val": -0.0}, [(3, 5)]),
        ("constant_", {"val": -INF}, [(3, 5)]),
        ("zeros_", {}, [(), (3, 5)]),
        ("ones_", {}, [(), (3, 5)]),
        ("eye_", {}, [(4, 4), (3, 5), (5, 3), (0, 2)]),
        ("dirac_", {}, [(4, 3, 3), (3, 4, 2, 3)]),
        ("dirac_", {"groups": 2}, [(4, 3, 3), (6, 4, 2, 3)]),
    ):
        for shape in shapes:
            window = Window(xp, layout, shape, BFLOAT16)
            assert getattr(gi, name)(window.array, **parameters) is window.array
            expected = getattr(gi, name)(np.empty(shape, np.float32), **parameters)
            assert to_host(window.array).tobytes() == nearest(expected.astype(np.float64), BFLOAT16).tobytes()
            assert window.outside_untouched()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bfloat16_trunc_over_layouts(xp, layout):
    given = np.array([-2.7, -1.0, -0.5, -0.0, 0.0, 0.3, 1.5, 1e4, INF, -INF, np.nan, 3.9], BFLOAT16)
    window = Window(xp, layout, (3, 4), BFLOAT16)
    window.array[...] = xp.asarray(given.reshape(3, 4))
    assert gi.trunc_(window.array) is window.array
    expected = np.trunc(given.astype(np.float64)).reshape(3, 4)
    np.testing.assert_array_equal(to_host(window.array).astype(np.float64), expected)
    assert window.outside_untouched()


@pytest.mark.parametrize("layout", LAYOUTS)
@sixteen
def test_orthogonal_is_that_of_float32_rounded_once(xp, layout, dtype):
    for shape in ((1, 1), (4, 4), (9, 5), (5, 9), (3, 2, 4), (70, 40)):
        single = to_host(gi.orthogonal_(xp.empty(shape, np.float32), 1.5, generator=4)).astype(np.float64)
        window = Window(xp, layout, shape, dtype)
        assert gi.orthogonal_(window.array, 1.5, generator=4) is window.array
        assert to_host(window.array).tobytes() == nearest(single, dtype).tobytes()
        assert window.outside_untouched()
