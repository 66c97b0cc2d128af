"""Values of runs of consecutive elements: by the compiled kernels if there are any, else by words and ufuncs."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from gpuinit._backends.host import compiled
from gpuinit._backends.host.random_words import run_words
from gpuinit._backends.host.sampler import Sampler
from gpuinit._backends.host.ufuncs import transform_of
from gpuinit._backends.host.workspace import workspace
from gpuinit._contract.arithmetic import exact
from gpuinit._contract.distributions import Sampled
from gpuinit._contract.dtypes import working
from gpuinit._contract.generator import Stream


def sampler_of(distribution: Sampled, dtype: np.dtype[Any]) -> tuple[Sampler, np.dtype[Any]]:
    """Return the fastest sampler of a distribution for an array of a real dtype, and the dtype that it writes."""
    if sampler := compiled.sampler_of(distribution, dtype):
        return sampler, dtype
    real = working(dtype)
    return compiled.sampler_of(distribution, real) or by_ufuncs(distribution), real


@functools.lru_cache
def by_ufuncs(distribution: Sampled) -> Sampler:
    """Return a sampler that gives the same values without a compiler's help."""
    transform = transform_of(distribution)

    @exact
    def sample(stream: Stream, starts: np.ndarray, length: int, out: np.ndarray) -> None:
        with workspace() as space:
            transform(space, run_words(space, stream, starts, length, 8 * out.itemsize), out)

    return sample
