"""Fills of many small arrays by a handful of launches: one for each device, dtype and kind of distribution, one for constants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import cupy
import numpy as np

from gpuinit._backends.cuda.fills import BLOCKS, STORE, constant, fill, struct_values
from gpuinit._backends.cuda.kernels import batch_kernel, record
from gpuinit._backends.operations import BatchItem
from gpuinit._contract.distributions import Distribution, Point
from gpuinit._contract.dtypes import real_part, working
from gpuinit._contract.generator import BLOCK_BYTES, Stream

# Elements. In float32 these are 4 MB, which take a GPU of 3 TB/s about 1.4 us, less than a launch takes the host; the launch of
# a much larger array is hidden by the fill before it.
LARGEST = 2**20
WARP = 32  # threads that work on one array: `kernels/batch.cuh`


class _Kind(NamedTuple):
    """What the arrays of one launch have in common."""

    name: str  # of the kernel
    dtype: np.dtype[Any]  # as which they are filled
    real: np.dtype[Any] | None  # working precision

    @property
    def per_warp(self) -> int:
        """Elements that a warp writes."""
        return WARP * (BLOCKS * BLOCK_BYTES // self.real.itemsize if self.real else STORE)


def fill_all(items: Sequence[BatchItem]) -> None:
    """Do `fill(array, distribution, stream)` for each item, or, for a `Point` without a stream, `constant(array, value)`.

    The arrays are not empty and share no memory; they may lie on several devices. Contiguous, aligned arrays of at most
    `LARGEST` elements share launches, for one asynchronous copy from the host to each device; the others are filled one by one.
    """
    batches = defaultdict(list)
    for item in items:
        x = item[0]
        if x.flags.c_contiguous and x.size <= LARGEST and x.data.ptr % x.itemsize == 0:
            batches[x.device.id].append(item)
        else:
            _fill_alone(*item)
    for device, batch in batches.items():
        with cupy.cuda.Device(device):
            # A graph would read the table each time it runs, when others have the memory.
            if cupy.cuda.get_current_stream().is_capturing():
                for item in batch:
                    _fill_alone(*item)
            else:
                _fill_batch(batch)


def _fill_alone(x: Any, distribution: Distribution, stream: Stream | None) -> None:
    if stream is None:
        assert isinstance(distribution, Point)
        constant(x, distribution.value)
    else:
        fill(x, distribution, stream)


def _fill_batch(batch: Sequence[BatchItem]) -> None:
    """Fill small arrays of the current device."""
    groups = defaultdict(list)
    for x, distribution, stream in batch:
        kind, numbers = _describe(x.dtype, distribution, stream)
        groups[kind].append((x.data.ptr, x.nbytes // kind.dtype.itemsize, 0, *numbers))
    pieces: list[Any] = []
    launches, words = [], 0
    for kind, rows in groups.items():
        records, owners, warps = _records(kind, rows)
        launches.append((kind, words, words + len(records), warps * WARP))
        pieces += records, owners
        words += len(records) + len(owners)
    # CuPy copies it to pinned memory, from there asynchronously, and keeps the pinned memory until an event says that it was
    # read. The table's own memory goes back to CuPy's pool at the end of this function: those who get it next use it in the
    # order of this stream, so after the launches.
    table = cupy.array(np.concatenate(pieces))
    for kind, first_record, first_owner, threads in launches:
        batch_kernel(kind.name, kind.real)(table, first_record, first_owner, table.view(kind.dtype), size=threads)


def _describe(dtype: np.dtype[Any], distribution: Distribution, stream: Stream | None) -> tuple[_Kind, tuple[Any, ...]]:
    """Return the launch of an array, and what its record holds after the array's place."""
    if isinstance(distribution, Point):
        value = distribution.value.tobytes()
        return _Kind("constant", np.dtype(np.uint8), None), (value * (STORE // len(value)),)
    assert stream is not None
    struct, values = struct_values(distribution)
    scalars = (value.data.ptr if isinstance(value, cupy.ndarray) else value for value in values)
    return _Kind(struct.name, real_part(dtype), working(dtype)), (*stream.key, stream.block, *scalars)


def _records(kind: _Kind, rows: Sequence[tuple[Any, ...]]) -> tuple[Any, Any, int]:
    """Return the records of a launch, and the number of the record of each warp, both as 64-bit words; the number of warps."""
    records = np.array(rows, record(kind.name, kind.real))
    warps = (records["size"].astype(np.int64) + kind.per_warp - 1) // kind.per_warp
    ends = np.cumsum(warps)
    records["warp"] = ends - warps
    owners = np.repeat(np.arange(len(rows), dtype=np.uint32), warps)
    return records.view(np.uint64), np.resize(owners, len(owners) + len(owners) % 2).view(np.uint64), int(ends[-1])
