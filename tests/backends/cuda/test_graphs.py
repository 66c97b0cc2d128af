"""Fills in CUDA graphs: after a first call each is captured, in the strictest mode, as one node; replays give the same values.

In the "global" mode CUDA refuses whatever might not be part of the graph: allocations, synchronous copies, waiting, compiling.
"""

from __future__ import annotations

import contextlib
import importlib

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._contract import distributions
from tests.support import fills
from tests.support.arrays import to_host
from tests.support.layouts import Window

DTYPES = (*fills.INEXACT, "bool", "int8", "int64")
# All functions but orthogonal_, which works in temporary memory.
FILLS = [row for row in fills.select() if row.kind != fills.ORTHOGONAL]
CASES = [
    *((row, next(filter(row.takes, [(33, 17), (6, 4, 3)]))) for row in FILLS),
    (fills.first("uniform_"), (1001,)),
    (fills.first("normal_"), ()),
]


LAYOUTS = ["C", "F", "every other"]


def captured(cupy, stream, fill):
    """The graph of what `fill` does in the stream."""
    with stream:
        stream.begin_capture(mode=cupy.cuda.runtime.streamCaptureModeGlobal)
        try:
            fill()
        finally:
            graph = stream.end_capture()
    return graph


def trace():
    """The log of an emulated device, or None: then only the results are checked."""
    try:
        return importlib.import_module("cudasim").trace()
    except ImportError:
        return None


class Recorded:
    """Captures a fill; on an emulated device, checks what it was made of."""

    def __init__(self, cupy, fill, nodes=1):
        self.stream = cupy.cuda.Stream(non_blocking=True)
        log = trace()
        if log is None:
            self.graph = captured(cupy, self.stream, fill)
            return
        with log as events:
            self.graph = captured(cupy, self.stream, fill)
        ends = [event for event in events.of("capture") if event["what"] == "end"]
        assert [int(event["nodes"]) for event in ends] == [nodes]
        assert {event["kind"] for event in events.of("node")} <= {"launch", "memset"}
        for kind in ("malloc", "free", "memcpy", "memset", "sync", "module", "launch", "library"):
            assert not events.of(kind), kind

    def replay(self):
        self.graph.launch(self.stream)
        self.stream.synchronize()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("fill", "shape", "dtype"),
    [
        pytest.param(row, shape, dtype, id=f"{row}-{shape}-{dtype}")
        for row, shape in CASES
        for dtype in DTYPES
        if dtype in row.dtypes
    ],
)
def test_a_fill_is_captured_and_replayed(cupy, fill, shape, dtype, layout):
    dtype = fills.dtype_of(dtype)
    window = Window(cupy, layout, shape, dtype)
    x, is_trunc = window.array, fill.kind == fills.TRUNC
    given = cupy.asarray(gi.uniform_(np.empty(shape, dtype), -9, 9, generator=1)) if is_trunc else x
    # The first call compiles.
    fills.call(fill.name, cupy.empty_like(x) if layout == "C" else Window(cupy, layout, shape, dtype).array, fill.arguments)
    generator, expected_generator = fills.generator_at(5), fills.generator_at(5)
    before = to_host(window.buffer).tobytes()

    nodes = 2 if "padding_idx" in fill.arguments else 1  # the zeros of a row are a memset of their own
    recorded = Recorded(cupy, lambda: fills.call(fill.name, x, fill.arguments, generator), nodes)

    assert to_host(window.buffer).tobytes() == before  # recorded, not run
    expected = to_host(fills.call(fill.name, given.copy(), fill.arguments, expected_generator))
    assert generator.state == expected_generator.state  # the position is the host's: it moves once, when the call is made
    for _ in range(2):
        x[...] = given if is_trunc else 0
        cupy.cuda.Device().synchronize()
        recorded.replay()
        assert to_host(x).tobytes() == expected.tobytes()
        assert window.outside_untouched()
    assert generator.state == expected_generator.state


def test_many_fills_in_one_graph(cupy):
    """The weights of a model: one node each, each from its own place in the stream."""
    shapes = [(16, 3, 3, 3), (16,), (10, 144), (10,)]

    def initialize(weights, generator):
        for x in weights:
            if x.ndim > 1:
                gi.kaiming_normal_(x, nonlinearity="relu", generator=generator)
            else:
                gi.uniform_(x, -0.1, 0.1, generator=generator)

    weights = [cupy.empty(shape, np.float32) for shape in shapes]
    initialize(weights, gi.Generator(0))
    recorded = Recorded(cupy, lambda: initialize(weights, gi.Generator(3)), nodes=4)
    expected = [np.empty(shape, np.float32) for shape in shapes]
    initialize(expected, gi.Generator(3))
    for _ in range(2):
        for x in weights:
            x[...] = 0
        cupy.cuda.Device().synchronize()
        recorded.replay()
        for x, values in zip(weights, expected):
            assert to_host(x).tobytes() == values.tobytes()


def test_arrays_of_a_batch_are_captured_one_by_one(cupy):
    """The table of a shared launch is gone when the graph runs, so each array is a node."""
    from gpuinit._backends.cuda.batch import fill_all

    gi.warmup()
    stream, float32 = fills.generator_at(5).reserve(1), np.dtype(np.float32)
    arrays = [cupy.zeros(30, np.float32) for _ in range(3)]
    drawn = [distributions.normal(float32, 0, 1), distributions.uniform(float32, 0, 1), distributions.Point(np.float32(3))]
    recorded = Recorded(cupy, lambda: fill_all([*zip(arrays, drawn, (stream, stream, None))]), nodes=3)
    recorded.replay()
    expected = [fill(np.empty(30, np.float32), generator=fills.generator_at(5)) for fill in (gi.normal_, gi.uniform_)]
    for x, values in zip(arrays, (*expected, np.full(30, 3, np.float32))):
        assert to_host(x).tobytes() == values.tobytes()


def test_a_fill_after_a_warm_up(cupy):
    """`warmup` is first call enough for contiguous arrays of its dtypes."""
    dtypes = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
    gi.warmup(dtypes)
    for dtype in map(fills.dtype_of, dtypes):
        for name in ("uniform_", "normal_", "xavier_uniform_", "zeros_", "ones_", "eye_", "sparse_"):
            x = cupy.empty((20, 30), dtype)
            arguments = {"sparsity": 0.5} if name == "sparse_" else {}
            recorded = Recorded(cupy, lambda fill=(name, x, arguments): fills.call(*fill, 9))
            recorded.replay()
            assert to_host(x).tobytes() == fills.call(name, np.empty((20, 30), dtype), arguments, 9).tobytes()


def test_empty_arrays_and_refused_calls_leave_a_capture_alone(cupy):
    x, empty = cupy.zeros(100, np.float32), cupy.empty((0, 3), np.float32)
    gi.normal_(x, generator=1)

    def fills():
        gi.normal_(empty, generator=1)
        with pytest.raises(ValueError, match="std must not be negative"):
            gi.normal_(x, std=-1)
        with pytest.raises(TypeError, match="x must be an array"):
            gi.normal_(cupy.cuda.Stream.null)
        gi.normal_(x, generator=2)

    recorded = Recorded(cupy, fills)
    recorded.replay()
    assert to_host(x).tobytes() == gi.normal_(np.empty(100, np.float32), generator=2).tobytes()


def test_orthogonal_cannot_be_captured_and_leaves_the_device_usable(cupy):
    """It calls cuSOLVER, which CuPy keeps out of captures; fills after the failed one are right."""
    x = cupy.zeros((9, 5), np.float32)
    gi.orthogonal_(x, generator=1)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        with pytest.raises(RuntimeError, match="during stream capture"):
            gi.orthogonal_(x, generator=1)
        with contextlib.suppress(cupy.cuda.runtime.CUDARuntimeError):  # a capture that something was refused in is invalid
            stream.end_capture()
    gi.normal_(x, generator=2)
    assert to_host(x).tobytes() == gi.normal_(np.empty((9, 5), np.float32), generator=2).tobytes()
    expected = gi.orthogonal_(np.empty((9, 5), np.float32), generator=1)
    np.testing.assert_allclose(to_host(gi.orthogonal_(x, generator=1)), expected, rtol=0, atol=2e-6)
