"""Fills on the GPU: one launch each, on the array's device, in CuPy's current stream of that device."""

from __future__ import annotations

import functools
import math
from typing import Any

import cupy
import numpy as np

from gpuinit._backends.complex_parts import reals
from gpuinit._backends.cuda.kernels import kernel, shard_kernel
from gpuinit._backends.structs import Struct, struct_of
from gpuinit._contract.distributions import Distribution, Normal, Point, Sampled, Truncated
from gpuinit._contract.dtypes import working
from gpuinit._contract.generator import BLOCK_BYTES, Stream
from gpuinit._contract.inverse_cdf import first_row, padded_rows
from gpuinit._contract.permutation import column_key, domain_bits
from gpuinit._contract.regions import Region, region
from gpuinit._contract.shards import Shard

BLOCKS = 8  # a thread, `kernels/fill.cuh`
STORE = 16  # bytes of the array a thread, where no words are: `kernels/store.cuh`


def fill(x: Any, distribution: Distribution, stream: Stream, shard: Shard | None = None) -> None:
    """Write to each element what the distribution makes of its word."""
    within = region(shard, x.dtype)
    x = reals(cupy, x)
    if isinstance(distribution, Point):
        constant(x, distribution.value)
        return
    with x.device:
        struct, values = struct_values(distribution)
        _launch(struct.name, x, stream, within, *values)


def sparse(x: Any, zeros: int, values: Normal, stream: Stream, shard: Shard | None = None) -> None:
    """Fill with `values`, and 0 in `zeros` elements of each column."""
    rows, columns = shard.global_shape if shard else x.shape
    within = region(shard, x.dtype)
    with x.device:
        _, normal = struct_values(values)
        parts = 2 if x.dtype.kind == "c" else 1
        key = map(np.uint32, column_key(stream))
        _launch("sparse", reals(cupy, x), stream, within, *normal, *key, rows, columns, zeros, domain_bits(rows), parts)


def constant(x: Any, value: Any) -> None:
    """Write `value` to each element."""
    with x.device:
        if any(value.tobytes()):
            _write("constant", x, None, value)
        else:  # a memset; CuPy's `fill` takes -0 for one too
            x.fill(0)


def eye(x: Any, shard: Shard | None = None) -> None:
    """Ones on the diagonal, zeros elsewhere."""
    _, columns = shard.global_shape if shard else x.shape
    with x.device:
        _write("eye", x, region(shard), columns)


def dirac(x: Any, groups: int, shard: Shard | None = None) -> None:
    """Ones at the kernel's centre where output channel o of a group meets input channel o, zeros elsewhere."""
    outputs, inputs, *field = shard.global_shape if shard else x.shape
    centre = 0
    for length in field:
        centre = centre * length + length // 2
    with x.device:
        _write("dirac", x, region(shard), inputs, math.prod(field), centre, outputs // groups)


def truncate(x: Any) -> None:
    """Round each element toward zero."""
    with x.device:
        kernel("trunc")(x)


def struct_values(distribution: Sampled) -> tuple[Struct, tuple[Any, ...]]:
    """Return the struct that makes a distribution's values, and its members' values on the current device."""
    return _struct_values(cupy.cuda.Device().id, distribution)


@functools.lru_cache
def _struct_values(device: int, distribution: Sampled) -> tuple[Struct, tuple[Any, ...]]:
    struct = struct_of(distribution)
    table = None
    if isinstance(distribution, (Normal, Truncated)):
        real = distribution.std.dtype
        table = _table(device, real)[first_row(real, distribution.bits) :].reshape(-1)
    return struct, struct.values(distribution, table)


def _launch(name: str, x: Any, stream: Stream, within: Region | None, *parameters: Any) -> None:
    real = working(np.dtype(x.dtype))
    low, high = map(np.uint32, stream.key)
    if within is None:
        threads = -(-x.size * real.itemsize // (BLOCKS * BLOCK_BYTES))
    else:
        length = within.runs.length
        threads = x.size // length * run_blocks(length, BLOCK_BYTES // real.itemsize)
    _call(name, within, real, low, high, np.uint64(stream.block), *parameters, x, size=threads)


def run_blocks(length: int, per_block: int) -> int:
    """Return the most blocks that a run of so many elements touches, wherever in its first block it begins."""
    return (length + per_block - 2) // per_block + 1


def _write(name: str, x: Any, within: Region | None, *parameters: Any) -> None:
    """Launch a kernel that reads no words: a thread for 16 bytes of the array, in a shard for each element."""
    _call(name, within, None, *parameters, x, size=x.size if within else -(-x.nbytes // STORE))


def _call(name: str, within: Region | None, real: np.dtype[Any] | None, *arguments: Any, size: int) -> None:
    """Launch a kernel, or its form for shards, on its arguments, the last of which is the array."""
    *parameters, x = arguments
    if x.flags.c_contiguous:
        x = x.reshape(-1)  # one kernel for all shapes
    if within is None:
        kernel(name, real)(*parameters, x, size=size)
        return
    counts, steps, length = within.runs
    counts, steps = counts or (1,), steps or (0,)
    shard_kernel(name, len(counts), real)(*parameters, within.start, length, *counts, *steps, x, size=size)


@functools.cache
def _table(device: int, dtype: np.dtype[Any]) -> Any:
    """Upload the inverse CDF's table to a device, once."""
    return cupy.asarray(padded_rows(dtype))
