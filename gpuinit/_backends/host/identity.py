"""eye_ and dirac_ on the CPU: zeros and ones, found by their indices in the whole array."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gpuinit._backends.host.fills import constant, constant_piece, repeat
from gpuinit._backends.threads import for_each
from gpuinit._contract.shards import Shard


def eye(x: np.ndarray, shard: Shard | None = None) -> None:
    """Ones on the diagonal, zeros elsewhere."""
    row, column = shard.start if shard else (0, 0)
    zero = np.zeros((), x.dtype)
    rows = max(1, constant_piece(x) // x.shape[1])

    def write_rows(taken: Iterable[int]) -> None:
        for first in taken:
            part = x[first : first + rows]
            repeat(part, zero)
            offset = row + first - column
            ones = np.arange(max(0, -offset), min(len(part), x.shape[1] - offset))
            part[ones, ones + offset] = 1

    for_each(write_rows, range(0, len(x), rows))


def dirac(x: np.ndarray, groups: int, shard: Shard | None = None) -> None:
    """Ones at the kernel's centre where output channel o of a group meets input channel o, zeros elsewhere."""
    shape, start = (shard.global_shape, shard.start) if shard else (x.shape, (0,) * x.ndim)
    constant(x, 0)
    centre = tuple(length // 2 - first for length, first in zip(shape[2:], start[2:]))
    if not all(0 <= place < length for place, length in zip(centre, x.shape[2:])):
        return
    outputs = np.arange(x.shape[0])
    inputs = (outputs + start[0]) % (shape[0] // groups) - start[1]
    inside = (inputs >= 0) & (inputs < x.shape[1])
    x[(outputs[inside], inputs[inside], *centre)] = 1
