"""The output of Nsight Compute as numbers: `ncu --csv --page raw`, a row for each launch and a column for each metric."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from typing import NamedTuple

# What is shown of a kernel, and the metrics that say it, the first of those that a GPU and a version of ncu have.
SHOWN = {
    "time": ("gpu__time_duration.sum",),
    "memory throughput (DRAM)": (
        "dram__throughput.avg.pct_of_peak_sustained_elapsed",
        "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    ),
    "issue slots busy": (
        "sm__inst_issued.avg.pct_of_peak_sustained_active",
        "smsp__issue_active.avg.pct_of_peak_sustained_active",
    ),
    "warps active": ("sm__warps_active.avg.pct_of_peak_sustained_active",),
    "L1 wavefronts": ("l1tex__data_pipe_lsu_wavefronts.avg.pct_of_peak_sustained_elapsed",),
    "L1 throughput": ("l1tex__throughput.avg.pct_of_peak_sustained_active",),
    "L1 load requests": ("l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum",),
    "L1 load sectors": ("l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum",),
    "L1 sectors per load request": ("l1tex__average_t_sectors_per_request_pipe_lsu_mem_global_op_ld.ratio",),
    "L1 hit rate": ("l1tex__t_sector_hit_rate.pct",),
    "registers per thread": ("launch__registers_per_thread",),
}
METRICS = tuple(metric for candidates in SHOWN.values() for metric in candidates)
SECTIONS = ("SpeedOfLight", "MemoryWorkloadAnalysis", "SchedulerStats", "WarpStateStats", "LaunchStats", "Occupancy")
_STALL, _STALL_END = "smsp__average_warps_issue_stalled_", "_per_issue_active.ratio"


class Measured(NamedTuple):
    """A launch's metrics, each with its unit."""

    kernel: str
    metrics: Mapping[str, tuple[float, str]]


def parse(text: str) -> Iterator[Measured]:
    """The launches in the output of ncu; what is not a number is left out, and so are lines that are not CSV."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    rows = csv.reader(lines)
    header = next(rows, [])
    if "Kernel Name" not in header:
        return
    if "Metric Name" in header:
        yield from _long(header, rows)
        return
    name = header.index("Kernel Name")
    units = next(rows, [])
    for row in rows:
        if len(row) == len(header) == len(units):
            cells = zip(header, units, row)
            yield Measured(
                row[name], {metric: (value, unit) for metric, unit, cell in cells if (value := _number(cell)) is not None}
            )


def _long(header: list[str], rows: Iterator[list[str]]) -> Iterator[Measured]:
    """The form with a row for each metric, which ncu prints without `--page raw`."""
    launches: dict[tuple[str, str], dict[str, tuple[float, str]]] = {}
    for cells in rows:
        row = dict(zip(header, cells))
        if (value := _number(row.get("Metric Value", ""))) is not None:
            launch = launches.setdefault((row.get("ID", ""), row["Kernel Name"]), {})
            launch[row["Metric Name"]] = value, row.get("Metric Unit", "")
    yield from (Measured(kernel, metrics) for (_, kernel), metrics in launches.items())


def _number(text: str) -> float | None:
    """ "1,234.5" is a number, "n/a" and "(128, 1, 1)" are not."""
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def shown(measured: Measured) -> dict[str, str]:
    """What the report shows of a launch: numbers with their units, and the stall reasons, the longest first."""
    found = {}
    for label, candidates in SHOWN.items():
        for metric in candidates:
            if metric in measured.metrics:
                value, unit = measured.metrics[metric]
                found[label] = f"{value:,.6g} {unit}".strip()
                break
    requests, sectors = (measured.metrics.get(SHOWN[f"L1 load {what}"][0]) for what in ("requests", "sectors"))
    if requests and sectors and requests[0]:
        found["L1 sectors per load request"] = f"{sectors[0] / requests[0]:.4g}"
    stalls = {
        name.removeprefix(_STALL).removesuffix(_STALL_END): value
        for name, (value, _) in measured.metrics.items()
        if name.startswith(_STALL) and name.endswith(_STALL_END)
    }
    for reason, value in sorted(stalls.items(), key=lambda item: -item[1])[:5]:
        found[f"stalled: {reason.replace('_', ' ')}"] = f"{value:.3g} warps per issue"
    return found
