"""What fills ask of a device, from an emulated device's log: launches, copies, allocations, devices, streams."""

from __future__ import annotations

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._backends import host
from gpuinit._contract import distributions
from tests.support import fills
from tests.support.arrays import to_host
from tests.support.stream import uniform_at

DTYPES = ("float16", "float32", "float64")
# The kernel that each launches, or None: the memory is set.
KERNELS = {
    "uniform_": "gpuinit_uniform",
    "normal_": "gpuinit_normal",
    "trunc_normal_": "gpuinit_truncated",
    "xavier_uniform_": "gpuinit_uniform",
    "kaiming_normal_": "gpuinit_normal",
    "lecun_normal_": "gpuinit_truncated",
    "sparse_": "gpuinit_sparse",
    "eye_": "gpuinit_eye",
    "ones_": "gpuinit_constant",
    "zeros_": None,
    "trunc_": "gpuinit_trunc",
}


def call(name, x):
    return fills.call(name, x, fills.first(name).arguments)


def traced(cudasim, name, x):
    """The events of a fill whose kernel and table are there already."""
    call(name, x)
    with cudasim.trace() as events:
        call(name, x)
    return events


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "kernel"), KERNELS.items())
def test_one_launch_and_nothing_else(cupy, cudasim, name, kernel, dtype):
    events = traced(cudasim, name, cupy.empty((33, 17), dtype))
    assert events.counts() == ({"launch": 1} if kernel else {"memset": 1})
    assert all(name.startswith(kernel) for name in events.launches())
    strided = cupy.empty((17, 66), dtype).T[::2]
    assert traced(cudasim, name, strided).counts() == {"launch": 1}


@pytest.mark.parametrize("dtype", DTYPES)
def test_dirac_is_one_launch(cupy, cudasim, dtype):
    for groups in (1, 2):
        x = cupy.empty((4, 2, 3, 3), dtype)
        gi.dirac_(x, groups)
        with cudasim.trace() as events:
            gi.dirac_(x, groups)
        assert events.counts() == {"launch": 1}
        assert events.launches() == ["gpuinit_dirac"]


@pytest.mark.parametrize("name", [*KERNELS, "orthogonal_"])
def test_an_empty_array_costs_nothing(cupy, cudasim, name):
    x = cupy.empty((0, 3), np.float32)
    fans = name in ("xavier_uniform_", "kaiming_normal_", "lecun_normal_")
    with cudasim.trace() as events:
        if fans:
            with pytest.warns(UserWarning, match="no-op"):
                call(name, x)
        else:
            call(name, x)
    assert not events


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(9, 5), (5, 9), (6, 6), (1, 1)])
def test_orthogonal_copies_nothing_and_never_waits(cupy, cudasim, shape, dtype):
    events = traced(cudasim, "orthogonal_", cupy.empty(shape, dtype))
    assert not events.of("memcpy")
    assert not events.of("sync")
    calls = [event["call"] for event in events.of("library")]
    assert len(calls) == 1
    assert calls[0].lower().endswith("orgqr")


def test_eight_blocks_of_16_bytes_are_one_thread(cupy, cudasim):
    for dtype, per_thread in (("float32", 32), ("float64", 16), ("float16", 32)):
        (launch,) = traced(cudasim, "uniform_", cupy.empty(1024 * per_thread, dtype)).of("launch")
        threads = int(launch["grid"].split(",")[0]) * int(launch["block"].split(",")[0])
        assert threads == 1024


def test_the_launch_goes_to_the_current_stream(cupy, cudasim):
    x = cupy.empty(100, np.float32)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        (launch,) = traced(cudasim, "normal_", x).of("launch")
    assert int(launch["stream"], 0) == stream.ptr


@pytest.mark.parametrize(
    "name", ["uniform_", "normal_", "trunc_normal_", "sparse_", "orthogonal_", "eye_", "ones_", "zeros_", "trunc_"]
)
def test_an_array_is_filled_on_its_own_device(cupy, name):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("one CUDA device only")
    expected = call(name, np.ones((30, 20), np.float32))
    for current in (0, 1):
        with cupy.cuda.Device(1 - current):
            x = cupy.ones((30, 20), np.float32)
            strided = cupy.ones((20, 60), np.float32).T[::2]
        with cupy.cuda.Device(current):
            call(name, x)
            call(name, strided)
            assert cupy.cuda.Device().id == current
        with cupy.cuda.Device(1 - current):
            for filled in (x, strided):
                np.testing.assert_allclose(to_host(filled), expected, rtol=0, atol=2e-6 if name.endswith("orthogonal_") else 0)


def test_a_batch_is_filled_on_its_devices(cupy, cudasim):
    """Arrays of two devices in turn: each device gets one copy and one launch a kind, and the current one stays so."""
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("one CUDA device only")
    from gpuinit._backends.cuda.batch import fill_all

    float32 = np.dtype(np.float32)
    fills = [distributions.normal(float32, 0, 1), distributions.uniform(float32, 0, 1), distributions.Point(np.float32(3))]
    items = []
    for number in range(30):
        with cupy.cuda.Device(number % 2):
            items.append((cupy.zeros(50, np.float32), fills[number % 3], gi.Generator(number).reserve(0)))
    fill_all(items)
    for x, _, _ in items:
        with x.device:
            x.fill(0)
    with cupy.cuda.Device(1), cudasim.trace() as events:
        fill_all(items)
        assert cupy.cuda.Device().id == 1
    for device in (0, 1):
        assert (len(events.of("launch", device=device)), len(events.of("memcpy", device=device))) == (3, 1)
    for x, distribution, stream in items:
        expected = np.empty(50, np.float32)
        host.fill(expected, distribution, stream)
        np.testing.assert_array_equal(to_host(x), expected)


def test_warmup_leaves_nothing_to_compile(cupy, cudasim):
    gi.warmup(DTYPES)
    with cudasim.trace() as events:
        for dtype in DTYPES:
            for name in list(KERNELS)[:8]:
                call(name, cupy.empty((20, 30), dtype))
    assert not events.of("module")
    assert not events.of("memcpy")


# The kernels' own elements(), on an array that keeps only a window of the elements that it is given.
FAR_KERNEL = """
struct Far {
    static constexpr bool c_contiguous = false;
    unsigned int *window;
    long long first, length;
    unsigned int spare;
    __device__ long long size() const { return length; }
    __device__ unsigned int &operator[](long long i) { return i < first ? spare : window[i - first]; }
};
extern "C" __global__ void gpuinit_far(unsigned int *window, long long first, long long length,
                                       unsigned int low, unsigned int high, unsigned long long position) {
    Far x{window, first, length, 0};
    const long long i = first / 4 + threadIdx.x;
    alignas(uint4) unsigned int bits[4];
    const gpuinit::Uniform<float> uniform{1.0f, 0.0f, 0.0f, 1.0f};
    gpuinit::elements<float>(i, gpuinit::Stream{{low, high}, position}, uniform, bits);
    gpuinit::store(x, 4 * i, bits);
}
"""


@pytest.mark.parametrize("first", [2**31, 2**32, 2**35 + 8, 2**62])
def test_indices_beyond_32_bits(cupy, first):
    """Elements `first` to `first + 20` of a longer array, against the stream there."""
    from gpuinit._backends.kernel_sources import source

    code = "#include <cupy/complex.cuh>\n#include <cupy/carray.cuh>\n" + source("fill.cuh", "uniform.cuh") + FAR_KERNEL
    kernel = cupy.RawModule(code=code, options=("--std=c++17",)).get_function("gpuinit_far")
    window = cupy.zeros(24, np.uint32)
    stream = gi.Generator(42).reserve(0)
    kernel(
        (1,),
        (6,),
        (window, np.int64(first), np.int64(first + 20), *map(np.uint32, stream.key), np.uint64(0)),
    )
    expected = uniform_at(42, first, 20, np.float32)
    np.testing.assert_array_equal(to_host(window).view(np.float32), np.append(expected, np.zeros(4, np.float32)))


ONES_KERNEL = """
using gpuinit::u32;
using gpuinit::u64;
template <typename Ones>
__device__ void list(Ones ones, bool *found) {
    for (int j = 0; j < 40; ++j) found[j] = ones.next();
}
extern "C" __global__ void gpuinit_ones(bool *eye, bool *dirac, u64 first_of_eye, u64 first_of_dirac, u64 inputs, bool narrow) {
    if (narrow) {
        list(gpuinit::Eye<u32>(first_of_eye, inputs), eye);
        list(gpuinit::Dirac<u32>(first_of_dirac, inputs, 3, 1, 5), dirac);
    } else {
        list(gpuinit::Eye<u64>(first_of_eye, inputs), eye);
        list(gpuinit::Dirac<u64>(first_of_dirac, inputs, 3, 1, 5), dirac);
    }
}
"""


@pytest.mark.parametrize("inputs", [1, 3, 40, 2**15, 2**31 - 21, 2**31 + 7])
@pytest.mark.parametrize("row", [0, 1, 2**14, 2**16 + 3, 2**30])
def test_ones_beyond_32_bits(cupy, inputs, row):
    """Where eye_ and dirac_ have ones, among 40 elements about a row's, by Python's integers."""
    from gpuinit._backends.kernel_sources import source

    code = "#include <cupy/complex.cuh>\n#include <cupy/carray.cuh>\n" + source("identity.cuh") + ONES_KERNEL
    kernel = cupy.RawModule(code=code, options=("--std=c++17",)).get_function("gpuinit_ones")
    first_of_eye, first_of_dirac = max(0, row * (inputs + 1) - 20), max(0, 3 * (row * inputs + row % 5) - 20)
    eye = [n // inputs == n % inputs for n in range(first_of_eye, first_of_eye + 40)]
    dirac = [n % 3 == 1 and n // 3 // inputs % 5 == n // 3 % inputs for n in range(first_of_dirac, first_of_dirac + 40)]
    assert any(dirac) or row % 5 >= inputs
    assert any(eye) or row >= inputs
    for narrow in (False, True) if max(first_of_eye, first_of_dirac) + 40 < 2**31 else (False,):
        found = cupy.zeros((2, 40), bool)
        numbers = map(np.uint64, (first_of_eye, first_of_dirac, inputs))
        kernel((1,), (1,), (found[0], found[1], *numbers, np.bool_(narrow)))
        assert to_host(found).tolist() == [eye, dirac]
