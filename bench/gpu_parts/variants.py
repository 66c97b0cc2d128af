"""Part e: variants of the kernels that no count of instructions can judge. Each must give the library's bits to be timed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import timing
from cases import CASES
from peers import MEMSET, OURS, Peer, Runner, cupy_module, dtype_of, select
from threads import available

import gpuinit as gi
from gpu_parts import fills, internals
from gpu_parts.task import Task
from gpu_parts.variant_kernels import COLUMNS, ROWS, SHARED, Built, Variant, build

BLOCKS = (8, 4, 2)
THREADS = (128, 256, 512)
KERNELS = {"normal": "normal_", "uniform": "uniform_", "truncated": "trunc_normal_"}
_DTYPES = ("float32", "bfloat16")
# Elements: some are left over at the end, whatever a thread writes.
_CHECKED = 2**20 + 5
_CHECKED_QUICKLY = 2**11 + 5
_EFFORT = timing.Effort(sample=0.002, total=0.1, least_rounds=5, most_rounds=25, warm=0.002)
_RESERVE = 4.0


def plan(quick: bool) -> Iterator[tuple[str, str, str, int]]:
    """Kernel, dtype, table and blocks of each variant to compile, the most valuable first."""
    for dtype in _DTYPES:
        for table in (ROWS, COLUMNS, SHARED):
            yield "normal", dtype, table, BLOCKS[0]
    for blocks in BLOCKS[1:]:
        yield from (("normal", dtype, table, blocks) for table in (ROWS, COLUMNS, SHARED) for dtype in _DTYPES[: 2 - quick])
    for blocks in BLOCKS[:: 2 if quick else 1]:
        yield from (("uniform", dtype, ROWS, blocks) for dtype in _DTYPES[: 2 - quick])
    for blocks in BLOCKS[:1] if quick else BLOCKS:
        yield from (("truncated", dtype, table, blocks) for table in (ROWS, COLUMNS, SHARED) for dtype in _DTYPES[: 2 - quick])


def main(task: Task) -> None:
    cupy = cupy_module()
    size = 2**11 if task.quick else fills.what_fits()
    planned = list(plan(task.quick))
    for number, (name, dtype, table, blocks) in enumerate(planned):
        if task.left() < _RESERVE:
            task.note(f"{len(planned) - number} of {len(planned)} variants were not tried: no time was left")
            return
        try:
            for threads in THREADS:
                _check(task.quick, name, dtype, Variant(blocks, threads, table))
            _measure(task, name, dtype, table, blocks, size)
        except Exception as error:  # the others are still of use
            task.fail(f"{name} of {dtype}, {table}, {blocks} blocks per thread: {type(error).__name__}: {error}")
        cupy.get_default_memory_pool().free_all_blocks()
    task.note(f"{len(planned) - task.failures} variants with {len(THREADS)} sizes of a thread block, all with the library's bits")


def _fill(name: str, x: Any) -> Any:
    return getattr(gi, KERNELS[name])(x, generator=gi.Generator(3))


def _build(name: str, x: Any, variant: Variant) -> Built:
    return build(name, internals.launch_of(lambda: _fill(name, x)), variant)


def _check(quick: bool, name: str, dtype: str, variant: Variant) -> None:
    """Raise if a variant does not give the library's bits, in an array whose last thread has elements to spare."""
    x = cupy_module().zeros(_CHECKED_QUICKLY if quick else _CHECKED, dtype_of(dtype))
    expected = _fill(name, x).copy()
    x.view("uint8")[...] = 0x5A
    _build(name, x, variant).fill(x)
    differ = int((x.view("uint8") != expected.view("uint8")).sum())
    if differ:
        raise ValueError(f"{differ} of {x.nbytes} bytes are not the library's, with {variant.threads} threads per block")


def _measure(task: Task, name: str, dtype: str, table: str, blocks: int, size: int) -> None:
    """Time a variant with each size of a thread block beside the library and a memset, all taking turns on the same array."""

    def peer(threads: int) -> Peer:
        variant = Variant(blocks, threads, table)
        return Peer(_label(threads), "cuda", lambda case, x, _: Runner(partial(_build(name, x, variant).fill, x)), events=True)

    case = next(case for case in CASES if case.function == KERNELS[name])
    peers = [*map(peer, THREADS), *select("cuda", [OURS, MEMSET])]
    effort = timing.QUICK if task.quick else _EFFORT
    compared = timing.compare(peers, case, case.shape(size), dtype, available(), effort)
    if compared.missing:
        raise RuntimeError("; ".join(f"{library}: {reason}" for library, reason in compared.missing.items()))
    ours, roof = compared.times[OURS].speed, compared.times[MEMSET].speed
    for threads in THREADS:
        speed = compared.times[_label(threads)].speed
        row = {"kernel": name, "dtype": dtype, "table": table, "blocks": blocks, "threads": threads, "size": size}
        shares = {"of_library": round(speed / ours, 3), "of_memset": round(speed / roof, 3)}
        task.add("variant", **row, **{"GB/s": float(f"{speed:.4g}")}, **shares)
        print(f"{name} {dtype} {table} {blocks}x{threads}: {speed:.1f} GB/s, {shares}", flush=True)


def _label(threads: int) -> str:
    return f"{threads} threads"
