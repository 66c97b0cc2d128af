"""orthogonal_ on the GPU: Householder reflectors drawn directly (Stewart 1980), multiplied out by cuSOLVER's orgqr."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np
from cupy.cuda import cusolver, device

from gpuinit.backends.cuda.fill import fill
from gpuinit.backends.cuda.kernels import kernel, sum_of_squares
from gpuinit.distributions import Normal, working
from gpuinit.generator import Stream


def orthogonal(x: Any, gain: float, stream: Stream) -> None:
    """Write gain * Q, Q Haar-distributed with orthonormal columns (rows, if there are fewer rows than columns)."""
    real = working(np.dtype(x.dtype))
    rows = x.shape[0]
    columns = x.size // rows
    count, length = min(rows, columns), max(rows, columns)
    with x.device:
        # Row j is reflector j; read by columns, as LAPACK does, it is column j of the matrix that orgqr works on.
        vectors = cupy.empty((count, length), real)
        heads, squares, taus, signs = cupy.empty((4, count), real)
        fill(vectors, Normal(real.type(0), real.type(1)), stream)
        kernel("upper", real)(length, vectors, heads)
        sum_of_squares()(vectors, squares, axis=1)
        kernel("reflectors", real)(length, heads, squares, vectors, taus, signs)
        _multiply_out(vectors, taus)
        kernel("orthogonal", real)(vectors, signs, real.type(gain), length, columns, rows >= columns, x)


def _multiply_out(vectors: Any, taus: Any) -> None:
    """Replace the reflectors by the first columns of their product, in place."""
    count, length = vectors.shape
    name = "sorgqr" if vectors.dtype == np.float32 else "dorgqr"
    handle = device.get_cusolver_handle()
    matrix = (length, count, count, vectors.data.ptr, length, taus.data.ptr)
    work_size = getattr(cusolver, f"{name}_bufferSize")(handle, *matrix)
    work = cupy.empty(work_size, vectors.dtype)
    info = cupy.empty(1, np.int32)  # tells of illegal arguments alone; to read it would wait for the device
    getattr(cusolver, name)(handle, *matrix, work.data.ptr, work_size, info.data.ptr)
