"""Values of runs of consecutive elements: by the compiled kernels where there are any, else by words and ufuncs."""

from __future__ import annotations

import functools
from typing import Any, Protocol

import numpy as np

from gpuinit.backends.host import compiled
from gpuinit.backends.host.regions import run_words
from gpuinit.backends.host.scratch import Workspace
from gpuinit.backends.host.transforms import transform_of
from gpuinit.distributions import Distribution
from gpuinit.generator import Stream


class Draw(Protocol):
    """Writes to `out`, contiguous and of the working precision, the values of `len(starts)` runs, one after the other: those of
    the elements from number `starts[k]` on, `length` of them."""

    def __call__(self, space: Workspace, stream: Stream, starts: np.ndarray, length: int, out: np.ndarray) -> None: ...


def draw_of(distribution: Distribution, real: np.dtype[Any]) -> Draw:
    """How to draw from a distribution, whose parameters are of the working precision `real`."""
    return compiled.draw_of(distribution, real) or by_ufuncs(distribution)


@functools.lru_cache
def by_ufuncs(distribution: Distribution) -> Draw:
    """The same values without a compiler's help."""
    transform = transform_of(distribution)

    def draw(space: Workspace, stream: Stream, starts: np.ndarray, length: int, out: np.ndarray) -> None:
        transform(space, run_words(space, stream, starts, length, 8 * out.itemsize), out)

    return draw
