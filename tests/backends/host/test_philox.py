"""Philox in NumPy's ufuncs, which draws single blocks from all over the stream."""

from __future__ import annotations

import numpy as np

import gpuinit as gi
from gpuinit._backends.host.philox import philox
from gpuinit._backends.host.workspace import Workspace


def test_philox_of_any_counters():
    counters = np.array([1, 2, 7, 2**32 - 1, 2**32, 2**63, 2**64 - 1] * 5000, np.uint64)
    blocks = philox(Workspace(), gi.Generator(9).reserve(0).key, counters)
    for counter, block in zip(counters[:7].tolist(), blocks):
        bits = np.random.Philox(9)
        bits.advance(counter - 1)
        np.testing.assert_array_equal(block, bits.random_raw(4))
    np.testing.assert_array_equal(blocks.reshape(5000, 7, 4), np.broadcast_to(blocks[:7], (5000, 7, 4)))
