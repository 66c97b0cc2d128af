"""Whatever the shape, strides, dtype and function: a fill writes exactly the elements of its array, and the values of the
contiguous fill. hypothesis makes up the arrays, as windows of buffers whose other bytes are watched."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import ml_dtypes
import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import gpuinit as gi
from tests.conftest import to_host

FLOATS = ("float16", "bfloat16", "float32", "float64")
COMPLEX = ("complex64", "complex128")
EVERY = (*FLOATS, *COMPLEX, "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
ANY, WEIGHT, MATRIX, KERNEL = (0, 4), (2, 4), (2, 2), (3, 4)  # numbers of axes

# (function, arguments, dtypes, numbers of axes)
FILLS = [
    ("uniform_", {"a": -1, "b": 2}, FLOATS + COMPLEX, ANY),
    ("uniform_", {"a": 0.5, "b": 0.5}, FLOATS + COMPLEX, ANY),
    ("normal_", {"mean": 0.5}, FLOATS + COMPLEX, ANY),
    ("trunc_normal_", {"a": 1}, FLOATS, ANY),
    ("xavier_uniform_", {}, FLOATS + COMPLEX, WEIGHT),
    ("xavier_normal_", {"gain": 2}, FLOATS + COMPLEX, WEIGHT),
    ("kaiming_uniform_", {"nonlinearity": "relu"}, FLOATS + COMPLEX, WEIGHT),
    ("kaiming_normal_", {"mode": "fan_out"}, FLOATS + COMPLEX, WEIGHT),
    ("lecun_uniform_", {}, FLOATS + COMPLEX, WEIGHT),
    ("lecun_normal_", {}, FLOATS, WEIGHT),
    ("variance_scaling_", {"distribution": "normal"}, FLOATS + COMPLEX, WEIGHT),
    ("sparse_", {"sparsity": 0.4, "std": 1}, FLOATS + COMPLEX, MATRIX),
    ("orthogonal_", {}, FLOATS + COMPLEX, WEIGHT),
    ("constant_", {"val": 1}, EVERY, ANY),
    ("zeros_", {}, EVERY, ANY),
    ("ones_", {}, EVERY, ANY),
    ("eye_", {}, EVERY, MATRIX),
    ("dirac_", {}, EVERY, KERNEL),
]
RANDOM = {name for name, _, dtypes, _ in FILLS if dtypes is not EVERY}
TOLERANCES = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 2e-6, "complex64": 2e-6, "float64": 1e-14, "complex128": 1e-14}


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
    name, arguments, dtypes, axes = draw(st.sampled_from(FILLS))
    return name, arguments, draw(st.sampled_from(dtypes)), draw(layouts(*axes)), draw(st.integers(0, 2**64))


def dtype_of(name):
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def window_of(buffer, layout):
    axes, order = layout
    shape = [axis.in_buffer for axis in axes]
    return buffer.reshape(shape)[(..., *(axis.window for axis in axes))].transpose(order)  # with ... an array even of no axes


def called(name, x, arguments, seed):
    source = {"generator": seed} if name in RANDOM else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element arrays is a no-op", UserWarning)
        return getattr(gi, name)(x, **arguments, **source)


# A window of the whole buffer; negative steps on every axis; elements far apart in the innermost axis of the window.
@given(calls())
@example(("normal_", {}, "float16", ([Axis(4, 1, 0, 0), Axis(5, 1, 0, 0)], [0, 1]), 0))
@example(("uniform_", {}, "complex64", ([Axis(4, -1, 0, 0), Axis(5, -2, 1, 1)], [1, 0]), 1))
@example(("sparse_", {"sparsity": 0.5}, "bfloat16", ([Axis(5, 3, 2, 0), Axis(3, -1, 1, 2)], [1, 0]), 2))
@settings(
    max_examples=600, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_fill_writes_its_elements_and_nothing_else(xp, call):
    name, arguments, dtype, layout, seed = call
    dtype = dtype_of(dtype)
    size = math.prod(axis.in_buffer for axis in layout[0])
    pattern = np.resize(np.frombuffer(b"\x5a\xa5\x3c", np.uint8), size * dtype.itemsize)
    buffer = xp.array(pattern)
    x = window_of(buffer.view(dtype), layout)

    assert called(name, x, arguments, seed) is x

    expected = called(name, np.empty(x.shape, dtype), arguments, seed)
    if name == "orthogonal_":
        np.testing.assert_allclose(
            to_host(x).astype(np.complex128), expected.astype(np.complex128), rtol=0, atol=TOLERANCES[dtype.name]
        )
    else:
        assert to_host(x).tobytes() == expected.tobytes()
    inside = np.zeros(size, bool)
    inside[window_of(np.arange(size), layout)] = True
    outside = np.repeat(~inside, dtype.itemsize)
    assert np.array_equal(to_host(buffer)[outside], pattern[outside])


@given(calls(), st.sampled_from(["<", ">"]), st.integers(0, 9))
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_unaligned_memory_and_byte_orders(call, order, offset):
    """NumPy alone has these: windows of buffers that begin at any byte, with the bytes of numbers in either order."""
    name, arguments, dtype, layout, seed = call
    native = dtype_of(dtype)
    if native.name == "bfloat16":
        order = "="  # ml_dtypes has no other
    size = math.prod(axis.in_buffer for axis in layout[0])
    memory = np.resize(np.frombuffer(b"\x5a\xa5\x3c", np.uint8), offset + size * native.itemsize + 9)
    before = memory.copy()
    x = window_of(memory[offset : len(memory) - 9].view(native.newbyteorder(order)), layout)
    assert called(name, x, arguments, seed) is x

    expected = called(name, np.empty(x.shape, native), arguments, seed)
    if name != "orthogonal_":  # of which another layout may have other roundings
        assert x.astype(native).tobytes() == expected.tobytes()
    inside = np.zeros(size, bool)
    inside[window_of(np.arange(size), layout)] = True
    outside = np.concatenate([np.ones(offset, bool), np.repeat(~inside, native.itemsize), np.ones(9, bool)])
    assert np.array_equal(memory[outside], before[outside])


@given(layouts(0, 4), st.sampled_from(FLOATS), st.integers(0, 2**64))
@settings(
    max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_trunc_writes_its_elements_and_nothing_else(xp, layout, dtype, seed):
    dtype = dtype_of(dtype)
    size = math.prod(axis.in_buffer for axis in layout[0])
    before = gi.uniform_(np.empty(size, dtype), -9, 9, generator=seed)
    buffer = xp.array(before)
    x = window_of(buffer, layout)
    assert gi.trunc_(x) is x
    expected = before.copy()
    window = window_of(expected, layout)
    window[...] = np.trunc(window.astype(np.float64)).astype(dtype)
    assert to_host(buffer).tobytes() == expected.tobytes()
