"""`python -m gpuinit demo`: all parameters of a model, filled by name from one seed, timed, measured and digested."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from gpuinit import _console as console
from gpuinit import rules
from gpuinit._backends.gpu import usable_cupy
from gpuinit._cli.demo_models import MODELS
from gpuinit._initializers.warm_up import warmup
from gpuinit._models.initialization import initialize

BACKENDS = ("auto", "numpy", "cupy")

_RULES = {"gpt2": rules.gpt2(n_layer=12), "resnet50": rules.resnet()}


def run(model: str, backend: str, seed: int) -> int:
    """Fill and show a model; the exit code is 1, with one line on stderr, if the backend cannot be used for it."""
    try:
        library = _library(backend)
        arrays = {name: library.empty(shape, np.float32) for name, shape in MODELS[model]().items()}
    except (RuntimeError, MemoryError) as error:
        console.complain("demo", error)
        return 1

    _synchronize(library)
    start = time.perf_counter()
    report = initialize(arrays, _RULES[model], seed=seed, progress=True)
    _synchronize(library)
    seconds = time.perf_counter() - start

    columns = ("parameter", "shape", "initializer", "std", "measured")
    rows = [(name, shape, initializer, expected, std) for name, shape, _, initializer, expected, std, _ in report.cells()]
    title = f"{model}, float32, seed {seed}: standard deviations expected and measured"
    console.table(title, columns, rows, right=columns[3:], cut=columns[2:3])
    count, size = sum(array.size for array in arrays.values()), sum(array.nbytes for array in arrays.values())
    print(
        f"{model} on {library.__name__}: {count:,} parameters, {size / 1e6:.1f} MB in {seconds:.3f} s, "
        f"{size / seconds / 1e9:.2f} GB/s, digest {report.digest}"
    )
    return 0


def _library(backend: str) -> Any:
    """NumPy, or CuPy with its kernels compiled, which is not to be timed."""
    if backend == "numpy":
        return np
    try:
        cupy = usable_cupy()
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
