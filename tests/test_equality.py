"""Every fill gives the same bits on every backend and layout: those of the contiguous fill by NumPy's ufuncs."""

from __future__ import annotations

import numpy as np
import pytest

import gpuinit as gi
from tests.conftest import by_ufuncs, to_host
from tests.support.layouts import LAYOUTS, Window

ALL = (np.float16, np.float32, np.float64)

# (function, parameters, dtypes). Scales so small that results are subnormal, so large that they are infinite.
FILLS = [
    ("uniform_", {}, ALL),
    ("uniform_", {"a": -0.1, "b": 0.1}, ALL),
    ("uniform_", {"a": 1.0, "b": 1.0 + 2**-9}, ALL),
    ("uniform_", {"a": -65504, "b": 65504}, ALL),
    ("uniform_", {"a": 0, "b": 1e-42}, ALL),
    ("uniform_", {"a": -1e-310, "b": 1e-310}, (np.float32, np.float64)),
    ("uniform_", {"a": -1.7e38, "b": 1.7e38}, (np.float32, np.float64)),
    ("uniform_", {"a": 0.3, "b": 0.3}, ALL),
    ("normal_", {}, ALL),
    ("normal_", {"mean": -3, "std": 0.02}, ALL),
    ("normal_", {"std": 1e-6}, ALL),
    ("normal_", {"std": 1e-42}, ALL),
    ("normal_", {"std": 1e-310}, ALL),
    ("normal_", {"std": 5e4}, ALL),
    ("normal_", {"std": 3e38}, ALL),
    ("normal_", {"mean": 0.1, "std": 0}, ALL),
    ("trunc_normal_", {}, ALL),
    ("trunc_normal_", {"mean": 0.01, "std": 0.02, "a": -0.04, "b": 0.04}, ALL),
    ("trunc_normal_", {"a": 3, "b": 4}, ALL),
    ("trunc_normal_", {"a": -6.1, "b": -6}, ALL),
    ("trunc_normal_", {"a": 6.2, "b": np.inf}, ALL),
    ("trunc_normal_", {"a": -np.inf, "b": 1}, ALL),
    ("trunc_normal_", {"a": -np.inf, "b": np.inf}, ALL),
    ("trunc_normal_", {"std": 1e-42, "a": -1e-42, "b": 2e-42}, ALL),
    ("trunc_normal_", {"std": 1e38, "a": -1e38, "b": 3e38}, ALL),
    ("trunc_normal_", {"a": 0.7, "b": 0.7}, ALL),
]
SCALED = [
    ("xavier_uniform_", {"gain": 5 / 3}, ALL),
    ("xavier_normal_", {}, ALL),
    ("kaiming_uniform_", {"a": 5**0.5}, ALL),
    ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}, ALL),
    ("lecun_uniform_", {}, ALL),
    ("lecun_normal_", {}, ALL),
    ("variance_scaling_", {"scale": 2, "mode": "fan_avg", "distribution": "uniform"}, ALL),
    ("variance_scaling_", {"scale": 2, "mode": "fan_out"}, ALL),
]
SPARSE = [("sparse_", {"sparsity": s, "std": std}, ALL) for s, std in ((0, 1), (0.1, 0.01), (0.5, 1e-42), (0.99, 1), (1, 1))]

# Around the ends of blocks (4 or 8 elements) and of a grid's thread blocks (128 loop indices); two pieces of the CPU's.
SIZES = [(0,), (1,), (3,), (4,), (5,), (7,), (8,), (9,), (15,), (31,), (32,), (33,), (1023,), (1024,), (1025,), (70_001,)]
SHAPES = [(), (0, 4), (3, 5), (2, 3, 4), (1, 1, 7, 1), (17, 9)]


def table(fills):
    return [
        pytest.param(name, parameters, dtype, id=f"{name}-{'-'.join(map(str, parameters.values()))}-{dtype.__name__}")
        for name, parameters, dtypes in fills
        for dtype in dtypes
    ]


def check(xp, layout, shape, name, parameters, dtype):
    fill = getattr(gi, name)
    with by_ufuncs():
        expected = fill(np.empty(shape, dtype), **parameters, generator=reference_generator())
    window = Window(xp, layout, shape, dtype)
    generator = reference_generator()
    assert fill(window.array, **parameters, generator=generator) is window.array
    assert to_host(window.array).tobytes() == expected.tobytes()
    assert window.outside_untouched()
    words_per_block = 4 if dtype is np.float64 else 8
    assert generator.position == 5 + -(-expected.size // words_per_block)


def reference_generator():
    generator = gi.Generator(123)
    generator.reserve(5)
    return generator


@pytest.mark.parametrize(("name", "parameters", "dtype"), table(FILLS))
def test_sizes(xp, name, parameters, dtype):
    for shape in SIZES:
        check(xp, "C", shape, name, parameters, dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("name", "parameters", "dtype"), table(FILLS[1::7]))
def test_layouts(xp, layout, name, parameters, dtype):
    for shape in SHAPES:
        check(xp, layout, shape, name, parameters, dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("name", "parameters", "dtype"), table(SCALED))
def test_scaled(xp, layout, name, parameters, dtype):
    for shape in ((6, 5), (4, 3, 3, 2)):
        check(xp, layout, shape, name, parameters, dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("name", "parameters", "dtype"), table(SPARSE))
def test_sparse(xp, layout, name, parameters, dtype):
    for shape in ((1, 1), (5, 3), (33, 17), (40, 1), (0, 3), (3, 0)):
        check(xp, layout, shape, name, parameters, dtype)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_orthogonal_to_rounding(xp, layout, dtype):
    for shape in ((1, 1), (4, 4), (9, 5), (5, 9), (3, 2, 4), (130, 70), (70, 130), (100, 100)):
        expected = gi.orthogonal_(np.empty(shape, dtype), 1.5, generator=reference_generator())
        window = Window(xp, layout, shape, dtype)
        gi.orthogonal_(window.array, 1.5, generator=reference_generator())
        tolerance = {np.float16: 1e-3, np.float32: 2e-6, np.float64: 1e-14}[dtype]
        np.testing.assert_allclose(to_host(window.array).astype(float), expected.astype(float), rtol=0, atol=tolerance)
        assert window.outside_untouched()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_orthogonal_of_the_largest_gain(xp, dtype):
    """No intermediate result is larger than the result."""
    gain = float(np.finfo(dtype).max)
    filled = to_host(gi.orthogonal_(xp.empty((150, 140), dtype), gain, generator=1))
    expected = gi.orthogonal_(np.empty((150, 140), dtype), generator=1)
    np.testing.assert_allclose(filled / gain, expected, rtol=0, atol=2e-6)


CONSTANTS = [
    ("zeros_", {}, [(), (7,), (3, 5)]),
    ("ones_", {}, [(), (7,), (3, 5)]),
    ("constant_", {"val": 0.5}, [(), (7,), (3, 5)]),
    ("eye_", {}, [(1, 1), (4, 4), (3, 5), (5, 3), (0, 2)]),
    ("dirac_", {}, [(4, 3, 3), (3, 4, 2, 3), (6, 2, 1, 2, 3), (0, 2, 3)]),
    ("dirac_", {"groups": 2}, [(4, 3, 3), (6, 4, 2, 3), (6, 2, 1, 2, 3)]),
]
EVERY_DTYPE = "?bBhHiIqQefdFD"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("name", "parameters", "shapes"), CONSTANTS, ids=lambda value: value if isinstance(value, str) else "")
def test_constants(xp, layout, name, parameters, shapes):
    for dtype in EVERY_DTYPE if "val" not in parameters else "efdFD":
        for shape in shapes:
            expected = getattr(gi, name)(np.empty(shape, dtype), **parameters)
            window = Window(xp, layout, shape, dtype)
            getattr(gi, name)(window.array, **parameters)
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
