"""Initializers that scale a distribution by the weight's fans: one sampler, `variance_scaling_`'s, under many names.

In a complex array, the variance asked for is E|x|**2.
Weights have torch's axes, (out, in, *kernel): fan_in = in * kernel size, fan_out = out * kernel size.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, Unpack

import numpy as np

from gpuinit._backends.operations import Parts
from gpuinit._backends.targets import Target, target, write
from gpuinit._contract import distributions
from gpuinit._contract.arguments import finite, finite_in, not_negative, positive
from gpuinit._contract.arithmetic import exact
from gpuinit._contract.dtypes import real_part, working
from gpuinit._contract.generator import as_generator
from gpuinit._contract.shards import Shard
from gpuinit._initializers.axes import FanKeywords, read_fans
from gpuinit._initializers.basic import Array, RandomSource, fill_from, take_blocks
from gpuinit._initializers.calling import initializer
from gpuinit._initializers.fans import Family, Mode, NonLinearity, choose, fan, fan_in_and_fan_out, gain_of

StdOf = Callable[[float, float], float]  # fan_in and fan_out -> the standard deviation
# Standard deviation of N(0, 1) cut at +-2: sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)).
STD_OF_TRUNCATED = 0.87962566103423978


@initializer
def xavier_uniform_(
    x: Array, gain: float = 1.0, generator: RandomSource = None, *, shard: Shard | None = None, **axes: Unpack[FanKeywords]
) -> Array:
    """Fill uniformly on [-bound, bound), bound = gain * sqrt(6 / (fan_in + fan_out)).

    Parameters
    ----------
    x : array of float8, float16, bfloat16, float32, float64, complex64 or complex128
        A weight of at least 2 axes, (out, in, ...) by default. Filled in place; one without elements is left with a warning.
    gain : float
        Factor on the standard deviation, finite and >= 0; see `calculate_gain`.
    generator : Generator, int seed or None
        The source of random bits; None means `gpuinit.default_generator`.
    shard : Shard, optional
        What part of a larger array `x` is; see `Shard`.
    in_axis, out_axis, batch_axis : int or tuple of int
        What the axes of `x` are: inputs (1 by default), outputs (0), and stacks of matrices (none); all others are the kernel's.
    groups : int
        Of a grouped convolution, with torch's or Keras' axes; each group counts as a weight of its own.
    parts : int or tuple of int
        The number or the lengths of weights that lie side by side along `parts_axis` (by default `out_axis`), as packed q, k, v.
    fan_in, fan_out : float, optional
        Fans to scale by in the place of those of `x`; > 0.

    Returns
    -------
    array
        `x` itself.

    Raises
    ------
    TypeError, ValueError
        As for `uniform_`; also if `x` has fewer than 2 axes, the axes do not fit it, or `gain` is negative.

    References
    ----------
    Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward neural networks".

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> gi.xavier_uniform_(np.empty((1, 3), np.float32), generator=42)
    array([[-0.83912146, -1.0588751 , -1.0844814 ]], dtype=float32)
    >>> experts = gi.xavier_uniform_(np.empty((8, 64, 32)), batch_axis=0, out_axis=1, in_axis=2, generator=42)
    >>> qkv = gi.xavier_uniform_(np.empty((3 * 64, 64)), parts=3, generator=42)
    """
    to = target(x, shard=shard)
    return _fill_scaled(x, to, Family.UNIFORM, _glorot(to, gain), generator, axes)


@initializer
def xavier_normal_(
    x: Array, gain: float = 1.0, generator: RandomSource = None, *, shard: Shard | None = None, **axes: Unpack[FanKeywords]
) -> Array:
    """Fill from N(0, std**2), std = gain * sqrt(2 / (fan_in + fan_out)).

    Parameters, returns, errors and reference are those of `xavier_uniform_`.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> w = gi.xavier_normal_(np.empty((300, 100)), generator=42)
    >>> round(float(w.std()), 2)  # sqrt(2 / 400) = 0.0707
    0.07
    """
    to = target(x, shard=shard)
    return _fill_scaled(x, to, Family.NORMAL, _glorot(to, gain), generator, axes)


@initializer
def kaiming_uniform_(
    x: Array,
    a: float = 0.0,
    mode: str | Mode = "fan_in",
    nonlinearity: str | NonLinearity = "leaky_relu",
    generator: RandomSource = None,
    *,
    shard: Shard | None = None,
    **axes: Unpack[FanKeywords],
) -> Array:
    """Fill uniformly on [-bound, bound), bound = calculate_gain(nonlinearity, a) * sqrt(3 / fan).

    Parameters
    ----------
    x : array of float8, float16, bfloat16, float32, float64, complex64 or complex128
        A weight of at least 2 axes, (out, in, ...) by default. Filled in place; one without elements is left with a warning.
    a : float
        Negative slope of the rectifier after this layer; read for "leaky_relu" only.
    mode : str or Mode
        "fan_in" keeps the variance of the forward pass, "fan_out" that of the backward pass.
    nonlinearity : str or NonLinearity
        A name that `calculate_gain` knows.
    generator : Generator, int seed or None
        The source of random bits; None means `gpuinit.default_generator`.
    shard : Shard, optional
        What part of a larger array `x` is; see `Shard`.
    in_axis, out_axis, batch_axis : int or tuple of int
        What the axes of `x` are: inputs (1 by default), outputs (0), and stacks of matrices (none); all others are the kernel's.
    groups : int
        Of a grouped convolution, with torch's or Keras' axes; each group counts as a weight of its own.
    parts : int or tuple of int
        The number or the lengths of weights that lie side by side along `parts_axis` (by default `out_axis`), as packed q, k, v.
    fan_in, fan_out : float, optional
        Fans to scale by in the place of those of `x`; > 0.

    Returns
    -------
    array
        `x` itself.

    Raises
    ------
    TypeError, ValueError
        As for `uniform_`; also if `x` has fewer than 2 axes, `mode` or `nonlinearity` is unknown, or `a` not finite.

    References
    ----------
    He, Zhang, Ren and Sun (2015), "Delving deep into rectifiers".

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> w = gi.kaiming_uniform_(np.empty((64, 3, 3, 3)), nonlinearity="relu", generator=42)
    >>> bool(abs(w).max() <= (6 / 27) ** 0.5)
    True
    """
    to = target(x, shard=shard)
    return _fill_scaled(x, to, Family.UNIFORM, _he(a, mode, nonlinearity), generator, axes)


@initializer
def kaiming_normal_(
    x: Array,
    a: float = 0.0,
    mode: str | Mode = "fan_in",
    nonlinearity: str | NonLinearity = "leaky_relu",
    generator: RandomSource = None,
    *,
    shard: Shard | None = None,
    **axes: Unpack[FanKeywords],
) -> Array:
    """Fill from N(0, std**2), std = calculate_gain(nonlinearity, a) / sqrt(fan).

    Parameters, returns, errors and reference are those of `kaiming_uniform_`.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> w = gi.kaiming_normal_(np.empty((512, 256)), mode="fan_out", nonlinearity="relu", generator=42)
    >>> round(float(w.std()) * 512**0.5, 2)  # sqrt(2)
    1.41
    """
    to = target(x, shard=shard)
    return _fill_scaled(x, to, Family.NORMAL, _he(a, mode, nonlinearity), generator, axes)


@initializer
def lecun_uniform_(x: Array, generator: RandomSource = None, *, shard: Shard | None = None, **axes: Unpack[FanKeywords]) -> Array:
    """Fill uniformly on [-bound, bound), bound = sqrt(3 / fan_in); `variance_scaling_(x, 1, "fan_in", "uniform")`.

    Parameters, returns and errors are those of `variance_scaling_`.

    References
    ----------
    LeCun, Bottou, Orr and Mueller (1998), "Efficient backprop".

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> w = gi.lecun_uniform_(np.empty((10, 300)), generator=42)
    >>> bool(abs(w).max() <= 0.1)
    True
    """
    to = target(x, shard=shard)
    return _fill_scaled(x, to, Family.UNIFORM, _scheme(to, 1.0, Mode.FAN_IN), generator, axes)


@initializer
def lecun_normal_(x: Array, generator: RandomSource = None, *, shard: Shard | None = None, **axes: Unpack[FanKeywords]) -> Array:
    """Fill from a normal distribution cut at 2 std, of variance 1 / fan_in; `variance_scaling_(x)`.

    Parameters, returns and errors are those of `variance_scaling_`. The truncated form is that of Keras, JAX and timm.
    Reference: as for `lecun_uniform_`.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> w = gi.lecun_normal_(np.empty((100, 400)), generator=42)
    >>> round(float(w.std()), 3)  # 1 / sqrt(400)
    0.05
    """
    to = target(x, shard=shard)
    return _fill_scaled(x, to, Family.TRUNCATED_NORMAL, _scheme(to, 1.0, Mode.FAN_IN), generator, axes)


@initializer
def variance_scaling_(
    x: Array,
    scale: float = 1.0,
    mode: str | Mode = "fan_in",
    distribution: str | Family = "truncated_normal",
    generator: RandomSource = None,
    *,
    shard: Shard | None = None,
    **axes: Unpack[FanKeywords],
) -> Array:
    """Fill with mean 0 and variance scale / fan: the scheme of which Glorot's, He's and LeCun's are cases.

    Parameters
    ----------
    x : array of float8, float16, bfloat16, float32, float64, complex64 or complex128
        A weight of at least 2 axes, (out, in, ...) by default. Filled in place; one without elements is left with a warning.
    scale : float
        Finite and > 0.
    mode : str or Mode
        "fan_in", "fan_out", "fan_avg" (their mean) or "fan_geo_avg" (their geometric mean).
    distribution : str
        "truncated_normal" (cut at 2 standard deviations of the uncut distribution, which is widened so that the
        variance is the one asked for), "normal" (or "untruncated_normal"), or "uniform".
    generator : Generator, int seed or None
        The source of random bits; None means `gpuinit.default_generator`.
    shard : Shard, optional
        What part of a larger array `x` is; see `Shard`.
    in_axis, out_axis, batch_axis : int or tuple of int
        What the axes of `x` are: inputs (1 by default), outputs (0), and stacks of matrices (none); all others are the kernel's.
    groups : int
        Of a grouped convolution, with torch's or Keras' axes; each group counts as a weight of its own.
    parts : int or tuple of int
        The number or the lengths of weights that lie side by side along `parts_axis` (by default `out_axis`), as packed q, k, v.
    fan_in, fan_out : float, optional
        Fans to scale by in the place of those of `x`; > 0.

    Returns
    -------
    array
        `x` itself.

    Raises
    ------
    TypeError, ValueError
        As for `trunc_normal_`; also if `x` has fewer than 2 axes, `mode` or `distribution` is unknown, or scale <= 0.

    References
    ----------
    Keras' and JAX's `VarianceScaling` / `variance_scaling`, which have the axes the other way round: (..., in, out).

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> w = gi.variance_scaling_(np.empty((100, 300)), 2.0, "fan_avg", "uniform", generator=42)
    >>> round(float(w.var()), 3)  # 2 / 200
    0.01
    """
    to = target(x, shard=shard)
    kind = choose("distribution", Family, distribution)
    return _fill_scaled(x, to, kind, _scheme(to, scale, mode), generator, axes)


def _fill_scaled(x: Array, to: Target, kind: Family, std_of: StdOf, generator: RandomSource, axes: FanKeywords) -> Array:
    """Fill with mean 0 and the standard deviation that belongs to the fans; an empty array only gets a warning, as in torch."""
    layout = read_fans(to.shape, axes) if axes else None
    fans = layout.fans() if layout else {0: fan_in_and_fan_out(to.shape)}
    stds = {length: _std(std_of, *pair) for length, pair in fans.items()}
    if to.size == 0:
        as_generator(generator)
        warnings.warn("Initializing zero-element tensors is a no-op", UserWarning, stacklevel=4)
        return x
    found = {length: _distribution(to, kind, std) for length, std in stds.items()}
    first, *others = found.values()
    if layout is None or all(other == first for other in others):
        fill_from(to, first, generator)
    else:
        drawn = tuple(found[length] for length in layout.lengths)
        write(to, Parts(layout.parts_axis, layout.lengths, drawn, take_blocks(to, generator)))
    return x


def _distribution(to: Target, kind: Family, std: float) -> distributions.Distribution:
    try:
        return _distribution_of(to.dtype, kind, std)
    except ValueError as error:
        raise ValueError(f"gain, scale or fans must suit {to.dtype} and shape {to.shape}, got std={std}: {error}") from None


@exact
@functools.lru_cache
def _distribution_of(dtype: np.dtype[Any], kind: Family, std: float) -> distributions.Distribution:
    """Return the distribution of a kind that has mean 0 and standard deviation `std`."""
    if kind is Family.UNIFORM:
        # Of a complex array, each part has half the variance.
        bound = math.sqrt(3.0) * (std / math.sqrt(2) if dtype.kind == "c" else std)
        return distributions.uniform(dtype, -bound, bound)
    if kind is Family.TRUNCATED_NORMAL:
        uncut = std / STD_OF_TRUNCATED
        finite_in("2 std", 2 * uncut, real_part(dtype))
        return distributions.truncated(dtype, 0.0, uncut, -2 * uncut, 2 * uncut)
    return distributions.normal(dtype, 0.0, std)


@exact
def _std(std_of: StdOf, fan_in: float, fan_out: float) -> float:
    return std_of(float(fan_in), float(fan_out))


def _scheme(to: Target, scale: Any, mode: Any) -> StdOf:
    factor, kind = positive("scale", scale, working(to.dtype)), choose("mode", Mode, mode)

    def std_of(fan_in: float, fan_out: float) -> float:
        length = fan(fan_in, fan_out, kind)
        return math.sqrt(factor / length) if length else 0.0

    return std_of


def _glorot(to: Target, gain: Any) -> StdOf:
    factor = not_negative("gain", gain, working(to.dtype))

    def std_of(fan_in: float, fan_out: float) -> float:
        total = fan_in + fan_out
        return factor * math.sqrt(2.0 / total) if total else 0.0

    return std_of


def _he(a: Any, mode: Any, nonlinearity: Any) -> StdOf:
    activation, slope = choose("nonlinearity", NonLinearity, nonlinearity), finite("a", a)
    kind = choose("mode", Mode, mode, without=(Mode.FAN_AVG, Mode.FAN_GEO_AVG))

    def std_of(fan_in: float, fan_out: float) -> float:
        length = fan(fan_in, fan_out, kind)
        return gain_of(activation, slope) / math.sqrt(length) if length else 0.0

    return std_of
