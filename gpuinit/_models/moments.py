"""The standard deviation of an array, from moments of its pieces, which threads take in any order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

_AT_ONCE = 2**16  # elements, which fit the L2 cache as float64


class Moments(NamedTuple):
    """Of a piece: the number of its elements, the first one, and the sums of the distances from it and of their squares."""

    size: int
    origin: Any
    total: Any
    squares: Any


@np.errstate(all="ignore")  # of values that are not finite, and squares that overflow
def moments_of(piece: np.ndarray) -> Moments:
    """Return the moments of a piece, in float64; about an element, so that a small deviation from a large mean is not lost."""
    wide = np.dtype(np.complex128 if piece.dtype.kind == "c" else np.float64)
    origin = piece[:1].astype(wide)
    total, squares = wide.type(0), np.float64(0)
    for start in range(0, len(piece), _AT_ONCE):
        distances = piece[start : start + _AT_ONCE].astype(wide)
        np.subtract(distances, origin, distances)
        total += distances.sum()
        parts = distances.view(np.float64)
        np.multiply(parts, parts, parts)
        squares += parts.sum()
    return Moments(len(piece), origin[0], total, squares)


@np.errstate(all="ignore")
def std_of(moments: Sequence[Moments]) -> float:
    """Return the standard deviation of an array by its pieces' moments, in order; nan if there are none."""
    if not moments:
        return math.nan
    sizes, origins, totals, squares = map(np.array, zip(*moments, strict=True))
    shifts = origins - origins[0]  # 0 where all elements are equal: so is the result
    size = sizes.sum()
    total = (totals + sizes * shifts).sum()
    about_first = (squares + 2 * (shifts.conj() * totals).real + sizes * abs(shifts) ** 2).sum()
    return float(np.sqrt(np.maximum(0.0, about_first / size - abs(total / size) ** 2)))
