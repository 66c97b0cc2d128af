"""Part c: GB/s of every fill on the GPU beside other libraries and `cudaMemsetAsync`, all on the same memory."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import report
import threads
import timing
from cases import BY_NAME, CASES, Case
from peers import MEMSET, OURS, TORCH, cupy_module, select

from gpu_parts.task import Task

LARGEST = 2**28
SMALLEST = 2**10
# Arrays of this many times the largest one must fit: JAX keeps the old array, the new one and the bits of all draws.
_COPIES = 6
_EFFORT = timing.Effort(sample=0.002, total=0.12, least_rounds=5, most_rounds=25, warm=0.002, slow=0.2)
_RESERVE = 4.0  # seconds that the last measurement may take

# The order in which dtypes and functions matter.
DTYPES = ("float32", "bfloat16", "float16", "float64")
HEADLINES = ("uniform_ on [0, 1)", "normal_", "trunc_normal_")
SWEPT = (*HEADLINES, "constant_")
_USUAL = (OURS, TORCH, MEMSET)
_CUPY, _JAX = ("cupy",), ("jax",)


class Cell(NamedTuple):
    """What is measured in one go: a fill by some libraries, taking turns."""

    function: str
    dtype: str
    size: int
    libraries: Sequence[str]


def plan(largest: int, quick: bool) -> Iterator[Cell]:
    """All cells, the most valuable first. JAX comes last: it compiles for each shape, and a crash in it costs nothing more."""
    others = [case.name for case in CASES if case.name not in HEADLINES]
    sizes = [size for size in _sizes(largest, quick) if size != largest]
    large = [Cell(name, dtype, largest, _USUAL) for dtype in DTYPES for name in HEADLINES]
    yield from large
    yield from (Cell(name, "float32", size, (*_USUAL, *_CUPY)) for name in SWEPT for size in sizes[::-1])
    yield from (Cell(name, dtype, largest, _USUAL) for dtype in DTYPES for name in others)
    yield from (cell._replace(libraries=(*_CUPY, MEMSET)) for cell in large)
    matrices = [size for size in sizes if 2**16 <= size <= 2**20]
    yield from (Cell("orthogonal_", dtype, size, _USUAL) for dtype in ("float32", "float64") for size in matrices)
    yield from (Cell(name, dtype, size, _USUAL) for dtype in DTYPES[1:] for name in HEADLINES for size in sizes[::-2])
    yield from (cell._replace(libraries=(*_JAX, MEMSET)) for cell in large)
    yield from (Cell(name, "float32", size, _JAX) for size in sizes[::-2] for name in HEADLINES)


def _sizes(largest: int, quick: bool) -> list[int]:
    exponents = range(SMALLEST.bit_length() - 1, largest.bit_length(), 1 if quick else 2)
    return [2**exponent for exponent in exponents]


def main(task: Task) -> None:
    largest = 2 * SMALLEST if task.quick else what_fits()
    task.add("size", largest=largest)
    cells = list(plan(largest, task.quick))
    missing: defaultdict[str, set[str]] = defaultdict(set)
    for number, cell in enumerate(cells):
        if task.left() < _RESERVE:
            task.note(f"{len(cells) - number} of {len(cells)} comparisons were not made: no time was left")
            break
        _measure(task, cell, missing)
        _free()
    for library, reasons in missing.items():
        task.missing(library, sorted(reasons))
    if task.left() >= _RESERVE:
        task.note(f"{len(cells)} comparisons at 2**{SMALLEST.bit_length() - 1} to 2**{largest.bit_length() - 1} elements")


def what_fits() -> int:
    """The number of elements of the largest arrays, a power of two."""
    free, _ = cupy_module().cuda.runtime.memGetInfo()
    largest = LARGEST
    while largest > SMALLEST and largest * 8 * _COPIES > free:
        largest //= 2
    return largest


def _measure(task: Task, cell: Cell, missing: defaultdict[str, set[str]]) -> None:
    """Compare the libraries; what goes wrong in gpuinit is a failure, in another one a reason why it is missing."""
    case = BY_NAME[cell.function]
    size = min(cell.size, case.most)
    shape = case.shape(size)
    effort = timing.QUICK if task.quick else _EFFORT
    try:
        compared = timing.compare(
            list(select("cuda", list(cell.libraries))), case, shape, cell.dtype, threads.available(), effort
        )
    except Exception as error:  # of a library, or of CUDA: the other cells are still of use
        task.fail(f"{cell.function} of {cell.dtype}, {size} elements: {type(error).__name__}: {_first_line(error)}")
        return
    for row in report.record(compared, function=case.name, dtype=cell.dtype, size=size, shape=shape):
        task.add("fill", **row)
    for library, reason in compared.missing.items():
        missing[library].add(reason)
    _show(case, cell.dtype, size, compared)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def _show(case: Case, dtype: str, size: int, compared: timing.Comparison) -> None:
    figures = ", ".join(f"{library} {times.speed:.1f}" for library, times in compared.times.items())
    print(f"{case.name} {dtype} 2**{size.bit_length() - 1}, GB/s: {figures}", flush=True)


def _free() -> None:
    """Give memory that CuPy and torch keep for later back to the device, for the next library to use."""
    modules: dict[str, Any] = sys.modules
    if "cupy" in modules:
        modules["cupy"].get_default_memory_pool().free_all_blocks()
    if "torch" in modules and modules["torch"].cuda.is_available():
        modules["torch"].cuda.empty_cache()
