"""Throughput of every function, by pytest-benchmark: `pytest bench -k "normal_ and float32 and log2_20"`.

One library runs after the other here; `bench/run.py` compares them fairly. The tables are `peers.PEERS` and `cases.CASES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cases import BARS, CASES, DTYPES, GPU_SIZES, SIZES, Bar, Case, Shape
from peers import NUMPY, OURS, PEERS, PHILOX, TORCH, MissingError, Peer, Runner, cupy_module, empty
from threads import available


def _measure(benchmark: Any, peer: Peer, case: Case, shape: Shape, dtype: str, arrays: int = 1) -> None:
    try:
        memory = [empty(peer.device, shape, dtype) for _ in range(arrays)]
        runners = [peer.prepare(case, x, available()) for x in memory]
    except MissingError as reason:
        pytest.skip(str(reason))
    fill = _filler(peer, runners)
    try:
        fill()
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        if peer.library == OURS:
            raise
        pytest.skip(f"{peer.library} lacks {dtype} here: {error}")
    benchmark(fill)
    nbytes = sum(x.nbytes for x in memory)
    benchmark.extra_info["bytes"] = nbytes
    if benchmark.stats:  # none with --benchmark-disable
        benchmark.extra_info["GB/s"] = nbytes / benchmark.stats.stats.median / 1e9


def _filler(peer: Peer, runners: list[Runner]) -> Callable[[], None]:
    """One turn of all runners, until the device is done."""

    def fill() -> None:
        for runner in runners:
            runner.run()
        for runner in runners:
            runner.wait()
        if peer.events:
            cupy_module().cuda.get_current_stream().synchronize()

    return fill


@pytest.mark.parametrize("size", GPU_SIZES, ids=lambda size: f"log2_{size.bit_length() - 1}")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: f"{peer.library} {peer.device}")
def bench_sizes(benchmark: Any, peer: Peer, case: Case, dtype: str, size: int) -> None:
    if size > min(case.most, max(GPU_SIZES if peer.device == "cuda" else SIZES)):
        pytest.skip("too large")
    _measure(benchmark, peer, case, case.shape(size), dtype)


@pytest.mark.parametrize("bar", BARS, ids=lambda bar: f"{bar.case.name} {bar.dtype} {bar.size}")
@pytest.mark.parametrize(
    "peer",
    [peer for peer in PEERS if peer.device == "cpu" and peer.library in (OURS, TORCH, PHILOX, NUMPY)],
    ids=lambda peer: peer.library,
)
def bench_bars(benchmark: Any, peer: Peer, bar: Bar) -> None:
    _measure(benchmark, peer, bar.case, bar.shape, bar.dtype, bar.arrays)
