"""Whatever the shape, strides, dtype and function: a fill writes exactly the elements of its array, and the values of the
contiguous fill. hypothesis makes up the arrays, as windows of buffers whose other bytes are watched."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import gpuinit as gi
from tests.support import fills
from tests.support.arrays import to_host

FILLS = [*fills.ONE_OF_EACH, fills.Fill("uniform_", {"a": 0.5, "b": 0.5}, fills.INEXACT)]


class Axis(NamedTuple):
    """An axis of a window: its length, the step between its elements, and elements left over before and after."""

    length: int
    step: int
    before: int
    after: int

    @property
    def in_buffer(self):
        return self.before + max(0, (self.length - 1) * abs(self.step) + 1) + self.after

    @property
    def window(self):
        """As a slice of an axis of the buffer; of a negative step, from the last element to the first."""
        last = self.before + (self.length - 1) * abs(self.step)
        if self.length == 0:
            return slice(self.before, self.before)
        if self.step > 0:
            return slice(self.before, last + 1, self.step)
        return slice(last, self.before - 1 if self.before else None, self.step)


@st.composite
def layouts(draw, least, most):
    """The axes of a window, in the order of the buffer's memory, and the order in which the window has them."""
    axes = draw(
        st.lists(
            st.builds(Axis, st.integers(0, 5), st.sampled_from([1, 1, 2, 3, -1, -2]), st.integers(0, 2), st.integers(0, 2)),
            min_size=least,
            max_size=most,
        )
    )
    return axes, draw(st.permutations(range(len(axes))))


@st.composite
def calls(draw):
    fill = draw(st.sampled_from(FILLS))
    least, most = fill.axes
    axes, order = draw(layouts(least, min(most, 4)))
    lengths = [axes[number].length for number in order]
    assume("padding_idx" not in fill.arguments or lengths[0])  # a row must be there
    assume(fill.name != "delta_orthogonal_" or lengths[0] >= lengths[1])
    return fill, draw(st.sampled_from(fill.dtypes)), (axes, order), draw(st.integers(0, 2**64))


def window_of(buffer, layout):
    axes, order = layout
    shape = [axis.in_buffer for axis in axes]
    return buffer.reshape(shape)[(..., *(axis.window for axis in axes))].transpose(order)  # with ... an array even of no axes


def filled(fill, x, seed):
    return fills.silently(fills.call, fill.name, x, fill.arguments, seed)


# A window of the whole buffer; negative steps on every axis; elements far apart in the innermost axis of the window.
@given(calls())
@example((fills.first("normal_"), "float16", ([Axis(4, 1, 0, 0), Axis(5, 1, 0, 0)], [0, 1]), 0))
@example((fills.first("uniform_"), "complex64", ([Axis(4, -1, 0, 0), Axis(5, -2, 1, 1)], [1, 0]), 1))
@example((fills.first("sparse_"), "bfloat16", ([Axis(5, 3, 2, 0), Axis(3, -1, 1, 2)], [1, 0]), 2))
@settings(max_examples=600)
def test_a_fill_writes_its_elements_and_nothing_else(xp, call):
    fill, dtype, layout, seed = call
    dtype = fills.dtype_of(dtype)
    size = math.prod(axis.in_buffer for axis in layout[0])
    pattern = np.resize(np.frombuffer(b"\x5a\xa5\x3c", np.uint8), size * dtype.itemsize)
    buffer = xp.array(pattern)
    x = window_of(buffer.view(dtype), layout)

    assert filled(fill, x, seed) is x

    expected = filled(fill, np.empty(x.shape, dtype), seed)
    if fill.kind == fills.ORTHOGONAL:
        np.testing.assert_allclose(
            to_host(x).astype(np.complex128), expected.astype(np.complex128), rtol=0, atol=fills.TOLERANCES[dtype.name]
        )
    else:
        assert to_host(x).tobytes() == expected.tobytes()
    inside = np.zeros(size, bool)
    inside[window_of(np.arange(size), layout)] = True
    outside = np.repeat(~inside, dtype.itemsize)
    assert np.array_equal(to_host(buffer)[outside], pattern[outside])


@given(calls(), st.sampled_from(["<", ">"]), st.integers(0, 9))
@settings(max_examples=200)
def test_unaligned_memory_and_byte_orders(call, order, offset):
    """NumPy alone has these: windows of buffers that begin at any byte, with the bytes of numbers in either order."""
    fill, dtype, layout, seed = call
    native = fills.dtype_of(dtype)
    if native.name == "bfloat16":
        order = "="  # ml_dtypes has no other
    size = math.prod(axis.in_buffer for axis in layout[0])
    memory = np.resize(np.frombuffer(b"\x5a\xa5\x3c", np.uint8), offset + size * native.itemsize + 9)
    before = memory.copy()
    x = window_of(memory[offset : len(memory) - 9].view(native.newbyteorder(order)), layout)
    assert filled(fill, x, seed) is x

    expected = filled(fill, np.empty(x.shape, native), seed)
    if fill.kind != fills.ORTHOGONAL:  # of which another layout may have other roundings
        assert x.astype(native).tobytes() == expected.tobytes()
    inside = np.zeros(size, bool)
    inside[window_of(np.arange(size), layout)] = True
    outside = np.concatenate([np.ones(offset, bool), np.repeat(~inside, native.itemsize), np.ones(9, bool)])
    assert np.array_equal(memory[outside], before[outside])


@given(layouts(0, 4), st.sampled_from(fills.FLOATS), st.integers(0, 2**64))
@settings(max_examples=100)
def test_trunc_writes_its_elements_and_nothing_else(xp, layout, dtype, seed):
    dtype = fills.dtype_of(dtype)
    size = math.prod(axis.in_buffer for axis in layout[0])
    before = gi.uniform_(np.empty(size, dtype), -9, 9, generator=seed)
    buffer = xp.array(before)
    x = window_of(buffer, layout)
    assert gi.trunc_(x) is x
    expected = before.copy()
    window = window_of(expected, layout)
    window[...] = np.trunc(window.astype(np.float64)).astype(dtype)
    assert to_host(buffer).tobytes() == expected.tobytes()
