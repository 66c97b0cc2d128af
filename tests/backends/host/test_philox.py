"""Philox in NumPy's ufuncs, which draws single blocks from all over the stream."""

from __future__ import annotations

import numpy as np

import gpuinit as gi
from gpuinit._backends.host.philox import philox
from gpuinit._backends.host.workspace import Workspace
from gpuinit._contract.philox import halves
from gpuinit._contract.philox import philox as one_block
from tests.support.stream import blocks_at


def test_philox_of_any_counters():
    numbers = np.array([0, 2, 7, 2**32 - 1, 2**32, 2**63, 2**64 - 1] * 5000, np.uint64)
    blocks = philox(Workspace(), gi.Generator(9).reserve(0).key, numbers)
    np.testing.assert_array_equal(blocks, blocks_at(9, numbers))


def test_philox_of_one_block():
    """In Python's integers, with any third word; in ufuncs the same."""
    key, numbers = (0xA4093822, 0x299F31D0), [0, 5, 2**40 + 3]
    for third in (0, 1, 2, 3):
        blocks = philox(Workspace(), key, np.array(numbers, np.uint64), third)
        assert blocks.tolist() == [list(one_block(key, (*halves(number), third, 0))) for number in numbers]
