"""docs/gpu.md: made from a report of a real GPU, or, until there is one, a sentence that says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import plots
from report import to_json

from gpu_parts import fills, summary, tables
from gpu_parts.runner import ROOT
from gpu_parts.tables import FILLS, Report, Table

DOCS = ROOT / "docs"
SCHEMA = 1
_KERNELS = {"uniform_ on [0, 1)": "uniform", "normal_": "normal", "trunc_normal_": "truncated"}

_TITLE = "# Measured on a GPU"
_HOW = """`bench/gpu_report.py` checks, measures and reports everything on a machine with an NVIDIA GPU and CuPy.
It takes eight minutes, installs and downloads nothing, and skips what is missing.
[Benchmarks](benchmarks.md#one-command-for-a-gpu) describes its parts, and what to send back.

```sh
python bench/gpu_report.py --out gpu-report          # measure
python bench/gpu_report.py --out gpu-report --page   # write this page from gpu-report/report.json
```"""
_MEANING = """The speeds are GB/s of array written: the median of fills timed by CUDA events, on warm arrays.
"Of memset" is the share of the speed of `cudaMemsetAsync` on the same memory.
"Model" is the upper bound of that share in [what the kernels cost a GPU](gpu_cost.md#model-against-the-memorys-speed).
For CuPy and JAX, the fastest of their generators counts. All figures are in [gpu.json](gpu.json)."""
_UNMEASURED = f"""{_TITLE}

No GPU has been measured yet: the figures of [what the kernels cost a GPU](gpu_cost.md) are counted in compiled code.

{_HOW}
"""


def load(path: Path) -> dict[str, Any]:
    """A report that a page may be made of.

    Raises
    ------
    ValueError
        If it is not a full report of a real GPU.
    """
    try:
        report: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} must be a report of gpu_report.py, got a file that is not JSON: {error}") from error
    if report.get("schema") != SCHEMA:
        raise ValueError(f"{path} must have schema {SCHEMA}, got {report.get('schema')!r}; measure again with this version")
    if report["emulated"] is not False:
        raise ValueError(f"{path} must be of a real GPU, got emulated={report['emulated']!r}; its times mean nothing")
    if report["quick"]:
        raise ValueError(f"{path} must be of a full run, got one of --quick, whose times mean nothing; measure without it")
    if not tables.fills(report).rows:
        raise ValueError(f"{path} must have speeds of fills, got none; see the log of part c")
    return report


def write(source: Path, docs: Path = DOCS) -> list[Path]:
    """Write the page, its picture and a copy of the report to the folder of the documentation."""
    report = load(source)
    rows = [row for row in tables.rows_of(report, "fill") if row["function"] in fills.SWEPT and row["dtype"] == "float32"]
    plots.draw(rows, "cuda", report["machine"], docs / "gpu.png")
    (docs / "gpu.json").write_text(to_json(report), encoding="utf-8")
    (docs / "gpu.md").write_text(text(report, docs), encoding="utf-8")
    return [docs / name for name in ("gpu.md", "gpu.png", "gpu.json")]


def text(report: Report | None, docs: Path = DOCS) -> str:
    """The page, of a report or of none."""
    if report is None:
        return _UNMEASURED
    shares = model((docs / "gpu_cost.md").read_text("utf-8"), report["machine"]["gpu"])
    pieces = [
        _TITLE,
        f"Measured on {report['started'][:10]}: {summary.machine(report)}",
        _MEANING,
        _with_model(tables.fills(report), shares).markdown,
        "![GB/s against the size of the array, a panel for each function, a line for each library; memset is the roof](gpu.png)",
    ]
    for make in (tables.models, tables.calls, tables.variants, tables.profile, tables.first_calls, tables.parts, tables.missing):
        table = make(report)
        if table.rows:
            pieces += [f"## {table.title}", table.markdown]
    return "\n\n".join([*pieces, f"## How to measure\n\n{_HOW}"]) + "\n"


def model(page: str, gpu: str) -> dict[tuple[str, str], str]:
    """The shares of the memory's speed that docs/gpu_cost.md has for a GPU, by kernel and dtype; empty for one it lacks."""
    _, _, below = page.partition("<!-- roofs -->\n\n")
    lines = [line.strip("| ").split(" | ") for line in below.partition("\n\n")[0].splitlines()]
    header = [name.strip() for name in lines[0]]
    rows = [dict(zip(header, map(str.strip, line))) for line in lines[2:]]
    words = gpu.replace("-", " ").split()
    return {(row["kernel"], dtype): row[dtype] for row in rows if row["GPU"] in words for dtype in fills.DTYPES}


def _with_model(table: Table, shares: dict[tuple[str, str], str]) -> Table:
    """The table with the model's share beside the measured one."""
    place = FILLS.index("of memset") + 1
    columns = [*FILLS[:place], "model", *FILLS[place:]]
    rows = [[*row[:place], shares.get((_KERNELS.get(row[0], ""), row[1]), "-"), *row[place:]] for row in table.rows]
    return table._replace(columns=columns, rows=rows)
