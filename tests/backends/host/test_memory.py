"""Fills of files, fields and odd addresses where they lie, how much memory a fill takes for itself, and which."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tracemalloc

import ml_dtypes
import numpy as np
import pytest

import gpuinit as gi
from gpuinit._backends.host import sparsity
from tests.support import fills
from tests.support.memory import LIMIT, peak_memory

# Each way of writing an array, on each dtype that NumPy alone has beside those of the table.
NAMES = (
    "uniform_",
    "normal_",
    "trunc_normal_",
    "xavier_uniform_",
    "lecun_normal_",
    "sparse_",
    "orthogonal_",
    "constant_",
    "eye_",
)
DTYPES = [np.dtype(kind) for kind in ("f2", ml_dtypes.bfloat16, "f4", "f8", "c8", "c16", ">f4", ">f8", ">c8")]
CASES = [
    pytest.param(row.name, row.arguments, dtype, id=f"{row.name}-{dtype.str if dtype.kind != 'V' else dtype}")
    for row in map(fills.first, NAMES)
    for dtype in DTYPES
    if dtype.name in row.dtypes
]
SHAPE = (33, 17)


def on_its_own(name, arguments, dtype, shape=SHAPE):
    """The fill of an ordinary array, in the array's byte order."""
    native = np.dtype(dtype.type) if dtype.kind == "V" else dtype.newbyteorder("=")
    return fills.call(name, np.empty(shape, native), arguments).astype(dtype)


# Files.


@pytest.mark.parametrize(("name", "arguments", "dtype"), CASES)
def test_a_window_of_a_file(tmp_path, name, arguments, dtype):
    """After `flush` the file holds the values, and its other bytes are as they were."""
    path, offset = tmp_path / "weights", 131
    before = np.random.default_rng(0).bytes(offset + np.prod(SHAPE) * dtype.itemsize + 77)
    path.write_bytes(before)
    x = np.memmap(path, dtype, "r+", offset, SHAPE)
    assert fills.call(name, x, arguments) is x
    x.flush()
    expected = on_its_own(name, arguments, dtype).tobytes()
    after = path.read_bytes()
    assert after[offset : offset + len(expected)] == expected
    assert after[:offset] == before[:offset]
    assert after[offset + len(expected) :] == before[offset + len(expected) :]


def test_a_strided_window_of_a_file(tmp_path):
    x = np.memmap(tmp_path / "weights", np.float32, "w+", shape=(40, 50))
    x[...] = 7
    window = x[3:36, 40:6:-2].T
    assert gi.normal_(window, generator=1) is window
    x.flush()
    content = np.fromfile(tmp_path / "weights", np.float32).reshape(40, 50)
    assert content[3:36, 40:6:-2].T.tobytes() == gi.normal_(np.empty(window.shape, np.float32), generator=1).tobytes()
    assert (content == 7).sum() == 40 * 50 - window.size


def test_files_that_cannot_be_written(tmp_path):
    path = tmp_path / "weights"
    np.zeros(100, np.float32).tofile(path)
    with pytest.raises(TypeError, match=r"x must be writeable.*read-only"):
        gi.uniform_(np.memmap(path, np.float32, "r"), generator=1)
    # A copy-on-write mapping can be filled; the file stays.
    x = np.memmap(path, np.float32, "c")
    assert gi.uniform_(x, generator=1).any()
    assert not np.fromfile(path, np.float32).any()


GIGABYTES = 8
# Fills a file of 8 GB while a thread watches the process's anonymous memory; the file's own pages are not of that kind.
LARGE_FILE = """
import sys, threading
import numpy as np
import gpuinit as gi
from tests.support import fills
from tests.support.memory import LIMIT, peak_memory
from tests.support.stream import uniform_at

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) * 1024

path, gigabytes = sys.argv[1], int(sys.argv[2])
gi.uniform_(np.empty(2**18, np.float32), generator=0)  # threads and their buffers
x = np.memmap(path, np.float32, "w+", shape=(gigabytes * 2**28 // 2**15, 2**15))
start, most, done = anonymous(), 0, threading.Event()

def watch():
    global most
    while not done.wait(0.01):
        most = max(most, anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
gi.uniform_(x, -1, 1, generator=0)
done.set()
watcher.join()

# The last elements and some between are those of the stream there.
for first in (0, 2**15 * 1001, x.size - 64):
    expected = uniform_at(0, first, 64, np.float32) * np.float32(2) - np.float32(1)
    assert x.reshape(-1)[first : first + 64].tobytes() == expected.tobytes(), first
print(most - start)
"""


@pytest.mark.slow
def test_a_file_larger_than_memory_needs_be(tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("reads Linux's /proc/self/status")
    if shutil.disk_usage(tmp_path).free < (GIGABYTES + 2) * 10**9:
        pytest.skip(f"the disk of {tmp_path} has less than {GIGABYTES + 2} GB free")
    path = tmp_path / "weights"
    try:
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", LARGE_FILE, path, str(GIGABYTES)], capture_output=True, text=True, timeout=900
        )
    finally:
        path.unlink(missing_ok=True)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 200 * 10**6


# Addresses and fields.


@pytest.mark.parametrize("offset", [1, 2, 4])
@pytest.mark.parametrize(("name", "arguments", "dtype"), CASES)
def test_any_address(name, arguments, dtype, offset):
    size = np.prod(SHAPE) * dtype.itemsize
    memory = np.full(64 + size, 0x5A, np.uint8)
    first = -memory.ctypes.data % 16 + offset  # off any alignment but the small ones that the offset has
    x = memory[first : first + size].view(dtype).reshape(SHAPE)
    assert fills.call(name, x, arguments) is x
    assert x.tobytes() == on_its_own(name, arguments, dtype).tobytes()
    assert (memory[:first] == 0x5A).all()
    assert (memory[first + size :] == 0x5A).all()


@pytest.mark.parametrize("align", [False, True], ids=["packed", "aligned"])
@pytest.mark.parametrize(("name", "arguments", "dtype"), CASES)
def test_a_field_of_records(name, arguments, dtype, align):
    """Its elements are far apart, and at odd addresses where the records are packed."""
    fields = [("before", "u1"), ("weight", dtype), ("after", "u2", (3,))]
    records = np.full(SHAPE, 0x5A, np.dtype(fields, align=align))
    records["after"] = 0x5A5A
    x = records["weight"]
    assert fills.call(name, x, arguments) is x
    assert records["weight"].tobytes() == on_its_own(name, arguments, dtype).tobytes()
    assert (records["before"] == 0x5A).all()
    assert (records["after"] == 0x5A5A).all()


def test_a_field_that_is_an_array():
    records = np.zeros(9, [("id", "i4"), ("weight", "f4", (3, 5))])
    x = records["weight"]
    assert gi.xavier_normal_(x, generator=2) is x
    assert x.shape == (9, 3, 5)
    assert records["weight"].tobytes() == gi.xavier_normal_(np.empty((9, 3, 5), "f4"), generator=2).tobytes()
    assert not records["id"].any()


# Temporary memory.

LARGE = [
    ("uniform_", {}, (2**22,)),
    ("uniform_", {"a": -1, "b": 3}, (2**11, 2**11)),
    ("normal_", {}, (2**22,)),
    ("normal_", {"mean": 1, "std": 0.1}, (2**11, 2**11)),
    ("trunc_normal_", {}, (2**22,)),
    ("trunc_normal_", {"a": 3, "b": 4}, (2**11, 2**11)),
    ("kaiming_normal_", {}, (2**11, 2**11)),
    ("sparse_", {"sparsity": 0.01}, (2**11, 2**11)),
    ("sparse_", {"sparsity": 0.5}, (2**11, 2**11)),
    ("sparse_", {"sparsity": 0.99}, (2**11, 2**11)),
    ("sparse_", {"sparsity": 0.5}, (2**8, 2**14)),
    ("sparse_", {"sparsity": 0.5}, (2**20, 4)),
    ("sparse_", {"sparsity": 0.5}, (2**22, 1)),
    ("constant_", {"val": 2}, (2**22,)),
    ("zeros_", {}, (2**22,)),
]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("layout", ["C", "every other", "float16"])
@pytest.mark.parametrize(
    ("name", "arguments", "shape"), LARGE, ids=[f"{name}{list(row.values())}-{shape}" for name, row, shape in LARGE]
)
def test_temporary_memory(name, arguments, shape, layout, threads):
    """Of 16 MiB of float32 (or as many elements of float16, which are computed in float32)."""
    dtype = np.float16 if layout == "float16" else np.float32
    x = np.empty((*shape[:-1], 2 * shape[-1]), dtype)[..., ::2] if layout == "every other" else np.empty(shape, dtype)

    def fill(array):
        fills.call(name, array, arguments)

    fill(x[:8])  # makes the tables, which stay
    assert peak_memory(lambda: fill(x), threads) < LIMIT * threads


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("layout", ["C", "every other", "float16"])
@pytest.mark.parametrize("shape", [(2**11, 2**11), (2**15, 2**7), (2**7, 2**15)], ids=str)
def test_temporary_memory_of_orthogonal(shape, layout, threads):
    """At most 3 times the array, of float32 where it is float16, which is computed in that."""
    dtype = np.float16 if layout == "float16" else np.float32
    x = np.empty((*shape[:-1], 2 * shape[-1]), dtype)[..., ::2] if layout == "every other" else np.empty(shape, dtype)
    gi.orthogonal_(x[:2, :2], generator=0)
    assert peak_memory(lambda: gi.orthogonal_(x, generator=0), threads) < 3 * x.size * 4


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("rounds", ["_rank", "_unrank"])
def test_permutations_need_no_buffers(dtype, rounds):
    """NumPy allocates those of a ufunc that broadcasts or converts, of a size that can be set."""
    places = np.zeros((1000, 300), dtype)
    keys = np.ones((2, 8, 1, 300), dtype)

    def peak(size):
        tracemalloc.start()
        try:
            with np.errstate():
                np.setbufsize(size)
                getattr(sparsity, rounds)(places, *keys, 16)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(16)
    assert peak(9_999_984) < 1.05 * peak(16)
