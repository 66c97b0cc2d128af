"""One session of measurements: the bars, then every function over all sizes, dtypes and libraries of each device."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import plots
import report
import timing
from cases import BARS, CASES, DTYPES, GPU_SIZES, SIZES, Bar, Case
from peers import MKL, NUMPY, ON_TENSORS, OURS, PHILOX, TORCH, MissingError, empty, select

from gpuinit import _console as console

Reasons = defaultdict[str, set[str]]


class Options(NamedTuple):
    """What the command line asked for."""

    threads: int
    quick: bool
    bars: bool
    json: Path | None
    plot: Path | None
    libraries: list[str] | None
    functions: list[str] | None


def run(options: Options) -> int:
    """Measure, print and write; 1 if only bars were asked for and one was missed."""
    judged, rows, missing = _measure_bars(options)
    if not options.bars:
        for device in ("cpu", "cuda"):
            rows += _sweep(device, options, missing)
    found = report.machine(options.threads)
    result = {"machine": found, "quick": options.quick, "measured": rows}
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(report.to_json(result))
    if options.plot and not options.bars:
        for path in plots.sweep(result, options.plot):
            print(f"plot: {path}")
    report.show_roof(rows, found, options.quick)
    report.show_missing(missing)
    if judged:
        report.show_bars(judged, found, options.quick)
    return int(options.bars and not options.quick and not all(bar.is_met for bar in judged))


def _measure_bars(options: Options) -> tuple[list[report.Judged], list[dict[str, Any]], Reasons]:
    peers = [peer for peer in select("cpu", options.libraries) if peer.library in (OURS, TORCH, PHILOX, NUMPY, MKL)]
    effort = timing.QUICK if options.quick else timing.BARS
    judged: list[report.Judged] = []
    rows: list[dict[str, Any]] = []
    missing: Reasons = defaultdict(set)
    bars = [_tiny(bar) if options.quick else bar for bar in BARS if _is_wanted(bar.case, options)]
    with console.progress("bars", len(bars)) as done:
        for bar in bars:
            case, dtype, shape, arrays = bar.case, bar.dtype, bar.shape, bar.arrays
            contestants = [ON_TENSORS if bar.tensors and peer.library == OURS else peer for peer in peers]
            comparison = timing.compare(contestants, case, shape, dtype, options.threads, effort, arrays)
            _note(missing, comparison)
            done(f"{bar.case.name} {bar.size}")
            if OURS not in comparison.times:  # its tensors need torch
                continue
            judged.append(report.Judged(bar, comparison))
            what = {"function": case.name, "dtype": dtype, "size": math.prod(shape), "shape": shape, "arrays": arrays}
            rows += report.record(comparison, table="bars", device="cpu", tensors=bar.tensors, **what)
    return judged, rows, missing


def _tiny(bar: Bar) -> Bar:
    return bar._replace(shape=tuple(max(1, length // 32) for length in bar.shape), arrays=min(bar.arrays, 2))


def _sweep(device: str, options: Options, missing: Reasons) -> list[dict[str, Any]]:
    peers = list(select(device, options.libraries))
    cells = list(_cells(device, options))
    effort = timing.QUICK if options.quick else timing.SWEEP
    rows: list[dict[str, Any]] = []
    try:
        empty(device, (1,), DTYPES[0])
    except MissingError as reason:
        missing[f"the GPU ({device})"].add(str(reason))
        return rows
    with console.progress(device, len(cells)) as done:
        for case, dtype, size in cells:
            shape = case.shape(size)
            comparison = timing.compare(peers, case, shape, dtype, options.threads, effort)
            what = {"function": case.name, "dtype": dtype, "size": size, "shape": shape, "arrays": 1}
            rows += report.record(comparison, table="sweep", device=device, **what)
            _note(missing, comparison, device)
            done(f"{case.name} {dtype} {size}")
    return rows


def _cells(device: str, options: Options) -> Iterator[tuple[Case, str, int]]:
    sizes = (2**12,) if options.quick else GPU_SIZES if device == "cuda" else SIZES
    for case in CASES:
        if _is_wanted(case, options):
            yield from ((case, dtype, size) for dtype in DTYPES for size in sizes if size <= case.most)


def _is_wanted(case: Case, options: Options) -> bool:
    return not options.functions or any(case.name.startswith(name) for name in options.functions)


def _note(missing: Reasons, comparison: timing.Comparison, device: str = "cpu") -> None:
    for library, reason in comparison.missing.items():
        # That the other rows of the table have these figures is no news.
        if ": see " not in reason:
            missing[f"{library} ({device})"].add(reason)
