"""orthogonal_ on the GPU: Householder reflectors drawn directly (Stewart 1980), multiplied out by cuSOLVER's orgqr."""

from __future__ import annotations

import math
from typing import Any

import cupy
import numpy as np
from cupy.cuda import cusolver, device

from gpuinit._backends.cuda.fills import fill
from gpuinit._backends.cuda.kernels import kernel, sum_of_squares
from gpuinit._contract.distributions import Normal
from gpuinit._contract.dtypes import working
from gpuinit._contract.generator import Stream
from gpuinit._contract.shards import Shard


def orthogonal(x: Any, gain: float, stream: Stream, shard: Shard | None = None, *, row_axes: int = 1, first: int = 0) -> None:
    """Write gain * Q, Q Haar-distributed with orthonormal columns (rows, if there are fewer rows than columns).

    The first `row_axes` are those of rows. The normals are of the words from number `first` on.
    """
    if shard is not None:
        with x.device:
            whole = cupy.empty(shard.global_shape, x.dtype)
            orthogonal(whole, gain, stream, row_axes=row_axes, first=first)
            x[...] = whole[shard.index]
        return
    real = working(np.dtype(x.dtype))
    parts = 2 if x.dtype.kind == "c" else 1
    rows = math.prod(x.shape[:row_axes])
    columns = x.size // rows
    place = Shard((parts * (first + x.size),), (slice(parts * first, None),)) if first else None
    count, length = min(rows, columns), max(rows, columns)
    with x.device:
        # Row j is reflector j; read by columns, as LAPACK does, it is column j of the matrix that orgqr works on.
        vectors = cupy.empty((count, length * parts), real)
        heads, taus, phases = cupy.empty((3, count * parts), real)
        squares = cupy.empty(count, real)
        fill(vectors.reshape(-1), Normal(real.type(0), real.type(1), real.type(0)), stream, place)
        kernel("upper", real)(length, parts, vectors, heads, size=count * length)
        sum_of_squares()(vectors, squares, axis=1)
        kernel("reflectors", real)(length, parts, heads, squares, vectors, taus, phases, size=count * length)
        _multiply_out(vectors, taus, length, count, _ROUTINES[real, parts])
        kernel("orthogonal", real)(vectors, phases, real.type(gain), length, columns, rows >= columns, parts, x)


# Working precision and parts -> LAPACK's name of the routine.
_ROUTINES = {
    (np.dtype(np.float32), 1): "sorgqr",
    (np.dtype(np.float64), 1): "dorgqr",
    (np.dtype(np.float32), 2): "cungqr",
    (np.dtype(np.float64), 2): "zungqr",
}


def _multiply_out(vectors: Any, taus: Any, length: int, count: int, routine: str) -> None:
    """Replace the reflectors by the first columns of their product, in place."""
    handle = device.get_cusolver_handle()
    matrix = (length, count, count, vectors.data.ptr, length, taus.data.ptr)
    work_size = getattr(cusolver, f"{routine}_bufferSize")(handle, *matrix)
    work = cupy.empty(work_size * taus.size // count, vectors.dtype)  # the size counts elements of the routine's field
    info = cupy.empty(1, np.int32)  # tells of illegal arguments alone; to read it would wait for the device
    getattr(cusolver, routine)(handle, *matrix, work.data.ptr, work_size, info.data.ptr)
