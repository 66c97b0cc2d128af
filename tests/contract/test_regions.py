"""`Region`: the runs of neighbours that a part of an array consists of."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gpuinit._contract.regions import Region


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.data())
def test_runs_are_the_elements_in_order_and_as_long_as_can_be(shape, data):
    numbers = np.arange(np.prod(shape)).reshape(shape)
    index = tuple(slice(a, data.draw(st.integers(a + 1, n))) for n in shape for a in [data.draw(st.integers(0, n - 1))])
    strides = tuple(stride // numbers.itemsize for stride in numbers.strides)
    part = numbers[index]
    counts, steps, length = Region(part.shape, int(part.flat[0]), strides).runs
    starts = int(part.flat[0]) + sum(
        np.ix_(*(np.arange(c) * s for c, s in zip(counts, steps))), np.zeros((1,) * len(counts), int)
    )
    np.testing.assert_array_equal(np.add.outer(starts, np.arange(length)).reshape(-1), part.reshape(-1))
    joined = np.diff(part.reshape(-1)) == 1
    assert length == 1 + np.argmin(np.append(joined, False)) or joined.all()
