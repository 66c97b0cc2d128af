"""Whether arrays share memory, told by their addresses and strides alone."""

from __future__ import annotations

import time

import pytest

from gpuinit._rules.aliasing import Memory, check_apart

START = 2**40


def bytes_at(start, shape, strides):
    return Memory.at("cpu", START + start, shape, strides, "int8", 1)


# The example of two views in the documentation of numpy.shares_memory, which takes minutes to decide exactly.
HARD = [
    (bytes_at(0, (1049, 1049, 1049), (36674, 61119, 85569)), "a"),
    (bytes_at(64023025, (1049, 1049, 1), (12223, 12224, 1)), "b"),
]


def test_views_that_are_too_hard_to_tell_apart_count_as_overlapping():
    start = time.perf_counter()
    with pytest.raises(ValueError, match="got a and b, which overlap"):
        check_apart(HARD)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("first", "second", "apart"),
    [
        (((4,), (1,)), (4, (4,), (1,)), True),
        (((4,), (1,)), (3, (4,), (1,)), False),
        (((4,), (2,)), (1, (4,), (2,)), True),
        (((4, 2), (4, 1)), (2, (4, 2), (4, 1)), True),
        (((4, 3), (4, 1)), (2, (4, 2), (4, 1)), False),
    ],
)
def test_strides(first, second, apart):
    memories = [(bytes_at(0, *first), "a"), (bytes_at(*second), "b")]
    if apart:
        check_apart(memories)
    else:
        with pytest.raises(ValueError, match="got a and b, which overlap"):
            check_apart(memories)
