"""Densities of distributions, in floating point and for looking at alone: no value depends on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpuinit.distributions import Distribution, Normal, Point, Truncated, Uniform


@dataclass(frozen=True)
class Density:
    """Mean and standard deviation of a distribution."""

    mean: float
    std: float


def density(distribution: Distribution) -> Density:
    """The density of what a fill draws from."""
    match distribution:
        case Point(value=value):
            return Density(float(value), 0.0)
        case Uniform(scale=scale, low=low):
            return Density(float(low) + float(scale) / 2, float(scale) / 12**0.5)
        case Normal(mean=mean, std=std):
            return Density(float(mean), float(std))
    return _truncated(distribution)


def _truncated(d: Truncated) -> Density:
    """By Gauss-Legendre quadrature over the part of the interval where the mass is."""
    mean, std = float(d.mean), abs(float(d.std))
    low, high = ((float(bound) - mean) / std for bound in (d.least, d.greatest))
    mode = min(max(low, 0.0), high)
    reach = 10 / max(1.0, abs(mode))
    low, high = max(low, mode - reach), min(high, mode + reach)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    z = (low + high) / 2 + (high - low) / 2 * nodes
    mass = weights * np.exp((mode - z) * (mode + z) / 2)
    centre = float(mass @ z / mass.sum())
    return Density(mean + std * centre, std * float(mass @ (z - centre) ** 2 / mass.sum()) ** 0.5)
