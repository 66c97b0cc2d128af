"""What a run leaves behind: a JSON that the plot is made from, and the table of ratios."""

from __future__ import annotations

import datetime
import importlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from cases import Bar
from peers import MKL, NUMPY, OURS, PHILOX, TORCH
from timing import Comparison, Times

import gpuinit
from gpuinit import _console as console
from gpuinit._backends.host import compiled

_PACKAGES = ("numpy", "ml_dtypes", "torch", "jax", "jaxlib", "mkl", "cupy-cuda12x", "cupy-cuda13x")
# They change what BLAS or OpenMP do.
_SETTINGS = ("OPENBLAS_", "MKL_", "OMP_", "GOMP_", "KMP_", "XLA_")


def machine(threads: int) -> dict[str, Any]:
    """Where, when and with what the figures were measured."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": threads,
        "gpu": _gpu(),
        "cpu_kernels": "compiled" if compiled.library() else "NumPy's ufuncs",
        "system": platform.platform(terse=True),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {"python": platform.python_version(), "gpuinit": gpuinit.__version__, **_versions()},
        "settings": {name: value for name, value in sorted(os.environ.items()) if name.startswith(_SETTINGS)},
    }


def describe(found: dict[str, Any]) -> str:
    """One line on the machine, for captions."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    gpu = f"; {found['gpu']}" if found["gpu"] else ""
    kernels = f"gpuinit's CPU kernels: {found['cpu_kernels']}"
    return f"{found['cpu']}, {found['cores']} cores, {found['threads']} threads{gpu}; {kernels}; {versions}; {found['date']}"


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu() -> str | None:
    """The device's own name, so that an emulated one is never taken for another."""
    cupy = sys.modules.get("cupy")
    if cupy is None or not cupy.is_available():
        return None
    return str(cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode())


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def record(comparison: Comparison, **what: Any) -> list[dict[str, Any]]:
    """The rows of the JSON for one comparison, `what` in each."""
    return [
        {
            **what,
            "library": library,
            "seconds": float(f"{times.median:.4g}"),
            "least": float(f"{min(times.seconds):.4g}"),
            "rounds": len(times.seconds),
            "bytes": times.nbytes,
            "GB/s": float(f"{times.speed:.4g}"),
        }
        for library, times in comparison.times.items()
    ]


def to_json(result: dict[str, Any]) -> str:
    """The result with each measurement on a line of its own."""

    def text(value: Any) -> str:
        if isinstance(value, list) and value:
            return "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in value) + "\n ]"
        return json.dumps(value)

    return "{\n" + ",\n".join(f" {json.dumps(name)}: {text(value)}" for name, value in result.items()) + "\n}\n"


_PEERS = "torch", "NumPy", "oneMKL"
COLUMNS = ("function", "dtype", "shape", "gpuinit", "GB/s", *(c for peer in _PEERS for c in (peer, "ratio", "bar")), "met")
_NO_FIGURES = "Tiny arrays, once each: these times mean nothing"
_RIGHT = ("gpuinit", "GB/s", *_PEERS, "ratio", "bar")


class Judged:
    """A bar beside what was measured."""

    def __init__(self, bar: Bar, comparison: Comparison) -> None:
        times = comparison.times
        self.bar = bar
        self.ours = times[OURS]
        self.torch = times.get(TORCH)
        self.numpy = times.get(PHILOX) or times.get(NUMPY)
        self.mkl = times.get(MKL)

    @property
    def against(self) -> list[tuple[Times | None, float]]:
        """Each peer's times, None if it was not measured, and the minimum ratio to it. oneMKL is optional."""
        mkl = self.bar.mkl if self.mkl and has_avx512() else 0.0
        return [(self.torch, self.bar.torch), (self.numpy, self.bar.numpy), (self.mkl, mkl)]

    @property
    def is_met(self) -> bool:
        """Whether the ratios were measured and none is below its bar: as measured, not as rounded for the table."""
        if self.torch is None or self.numpy is None:
            return False
        return all(peer is None or peer.median / self.ours.median >= least for peer, least in self.against)

    def row(self, quick: bool) -> list[str]:
        cells = [self.bar.case.name, self.bar.dtype, self.bar.size, _time(self.ours.median), f"{self.ours.speed:.2f}"]
        for peer, least in self.against:
            measured = [_time(peer.median), f"{peer.median / self.ours.median:.2f}"] if peer else ["-", "-"]
            cells += [*measured, f"{least:g}"]
        verdict = "-" if quick or None in (self.torch, self.numpy) else "yes" if self.is_met else "NO"
        return [*cells, verdict]


def has_avx512() -> bool:
    """Whether this CPU has what oneMKL's kernels and gpuinit's best ones are for."""
    library = compiled.library()
    return library is not None and library.gpuinit_level() >= 4


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"


def show_bars(judged: Sequence[Judged], found: dict[str, Any], quick: bool) -> None:
    """Print the table of ratios to the terminal, and again as markdown for the README."""
    rows = [bar.row(quick) for bar in judged]
    if quick:
        console.table(_NO_FIGURES, COLUMNS, rows, right=_RIGHT)
        return
    met = sum(bar.is_met for bar in judged)
    console.table("Median time of a fill, interleaved with torch, NumPy's Philox and oneMKL's", COLUMNS, rows, right=_RIGHT)
    print(f"{met} of {len(judged)} bars met\n")
    print(markdown(rows))
    print(f"\n{describe(found)}\n")


def markdown(rows: Iterable[Sequence[str]], columns: Sequence[str] = COLUMNS, right: Sequence[str] = _RIGHT) -> str:
    """A table in GitHub's markdown."""
    rule = ["--:" if column in right else "---" for column in columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows))


def show_roof(rows: Iterable[dict[str, Any]], found: dict[str, Any], quick: bool) -> None:
    """Print gpuinit's share of the measured memset on the GPU, at the largest size."""
    speeds = {
        (row["function"], row["dtype"], row["size"], row["library"]): row["GB/s"] for row in rows if row["device"] == "cuda"
    }
    ours = {key: speed for key, speed in speeds.items() if key[3] == OURS}
    largest = {(function, dtype): size for function, dtype, size, _ in sorted(ours, key=lambda key: key[2])}
    table = [
        [function, dtype, f"2**{size.bit_length() - 1}", f"{speed:.1f}", f"{roof:.1f}", f"{100 * speed / roof:.0f} %"]
        for (function, dtype), size in largest.items()
        if (roof := speeds.get((function, dtype, size, "memset"))) and (speed := ours[function, dtype, size, OURS])
    ]
    columns = ("function", "dtype", "elements", "GB/s", "memset GB/s", "of memset")
    if table:
        title = f"{_NO_FIGURES}, on {found['gpu']}" if quick else f"GPU: {found['gpu']}"
        console.table(title, columns, table, right=columns[3:])


def show_missing(missing: dict[str, set[str]]) -> None:
    """Say who was left out, and why."""
    if missing:
        print("Not measured:")
        for library, reasons in missing.items():
            print(f"  {library}: {'; '.join(sorted(reasons))}")


def package(name: str) -> Any:
    """A package of the `bench` extra, or the command that installs it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SystemExit(f'{name} is not installed: pip install "gpuinit[bench]", or run without a plot: --plot ""') from error
