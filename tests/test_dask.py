"""Dask arrays hold the values of a fill of the whole, whatever the chunks, the scheduler and the kind of chunk."""

from __future__ import annotations

import copy
import logging
import os
import subprocess
import sys

import numpy as np
import pytest

import gpuinit as gi
from tests.support.arrays import to_host
from tests.support.fills import RANDOM
from tests.support.shards import CUTS

da = pytest.importorskip("dask.array", reason="Dask is not installed")
dask = pytest.importorskip("dask")
gd = pytest.importorskip("gpuinit.dask")

pytestmark = pytest.mark.dask

SECONDS = 120  # for whatever waits for other processes
CHUNKS = (1, 2, 3, -1, "auto")
ELEMENTWISE = [row for row in CUTS if not row[0].endswith("orthogonal_")]


def lazily(name, shape, parameters, **options):
    seed = {"seed": 11} if name in RANDOM else {}
    return getattr(gd, name.removesuffix("_"))(shape, **parameters, **seed, **options)


def whole(name, shape, parameters, dtype=np.float32):
    seed = {"generator": 11} if name in RANDOM else {}
    return getattr(gi, name)(np.empty(shape, dtype), **parameters, **seed)


def check(array, expected, xp=np):
    """What Dask promises of an array, and its values."""
    da.utils.assert_eq(array, xp.asarray(expected), scheduler="sync")  # shapes, dtypes and kinds, of chunks and `meta` too
    np.testing.assert_array_equal(to_host(array.compute(scheduler="sync")), expected)


# Values.


def test_every_initializer_has_its_function():
    assert gd.__all__ == sorted(name.removesuffix("_") for name in gi.__all__ if name.endswith("_") and name != "trunc_")


@pytest.mark.parametrize(("name", "parameters", "shapes"), ELEMENTWISE)
def test_whatever_the_chunks(xp, name, parameters, shapes):
    for shape in shapes:
        expected = whole(name, shape, parameters)
        for chunks in CHUNKS:
            array = lazily(name, shape, parameters, chunks=chunks, like=xp.empty(()))
            assert isinstance(array._meta, xp.ndarray)
            assert array.chunks == da.core.normalize_chunks(chunks, shape, dtype=np.float32)
            check(array, expected, xp)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float64", "complex64", "complex128"])
def test_dtypes(dtype):
    pytest.importorskip("ml_dtypes")
    array = lazily("normal_", (5, 7), {}, chunks=(2, 3), dtype=dtype)
    expected = whole("normal_", (5, 7), {}, array.dtype)
    assert array.dtype.name == dtype
    assert array.compute(scheduler="sync").tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_orthogonal_of_eight_bits_is_never_nan(dtype):
    found = gd.orthogonal((6, 4), 1e7, seed=11, chunks=2, dtype=dtype).compute(scheduler="sync").astype(float)
    assert (abs(found) == (448 if dtype == "float8_e4m3fn" else np.inf)).all()


def test_other_shapes_and_chunks():
    check(gd.uniform(7, seed=11, chunks=((0, 3, 0, 4),)), whole("uniform_", 7, {}))
    check(gd.uniform([2, 3], seed=11, chunks={0: 1}), whole("uniform_", (2, 3), {}))
    check(gd.ones((0, 4), dtype=int, chunks=2), np.ones((0, 4), int))
    with pytest.warns(UserWarning, match="no-op"):
        empty = gd.xavier_normal((0, 4), seed=11)
    check(empty, np.empty((0, 4), np.float32))


def test_parts_alone():
    """A part is computed from the chunks that it lies in, of a whole of 64 GiB."""
    array = gd.normal((2**18, 2**16), seed=11, chunks=(2**12, 2**10))
    part = array[2**17 + 5 : 2**17 + 8, 2**15 - 1 : 2**15 + 1].compute(scheduler="sync")
    index = (slice(2**17 + 5, 2**17 + 8), slice(2**15 - 1, 2**15 + 1))
    shard = gi.Shard(array.shape, index)
    np.testing.assert_array_equal(part, gi.normal_(np.empty(shard.shape, np.float32), generator=11, shard=shard))


def test_the_kind_of_chunks(cupy):
    with dask.config.set({"array.backend": "cupy"}):
        from_configuration = gd.normal((5, 7), seed=11, chunks=3)
        assert isinstance(gd.normal((5, 7), seed=11, like=np.empty(()))._meta, np.ndarray)
    for array in (from_configuration, gd.normal((5, 7), seed=11, chunks=2, like=from_configuration)):
        check(array, whole("normal_", (5, 7), {}), cupy)


# orthogonal, which has values of its own.

TOLERANCE = {"float16": 1e-3, "float32": 2e-7, "float64": 1e-13, "complex64": 2e-7, "complex128": 1e-13}
MATRICES = [(9, 4), (4, 9), (6, 6), (8, 2, 3), (3, 4, 2, 2), (1, 1), (5, 1), (130, 40)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", MATRICES, ids=str)
def test_orthogonal(dtype, shape):
    first = gd.orthogonal(shape, seed=11, chunks=-1, dtype=dtype).compute(scheduler="sync")
    matrix = first.reshape(shape[0], -1).astype(complex)
    matrix = matrix if len(matrix) >= len(matrix.T) else matrix.T
    np.testing.assert_allclose(matrix.conj().T @ matrix, np.eye(len(matrix.T)), rtol=0, atol=30 * TOLERANCE[dtype])
    for chunks in (7,) if shape[0] == 130 else CHUNKS:
        array = gd.orthogonal(shape, 2, seed=11, chunks=chunks, dtype=dtype)
        assert array.chunks == da.core.normalize_chunks(chunks, shape, dtype=dtype)
        assert array.name == gd.orthogonal(shape, 2, seed=11, chunks=chunks, dtype=dtype).name
        found = array.compute(scheduler="sync")
        assert found.dtype == array.dtype == dtype
        np.testing.assert_allclose(found.astype(complex), 2 * first.astype(complex), rtol=0, atol=2 * TOLERANCE[dtype])


def test_orthogonal_on_cupy(cupy):
    for shape in ((9, 4), (3, 2, 2, 2)):
        found = gd.orthogonal(shape, seed=11, chunks=2, like=cupy.empty(())).compute(scheduler="sync")
        assert isinstance(found, cupy.ndarray)
        expected = gd.orthogonal(shape, seed=11).compute(scheduler="sync")
        np.testing.assert_allclose(to_host(found), expected, rtol=0, atol=2e-7)


def test_orthogonal_is_haar():
    """R's diagonal is positive: Q is that of G = QR, and no other."""
    g = gi.normal_(np.empty((9, 4)), generator=11)
    q = gd.orthogonal((9, 4), seed=11, chunks=2, dtype=float).compute(scheduler="sync")
    r = q.T @ g
    np.testing.assert_allclose(np.tril(r, -1), 0, atol=1e-13)
    assert (np.diagonal(r) > 0).all()
    wide = gd.orthogonal((4, 9), seed=11, chunks=2, dtype=float).compute(scheduler="sync")
    np.testing.assert_allclose(wide, q.T, atol=1e-13)


def test_orthogonal_without_elements():
    check(gd.orthogonal((0, 4), seed=11), np.empty((0, 4), np.float32))


# Seeds and names.


@pytest.mark.parametrize("name", RANDOM)
def test_generators(name):
    """One is read at the call and moves on as by a fill of the whole; what is computed later, and again, stays the same."""
    parameters, shapes = next(row[1:] for row in CUTS if row[0] == name)
    theirs = gi.Generator(5)
    theirs.reserve(3)
    ours, default = copy.copy(theirs), gi.default_generator.state
    function, fill = getattr(gd, name.removesuffix("_")), getattr(gi, name)
    try:
        gi.default_generator.state = theirs.state
        arrays = [function(shapes[-1], **parameters, seed=seed, chunks=2) for seed in (theirs, theirs, None)]
        expected = [fill(np.empty(shapes[-1], np.float32), **parameters, generator=ours) for _ in range(2)]
        assert theirs.state == ours.state
        assert gi.default_generator.position == 3 + (ours.position - 3) // 2
    finally:
        gi.default_generator.state = default
    if not name.endswith("orthogonal_"):
        for array, values in zip(arrays, [*expected, expected[0]]):
            check(array, values)
            check(array, values)
    assert arrays[0].name == arrays[2].name != arrays[1].name


NAMES = """
import gpuinit as gi, gpuinit.dask as gd
g = gi.Generator(3)
for array in (gd.normal((5, 7), seed=2, chunks=3), gd.kaiming_normal((5, 7), seed=g, mode=gi.Mode.FAN_OUT), gd.eye((5, 7)),
              gd.orthogonal((5, 7), seed=2, chunks=3)):
    print(array.name)
"""


def test_names_are_the_same_in_every_process():
    runs = {subprocess.run([sys.executable, "-c", NAMES], check=True, capture_output=True).stdout for _ in range(2)}
    assert len(runs) == 1


def test_names_tell_all_apart():
    def name(function=gd.normal, shape=(5, 7), **options):
        return function(shape, **{"seed": 2, **options}).name

    others = [{"seed": 3}, {"std": 2}, {"mean": 1}, {"chunks": 3}, {"dtype": float}, {"shape": (7, 5)}, {"function": gd.uniform}]
    names = [name(), *(name(**other) for other in others)]
    assert len(set(names)) == len(names)
    assert name() == names[0]


def test_signatures():
    """The initializer's own parameters stay in their places, with their names and defaults."""
    check(gd.uniform((5, 7), -1, 2, seed=11), whole("uniform_", (5, 7), {"a": -1, "b": 2}))
    check(gd.constant(shape=4, val=np.float32(0.1)), np.full(4, 0.1, np.float32))
    for function in (gd.normal, gd.orthogonal, gd.sparse):
        assert "Parameters\n-----" in function.__doc__
        assert "\nseed : " in function.__doc__
    assert "seed" not in gd.ones.__doc__


# Schedulers.


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_schedulers(scheduler):
    with dask.config.set(scheduler=scheduler, num_workers=2):
        arrays = [lazily(name, shapes[-1], parameters, chunks=2) for name, parameters, shapes in ELEMENTWISE]
        for (name, parameters, shapes), found in zip(ELEMENTWISE, dask.compute(*arrays)):
            np.testing.assert_array_equal(found, whole(name, shapes[-1], parameters))


@pytest.fixture(scope="module")
def client():
    """A client of two worker processes."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": logging.CRITICAL}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster, timeout=SECONDS) as client:
        yield client


def result(client, array):
    return client.compute(array).result(timeout=SECONDS)


def test_distributed(client):
    for name, parameters, shapes in ELEMENTWISE:
        array = lazily(name, shapes[-1], parameters, chunks=2)
        np.testing.assert_array_equal(result(client, array), whole(name, shapes[-1], parameters))
    q = gd.orthogonal((9, 4), seed=11, chunks=(2, 3))
    np.testing.assert_allclose(result(client, q), q.compute(scheduler="sync"), rtol=0, atol=2e-7)


def test_the_loss_of_a_worker(client):
    """What it held is computed again by another, and is the same."""
    distributed = pytest.importorskip("distributed")
    psutil = pytest.importorskip("psutil")
    array = client.persist(gd.normal((64, 64), seed=11, chunks=8))
    distributed.wait(array, timeout=SECONDS)
    pids = client.run(os.getpid)
    held = client.has_what()
    address, pid = next((address, pid) for address, pid in pids.items() if held[address])
    psutil.Process(pid).kill()
    np.testing.assert_array_equal(result(client, array), whole("normal_", (64, 64), {}))
    assert address not in client.run(os.getpid)


# Errors, all at the call and before anything is drawn.

# As what is seen of a CuPy array, where there may be none.
CUPY = type("ndarray", (), {"__module__": "cupy"})()
REFUSED = [
    ("normal", {"std": -1}, ValueError, r"std must not be negative, got std=-1\.0"),
    ("normal", {"seed": -1}, ValueError, r"seed must not be negative, got seed=-1"),
    ("normal", {"seed": "1"}, TypeError, r"seed must be an int, got '1' of type str"),
    ("normal", {"shape": -1}, ValueError, r"shape\[0\] must not be negative"),
    ("normal", {"shape": "ab"}, TypeError, r"shape must be an int or a tuple of ints, got 'ab' of type str"),
    ("normal", {"shape": (2**40, 2**40)}, ValueError, r"shape must have at most 2\*\*62 elements, got shape=\(\d"),
    ("normal", {"shape": (2.0, 3)}, TypeError, r"shape\[0\] must be an int"),
    ("normal", {"dtype": "int32"}, TypeError, r"x must be an array of one of the dtypes .*; got int32"),
    ("normal", {"dtype": "float23"}, TypeError, r"float23"),
    ("normal", {"like": CUPY, "dtype": "float8_e5m2"}, TypeError, r"dtype must be one that CuPy has, got float8_e5m2; make a"),
    ("normal", {"like": [1]}, TypeError, r"like must stand for NumPy or CuPy arrays, got \[1\]"),
    ("normal", {"sigma": 1}, TypeError, r"sigma"),
    ("ones", {"seed": 1}, TypeError, r"seed"),
    ("sparse", {}, TypeError, r"sparsity"),
    ("sparse", {"sparsity": 2}, ValueError, r"sparsity must lie in \[0, 1\]"),
    ("kaiming_normal", {"mode": "fan"}, ValueError, r"mode must be one of fan_in, fan_out, got mode='fan'"),
    ("kaiming_normal", {"shape": 3}, ValueError, r"at least 2 axes"),
    ("lecun_normal", {"dtype": "complex64"}, TypeError, r"complex64"),
    ("orthogonal", {"shape": 3}, ValueError, r"at least 2 axes"),
    ("orthogonal", {"gain": float("nan")}, ValueError, r"gain must be finite, got gain=nan"),
    ("eye", {"shape": (2, 2, 2)}, ValueError, r"2 axes"),
    ("dirac", {"shape": (4, 2, 3), "groups": 3}, ValueError, r"groups must divide"),
    ("constant", {"val": 0.5, "dtype": "int8"}, ValueError, r"val must be a number that int8 holds exactly"),
    *(
        ("normal", {"chunks": chunks}, ValueError, r"chunks must be chunks that Dask takes for shape \(4, 6\), got chunks=")
        for chunks in (0, -5, 2.5, "much", ((3, 3), (6,)), ((-1, 5), 6), ((4, float("nan")), 6), (1, 2, 3))
    ),
]


@pytest.mark.parametrize(("name", "arguments", "error", "match"), REFUSED)
def test_refused(name, arguments, error, match):
    before = gi.default_generator.state
    with pytest.raises(error, match=match):
        getattr(gd, name)(**{"shape": (4, 6), **arguments})
    assert gi.default_generator.state == before


def test_other_backends_are_refused():
    with (
        dask.config.set({"array.backend": "torch"}),
        pytest.raises(TypeError, match=r"array\.backend must stand for .*, got torch"),
    ):
        gd.normal(3, seed=11)


def test_without_dask():
    code = "import sys; sys.modules['dask'] = None; import gpuinit.dask"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: gpuinit.dask needs Dask: install gpuinit[dask]" in done.stderr
