"""`python -m gpuinit demo`: all parameters of a model, filled by name from one seed, timed, measured and digested."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import numpy as np

from gpuinit import console
from gpuinit.digest import digest
from gpuinit.generator import Generator
from gpuinit.models import MODELS
from gpuinit.warmup import cupy_module, warmup

BACKENDS = ("auto", "numpy", "cupy")

_PIECE = 2**18


def run(model: str, backend: str, seed: int) -> int:
    """Fill and show a model; the exit code is 1, with one line on stderr, if the backend cannot be used for it.

    Every parameter has the generator of its name, so its values depend on nothing but that and the seed.
    """
    parameters = MODELS[model]()
    try:
        library = _library(backend)
        arrays = {p.name: library.empty(p.shape, np.float32) for p in parameters}
    except (RuntimeError, MemoryError) as error:
        print(f"gpuinit demo: {' '.join(str(error).split())}", file=sys.stderr)  # CuPy's errors may have many lines
        return 1

    generator = Generator(seed)
    with console.progress("filling", len(parameters)) as advance:
        _synchronize(library)
        start = time.perf_counter()
        for p in parameters:
            p.fill(arrays[p.name], generator.spawn(p.name))
            advance(p.name)
        _synchronize(library)
        seconds = time.perf_counter() - start
    rows = []
    with console.progress("measuring", len(parameters)) as advance:
        for p in parameters:
            shape = "x".join(map(str, p.shape))
            rows.append((p.name, shape, p.initializer, f"{p.std:.6f}", f"{measured_std(arrays[p.name]):.6f}"))
            advance(p.name)
    with console.progress("digesting", len(parameters)) as advance:
        text = digest(arrays, advance)

    columns = ("parameter", "shape", "initializer", "std", "measured")
    console.table(
        f"{model}, float32, seed {seed}: standard deviations expected and measured",
        columns,
        rows,
        right=columns[3:],
        cut=columns[2:3],
    )
    count, size = sum(p.size for p in parameters), sum(array.nbytes for array in arrays.values())
    print(
        f"{model} on {library.__name__}: {count:,} parameters, {size / 1e6:.1f} MB in {seconds:.3f} s, "
        f"{size / seconds / 1e9:.2f} GB/s, digest {text}"
    )
    return 0


def measured_std(array: Any) -> float:
    """The standard deviation of a NumPy or CuPy array, summed in float64 on the host, a piece at a time."""
    flat = array.reshape(-1)
    total = squares = 0.0
    for start in range(0, flat.size, _PIECE):
        piece = flat[start : start + _PIECE]
        on_host = np.asarray(piece.get() if hasattr(piece, "get") else piece, np.float64)
        total += float(on_host.sum())
        squares += float(on_host @ on_host)
    return math.sqrt(max(0.0, squares / flat.size - (total / flat.size) ** 2))


def _library(backend: str) -> Any:
    """NumPy, or CuPy with its kernels compiled, which is not to be timed."""
    if backend == "numpy":
        return np
    try:
        cupy = cupy_module()
    except RuntimeError:
        if backend == "cupy":
            raise
        return np
    warmup()
    return cupy


def _synchronize(library: Any) -> None:
    """Wait for the device, which fills while the host goes on."""
    if library is not np:
        library.cuda.Device().synchronize()
