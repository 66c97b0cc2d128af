"""The standard deviation that a write asks for, which a report sets beside the one that is measured."""

from __future__ import annotations

import math

from gpuinit.backends import Write
from gpuinit.densities import density
from gpuinit.distributions import Distribution


def distribution_of(write: Write) -> Distribution | None:
    """What the elements (of a complex array: their parts) are drawn from, where that is all there is to them."""
    return write.arguments[0] if write.primitive == "fill" else None


def expected_std(write: Write) -> float:
    """The square root of the elements' expected variance over the whole array; of a complex one, sqrt(E|x - mean|**2)."""
    shape, size = write.to.shape, write.to.size
    if size == 0:
        return math.nan
    parts = 2 if write.to.dtype.kind == "c" else 1
    match write.primitive, write.arguments:
        case "fill", (distribution, *_):
            return math.sqrt(parts) * density(distribution).std
        case "sparse", (zeros, values, *_):
            return math.sqrt(parts * (1 - zeros / shape[0])) * float(values.std)
        case "orthogonal", (gain, *_):
            return abs(float(gain)) / math.sqrt(max(shape[0], size // shape[0]))
        case "eye", _:
            return _of_ones(min(shape) / size)
        case "dirac", (groups, _):
            return _of_ones(min(shape[0] // groups, shape[1]) * groups / size)
    return 0.0


def _of_ones(share: float) -> float:
    """Where a share of the elements is 1, and the others are 0."""
    return math.sqrt(share * (1 - share))
