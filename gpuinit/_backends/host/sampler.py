"""`Sampler`: what fills call for the values of a distribution."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from gpuinit._contract.generator import Stream


class Sampler(Protocol):
    """Writes to `out`, contiguous and of the sampler's dtype, the values of `len(starts)` runs, one after the other.

    Run k has the elements from number `starts[k]` on, `length` of them.
    """

    def __call__(self, stream: Stream, starts: np.ndarray, length: int, out: np.ndarray, /) -> None: ...
