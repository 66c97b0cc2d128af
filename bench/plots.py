"""The pictures in docs/: one panel a function, one line a library. matplotlib is imported when one is drawn."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import report
from peers import MEMSET, OURS, PEERS

COLUMNS = 4
_TITLE_WIDTH = 150  # characters that fit into a line
_DTYPE = "float32"
# Okabe and Ito's palette, which colour-blind readers can tell apart; black is gpuinit's.
_COLOURS = ("#D55E00", "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#CC79A7", "#882255", "#999999")
_MARKERS = "sv^<>DPX"


def sweep(result: dict[str, Any], path: Path) -> Iterator[Path]:
    """Draw GB/s against log2 of the size, a picture a device; give the paths written."""
    for device, suffix in (("cpu", ""), ("cuda", "-cuda")):
        rows = [
            row for row in result["measured"] if row["table"] == "sweep" and row["device"] == device and row["dtype"] == _DTYPE
        ]
        if rows:
            target = path.with_stem(path.stem + suffix)
            draw(rows, device, result["machine"], target)
            yield target


def draw(rows: list[dict[str, Any]], device: str, machine: dict[str, Any], path: Path) -> None:
    """Draw a panel for each function, a line for each library."""
    pyplot = _pyplot()
    functions = list(dict.fromkeys(row["function"] for row in rows))
    lines = -(-len(functions) // COLUMNS)
    figure, axes = pyplot.subplots(lines, COLUMNS, figsize=(15, 3.1 * lines + 1.4), squeeze=False, layout="constrained")
    handles: dict[str, Any] = {}
    for function, panel in zip(functions, axes.flat):
        for library, style in styles(device).items():
            points = sorted(
                (math.log2(r["size"]), r["GB/s"]) for r in rows if (r["function"], r["library"]) == (function, library)
            )
            if points:
                (handles[library],) = panel.plot(*zip(*points), label=library, **style)
        panel.set_title(function, fontsize=11)
        _decorate(panel, "log2 of elements", "GB/s")
    for panel in axes.flat[len(functions) :]:
        panel.set_axis_off()
    name = machine["gpu"] if device == "cuda" else machine["cpu"]
    where = textwrap.fill(f"{name}, {_where(device, machine)}", _TITLE_WIDTH)
    figure.suptitle(f"Fills of {_DTYPE} arrays, GB/s of array written (higher is better)\n{where}", fontsize=13)
    ordered = [library for library in styles(device) if library in handles]
    figure.legend([handles[library] for library in ordered], ordered, loc="outside lower center", ncols=5, fontsize=11)
    save(figure, path)


def _where(device: str, machine: dict[str, Any]) -> str:
    threads = "" if device == "cuda" else f"{machine['threads']} threads, "
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{threads}{machine['date']}; {versions}"


def styles(device: str) -> dict[str, dict[str, Any]]:
    """Colour and marker of each library of a device: always the same ones."""
    libraries = [peer.library for peer in PEERS if peer.device == device and peer.library != OURS]
    others = {
        library: {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.3, "zorder": 2}
        for library, colour, marker in zip(libraries, _COLOURS, _MARKERS)
    }
    if MEMSET in others:
        others[MEMSET] |= {"linestyle": "--", "marker": ""}
    return {OURS: {"color": "black", "marker": "o", "markersize": 5, "linewidth": 2.4, "zorder": 3}, **others}


def _decorate(panel: Any, x: str, y: str) -> None:
    """Labels, a logarithmic axis with plain numbers, and a light grid."""
    ticker = report.package("matplotlib.ticker")
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(ticker.LogLocator(base=10, subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(ticker.NullFormatter())
    panel.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=8))
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    panel.grid(alpha=0.3, which="major")
    panel.margins(x=0.04, y=0.08)


def scale(result: dict[str, Any], path: Path) -> None:
    """Draw time and scratch memory against the size, and speed-up against the threads."""
    pyplot = _pyplot()
    figure, (time, memory, speed) = pyplot.subplots(1, 3, figsize=(16, 5.8), layout="constrained")
    functions = list(dict.fromkeys(row["function"] for row in result["sizes"]))
    colours = dict(zip(functions, ("black", *_COLOURS)))
    for function, marker in zip(functions, "o" + _MARKERS):
        style = {"color": colours[function], "marker": marker, "markersize": 5, "linewidth": 1.5, "label": function}
        rows = [row for row in result["sizes"] if row["function"] == function]
        sizes = [math.log2(row["size"]) for row in rows]
        time.plot(sizes, [row["seconds"] * 1e3 for row in rows], **style)
        memory.plot(sizes, [max(row["scratch"], 2**12) / 1e6 for row in rows], **style)
        rows = [row for row in result["threads"] if row["function"] == function]
        speed.plot([row["threads"] for row in rows], [rows[0]["seconds"] / row["seconds"] for row in rows], **style)
    threads = result["machine"]["threads"]
    array = [row for row in result["sizes"] if row["function"] == functions[0]]
    memory.plot(
        [math.log2(r["size"]) for r in array], [r["bytes"] / 1e6 for r in array], "--", color="grey", label="the array itself"
    )
    memory.axhline(8 * threads, linestyle=":", color="grey", label="8 MB a thread")
    for panel, title, label in (
        (time, f"Time, {threads} threads", "ms"),
        (memory, f"Memory besides the array, {threads} threads", "MB"),
    ):
        _decorate(panel, "log2 of elements (float32)", label)
        panel.yaxis.set_major_locator(report.package("matplotlib.ticker").LogLocator(base=10))
        panel.set_title(title)
    (speed_size,) = {row["size"] for row in result["threads"] if row["function"] == functions[0]}
    speed.plot([1, threads], [1, threads], "--", color="grey")
    speed.set_title(f"Speed-up, 2**{speed_size.bit_length() - 1} elements (dashed: ideal)")
    speed.set_xlabel("threads")
    speed.set_ylabel("times the speed of one thread")
    speed.set_ylim(bottom=0)
    speed.set_xticks(range(1, threads + 1))
    speed.grid(alpha=0.3)
    handles, labels = memory.get_legend_handles_labels()
    figure.suptitle(f"gpuinit on {result['machine']['cpu']}, {result['machine']['date']}", fontsize=13)
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles))
    save(figure, path)


def _pyplot() -> Any:
    report.package("matplotlib").use("agg")
    return report.package("matplotlib.pyplot")


def save(figure: Any, path: Path) -> None:
    """Write a picture and forget it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    _pyplot().close(figure)
