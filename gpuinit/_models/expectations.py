"""The standard deviation that a write asks for, which a report shows beside the one that is measured."""

from __future__ import annotations

import math
from typing import assert_never

from gpuinit._backends.operations import Constant, Dirac, Eye, Fill, Orthogonal, Padded, Parts, Sparse, Truncate
from gpuinit._backends.targets import Asked
from gpuinit._contract.densities import density
from gpuinit._contract.distributions import Distribution


def distribution_of(asked: Asked) -> Distribution | None:
    """Return what the elements (of a complex array: their parts) are drawn from, where that is all there is to them."""
    return asked.operation.distribution if isinstance(asked.operation, Fill) else None


def expected_std(asked: Asked) -> float:
    """Return the square root of the elements' expected variance over the whole array; of a complex one, sqrt(E|x - mean|**2).

    It is nan of an array without elements, and of one whose own values were rounded.
    """
    shape, size = asked.shape, math.prod(asked.shape)
    if size == 0:
        return math.nan
    parts = 2 if asked.dtype.kind == "c" else 1
    match asked.operation:
        case Fill(distribution):
            return math.sqrt(parts) * density(distribution).std
        case Padded(fill):
            return math.sqrt(parts * (1 - 1 / shape[0])) * density(fill.distribution).std
        case Constant():
            return 0.0
        case Sparse(zeros, values, _, by_rows):
            kept = 1 - zeros / shape[1 if by_rows else 0]
            return math.sqrt(kept * (parts * float(values.std) ** 2 + (1 - kept) * float(values.mean) ** 2))
        case Parts(_, lengths, distributions):
            variances = (length * density(own).std ** 2 for length, own in zip(lengths, distributions))
            return math.sqrt(parts * sum(variances) / sum(lengths))
        case Orthogonal(gain, _, matrices):
            squares = sum(count * matrix.short_side for count, matrix in matrices.parts())
            return abs(float(gain)) * math.sqrt(squares / size)
        case Eye():
            return _of_ones(min(shape) / size)
        case Dirac(groups):
            return _of_ones(min(shape[0] // groups, shape[1]) * groups / size)
        case Truncate():
            return math.nan
        case _:
            assert_never(asked.operation)


def _of_ones(share: float) -> float:
    """Return the standard deviation where a share of the elements is 1, and the others are 0."""
    return math.sqrt(share * (1 - share))
