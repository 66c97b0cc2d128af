"""Many arrays by few launches: each gets the very bits that a fill of it alone gives, by NumPy."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import gpuinit as gi
from gpuinit._backends import host
from gpuinit._contract import distributions
from tests.support.arrays import to_host
from tests.support.layouts import LAYOUTS, Window

REALS = [np.dtype(kind) for kind in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)]
COMPLEX = [np.dtype(kind) for kind in (np.complex64, np.complex128)]
INEXACT = REALS + COMPLEX
EVERY = [*map(np.dtype, "?bBhHiIqQ"), *INEXACT]

# (distribution, its arguments, dtypes): usual ones, and with subnormal results, mirrored intervals, one value for all words.
DRAWN = [
    (distributions.uniform, (-0.1, 0.1), INEXACT),
    (distributions.uniform, (0, 1e-42), REALS),
    (distributions.uniform, (0.3, 0.3), INEXACT),
    (distributions.normal, (-3, 0.02), INEXACT),
    (distributions.normal, (0, 1e-42), REALS),
    (distributions.normal, (1 - 2j, 0.5), COMPLEX),
    (distributions.truncated, (0.01, 0.02, -0.04, 0.04), REALS),
    (distributions.truncated, (0, 1, 6.2, np.inf), REALS),
]
CONSTANTS = [(0, EVERY), (1, EVERY), (-0.0, INEXACT), (0.1, INEXACT), (1.5 - 2j, COMPLEX)]
# Around the ends of 16 bytes, of a thread's eight blocks, of what a warp writes (512 float64, 1024 others) and of several warps.
SHAPES = [(), (1,), (3,), (7,), (17,), (3, 11), (2, 3, 4), (511,), (512,), (513,), (1023,), (1024,), (1025,), (4, 1025)]


class Batch:
    """An array of each shape and layout, for each distribution and constant: filled together, and what each must hold then."""

    def __init__(self, cupy, shapes, layouts):
        drawn = [(make(dtype, *numbers), dtype) for make, numbers, dtypes in DRAWN for dtype in dtypes]
        constants = [(distributions.Point(dtype.type(value)), dtype) for value, dtypes in CONSTANTS for dtype in dtypes]
        self.windows, self.items, self.expected = [], [], []
        for shape in shapes:
            for layout in layouts:
                for distribution, dtype in drawn:
                    self.add(Window(cupy, layout, shape, dtype), distribution, gi.Generator(len(self.items)).reserve(1))
                for distribution, dtype in constants:
                    self.add(Window(cupy, layout, shape, dtype), distribution, None)

    def add(self, window, distribution, stream):
        self.windows.append(window)
        self.items.append((window.array, distribution, stream))
        self.expected.append(values(window.array, distribution, stream))

    def check(self):
        for window, expected in zip(self.windows, self.expected, strict=True):
            assert to_host(window.array).tobytes() == expected.tobytes()
            assert window.outside_untouched()


def values(x, distribution, stream):
    """What a fill of an array like x gives on the CPU."""
    if stream is None:
        return np.full(x.shape, distribution.value, x.dtype)
    alone = np.empty(x.shape, x.dtype)
    host.fill(alone, distribution, stream)
    return alone


@pytest.fixture
def fill_all(cupy):
    from gpuinit._backends.cuda.batch import fill_all

    return fill_all


@pytest.fixture
def pinned(cupy):
    """The bytes of each piece of pinned memory that CuPy asks for."""
    asked = []
    pool = cupy.cuda.PinnedMemoryPool()

    def allocate(size):
        asked.append(size)
        return pool.malloc(size)

    cupy.cuda.set_pinned_memory_allocator(allocate)
    yield asked
    cupy.cuda.set_pinned_memory_allocator(cupy.get_default_pinned_memory_pool().malloc)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_each_array_is_as_if_filled_alone(cupy, fill_all, shape):
    batch = Batch(cupy, [shape], ["C", "one element off"])
    fill_all(batch.items)
    batch.check()


def test_arrays_of_all_sizes_together(cupy, fill_all):
    batch = Batch(cupy, SHAPES[2::3], ["one element off"])
    order = np.random.default_rng(0).permutation(len(batch.items))
    fill_all([batch.items[i] for i in order])
    batch.check()


def test_arrays_that_are_filled_alone(cupy, fill_all, monkeypatch):
    """Those that are not contiguous, and large ones, among others that share launches."""
    monkeypatch.setattr("gpuinit._backends.cuda.batch.LARGEST", 14)
    batch = Batch(cupy, [(2, 7), (3, 5)], LAYOUTS)
    fill_all(batch.items)
    batch.check()


def test_which_arrays_are_filled_alone(cupy, cudasim, fill_all, monkeypatch):
    monkeypatch.setattr("gpuinit._backends.cuda.batch.LARGEST", 20)
    normal, stream = distributions.normal(np.dtype(np.float32), 0, 1), gi.Generator(0).reserve(1)
    small = [cupy.empty(shape, np.float32) for shape in ((), (20,), (4, 5))]
    alone = [cupy.empty(21, np.float32), small[2][:, 1:]]
    fill_all([(x, normal, stream) for x in small + alone])
    with cudasim.trace() as events:
        fill_all([(x, normal, stream) for x in small + alone])
    assert [name.endswith("_batch") for name in events.launches()] == [False, False, True]


def test_a_thousand_arrays_are_a_handful_of_launches(cupy, cudasim, fill_all, pinned):
    """One launch for each type and kind, one for all constants, and one copy for all of them, from pinned memory, on the current
    stream."""
    batch = Batch(cupy, SHAPES, ["C"])
    assert len(batch.items) > 1000
    fill_all(batch.items)
    stream = cupy.cuda.Stream(non_blocking=True)
    pinned.clear()
    with stream, cudasim.trace() as events:
        fill_all(batch.items)
    kinds = [f"gpuinit_{kind}_batch" for kind in ("uniform", "normal", "truncated")]
    assert sorted(events.launches()) == sorted([*kinds * len(REALS), "gpuinit_constant_batch"])
    (copy,) = events.of("memcpy")
    assert (copy["dir"], copy["how"]) == ("HtoD", "async")
    assert pinned == [int(copy["bytes"])]
    assert not events.of("sync")
    assert not events.of("memset")
    assert {int(event["stream"], 0) for event in [copy, *events.of("launch")]} == {stream.ptr}
    batch.check()


def test_nothing_to_fill(cudasim, fill_all):
    with cudasim.trace() as events:
        fill_all([])
    assert not events
