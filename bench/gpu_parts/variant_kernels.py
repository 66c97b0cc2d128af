"""Variants of gpuinit's fill kernels, made from its own headers by substitution: other launches, other reads of the table.

A substitution that no longer finds its text raises, so a variant cannot go out of date unnoticed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from gpu_parts import internals
from gpu_parts.internals import Launch

# How the table of the inverse CDF is read: rows of 16 bytes through the L1 cache, as the library does; a copy of them in shared
# memory, by a grid of so few threads that the copies cost little; or each coefficient from a column of its own.
ROWS, SHARED, COLUMNS = "rows", "shared", "columns"
_ROW_BYTES = 16
_ROW_FLOATS = 4

_LOAD_ROW = "const Row &row = load_constant<Row>(table + number * (int)(sizeof(Row) / sizeof(W)));"
_LOAD_COLUMNS = """Row row;
#pragma unroll
    for (int k = 0; k <= Row::degree; ++k) row.c[k] = __ldg(table + k * {rows} + number);"""
_LOAD_CONSTANT = "__ldg(reinterpret_cast<const uint4 *>(place) + j)"
_LOAD_SHARED = "reinterpret_cast<const uint4 *>(place)[j]"
_COPY_ROWS = """__shared__ uint4 copied[{count}];
for (int k = threadIdx.x; k < {count}; k += blockDim.x)
    copied[k] = __ldg(reinterpret_cast<const uint4 *>(&table[0]) + k);
__syncthreads();
const float *rows = reinterpret_cast<const float *>(copied);
"""
_FILL = "gpuinit::fill_blocks<T>(x, i, _ind.size(),"
_FILL_ALL = "for (ptrdiff_t j = i; j < threads; j += _ind.size()) gpuinit::fill_blocks<T>(x, j, threads,"


class Variant(NamedTuple):
    """Blocks of words and table as compiled in; threads per block as launched."""

    blocks: int
    threads: int
    table: str


class Built(NamedTuple):
    """A variant that fills an array of the launch's dtype and size."""

    variant: Variant
    kernel: Any
    arguments: tuple[Any, ...]
    size: int

    def fill(self, x: Any) -> None:
        self.kernel(*self.arguments, x.reshape(-1), size=self.size, block_size=self.variant.threads)


def build(name: str, launch: Launch, variant: Variant) -> Built:
    """The variant of a launch of gpuinit's kernel `name`, whose working precision is float32."""
    make: Callable[[str, Launch, Variant], Built] = {ROWS: _by_rows, COLUMNS: _by_columns, SHARED: _by_shared}[variant.table]
    return make(name, launch, variant)


def _by_rows(name: str, launch: Launch, variant: Variant) -> Built:
    made = _make(name, launch, variant.blocks, ROWS, (), launch.kernel.operation)
    return Built(variant, made, launch.arguments[:-1], _size(launch, variant))


def _by_columns(name: str, launch: Launch, variant: Variant) -> Built:
    at = _table_position(launch)
    table = launch.arguments[at].reshape(-1, _ROW_FLOATS)
    edits = ((_LOAD_ROW, _LOAD_COLUMNS.format(rows=len(table))),)
    made = _make(name, launch, variant.blocks, COLUMNS, edits, launch.kernel.operation)
    arguments = (*launch.arguments[:at], table.T.copy().reshape(-1), *launch.arguments[at + 1 : -1])
    return Built(variant, made, arguments, _size(launch, variant))


def _by_shared(name: str, launch: Launch, variant: Variant) -> Built:
    rows = launch.arguments[_table_position(launch)].size // _ROW_FLOATS
    copy = _COPY_ROWS.format(count=rows)
    operation = copy + substitute(substitute(launch.kernel.operation, _FILL, _FILL_ALL), "&table[0]", "rows")
    edits = ((_LOAD_CONSTANT, _LOAD_SHARED),)
    made = _make(name, launch, variant.blocks, SHARED, edits, operation, ", int64 threads")
    size = _resident_blocks(rows * _ROW_BYTES, variant.threads) * variant.threads
    return Built(variant, made, (*launch.arguments[:-1], _size(launch, variant)), size)


def _resident_blocks(shared: int, threads: int) -> int:
    """Blocks of so much shared memory and so many threads that the device holds at once; whole ones, so that all can wait."""
    import cupy

    limits = cupy.cuda.Device().attributes
    by_shared = limits.get("MaxSharedMemoryPerMultiprocessor", 49152) // (
        shared + limits.get("ReservedSharedMemoryPerBlock", 1024)
    )
    by_threads = limits.get("MaxThreadsPerMultiProcessor", 1024) // threads
    return limits.get("MultiProcessorCount", 1) * max(1, min(by_shared, by_threads))


def _size(launch: Launch, variant: Variant) -> int:
    """Threads that the fill takes."""
    words = launch.arguments[-1].size * 4
    return -(-words // (variant.blocks * internals.block_bytes()))


def _table_position(launch: Launch) -> int:
    (position,) = [i for i, parameter in enumerate(launch.kernel.in_params) if parameter.name == "table"]
    return position


def _make(
    name: str,
    launch: Launch,
    blocks: int,
    table: str,
    edits: tuple[tuple[str, str], ...],
    operation: str,
    more_parameters: str = "",
) -> Any:
    kernel = launch.kernel
    preamble, times = re.subn(r"constexpr int BLOCKS = \d+;", f"constexpr int BLOCKS = {blocks};", kernel.preamble)
    if times != 1:
        raise ValueError(f"the kernels must define `constexpr int BLOCKS` once, found {times} times: adapt {__name__}")
    for old, new in edits:
        preamble = substitute(preamble, old, new)
    inputs = _declare(kernel.in_params) + more_parameters
    return _kernel(inputs, _declare(kernel.out_params), operation, f"gpuinit_{name}_{table}_{blocks}", preamble)


@functools.cache
def _kernel(inputs: str, outputs: str, operation: str, name: str, preamble: str) -> Any:
    import cupy

    return cupy.ElementwiseKernel(inputs, outputs, operation, name, preamble=preamble, options=("--fmad=false",), no_return=True)


def _declare(parameters: tuple[Any, ...]) -> str:
    """The parameters of a kernel as CuPy is given them."""
    return ", ".join(f"{'raw ' if p.raw else ''}{p.ctype if p.dtype is None else p.dtype} {p.name}" for p in parameters)


def substitute(text: str, old: str, new: str) -> str:
    """The text with its only `old` replaced.

    Raises
    ------
    ValueError
        If `old` is not there exactly once.
    """
    if text.count(old) != 1:
        raise ValueError(f"the kernels must contain {old!r} once, found {text.count(old)} times: adapt {__name__}")
    return text.replace(old, new)
