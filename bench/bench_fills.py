"""Throughput of fills: `pytest bench --benchmark-group-by=param:name,param:dtype`, 2**22 elements.

Peers stand beside each function where they are installed: NumPy's Generator on Philox, and torch.nn.init on the CPU.
"""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import gpuinit as gi

SIZE = 2**22
SHAPE = (2048, 2048)
DTYPES = ("float16", "float32", "float64")
FUNCTIONS = {
    "uniform_": {},
    "normal_": {},
    "trunc_normal_": {},
    "sparse_": {"sparsity": 0.1},
    "zeros_": {},
    "eye_": {},
}


def measure(benchmark, fill, dtype):
    """Time `fill`, and say how many bytes it writes."""
    benchmark.extra_info["bytes"] = SIZE * np.dtype(dtype).itemsize
    benchmark(fill)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("backend", ["numpy", "cupy"])
def bench_gpuinit(benchmark, backend, name, dtype):
    xp = pytest.importorskip(backend)
    if backend == "cupy" and not xp.is_available():
        pytest.skip("CuPy finds no CUDA device")
    x = xp.empty(SHAPE, dtype)

    def fill():
        getattr(gi, name)(x, **FUNCTIONS[name])
        if backend == "cupy":
            xp.cuda.Device().synchronize()

    measure(benchmark, fill, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def bench_torch(benchmark, name, dtype):
    torch = pytest.importorskip("torch")
    x = torch.empty(SHAPE, dtype=getattr(torch, dtype))
    init = importlib.import_module("torch.nn.init")
    measure(benchmark, lambda: getattr(init, name)(x, **FUNCTIONS[name]), dtype)


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize(("name", "method"), [("uniform_", "random"), ("normal_", "standard_normal")])
def bench_numpy_generator(benchmark, name, method, dtype):
    x = np.empty(SHAPE, dtype)
    draw = getattr(np.random.Generator(np.random.Philox(1)), method)
    measure(benchmark, lambda: draw(out=x, dtype=dtype), dtype)
