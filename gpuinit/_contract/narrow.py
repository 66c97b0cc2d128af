"""Quantiles of a normal distribution on an interval so short that a polynomial gives them, in decimal arithmetic.

A polynomial of the interval's own loses nothing to where the interval lies: near the mean or far in a tail.
"""

from __future__ import annotations

from decimal import Context, Decimal, localcontext

DEGREE = 8
_DIGITS = 100
_TERMS = 60  # of a series whose k-th term is below 1 / k!
_STEPS = 9  # of Newton's iteration, from within 0.2: each doubles the digits that are right


def quantile_series(mean: float, std: float, a: float, b: float) -> tuple[float, ...]:
    """Return the Taylor coefficients, in s about 0, of the (1 + s) / 2 quantile of N(mean, std**2) restricted to [a, b].

    In units of std, let h be half the interval's length, and m the way from the mean to its middle. At eta half lengths from
    the middle, the density is proportional to exp(-(m h eta + h**2 eta**2 / 2)); the exponent must lie within +-1.
    """
    with localcontext(Context(prec=_DIGITS)) as context:
        _, _, slope, square = _exponent(mean, std, a, b)
        # Relative to the middle and the half length, c_0 and c_1 differ from them by so little, or its square; that decides how
        # they are rounded where these lie in the middle between two floats.
        context.prec -= 2 * max(slope, square, key=abs).adjusted()
        middle, half, slope, square = _exponent(mean, std, a, b)
        density = _density_series(slope, square)
        integral = [Decimal(0), *(term / (k + 1) for k, term in enumerate(density))]
        below, above = _at(integral, Decimal(-1)), _at(integral, Decimal(1))
        median = Decimal(0)
        for _ in range(_STEPS):
            median -= (_at(integral, median) - (below + above) / 2) / _at(density, median)
        first = (above - below) / 2 / _at(density, median)
        eta = _inverse_series(median, first, slope, square)
        return float(middle + half * eta[0]), *(float(half * term) for term in eta[1:])


def _exponent(mean: float, std: float, a: float, b: float) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """Return the interval's middle, half its length, m h, and h**2."""
    middle, half = (Decimal(a) + Decimal(b)) / 2, (Decimal(b) - Decimal(a)) / 2
    h = half / Decimal(std)
    return middle, half, (middle - Decimal(mean)) / Decimal(std) * h, h * h


def _density_series(slope: Decimal, square: Decimal) -> list[Decimal]:
    """Return the coefficients of exp(-(slope eta + square eta**2 / 2)), from its differential equation."""
    terms = [Decimal(1), -slope]
    for k in range(1, _TERMS):
        terms.append(-(slope * terms[k] + square * terms[k - 1]) / (k + 1))
    return terms


def _at(series: list[Decimal], eta: Decimal) -> Decimal:
    value = Decimal(0)
    for term in reversed(series):
        value = value * eta + term
    return value


def _inverse_series(median: Decimal, first: Decimal, slope: Decimal, square: Decimal) -> list[Decimal]:
    """Return eta's coefficients in s. With g = d eta / d s, one over the density, d g / d s = g**2 (slope + square eta)."""
    eta, g, squares = [median, first], [first], [first * first]
    for k in range(1, DEGREE):
        drift = sum((squares[i] * square * eta[k - 1 - i] for i in range(k)), squares[k - 1] * slope)
        g.append(drift / k)
        squares.append(sum((g[i] * g[k - i] for i in range(k + 1)), Decimal(0)))
        eta.append(g[k] / (k + 1))
    return eta
