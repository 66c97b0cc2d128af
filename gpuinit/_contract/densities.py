"""Densities of distributions, in floating point and for looking at alone: no value depends on them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpuinit._contract.distributions import Distribution, Narrow, Normal, Point, Uniform

# Where a normal density is below exp(-40) of its highest value on the interval, nothing is left that float64 could tell;
# pictures end where it is below 1e-4 of it.
_NEGLIGIBLE = 40.0
_INVISIBLE = math.log(1e4)


@dataclass(frozen=True)
class Density:
    """Of values before they are rounded to the array's dtype, and clamped to it.

    Attributes
    ----------
    mean, std : float
    support : tuple of two floats
        The interval to draw: all of the distribution's, or, where its tails are long, what can be seen of it. Of a single value,
        that value twice.
    pdf : callable
        The density at each element of an array, as float64; 0 outside the distribution, infinite on a single value.
    """

    mean: float
    std: float
    support: tuple[float, float]
    pdf: Callable[[Any], np.ndarray]


def density(distribution: Distribution) -> Density:
    """The density of what a fill draws from; of a complex array, that of its parts, where their means are the same.

    Examples
    --------
    >>> from gpuinit._contract.densities import density
    >>> from gpuinit._contract.distributions import truncated
    >>> import numpy as np
    >>> cut = density(truncated(np.dtype(np.float32), 0, 1, -2, 2))
    >>> round(cut.std, 6), round(float(cut.pdf(0)), 6)
    (0.879626, 0.41796)
    """
    match distribution:
        case Point(value=value):
            return _flat(float(value), 0.0)
        case Uniform(scale=scale, low=low):
            return _flat(float(low), float(scale))
        case Normal(mean=mean, std=std) if std == 0:
            return _flat(float(mean), 0.0)
        case Normal(mean=mean, std=std):
            return _normal(float(mean), float(std), -math.inf, math.inf)
        case Narrow(parameters=parameters):
            return _narrow(*parameters)
    mean, std, low, high = distribution.parameters
    return _normal(mean, std, (low - mean) / std, (high - mean) / std)


def _flat(low: float, width: float) -> Density:
    high = low + width

    def pdf(values: Any) -> np.ndarray:
        x = np.asarray(values, np.float64)
        return np.where((low <= x) & (x <= high), 1 / width if width else math.inf, 0.0)

    return Density(low + width / 2, width / math.sqrt(12), (low, high), pdf)


def _narrow(mean: float, std: float, low: float, high: float) -> Density:
    """As `_normal`, in half lengths of the interval from its middle: z itself may differ by less than a float tells."""
    middle, half = low + (high - low) / 2, (high - low) / 2
    slope, square = (middle - mean) / std * (half / std), (half / std) ** 2

    def relative(eta: Any) -> Any:
        return np.exp(-eta * (slope + square / 2 * eta))

    eta, weights = _legendre()
    mass = weights * relative(eta)
    centre = float(mass @ eta / mass.sum())
    deviation = math.sqrt(float(mass @ (eta - centre) ** 2 / mass.sum()))
    scale = half * float(mass.sum())

    def pdf(values: Any) -> np.ndarray:
        x = np.asarray(values, np.float64)
        return np.where((low <= x) & (x <= high), relative(np.clip((x - middle) / half, -1, 1)) / scale, 0.0)

    return Density(middle + half * centre, half * deviation, (low, high), pdf)


def _normal(mean: float, std: float, low: float, high: float) -> Density:
    """Of z * std + mean, z in [low, high], by Gauss-Legendre quadrature over the part of the interval where the mass is."""
    peak = min(max(low, 0.0), high)

    def above(drop: float) -> tuple[float, float]:
        reach = math.hypot(peak, math.sqrt(2 * drop))  # there, (z**2 - peak**2) / 2 == drop
        return max(low, -reach), min(high, reach)

    def relative(z: Any) -> Any:
        return np.exp((peak - z) * (peak + z) / 2)

    start, end = above(_NEGLIGIBLE)
    nodes, weights = _legendre()
    z = (start + end) / 2 + (end - start) / 2 * nodes
    mass = weights * relative(z)
    centre = float(mass @ z / mass.sum())
    deviation = math.sqrt(float(mass @ (z - centre) ** 2 / mass.sum()))
    scale = abs(std) * (end - start) / 2 * float(mass.sum())

    @np.errstate(over="ignore")
    def pdf(values: Any) -> np.ndarray:
        z = (np.asarray(values, np.float64) - mean) / std
        return np.where((low <= z) & (z <= high), relative(z) / scale, 0.0)

    left, right = sorted(mean + std * bound for bound in above(_INVISIBLE))
    return Density(mean + std * centre, abs(std) * deviation, (left, right), pdf)


@functools.cache
def _legendre() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the quadrature; they take 15 ms, which a report of a thousand parameters must not pay for each."""
    return np.polynomial.legendre.leggauss(100)
