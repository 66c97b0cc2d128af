"""Paying the GPU's first-call costs in advance."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from gpuinit._backends.gpu import usable_cupy
from gpuinit._contract import distributions
from gpuinit._contract.dtypes import as_dtype
from gpuinit._contract.generator import Stream
from gpuinit._initializers.basic import normal_, ones_, trunc_normal_, uniform_
from gpuinit._initializers.structured import dirac_, eye_, orthogonal_, sparse_


def warmup(dtypes: Iterable[Any] = ("float32",), device: int | None = None) -> None:
    """Compile the GPU kernels and upload the table of normals, so that no later fill waits for it.

    Compiling takes seconds on a machine that never ran these kernels; CuPy keeps the result on disk. Without this call, each
    kernel is compiled when its first array comes. Arrays that are not contiguous, and shards, have kernels of their own, one a
    number of axes, which are not compiled here.

    Parameters
    ----------
    dtypes : iterable of dtypes
        Of the arrays to come: float16, bfloat16, float32, float64, complex64, complex128.
    device : int, optional
        The CUDA device; CuPy's current one if None.

    Raises
    ------
    RuntimeError
        If CuPy is not installed or finds no CUDA device.

    Examples
    --------
    >>> import gpuinit
    >>> gpuinit.warmup()  # doctest: +SKIP
    """
    cupy = usable_cupy()
    with cupy.cuda.Device(device):
        for dtype in map(as_dtype, dtypes):
            matrix = cupy.empty((2, 2), dtype)
            uniform_(matrix, generator=0)
            normal_(matrix, generator=0)
            if dtype.kind != "c":
                trunc_normal_(matrix, generator=0)
                trunc_normal_(matrix, a=-0.001, b=0.001, generator=0)
            orthogonal_(matrix, generator=0)
            sparse_(matrix, 0.5, generator=0)
            ones_(matrix)
            eye_(matrix)
            dirac_(cupy.empty((2, 2, 1), dtype))
            _batch(cupy, dtype)


def _batch(cupy: Any, dtype: np.dtype[Any]) -> None:
    """Fill small arrays of a dtype together, one of each kind."""
    drawn = [distributions.uniform(dtype, 0, 1), distributions.normal(dtype, 0, 1), distributions.Point(dtype.type(1))]
    if dtype.kind != "c":
        drawn += [distributions.truncated(dtype, 0, 1, -cut, cut) for cut in (2, 0.001)]
    from gpuinit._backends.cuda.batch import fill_all

    fill_all([(cupy.empty(2, dtype), distribution, Stream((0, 0), 0)) for distribution in drawn])
