"""The CPU's compiled kernels give the bits of NumPy's ufuncs: any part of a stream, cut in any way, and nothing beyond it.

`test_equality.py` and `test_shards.py` compare whole fills.
"""

from __future__ import annotations

import runpy
import shutil

import ml_dtypes
import numpy as np
import pytest

import gpuinit as gi
from gpuinit._backends import kernel_sources
from gpuinit._backends.host import compiled, sampling
from gpuinit._contract import distributions
from gpuinit._contract.dtypes import as_dtype, working
from gpuinit._contract.generator import Stream
from tests.support.arrays import by_ufuncs

STREAM = Stream(gi.Generator(42).reserve(0).key, 7)
DTYPES = [as_dtype(name) for name in ("float16", "bfloat16", "float32", "float64")]
SIXTEEN = DTYPES[:2]
DISTRIBUTIONS = [
    (distributions.uniform, (-0.1, 0.1)),
    (distributions.uniform, (0, 1e-40)),
    (distributions.normal, (0, 1)),
    (distributions.normal, (-3, 1e-40)),
    (distributions.truncated, (0, 1, -2, 2)),
    (distributions.truncated, (0, 1, 5, 6)),
    (distributions.truncated, (0, 1, -np.inf, np.inf)),
    (distributions.truncated, (0, 1, 10, 11)),
    (distributions.truncated, (0, 1, -1e-3, 2e-3)),
    (distributions.truncated, (-1000, 1, 0, 1e-5)),
]
PADDING = 16


@pytest.fixture(autouse=True, params=kernel_sources.HOST_LEVELS, ids="level {}".format)
def level(request, monkeypatch):
    """Each level of CPUs that the kernels are compiled for, as far as this CPU has it."""
    best = compiled.library()
    if best is None:
        pytest.skip("gpuinit was installed without a C++ compiler")
    if request.param > best.gpuinit_level() or not kernel_sources.host_library(request.param).exists():
        pytest.skip("this CPU or compiler does not have the level")
    library = compiled.load(request.param)
    monkeypatch.setattr(compiled, "library", lambda: library)
    for cached in (compiled.sampler_of, compiled.filler_of):
        cached.cache_clear()
    yield request.param
    for cached in (compiled.sampler_of, compiled.filler_of):
        cached.cache_clear()


def ufuncs(distribution, dtype):
    """A sampler for arrays of a dtype: 16-bit ones are rounded from float32."""
    sample = sampling.by_ufuncs(distribution)

    def sample_and_round(stream, starts, length, out):
        values = np.empty(out.shape, working(dtype))
        sample(stream, starts, length, values)
        with np.errstate(all="ignore"):
            out[...] = values

    return sample_and_round


def drawn(by, distribution, dtype, starts, length):
    """The runs' values; what lies before and after them in memory is as it was."""
    out = np.full(len(starts) * length + 2 * PADDING, 7, dtype)
    by(distribution, dtype)(STREAM, np.array(starts), length, out[PADDING:-PADDING])
    assert (out[:PADDING] == 7).all()
    assert (out[-PADDING:] == 7).all()
    return out[PADDING:-PADDING]


# A run within a block, over the ends of blocks, of vectors and of the 256 blocks drawn at once; many runs; numbers beyond 2**32.
@pytest.mark.parametrize(
    ("starts", "length"),
    [
        ([0], 1),
        ([3], 2),
        ([5], 20_000),
        ([1023], 2),
        ([1024], 1024),
        ([0, 5], 33),
        ([2**34 - 6], 12),
        ([1], 2047),
        ([9, 0, 9, 1001], 1),
        (list(range(6, 90_000, 1000)), 13),
        ([2**32 - 5, 2**36 + 1, 2**60], 3000),
    ],
    ids=lambda value: str(value)[:24],
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("make", "parameters"), DISTRIBUTIONS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_runs(make, parameters, dtype, starts, length):
    distribution = make(dtype, *parameters)
    one_by_one = [drawn(ufuncs, distribution, dtype, [start], length) for start in starts]
    assert drawn(compiled.sampler_of, distribution, dtype, starts, length).tobytes() == np.concatenate(one_by_one).tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("make", "parameters"), DISTRIBUTIONS)
def test_fills_at_an_address(make, parameters, dtype):
    """What small fills call; the same values as by the sampler, and nothing before and after."""
    distribution = make(dtype, *parameters)
    out = np.full(77 + 2 * PADDING, 7, dtype)
    compiled.filler_of(distribution, dtype)(STREAM, 77, out[PADDING:].ctypes.data)
    assert (out[:PADDING] == 7).all()
    assert (out[-PADDING:] == 7).all()
    assert out[PADDING:-PADDING].tobytes() == drawn(compiled.sampler_of, distribution, dtype, [0], 77).tobytes()


def around_the_middles(dtype):
    """Numbers at the middles between neighbours of a 16-bit dtype, where ties go to the even one, and a float32 to each side.

    The neighbours are the least, those about the least normal one and about 1, and the largest, which infinity follows.
    """
    infinity, one, least_normal = np.array([np.inf, 1, ml_dtypes.finfo(dtype).tiny], dtype).view(np.uint16).tolist()
    grid = np.arange(infinity, dtype=np.uint16).view(dtype).astype(np.float64)
    middles = ((grid + np.append(grid[1:], 2 * grid[-1] - grid[-2])) / 2).astype(np.float32)  # exact
    below = [k + step for k in (0, least_normal - 2, one - 2, infinity - 4) for step in range(4)]
    sides = [middles[below], *(np.nextafter(middles[below], np.float32(end)) for end in (-np.inf, np.inf))]
    return np.concatenate([sign * side for sign in (1, -1) for side in sides])


@pytest.mark.parametrize("dtype", SIXTEEN, ids=str)
def test_rounding_to_sixteen_bits(dtype):
    """As NumPy and ml_dtypes round; where a vector rounds eight numbers at a time, and of those that are left."""
    for value in around_the_middles(dtype):
        with np.errstate(over="ignore"):
            expected = np.full(11, value).astype(dtype)
        constant = distributions.normal(dtype, value, 0)
        assert drawn(compiled.sampler_of, constant, dtype, [5], 11).tobytes() == expected.tobytes(), value


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_parts_of_complex_numbers(dtype):
    """The means of real and imaginary parts differ; runs of a shard begin with a real part."""
    arguments = {"mean": 3 - 5j, "std": 0.1, "generator": 1, "shard": gi.Shard((9, 11), (slice(2, 7), slice(3, 10)))}
    filled = gi.normal_(np.empty((5, 7), dtype), **arguments)
    with by_ufuncs():
        assert filled.tobytes() == gi.normal_(np.empty((5, 7), dtype), **arguments).tobytes()


@pytest.mark.parametrize("dtype", "?bhilefdFD")
@pytest.mark.parametrize("start", [0, 1, 3])
def test_a_constant(dtype, start):
    """Long enough to be written by eight bytes at a time, with some elements left; nothing before or after it is written."""
    value = 0.1 - 3j if dtype in "FD" else 0.1 if dtype in "efd" else 1
    buffer = np.zeros(20_021, dtype)
    expected = buffer.copy()
    expected[start : start + 20_007] = value
    gi.constant_(buffer[start : start + 20_007], expected[start].item())
    assert buffer.tobytes() == expected.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("make", "parameters"), DISTRIBUTIONS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_many_words(make, parameters, dtype):
    distribution = make(dtype, *parameters)
    for start in range(0, 2**23, 2**20):
        found, expected = (drawn(by, distribution, dtype, [start], 2**20) for by in (compiled.sampler_of, ufuncs))
        assert found.tobytes() == expected.tobytes()


def test_a_library_of_another_text_is_not_loaded(tmp_path):
    """Its name is that of the text that it was made from."""
    shutil.copytree(kernel_sources.folder(), tmp_path / "kernels")
    (tmp_path / "gpuinit").mkdir()
    module = shutil.copy(kernel_sources.__file__, tmp_path / "gpuinit")
    names = [kernel_sources.host_library().name]
    for added in ("", "// another version"):
        with (tmp_path / "kernels" / "normal.cuh").open("a") as header:
            header.write(added)
        names.append(runpy.run_path(module)["host_library"]().name)
    assert names[0] == names[1] != names[2]
