"""What a run leaves behind: `report.json`, `report.md`, and the short table at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from report import describe, to_json

from gpu_parts import tables
from gpu_parts.tables import Report
from gpuinit import _console as console

MEANINGLESS = {
    "emulated": "The device was emulated: all times are meaningless.",
    "quick": "The arrays were tiny (`--quick`): all times are meaningless.",
}


def write(report: dict[str, Any], folder: Path) -> None:
    """Write both files."""
    (folder / "report.json").write_text(to_json(report), encoding="utf-8")
    (folder / "report.md").write_text(text(report), encoding="utf-8")


def warning(report: Report) -> str:
    """Why no time in the report may be used; empty if they may."""
    return " ".join(text for key, text in MEANINGLESS.items() if report[key])


def machine(report: Report) -> str:
    """The machine in a few lines."""
    found = report["machine"]
    if not found:
        return "The machine could not be described; see the log."
    device = ", ".join(f"{name} {value}" for name, value in found["device"].items())
    return f"{describe(found)}" + (f"\n\n{found['gpu']}: {device}" if device else "")


def text(report: Report) -> str:
    """The report in Markdown."""
    pieces = ["# gpuinit on a GPU", warning(report), f"{report['started']}: {machine(report)}", tables.parts(report).markdown]
    for make in tables.ALL:
        table = make(report)
        if table.rows:
            pieces += [f"## {table.title}", table.markdown]
    pieces += [f"## {row['command']}\n\n```\n{row['text'].strip()}\n```" for row in tables.rows_of(report, "output")]
    return "\n\n".join(filter(None, pieces)) + "\n"


def show(report: Report) -> None:
    """Print the speeds at the largest size, and the parts."""
    print()
    for table in (tables.headlines(report), tables.parts(report)):
        if table.rows:
            console.table(table.title, table.columns, table.rows, right=table.columns[table.text :], cut=table.columns[-1:])
    if warning(report):
        print(warning(report))
