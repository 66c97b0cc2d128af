"""Restate docs/values.md (version 3) element by element, slow and plain: the library is held to this.

The functions have the library's names, and return an array instead of filling one. Nothing here imports `gpuinit`.
"""

from __future__ import annotations

import functools
import hashlib
import math
import struct
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from statistics import NormalDist
from typing import Any

import mpmath
import numpy as np

# Of the dtypes of 8 bits: digits behind the point, exponent of the least normal number, bits of the highest value.
EIGHT_BITS = {"float8_e4m3fn": (3, -6, 0x7E), "float8_e5m2": (2, -14, 0x7C)}
WORKING = {"float16": np.float32, "float32": np.float32, "float64": np.float64, **dict.fromkeys(EIGHT_BITS, np.float32)}
WORD_BITS = {np.float32: 32, np.float64: 64}
MASK = 2**32 - 1


# Stream, position, children


def philox(key: tuple[int, int], counter: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Compute a block of Philox4x32-10: four 32-bit words, in the order of Random123."""
    k0, k1 = key
    c0, c1, c2, c3 = counter
    for _ in range(10):
        x, y = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (y >> 32) ^ c1 ^ k0, y & MASK, (x >> 32) ^ c3 ^ k1, x & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def pair(number: int) -> tuple[int, int]:
    """Split a number below 2^64 into two words of a counter, the low half first."""
    return number & MASK, number >> 32


def words_of(block: tuple[int, ...], bits: int) -> list[int]:
    """Return the 32- or 64-bit words of a block; the low half of a 64-bit word comes first."""
    return list(block) if bits == 32 else [low | high << 32 for low, high in zip(block[::2], block[1::2], strict=True)]


@dataclass
class Generator:
    seed: int
    spawn_key: tuple[int, ...] = ()
    position: int = 0
    children: int = 0

    @property
    def key(self) -> tuple[int, int]:
        k0, k1 = np.random.SeedSequence(self.seed, spawn_key=self.spawn_key).generate_state(2, np.uint32)
        return int(k0), int(k1)

    def words(self, count: int, bits: int) -> list[int]:
        """Return the words of a fill of `count` elements, and move the position."""
        first, blocks = self.position, -(-count * bits // 128)
        if first + blocks >= 2**64:
            raise OverflowError
        self.position += blocks
        key = self.key
        return [word for b in range(first, first + blocks) for word in words_of(philox(key, (*pair(b), 0, 0)), bits)][:count]

    def spawn(self, child: int | str) -> Any:
        if isinstance(child, int):
            first, self.children = self.children, self.children + child
            return [Generator(self.seed, (*self.spawn_key, i)) for i in range(first, self.children)]
        name = hashlib.sha256(unicodedata.normalize("NFC", child).encode()).digest()
        return Generator(self.seed, (*self.spawn_key, 0x6E616D65, *struct.unpack("<4I", name[:16])))


def fill(shape: tuple[int, ...], dtype: str, generator: Generator, value: Callable[[int], Any]) -> np.ndarray:
    """Return an array of `value(word)`, a number in working precision, rounded to the dtype; of 8 bits, the array is of uint8."""
    words = generator.words(math.prod(shape), WORD_BITS[WORKING[dtype]])
    # Overflow to infinity and underflow to zero are defined results.
    with np.errstate(all="ignore"):
        if dtype in EIGHT_BITS:
            return np.array([pattern(float(value(word)), dtype) for word in words], np.uint8).reshape(shape)
        return np.array([np.dtype(dtype).type(value(word)) for word in words], dtype).reshape(shape)


# Rounding


def rounded(x: Fraction | int, digits: int) -> Fraction:
    """Round x > 0 to the nearest number of so many binary digits, ties to even; the exponent has no bound."""
    x = Fraction(x)
    exponent = x.numerator.bit_length() - x.denominator.bit_length()
    exponent -= Fraction(2) ** exponent > x
    ulp = Fraction(2) ** (exponent - digits + 1)
    return round(x / ulp) * ulp


def pattern(x: float, dtype: str) -> int:
    """Return the bits of a number rounded to a dtype of 8 bits; one that is too large has those of the highest value."""
    digits, least, highest = EIGHT_BITS[dtype]
    exponent = max(math.frexp(x)[1] - 1, least) if x else least
    steps = round(abs(Fraction(x)) / Fraction(2) ** (exponent - digits)) if math.isfinite(x) else 2**8
    return min(steps + ((exponent - least) << digits), highest) | (math.copysign(1, x) < 0) << 7


def number(bits: int, dtype: str) -> float:
    """Return the number >= 0 that has these bits in a dtype of 8 bits."""
    digits, least, _ = EIGHT_BITS[dtype]
    exponent, behind = divmod(bits, 2**digits)
    return math.ldexp(behind + (2**digits if exponent else 0), max(exponent, 1) - 1 + least - digits)


@functools.cache
def numbers(dtype: str) -> list[float]:
    """Return the values of a dtype of 8 bits in order, infinities too."""
    *finite, highest = (number(bits, dtype) for bits in range(EIGHT_BITS[dtype][2] + 1))
    sizes = [*finite, math.inf if dtype == "float8_e5m2" else highest]
    return [*(-size for size in sizes[:0:-1]), *sizes]


def nearest(x: float, dtype: Any) -> Any:
    """Return RN(x) in the dtype; a zero is +0."""
    if dtype in EIGHT_BITS:
        return math.copysign(number(pattern(x, dtype) & 0x7F, dtype), x) + 0.0
    with np.errstate(all="ignore"):
        return np.dtype(dtype).type(np.float64(x)) + np.dtype(dtype).type(0)


def at_least(x: float, dtype: str) -> np.floating:
    """Return the smallest value of the dtype that is >= x; a zero is +0."""
    if dtype in EIGHT_BITS:
        return min(value for value in numbers(dtype) if value >= x)
    with np.errstate(all="ignore"):
        near = nearest(x, dtype)
        return near if float(near) >= x else np.nextafter(near, near.dtype.type(np.inf)) + near.dtype.type(0)


def at_most(x: float, dtype: str) -> np.floating:
    """Return the largest value of the dtype that is <= x; a zero is +0."""
    return 0 - at_least(-x, dtype)


def below(x: float, dtype: str) -> np.floating:
    """Return the largest value of the dtype that is < x."""
    if dtype in EIGHT_BITS:
        return max(value for value in numbers(dtype) if value < x)
    near = at_most(x, dtype)
    with np.errstate(all="ignore"):
        return near if float(near) < x else np.nextafter(near, near.dtype.type(-np.inf))


def fraction(x: mpmath.mpf) -> Fraction:
    """Return the number that x is, exactly."""
    return Fraction(*mpmath.libmp.to_rational(x._mpf_))


# Inverse CDF


def quantile(p: mpmath.mpf) -> mpmath.mpf:
    """Compute Phi^-1(p) to the precision of the context, from 16 digits by Newton's method."""
    z = mpmath.mpf(NormalDist().inv_cdf(float(p)))
    for _ in range(3):
        z -= (mpmath.erfc(-z / mpmath.sqrt(2)) / 2 - p) / mpmath.npdf(z)
    return z


@functools.cache
def row(r: int, work: type) -> tuple[Any, ...]:
    """Compute c_0 to c_d of one row of the table."""
    s_bits, t_bits, degree = (5, 23, 2) if work is np.float32 else (7, 52, 4)
    octave, m = divmod(r, 2**s_bits)
    if octave == 127:
        return (work(0),) * (degree + 1)
    with mpmath.workdps(60):
        halves = [(1 - mpmath.cos((2 * k + 1) * mpmath.pi / (2 * degree + 2))) / 2 for k in range(degree + 1)]
        nodes = [1 + (m + half) / 2**s_bits for half in halves]
        vandermonde = mpmath.matrix([[r**j for j in range(degree + 1)] for r in nodes])
        g = mpmath.lu_solve(vandermonde, mpmath.matrix([quantile(mpmath.ldexp(r, octave - 128)) for r in nodes]))
        exact = [fraction(g[j]) for j in range(degree + 1)]
    return tuple(work(float(rounded(abs(c), t_bits + 1))) * work(-1 if c < 0 else 1) for c in exact)


def horner(coefficients: tuple[Any, ...], x: Any) -> Any:
    """Evaluate a polynomial, c_0 first, with every product and every sum rounded."""
    total = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


def inverse_cdf(word: int, bits: int, work: type) -> Any:
    """Compute z of a word of so many bits; of 64 bits, the leading ones of them zero, if they are more."""
    s_bits, t_bits = (5, 23) if work is np.float32 else (7, 52)
    v = word | 1
    v -= (v >> (bits - 1)) << bits
    f = int(rounded(abs(v), t_bits + 1))
    e = f.bit_length() - 1
    # f has no more digits than fit, so the shift to the right drops zeros only.
    mantissa = (f << t_bits) >> e
    m = (mantissa >> (t_bits - s_bits)) - 2**s_bits
    r = work(mantissa) / work(2**t_bits)
    minus_q = horner(row((e + 128 - bits) * 2**s_bits + m, work), r)
    return minus_q if v > 0 else -minus_q


# Fills


def uniform_(shape: tuple[int, ...], dtype: str, generator: Generator, a: float = 0.0, b: float = 1.0) -> np.ndarray:
    work = WORKING[dtype]
    shift, digits = (8, 24) if work is np.float32 else (11, 53)
    if a == b:
        return fill(shape, dtype, generator, lambda word: nearest(a, dtype))
    low, scale = nearest(a, work), nearest(b, work) - nearest(a, work)
    lo, hi = work(at_least(a, dtype)), work(below(b, dtype))
    unit = work(2.0**-digits)
    return fill(shape, dtype, generator, lambda word: min(max(work(word >> shift) * unit * scale + low, lo), hi))


def normal_(shape: tuple[int, ...], dtype: str, generator: Generator, mean: float = 0.0, std: float = 1.0) -> np.ndarray:
    work = WORKING[dtype]
    mu, sigma = nearest(mean, work), nearest(std, work)
    return fill(shape, dtype, generator, lambda word: inverse_cdf(word, WORD_BITS[work], work) * sigma + mu)


# Truncated normal


def gaussian_series(slope: mpmath.mpf, square: mpmath.mpf, count: int) -> list[mpmath.mpf]:
    """Expand exp(-slope x - square x^2): the product of two exponential series."""
    first, second = ([(-x) ** j / mpmath.factorial(j) for j in range(count)] for x in (slope, square))
    return [sum(first[k - 2 * j] * second[j] for j in range(k // 2 + 1)) for k in range(count)]


def divided(series: list[mpmath.mpf], by: list[mpmath.mpf]) -> list[mpmath.mpf]:
    """Divide two power series, the second of which begins with 1, by long division."""
    result = []
    for k, c in enumerate(series):
        result.append(c - sum(result[i] * by[k - i] for i in range(k)))
    return result


def inverse_series(series: list[mpmath.mpf]) -> list[mpmath.mpf]:
    """Invert y + series[1] y^2 / 2 + series[2] y^3 / 3 + .. by Lagrange's formula; the result begins with the first power."""
    ratio = [c / (k + 1) for k, c in enumerate(series)]
    power, result = [mpmath.mpf(k == 0) for k in range(len(series))], []
    # The powers of y over the series, and coefficient j - 1 of power j.
    for j in range(1, len(series) + 1):
        power = divided(power, ratio)
        result.append(power[j - 1] / j)
    return result


@functools.cache
def quantile_series(mean: float, std: float, a: float, b: float) -> tuple[float, ...]:
    """Compute c_0 to c_8 of a narrow interval, rounded to float64.

    In x from -1 at a to 1 at b the density is exp(-slope x - square x^2), up to a factor. Its integral from 0 on is a series, F,
    and the quantile is x(s) with F(x(s)) = (F(1) + F(-1)) / 2 + s (F(1) - F(-1)) / 2: x(0) by Newton's method, the rest by
    Lagrange's formula.
    """
    mu, sigma, left, right = (Fraction(x) for x in (mean, std, a, b))
    middle, half = (left + right) / 2, (right - left) / 2
    slope, square = (middle - mu) * half / sigma**2, (half / sigma) ** 2 / 2
    # c_1 / half is below 1 by about (slope^2 + square) / 3: so many digits tell it from 1, where half is a tie of rounding. All
    # else is small with slope and square, in sums of terms that do not cancel, and keeps its relative precision.
    large = max(abs(slope), square)
    with mpmath.workprec(300 + 2 * (large.denominator.bit_length() - large.numerator.bit_length())):
        slope, square = (mpmath.mpf(x.numerator) / x.denominator for x in (slope, square))
        integral = [0, *(c / (k + 1) for k, c in enumerate(gaussian_series(slope, square, 100)))]
        x = mpmath.mpf(0)
        for _ in range(10):
            x -= (sum(c * x**k for k, c in enumerate(integral)) - sum(integral[::2])) * mpmath.exp(slope * x + square * x**2)
        unit = sum(integral[1::2]) * mpmath.exp(slope * x + square * x**2)
        local = inverse_series(gaussian_series(slope + 2 * square * x, square, 8))
        exact = [middle + half * fraction(x), *(half * fraction(g * unit**j) for j, g in enumerate(local, 1))]
    return tuple(float(c) for c in exact)


def phi_parts(x: float, bits: int) -> tuple[int, mpmath.mpf]:
    """Compute the whole and the fractional part of Phi(x) 2^bits.

    The smaller tail is computed, and 400 digits resolve it, so that a whole number comes from 0 and the infinities only.
    """
    # Beyond 1e6 the tail counts for being positive only, and mpmath has no exponents for it at 1e300.
    distance = mpmath.mpf(x if math.isinf(x) else min(abs(x), 1e6))
    tail = mpmath.ldexp(mpmath.erfc(abs(distance) / mpmath.sqrt(2)), bits - 1)
    whole = int(mpmath.floor(tail))
    if x <= 0:
        return whole, tail - whole
    return (2**bits - whole, mpmath.mpf(0)) if tail == whole else (2**bits - whole - 1, 1 - (tail - whole))


@functools.cache
def interval(alpha: float, beta: float) -> tuple[int, int, int]:
    """Compute bits, L and D."""
    with mpmath.workdps(400):
        whole, _ = phi_parts(beta, 128)
        bits = 64 + max((t for t in range(65) if whole << t < 2**127), default=0)
        (low, low_part), (high, high_part) = phi_parts(alpha, bits), phi_parts(beta, bits)
        return bits, low, min(high - low - (high_part < low_part), 2**64 - 1)


def narrow_value(mean: float, std: float, a: float, b: float, work: type) -> Callable[[int], Any]:
    """Return the value of a word in a narrow interval."""
    bits = WORD_BITS[work]
    coefficients = tuple(nearest(c, work) for c in quantile_series(mean, std, a, b))
    return lambda word: horner(coefficients, work((word | 1) - 2 ** (bits - 1)) * work(2.0 ** (1 - bits)))


def wide_value(alpha: float, beta: float, mu: Any, sigma: Any, work: type) -> Callable[[int], Any]:
    """Return the value of a word in any other interval."""
    if alpha > 0:
        alpha, beta, sigma = -beta, -alpha, -sigma
    bits, low, width = interval(alpha, beta)
    if width < 2**32:
        raise ValueError
    n = width.bit_length()

    def value(word: int) -> Any:
        step = ((word | 1) * (width >> (n - 32))) >> (64 - n) if work is np.float32 else ((word | 1) * width) >> 64
        return inverse_cdf(low + step, bits, work) * sigma + mu

    return value


def trunc_normal_(
    shape: tuple[int, ...], dtype: str, generator: Generator, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> np.ndarray:
    work = WORKING[dtype]
    if a == b:
        return fill(shape, dtype, generator, lambda word: nearest(a, dtype))
    with np.errstate(all="ignore"):
        mean64, std64, a64, b64 = (np.float64(x) for x in (mean, std, a, b))
        alpha, beta, w = (a64 - mean64) / std64, (b64 - mean64) / std64, (b64 - a64) / std64
        narrow = w * max(1, abs(alpha), abs(beta)) <= (1 / 4 if work is np.float32 else 1 / 64)
    if narrow:
        value = narrow_value(float(mean), float(std), float(a), float(b), work)
    else:
        value = wide_value(float(alpha), float(beta), nearest(mean, work), nearest(std, work), work)
    lo, hi = work(at_least(a, dtype)), work(at_most(b, dtype))
    return fill(shape, dtype, generator, lambda word: min(max(value(word), lo), hi))


# Axes and parts

Axis = int | Sequence[int] | None


def axes_of(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Return one axis, several or none as a tuple in the order given, each counted from the first axis of the weight."""
    axes = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    return tuple(range(ndim)[a] for a in axes)


def cuts(length: int, parts: int | Sequence[int]) -> list[slice]:
    """Cut an axis into so many equal parts, or into parts of these lengths."""
    if isinstance(parts, int):
        if parts < 1 or length % parts:
            raise ValueError
        parts = [length // parts] * parts
    if min(parts, default=0) < 0 or sum(parts) != length:
        raise ValueError
    ends = [sum(parts[: k + 1]) for k in range(len(parts))]
    return [slice(end - part, end) for part, end in zip(parts, ends, strict=True)]


def parts_of(
    shape: tuple[int, ...],
    in_axis: Axis,
    out_axis: Axis,
    groups: int | None,
    parts: int | Sequence[int] | None,
    parts_axis: int | None,
) -> list[tuple[slice, ...]]:
    """Return the index of each part in the weight: the whole weight, if it is not cut."""
    whole = (slice(None),) * len(shape)
    if groups is not None:
        if parts is not None or parts_axis is not None:
            raise ValueError
        parts = groups
        if 0 in axes_of(in_axis, len(shape)) + axes_of(out_axis, len(shape)):
            parts_axis = 0
    if parts is None or parts == 1:
        return [whole]
    axes = axes_of(out_axis if parts_axis is None else parts_axis, len(shape))
    if len(axes) != 1:
        raise ValueError
    (axis,) = axes
    return [(*whole[:axis], cut, *whole[axis + 1 :]) for cut in cuts(shape[axis], parts)]


# Fills scaled by the fans


def fans(
    shape: tuple[int, ...],
    in_axis: Axis = 1,
    out_axis: Axis = 0,
    batch_axis: Axis = None,
    fan_in: float | None = None,
    fan_out: float | None = None,
) -> dict[str, float]:
    """Compute the fans of the matrices of an uncut weight, or of one part of a cut weight, of this shape."""
    inputs, outputs, batch = (axes_of(axis, len(shape)) for axis in (in_axis, out_axis, batch_axis))
    named = inputs + outputs + batch
    if len(set(named)) < len(named):
        raise ValueError
    kernel = [axis for axis in range(len(shape)) if axis not in named]
    fan_in = float(math.prod(shape[axis] for axis in [*inputs, *kernel]) if fan_in is None else fan_in)
    fan_out = float(math.prod(shape[axis] for axis in [*outputs, *kernel]) if fan_out is None else fan_out)
    return {
        "fan_in": fan_in,
        "fan_out": fan_out,
        "fan_avg": (fan_in + fan_out) / 2,
        "fan_geo_avg": math.sqrt(fan_in) * math.sqrt(fan_out),
    }


def calculate_gain(nonlinearity: str, slope: float | None = None) -> float:
    slope = 0.01 if slope is None else slope
    gains = {"tanh": 5 / 3, "relu": math.sqrt(2), "leaky_relu": math.sqrt(2 / (1 + slope * slope)), "selu": 3 / 4}
    return gains.get(nonlinearity, 1.0)


def scaled(shape: tuple[int, ...], dtype: str, generator: Generator, std: float, distribution: str) -> np.ndarray:
    if distribution in ("normal", "untruncated_normal"):
        return normal_(shape, dtype, generator, 0.0, std)
    if distribution == "uniform":
        bound = math.sqrt(3) * std
        return uniform_(shape, dtype, generator, -bound, bound)
    s = std / 0.87962566103423978
    return trunc_normal_(shape, dtype, generator, 0.0, s, -2 * s, 2 * s)


def scaled_parts(
    shape: tuple[int, ...],
    dtype: str,
    generator: Generator,
    std: Callable[[dict[str, float]], float],
    distribution: str,
    *,
    in_axis: Axis = 1,
    out_axis: Axis = 0,
    batch_axis: Axis = None,
    groups: int | None = None,
    parts: int | Sequence[int] | None = None,
    parts_axis: int | None = None,
    fan_in: float | None = None,
    fan_out: float | None = None,
) -> np.ndarray:
    """Fill the whole weight once for each part, with the std of its matrices' fans, and keep the part.

    The matrices of one part, which differ in the indices of the batch axes only, have the same lengths, so the same fans.
    """
    x, moved = None, generator
    for part in parts_of(shape, in_axis, out_axis, groups, parts, parts_axis):
        own = np.empty(shape)[part].shape
        if not math.prod(own):
            continue
        moved = replace(generator)
        fan = fans(own, in_axis, out_axis, batch_axis, fan_in, fan_out)
        filled = scaled(shape, dtype, moved, std(fan), distribution)
        x = np.empty(shape, filled.dtype) if x is None else x
        x[part] = filled[part]
    generator.position = moved.position
    return np.empty(shape, dtype) if x is None else x


def xavier(
    distribution: str, shape: tuple[int, ...], dtype: str, generator: Generator, gain: float = 1.0, **axes: Any
) -> np.ndarray:
    def std(fan: dict[str, float]) -> float:
        return gain * math.sqrt(2 / (fan["fan_in"] + fan["fan_out"]))

    return scaled_parts(shape, dtype, generator, std, distribution, **axes)


def kaiming(
    distribution: str,
    shape: tuple[int, ...],
    dtype: str,
    generator: Generator,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    **axes: Any,
) -> np.ndarray:
    def std(fan: dict[str, float]) -> float:
        return calculate_gain(nonlinearity, a) / math.sqrt(fan[mode])

    return scaled_parts(shape, dtype, generator, std, distribution, **axes)


def variance_scaling_(
    shape: tuple[int, ...],
    dtype: str,
    generator: Generator,
    scale: float = 1.0,
    mode: str = "fan_in",
    distribution: str = "truncated_normal",
    **axes: Any,
) -> np.ndarray:
    return scaled_parts(shape, dtype, generator, lambda fan: math.sqrt(scale / fan[mode]), distribution, **axes)


xavier_normal_, xavier_uniform_ = functools.partial(xavier, "normal"), functools.partial(xavier, "uniform")
kaiming_normal_, kaiming_uniform_ = functools.partial(kaiming, "normal"), functools.partial(kaiming, "uniform")
lecun_normal_ = functools.partial(variance_scaling_, distribution="truncated_normal")
lecun_uniform_ = functools.partial(variance_scaling_, distribution="uniform")


# Sparse, embedding, orthogonal


def ranks(key: tuple[int, int], position: int, column: int, rows: int) -> Iterator[int]:
    """Yield rank_c(r) of every row r."""
    first, second, _, _ = philox(key, (*pair(position), 1, 0))
    keys = [word for third in (2, 3) for word in philox((first, second), (*pair(column), third, 0))]
    n = max(5, (rows - 1).bit_length())
    for r in range(rows):
        y = r
        while True:
            for k in keys:
                y = (y * (k | 1) + (k >> (32 - n))) % 2**n
                y ^= y >> -(-n // 2)
            if y < rows:
                break
        yield y


def sparse_(
    shape: tuple[int, int],
    dtype: str,
    generator: Generator,
    sparsity: float,
    std: float = 0.01,
    mean: float = 0.0,
    axis: int = 0,
) -> np.ndarray:
    if axis:
        return sparse_(shape[::-1], dtype, generator, sparsity, std, mean).T.copy()
    position = generator.position
    x = normal_(shape, dtype, generator, mean, std)
    for c in range(shape[1]):
        zero = [rank < math.ceil(sparsity * shape[0]) for rank in ranks(generator.key, position, c, shape[0])]
        x[zero, c] = 0
    return x


def embedding_(
    shape: tuple[int, int], dtype: str, generator: Generator, std: float = 1.0, padding_idx: int | None = None
) -> np.ndarray:
    x = normal_(shape, dtype, generator, 0.0, std)
    if padding_idx is not None:
        x[padding_idx] = 0
    return x


def orthogonal_matrix(rows: int, columns: int, normals: np.ndarray) -> np.ndarray:
    """Return Q, or its transpose, of as many normals as it has elements."""
    count, length = min(rows, columns), max(rows, columns)
    gaussian = normals.reshape(count, length).astype(np.longdouble)
    q = np.eye(length, count, dtype=np.longdouble)
    # The product from the right: the last reflection is applied first.
    for j in reversed(range(count)):
        x = gaussian[j, j:]
        norm, sign = np.sqrt(x @ x), np.copysign(np.longdouble(1), x[0])
        if len(x) == 1 or norm == 0:
            q[:, j] *= sign
            continue
        v = x / (x[0] + sign * norm)
        v[0] = 1
        q[:, j] *= -sign
        q[j:] -= np.outer((1 + abs(x[0]) / norm) * v, v @ q[j:])
    return q if rows >= columns else q.T


def orthogonal_(
    shape: tuple[int, ...],
    dtype: str,
    generator: Generator,
    gain: float = 1.0,
    *,
    in_axis: Axis = 1,
    out_axis: Axis = 0,
    batch_axis: Axis = None,
    groups: int | None = None,
    parts: int | Sequence[int] | None = None,
    parts_axis: int | None = None,
) -> np.ndarray:
    outputs, batch = axes_of(out_axis, len(shape)), axes_of(batch_axis, len(shape))
    others = [axis for axis in range(len(shape)) if axis not in outputs + batch]
    indices = parts_of(shape, in_axis, out_axis, groups, parts, parts_axis)
    normals = normal_((math.prod(shape),), "float64" if dtype == "float64" else "float32", generator)
    x, used = np.empty(shape, dtype), 0
    for part in indices:
        # A view of the part: the batch axes, those of the rows, those of the columns.
        view = x[part].transpose(*batch, *outputs, *others)
        for element in np.ndindex(view.shape[: len(batch)]):
            matrix = view[element]
            rows, columns = math.prod(matrix.shape[: len(outputs)]), math.prod(matrix.shape[len(outputs) :])
            own, used = normals[used : used + matrix.size], used + matrix.size
            matrix[...] = (gain * orthogonal_matrix(rows, columns, own)).reshape(matrix.shape).astype(dtype)
    return x


def delta_orthogonal_(shape: tuple[int, ...], dtype: str, generator: Generator, gain: float = 1.0) -> np.ndarray:
    """Of torch's axes."""
    normals = normal_((math.prod(shape),), "float64" if dtype == "float64" else "float32", generator)
    outputs, inputs, *kernel = shape
    x = np.zeros(shape, dtype)
    matrix = orthogonal_matrix(outputs, inputs, normals[: outputs * inputs])
    x[:, :, *((length - 1) // 2 for length in kernel)] = (gain * matrix).astype(dtype)
    return x


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Of several arrays, whose names need no escapes."""
    lines = [f"{digest_of_array(x)} {name}\n" for name, x in sorted(arrays.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def digest_of_array(x: np.ndarray) -> str:
    sha = hashlib.sha256(f"{x.dtype.name}\n{','.join(map(str, x.shape))}\n".encode())
    data = x.astype(x.dtype.newbyteorder("<")).tobytes()
    length = 2**20 * x.itemsize
    for start in range(0, len(data), length):
        sha.update(hashlib.sha256(data[start : start + length]).digest())
    return sha.hexdigest()
