"""Where a shard's elements lie in the whole array, in C-order numbers: what backends compute with."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gpuinit._contract.shards import Shard


class Runs(NamedTuple):
    """Stretches of consecutive numbers: how many along each axis of a grid, the steps between them, and the length of each."""

    counts: tuple[int, ...]
    steps: tuple[int, ...]
    length: int


class Region(NamedTuple):
    """Elements (i, j, ...) of an array of this shape; their numbers are start + i * strides[0] + j * strides[1] + ..."""

    shape: tuple[int, ...]
    start: int
    strides: tuple[int, ...]

    @property
    def runs(self) -> Runs:
        """The longest runs that the elements, in C order, lie in, on the grid of the fewest axes."""
        axes: list[tuple[int, int]] = []
        for length, stride in zip(self.shape, self.strides):
            if length == 1:
                continue
            if axes and axes[-1][1] == length * stride:
                axes[-1] = (axes[-1][0] * length, stride)
            else:
                axes.append((length, stride))
        longest = axes.pop()[0] if axes and axes[-1][1] == 1 else 1
        return Runs(tuple(count for count, _ in axes), tuple(step for _, step in axes), longest)


def region(shard: Shard | None, dtype: np.dtype[Any] | None = None) -> Region | None:
    """The shard's region, if it is given one; with a complex dtype, in the array of reals that the whole is filled as."""
    if shard is None:
        return None
    strides = tuple(math.prod(shard.global_shape[axis + 1 :]) for axis in range(len(shard.global_shape)))
    start = sum(first * stride for first, stride in zip(shard.start, strides))
    if dtype is None or dtype.kind != "c":
        return Region(shard.shape, start, strides)
    return Region((*shard.shape, 2), 2 * start, (*(2 * stride for stride in strides), 1))
