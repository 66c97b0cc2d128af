"""A shard holds exactly what the fill of the whole would put there: every fill, every cut, every layout, both backends."""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpuinit as gi
from gpuinit._contract.dtypes import as_dtype
from tests.support import fills
from tests.support.arrays import by_ufuncs, to_host
from tests.support.layouts import LAYOUTS, Window
from tests.support.memory import LIMIT, peak_memory
from tests.support.shards import CUTS, WEIGHTS, called
from tests.support.stream import uniform_at

ALL = slice(None)
OTHER_DTYPES = ("float16", "bfloat16", "float64", "complex64", "complex128")


def every_cut(shape):
    """All indices of step 1, those of empty parts too: every part of every partition."""
    return itertools.product(*([slice(a, b) for a in range(n + 1) for b in range(a, n + 1)] for n in shape))


def check(xp, name, arguments, shape, dtype, indices, layout="C"):
    """Each part against the dense fill by NumPy, and the position."""
    whole = np.empty(shape, dtype)
    position = called(name, whole, arguments)
    for index in indices:
        shard = gi.Shard(shape, index)
        window = Window(xp, layout, shard.shape, dtype)
        assert called(name, window.array, arguments, shard=shard) == position
        assert_equal(name, window.array, whole[index])
        assert window.outside_untouched()


def assert_equal(name, part, expected):
    assert part.shape == expected.shape
    if name.endswith("orthogonal_"):
        wide = np.complex128 if expected.dtype.kind == "c" else np.float64
        tolerance = 4 * fills.TOLERANCES[expected.dtype.name]
        np.testing.assert_allclose(to_host(part).astype(wide), expected.astype(wide), rtol=0, atol=tolerance)
    else:
        assert to_host(part).tobytes() == expected.tobytes()


# Every part of small arrays.


@pytest.mark.parametrize(("name", "arguments", "shapes"), CUTS)
def test_every_cut(xp, name, arguments, shapes):
    for shape in shapes:
        check(xp, name, arguments, shape, np.float32, every_cut(shape))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
def test_every_cut_by_ufuncs(dtype):
    """As without a compiler."""
    with by_ufuncs():
        for shape in WEIGHTS + [(2, 1, 2, 1, 2, 1), (2, 30)]:
            check(np, "normal_", {"mean": 1}, shape, dtype, every_cut(shape))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", OTHER_DTYPES)
@pytest.mark.parametrize(("name", "arguments", "shapes"), CUTS)
def test_every_cut_in_other_dtypes(xp, name, arguments, shapes, dtype):
    if dtype.startswith("complex") and name in ("trunc_normal_", "lecun_normal_", "variance_scaling_"):
        pytest.skip("no truncated normal is complex")
    for shape in shapes:
        check(xp, name, arguments, shape, as_dtype(dtype), every_cut(shape))


@pytest.mark.parametrize("dtype", OTHER_DTYPES)
@pytest.mark.parametrize("name", ["uniform_", "normal_", "trunc_normal_", "sparse_"])
def test_other_dtypes(xp, name, dtype):
    arguments = {"sparse_": {"sparsity": 0.4}, "normal_": {"mean": 1 + 2j if dtype.startswith("complex") else 1}}.get(name, {})
    if not (dtype.startswith("complex") and name == "trunc_normal_"):
        check(xp, name, arguments, (3, 19), as_dtype(dtype), every_cut((3, 19)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["uniform_", "kaiming_normal_", "sparse_", "orthogonal_", "eye_", "ones_"])
def test_layouts(xp, name, layout):
    arguments = {"sparsity": 0.4} if name == "sparse_" else {}
    for dtype in (np.float32, np.complex64):
        indices = itertools.product([ALL, slice(0, 2), slice(3, 3), slice(1, 5)], [ALL, slice(8, 17), slice(7, 8)])
        check(xp, name, arguments, (5, 17), dtype, indices, layout)


@pytest.mark.parametrize("layout", ["C", "F", "every other"])
def test_layouts_of_many_axes(xp, layout):
    indices = itertools.product([ALL, slice(1, 3)], [ALL, slice(0, 1)], [slice(1, 4)], [ALL, slice(2, 5)])
    check(xp, "normal_", {}, (3, 2, 4, 5), np.float32, indices, layout)


@settings(max_examples=150)
@given(st.data())
def test_any_shard(xp, data):
    fill = data.draw(st.sampled_from(fills.ONE_OF_EACH), "fill")
    least, most = fill.axes
    shape = tuple(data.draw(st.lists(st.integers(1, 12), min_size=least, max_size=min(most, 4)).filter(fill.takes), "shape"))
    bounds = [data.draw(st.tuples(st.integers(0, n), st.integers(0, n)).map(sorted), "bounds") for n in shape]
    dtype = as_dtype(data.draw(st.sampled_from(fill.dtypes), "dtype"))
    check(xp, fill.name, fill.arguments, shape, dtype, [tuple(slice(*pair) for pair in bounds)])


# Larger ones: runs, pieces, threads.

LARGE = [
    ((300_000,), (slice(1001, 150_003),)),
    ((3, 70_000), (slice(1, 3), slice(3, 69_999))),
    ((70_000, 3), (slice(5, 69_999), slice(1, 3))),
    ((3, 200, 1100), (ALL, slice(0, 199), slice(7, 1099))),
    ((2, 70_000, 1, 3), (ALL, slice(1, 70_000), ALL, slice(0, 2))),
    ((700, 513), (slice(11, 700), slice(0, 512))),
    ((40_000, 9), (ALL, slice(2, 3))),
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "float16"])
@pytest.mark.parametrize(("shape", "index"), LARGE, ids=str)
def test_many_pieces(shape, index, dtype):
    threads = gi.get_num_threads()
    try:
        for count in (1, 3):
            gi.set_num_threads(count)
            check(np, "normal_", {"mean": 1}, shape, np.dtype(dtype), [index])
            if len(shape) == 2:
                check(np, "sparse_", {"sparsity": 0.3}, shape, np.dtype(dtype), [index])
    finally:
        gi.set_num_threads(threads)


def test_columns_have_exact_zeros_over_all_shards(xp):
    rows, columns, cuts = 100, 37, ([0, 13, 13, 80, 100], [0, 5, 37])
    zeros = np.zeros(columns, int)
    for (a, b), (c, d) in itertools.product(*(itertools.pairwise(cut) for cut in cuts)):
        part = xp.empty((b - a, d - c), np.float32)
        gi.sparse_(part, 0.35, generator=1, shard=gi.Shard((rows, columns), (slice(a, b), slice(c, d))))
        zeros[c:d] += to_host(part == 0).sum(axis=0)
    assert (zeros == 35).all()


def test_the_whole_is_a_shard_too(xp):
    for index in ((ALL, ALL), (slice(0, 5), slice(None, 7))):
        check(xp, "normal_", {}, (5, 7), np.float32, [index])


def test_a_shard_of_nothing(xp):
    shard = gi.Shard((0, 2**40, 3), (ALL, slice(7, 9), ALL))
    assert called("normal_", xp.empty((0, 2, 3), np.float32), {}, shard=shard) == 3
    with pytest.warns(UserWarning, match="no-op"):
        gi.kaiming_normal_(xp.empty((0, 2, 3), np.float32), generator=1, shard=shard)


def test_byte_orders():
    shard = gi.Shard((6, 8), (slice(1, 4), slice(2, 7)))
    expected = gi.normal_(np.empty((6, 8), np.float32), generator=1)[shard.index]
    swapped = gi.normal_(np.empty((3, 5), ">f4"), generator=1, shard=shard)
    np.testing.assert_array_equal(swapped, expected)


def test_tensors(torch):
    shard = gi.Shard((6, 8), (slice(1, 4), slice(2, 7)))
    expected = gi.normal_(np.empty((6, 8), np.float32), generator=1)[shard.index]
    tensor = gi.normal_(torch.empty(3, 5), generator=1, shard=shard)
    np.testing.assert_array_equal(tensor.numpy(), expected)


# Places far from the beginning.


FAR = [
    ((2**18, 2**18), (slice(2**17 + 3, 2**17 + 7), ALL)),
    ((2**18, 2**18), (slice(2**17 + 3, 2**17 + 1027), slice(5, 1029))),
    ((2**36,), (slice(2**35 - 1, 2**35 - 1 + 2**20),)),
    ((2**31, 2**31), (slice(2**31 - 1, 2**31), slice(2**31 - 2**20, 2**31))),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "index"), FAR, ids=str)
def test_far_shards(xp, shape, index, dtype):
    shard = gi.Shard(shape, index)
    generator = gi.Generator(42)
    part = to_host(gi.uniform_(xp.empty(shard.shape, dtype), generator=generator, shard=shard))
    assert part.size == 2**20
    rows = [0] if len(shape) == 1 else range(index[0].start, index[0].stop)
    columns = shard.index[-1]
    for row, values in zip(rows, part.reshape(len(rows), -1)):
        expected = uniform_at(42, row * shape[-1] + columns.start, values.size, dtype)
        np.testing.assert_array_equal(values, expected)
    assert generator.position == np.prod(shape, dtype=object) * np.dtype(dtype).itemsize // 16


FAR_DIAGONALS = [
    ("eye_", (2**32, 4), (slice(2**31, 2**31 + 2), slice(0, 2)), []),
    ("eye_", (4, 2**32), (slice(0, 2), slice(2**31, 2**31 + 2)), []),
    ("eye_", (2**31, 2**31), (slice(2**31 - 3, 2**31 - 1), slice(2**31 - 2, 2**31)), [(1, 0)]),
    ("eye_", (2**60, 4), (slice(2**60 - 2, 2**60), slice(2, 4)), []),
    ("dirac_", (2**33, 4, 3), (slice(2**32, 2**32 + 2), slice(0, 2), ALL), []),
    ("dirac_", (4, 2**40, 3), (slice(0, 2), slice(2**39, 2**39 + 2), ALL), []),
    ("dirac_", (2**30, 2**30, 3), (slice(2**30 - 3, 2**30 - 1), slice(2**30 - 2, 2**30), ALL), [(1, 0, 1)]),
]


@pytest.mark.parametrize(("name", "shape", "index", "ones"), FAR_DIAGONALS, ids=str)
def test_far_diagonals(xp, name, shape, index, ones):
    shard = gi.Shard(shape, index)
    part = to_host(getattr(gi, name)(xp.full(shard.shape, 77, np.float32), shard=shard))
    assert sorted(map(tuple, np.argwhere(part))) == ones
    assert set(part.ravel()) <= {0, 1}


def best_time(fill, repeats=5):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        fill()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.parametrize(("shape", "index"), FAR[:3], ids=str)
def test_far_shards_take_milliseconds(shape, index):
    shard = gi.Shard(shape, index)
    x = np.empty(shard.shape, np.float32)
    assert best_time(lambda: gi.normal_(x, generator=1, shard=shard)) < 0.1


def test_a_thin_cut_takes_less_than_a_second():
    shard = gi.Shard((2**20, 4096), (ALL, slice(77, 78)))
    x = np.empty(shard.shape, np.float32)
    assert best_time(lambda: gi.uniform_(x, generator=42, shard=shard), 3) < 1
    for row in (0, 1, 12345, 2**20 - 1):
        assert x[row, 0] == uniform_at(42, row * 4096 + 77, 1, np.float32)[0]


def test_the_end_of_the_stream(xp):
    """Numbers of blocks have 64 bits, on every path."""
    end = gi.Generator(5)
    end.reserve(2**64 - 3)
    state = end.state
    whole = gi.uniform_(np.empty((1, 8), np.float32), generator=end)
    end.state = state
    part = gi.uniform_(xp.empty((1, 3), np.float32), generator=end, shard=gi.Shard((1, 8), (ALL, slice(2, 5))))
    np.testing.assert_array_equal(to_host(part), whole[:, 2:5])
    end.state = state
    with pytest.raises(OverflowError, match=rf"position {2**64 - 3} \+ 3 blocks passes the end"):
        gi.uniform_(xp.empty((1, 3), np.float32), generator=end, shard=gi.Shard((1, 9), (ALL, slice(2, 5))))


# What a shard costs.

MEMORY = [
    ("normal_", (2**22, 3), (ALL, slice(1, 2)), np.float32),
    ("normal_", (2**21, 7), (ALL, slice(1, 3)), np.float64),
    ("normal_", (2**20, 7), (ALL, slice(1, 3)), np.complex64),
    ("trunc_normal_", (2**21, 7), (ALL, slice(1, 3)), np.float64),
    ("uniform_", (2**12, 2**20), (ALL, slice(9, 1033)), np.float32),
    ("sparse_", (2**11, 2**20), (ALL, slice(9, 2057)), np.float32),
    ("sparse_", (2**22, 5), (ALL, slice(2, 3)), np.float32),
]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("name", "shape", "index", "dtype"), MEMORY)
def test_temporary_memory(name, shape, index, dtype, threads):
    shard = gi.Shard(shape, index)
    x = np.empty(shard.shape, dtype)
    arguments = {"sparsity": 0.5} if name == "sparse_" else {}
    called(name, np.empty((2, 2), dtype), arguments)  # makes the tables, which stay
    assert peak_memory(lambda: called(name, x, arguments, shard=shard), threads) < LIMIT * threads


# Errors.

SHARD = gi.Shard((4, 6), (slice(1, 3), ALL))
# What the array's own shape, or the whole's, must be refused for by each function.
OTHER_SHAPE = r"x must have the shard's shape \(2, 6\), got shape "
REFUSED = [
    *((name, arguments, SHARD, (4, 6), OTHER_SHAPE + r"\(4, 6\)") for name, arguments, _ in CUTS),
    ("uniform_", {}, SHARD, (2, 5), OTHER_SHAPE + r"\(2, 5\)"),
    ("uniform_", {}, SHARD, (12,), OTHER_SHAPE + r"\(12,\)"),
    ("dirac_", {"groups": 3}, gi.Shard((4, 6, 1), (slice(0, 3), ALL, ALL)), (3, 6, 1), r"groups must divide .* got groups=3"),
    ("xavier_normal_", {}, gi.Shard((9,), (slice(0, 3),)), (3,), r"need at least 2 axes .* got shape \(9,\)"),
    ("eye_", {}, gi.Shard((9,), (slice(0, 3),)), (3,), r"x must have 2 axes, got 1"),
]


@pytest.mark.parametrize(("name", "arguments", "shard", "shape", "match"), REFUSED)
def test_refused_before_anything_is_written(xp, name, arguments, shard, shape, match):
    refused(xp, name, arguments, shard, shape, ValueError, match)


@pytest.mark.parametrize("shard", [(4, 6), (ALL, ALL), ALL, 3, gi.Shard, OrderedDict()], ids=str)
def test_no_shard(xp, shard):
    refused(xp, "normal_", {}, shard, (4, 6), TypeError, r"shard must be a gpuinit\.Shard or None, got .* of type ")
    refused(xp, "ones_", {}, shard, (4, 6), TypeError, r"shard must be a gpuinit\.Shard or None, got .* of type ")


def refused(xp, name, arguments, shard, shape, error, match):
    x = xp.full(shape, 77, np.float32)
    generator = gi.Generator(3)
    before = generator.state
    source = {"generator": generator} if name in fills.RANDOM else {}
    with pytest.raises(error, match=match):
        getattr(gi, name)(x, **arguments, **source, shard=shard)
    assert (to_host(x) == 77).all()
    assert generator.state == before
