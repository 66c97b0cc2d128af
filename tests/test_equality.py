"""Every fill gives the same bits on every backend and layout: those of the contiguous fill by NumPy's ufuncs."""

from __future__ import annotations

import numpy as np
import pytest

import gpuinit as gi
from tests.support import fills
from tests.support.arrays import by_ufuncs, to_host
from tests.support.layouts import LAYOUTS, Window

ALL = ("float16", "float32", "float64")
ELEMENTWISE = fills.select(fills.DRAWN, edges=True)
SCALED = fills.select(fills.SCALED)
SPARSE = fills.select(fills.SPARSE, edges=True)
CONSTANTS = fills.select(fills.CONSTANT, fills.STRUCTURED)

# Around the ends of blocks (2 or 4 elements), of threads (16 or 32) and of a grid's thread blocks; two pieces of the CPU's.
SIZES = [(0,), (1,), (2,), (3,), (4,), (5,), (15,), (16,), (17,), (31,), (32,), (33,), (4095,), (4096,), (4097,), (140_001,)]
SHAPES = [(), (0, 4), (3, 5), (2, 3, 4), (1, 1, 7, 1), (17, 9)]


def check(xp, layout, shape, fill, dtype):
    generator, expected = fills.generator_at(5), np.empty(shape, dtype)
    with by_ufuncs():
        fills.call(fill.name, expected, fill.arguments, fills.generator_at(5))
    window = Window(xp, layout, shape, dtype)
    assert fills.call(fill.name, window.array, fill.arguments, generator) is window.array
    assert to_host(window.array).tobytes() == expected.tobytes()
    assert window.outside_untouched()
    assert generator.position == 5 + fills.blocks_of(shape, dtype)


@pytest.mark.parametrize(("fill", "dtype"), fills.cases(ELEMENTWISE, ALL))
def test_sizes(xp, fill, dtype):
    for shape in SIZES:
        check(xp, "C", shape, fill, dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("fill", "dtype"), fills.cases(fills.select(fills.DRAWN), ALL))
def test_layouts(xp, layout, fill, dtype):
    for shape in SHAPES:
        check(xp, layout, shape, fill, dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("fill", "dtype"), fills.cases(SCALED, ALL))
def test_scaled(xp, layout, fill, dtype):
    for shape in ((6, 5), (4, 3, 3, 2)):
        check(xp, layout, shape, fill, dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("fill", "dtype"), fills.cases(SPARSE, ALL))
def test_sparse(xp, layout, fill, dtype):
    for shape in filter(fill.takes, ((1, 1), (5, 3), (33, 17), (40, 1), (0, 3), (3, 0))):
        check(xp, layout, shape, fill, dtype)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_orthogonal_to_rounding(xp, layout, dtype):
    for shape in ((1, 1), (4, 4), (9, 5), (5, 9), (3, 2, 4), (130, 70), (70, 130), (100, 100)):
        expected = gi.orthogonal_(np.empty(shape, dtype), 1.5, generator=fills.generator_at(5))
        window = Window(xp, layout, shape, dtype)
        gi.orthogonal_(window.array, 1.5, generator=fills.generator_at(5))
        tolerance = {"float16": 1e-3, "float32": 2e-6, "float64": 1e-14}[dtype]
        np.testing.assert_allclose(to_host(window.array).astype(float), expected.astype(float), rtol=0, atol=tolerance)
        assert window.outside_untouched()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_orthogonal_of_the_largest_gain(xp, dtype):
    """No intermediate result is larger than the result."""
    gain = float(np.finfo(dtype).max)
    filled = to_host(gi.orthogonal_(xp.empty((150, 140), dtype), gain, generator=1))
    expected = gi.orthogonal_(np.empty((150, 140), dtype), generator=1)
    np.testing.assert_allclose(filled / gain, expected, rtol=0, atol=2e-6)


MATRICES = [(1, 1), (4, 4), (3, 5), (5, 3), (0, 2)]
KERNELS = [(4, 3, 3), (3, 4, 2, 3), (6, 4, 2, 3), (6, 2, 1, 2, 3), (0, 2, 3)]
CONSTANT_SHAPES = {fills.CONSTANT: [(), (7,), (3, 5)], fills.STRUCTURED: MATRICES + KERNELS}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fill", CONSTANTS, ids=str)
def test_constants(xp, layout, fill):
    for dtype in map(fills.dtype_of, fill.dtypes):
        for shape in filter(fill.takes, CONSTANT_SHAPES[fill.kind]):
            expected = fills.call(fill.name, np.empty(shape, dtype), fill.arguments)
            window = Window(xp, layout, shape, dtype)
            fills.call(fill.name, window.array, fill.arguments)
            assert to_host(window.array).tobytes() == expected.tobytes()
            assert window.outside_untouched()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_trunc(xp, layout):
    values = np.array([-2.7, -1.0, -0.5, -0.0, 0.0, 0.3, 1.5, 1e4, np.inf, -np.inf, np.nan, 3.9])
    for dtype in "efdbiqBHQ":
        given = values.astype(dtype) if dtype in "efd" else np.arange(12).astype(dtype)
        window = Window(xp, layout, (3, 4), dtype)
        window.array[...] = xp.asarray(given.reshape(3, 4))
        gi.trunc_(window.array)
        np.testing.assert_array_equal(to_host(window.array), np.trunc(given).reshape(3, 4))
        assert window.outside_untouched()


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8"])
@pytest.mark.parametrize(
    ("name", "parameters"), [("normal_", {}), ("uniform_", {"a": -1}), ("trunc_normal_", {}), ("orthogonal_", {}), ("eye_", {})]
)
def test_big_endian_and_unaligned_arrays(name, parameters, dtype):
    native = np.dtype(dtype).newbyteorder("=")
    fill = getattr(gi, name)
    generator = {"generator": 3} if name != "eye_" else {}
    expected = fill(np.empty((9, 5), native), **parameters, **generator)
    swapped = fill(np.empty((9, 5), dtype), **parameters, **generator)
    buffer = np.zeros(45 * native.itemsize + 1, np.uint8)
    unaligned = fill(buffer[1:].view(native).reshape(9, 5), **parameters, **generator)
    assert not unaligned.flags.aligned
    np.testing.assert_array_equal(swapped, expected)
    np.testing.assert_array_equal(unaligned, expected)
    assert buffer[0] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_do_not_depend_on_threads(dtype):
    threads = gi.get_num_threads()
    cases = [("uniform_", {}), ("normal_", {}), ("trunc_normal_", {}), ("sparse_", {"sparsity": 0.2})]
    try:
        for name, parameters in cases:
            filled = set()
            for count in (1, 2, 5):
                gi.set_num_threads(count)
                filled.add(getattr(gi, name)(np.empty((700, 1001), dtype), **parameters, generator=1).tobytes())
            assert len(filled) == 1
    finally:
        gi.set_num_threads(threads)
