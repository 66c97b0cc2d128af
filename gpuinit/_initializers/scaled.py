"""Initializers that scale a distribution by the weight's fans: one sampler, `variance_scaling_`'s, under many names.

In a complex array, the variance asked for is E|x|**2.
Weights have torch's axes, (out, in, *kernel): fan_in = in * kernel size, fan_out = out * kernel size.
"""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any

import numpy as np

from gpuinit._backends.targets import Target, target
from gpuinit._contract import distributions
from gpuinit._contract.arguments import finite, finite_in, not_negative, positive
from gpuinit._contract.arithmetic import exact
from gpuinit._contract.dtypes import real_part, working
from gpuinit._contract.generator import as_generator
from gpuinit._contract.shards import Shard
from gpuinit._initializers.basic import Array, RandomSource, fill_from
from gpuinit._initializers.calling import initializer
from gpuinit._initializers.fans import Family, Mode, NonLinearity, choose, fan, fan_in_and_fan_out, gain_of

# Standard deviation of N(0, 1) cut at +-2: sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)).
STD_OF_TRUNCATED = 0.87962566103423978


@initializer
def xavier_uniform_(x: Array, gain: float = 1.0, generator: RandomSource = None, *, shard: Shard | None = None) -> Array:
    """Fill uniformly on [-bound, bound), bound = gain * sqrt(6 / (fan_in + fan_out)).

    Parameters
    ----------
    x : array of float8, float16, bfloat16, float32, float64, complex64 or complex128 with at least 2 axes (out, in, ...)
        Filled in place. One without elements is left with a warning.
    gain : float
        Factor on the standard deviation, finite and >= 0; see `calculate_gain`.
    generator : Generator, int seed or None
        The source of random bits; None means `gpuinit.default_generator`.
    shard : Shard, optional
        What part of a larger array `x` is; see `Shard`.

    Returns
    -------
    array
        `x` itself.

    Raises
    ------
    TypeError, ValueError
        As for `uniform_`; also if `x` has fewer than 2 axes, or `gain` is negative.

    References
    ----------
    Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward neural networks".

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> gi.xavier_uniform_(np.empty((1, 3), np.float32), generator=42)
    array([[-0.83912146, -1.0588751 , -1.0844814 ]], dtype=float32)
    """
    to = target(x, shard=shard)
    return _fill_scaled(x, to, Family.UNIFORM, _glorot_std(to, gain), generator)


@initializer
def xavier_normal_(x: Array, gain: float = 1.0, generator: RandomSource = None, *, shard: Shard | None = None) -> Array:
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
    return _fill_scaled(x, to, Family.NORMAL, _glorot_std(to, gain), generator)


@initializer
def kaiming_uniform_(
    x: Array,
    a: float = 0.0,
    mode: str | Mode = "fan_in",
    nonlinearity: str | NonLinearity = "leaky_relu",
    generator: RandomSource = None,
    *,
    shard: Shard | None = None,
) -> Array:
    """Fill uniformly on [-bound, bound), bound = calculate_gain(nonlinearity, a) * sqrt(3 / fan).

    Parameters
    ----------
    x : array of float8, float16, bfloat16, float32, float64, complex64 or complex128 with at least 2 axes (out, in, ...)
        Filled in place. One without elements is left with a warning.
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
    return _fill_scaled(x, to, Family.UNIFORM, _he_std(to, a, mode, nonlinearity), generator)


@initializer
def kaiming_normal_(
    x: Array,
    a: float = 0.0,
    mode: str | Mode = "fan_in",
    nonlinearity: str | NonLinearity = "leaky_relu",
    generator: RandomSource = None,
    *,
    shard: Shard | None = None,
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
    return _fill_scaled(x, to, Family.NORMAL, _he_std(to, a, mode, nonlinearity), generator)


@initializer
def lecun_uniform_(x: Array, generator: RandomSource = None, *, shard: Shard | None = None) -> Array:
    """Fill uniformly on [-bound, bound), bound = sqrt(3 / fan_in); `variance_scaling_(x, 1, "fan_in", "uniform")`.

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
    return _fill_scaled(x, to, Family.UNIFORM, _std(to, 1.0, Mode.FAN_IN), generator)


@initializer
def lecun_normal_(x: Array, generator: RandomSource = None, *, shard: Shard | None = None) -> Array:
    """Fill from a normal distribution cut at 2 std, of variance 1 / fan_in; `variance_scaling_(x)`.

    The truncated form is that of Keras, JAX and timm. Reference: as for `lecun_uniform_`.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> w = gi.lecun_normal_(np.empty((100, 400)), generator=42)
    >>> round(float(w.std()), 3)  # 1 / sqrt(400)
    0.05
    """
    to = target(x, shard=shard)
    return _fill_scaled(x, to, Family.TRUNCATED_NORMAL, _std(to, 1.0, Mode.FAN_IN), generator)


@initializer
def variance_scaling_(
    x: Array,
    scale: float = 1.0,
    mode: str | Mode = "fan_in",
    distribution: str | Family = "truncated_normal",
    generator: RandomSource = None,
    *,
    shard: Shard | None = None,
) -> Array:
    """Fill with mean 0 and variance scale / fan: the scheme of which Glorot's, He's and LeCun's are cases.

    Parameters
    ----------
    x : array of float8, float16, bfloat16, float32, float64, complex64 or complex128 with at least 2 axes (out, in, ...)
        Filled in place. One without elements is left with a warning.
    scale : float
        Finite and > 0.
    mode : str or Mode
        "fan_in", "fan_out" or "fan_avg", their mean.
    distribution : str
        "truncated_normal" (cut at 2 standard deviations of the uncut distribution, which is widened so that the
        variance is the one asked for), "normal" (or "untruncated_normal"), or "uniform".
    generator : Generator, int seed or None
        The source of random bits; None means `gpuinit.default_generator`.
    shard : Shard, optional
        What part of a larger array `x` is; see `Shard`.

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
    return _fill_scaled(x, to, kind, _std(to, scale, mode), generator)


def _fill_scaled(x: Array, to: Target, kind: Family, std: float, generator: RandomSource) -> Array:
    """Fill with mean 0 and standard deviation `std`; an empty array only gets a warning, as in torch."""
    if to.size == 0:
        as_generator(generator)
        warnings.warn("Initializing zero-element tensors is a no-op", UserWarning, stacklevel=4)
        return x
    try:
        distribution = _distribution_of(to.dtype, kind, std)
    except ValueError as error:
        raise ValueError(f"gain or scale must suit {to.dtype} and shape {to.shape}, got std={std}: {error}") from None
    fill_from(to, distribution, generator)
    return x


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
def _std(to: Target, scale: Any, mode: Any) -> float:
    factor = positive("scale", scale, working(to.dtype))
    length = fan(to.shape, choose("mode", Mode, mode))
    return math.sqrt(factor / length) if length else 0.0


@exact
def _glorot_std(to: Target, gain: Any) -> float:
    factor = not_negative("gain", gain, working(to.dtype))
    total = sum(fan_in_and_fan_out(to.shape))
    return factor * math.sqrt(2.0 / total) if total else 0.0


@exact
def _he_std(to: Target, a: Any, mode: Any, nonlinearity: Any) -> float:
    kind = choose("nonlinearity", NonLinearity, nonlinearity)
    gain = gain_of(kind, finite("a", a))
    length = fan(to.shape, choose("mode", Mode, mode, without=(Mode.FAN_AVG,)))
    return gain / math.sqrt(length) if length else 0.0
