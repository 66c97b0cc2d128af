"""How gpuinit's time and memory grow with the array, and its speed with the threads: `python bench/scale.py`.

Each point is measured in a process of its own, so that its peak of memory and its number of threads are its own too.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import threads

DOCS = Path(__file__).resolve().parent.parent / "docs"
# Function -> its largest log2 of the size: orthogonal_ is cubic in the side of its matrix.
FUNCTIONS = {"uniform_ on [0, 1)": 30, "normal_": 30, "trunc_normal_": 30, "sparse_": 30, "orthogonal_": 24, "zeros_": 30}
LEAST, STEP = 12, 2
THREADS_BITS = 24
# Bounds on memory besides the array, in bytes a thread, or for orthogonal_ times the array.
A_THREAD, TIMES_THE_ARRAY = 8 * 10**6, 3


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench/scale.py", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes only, for CI; writes to a temporary folder")
    parser.add_argument("--threads", type=int, default=threads.available(), metavar="N", help="at most")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: docs/scale.json")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="default: docs/scale.png")
    parser.add_argument("--point", nargs=3, metavar=("FUNCTION", "BITS", "THREADS"), help="measure one point and print it")
    options = parser.parse_args(arguments)
    if options.point:
        function, bits, count = options.point
        print(json.dumps(measure(function, int(bits), int(count))))
        return 0
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    most = 16 if options.quick else 30
    functions = {name: min(most, bits) for name, bits in FUNCTIONS.items()}
    sizes = [
        _in_process(name, bits, options.threads)
        for name, largest in functions.items()
        for bits in range(LEAST, largest + 1, STEP)
    ]
    counts = [
        _in_process(name, min(THREADS_BITS, largest), count)
        for name, largest in functions.items()
        for count in range(1, options.threads + 1)
    ]
    plots, report = importlib.import_module("plots"), importlib.import_module("report")
    result = {"machine": report.machine(options.threads), "sizes": sizes, "threads": counts}
    folder = Path(tempfile.mkdtemp(prefix="gpuinit-bench-")) if options.quick else DOCS
    target = options.json or folder / "scale.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(report.to_json(result))
    plots.scale(result, options.plot or folder / "scale.png")
    print(f"plot: {options.plot or folder / 'scale.png'}\n")
    return _judge(report, functions, sizes, counts)


def _in_process(function: str, bits: int, count: int) -> dict[str, Any]:
    """One point, from a new process; where memory is too small for it, the process says so and all stops."""
    command = [sys.executable, __file__, "--point", function, str(bits), str(count)]
    point: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return point


def measure(function: str, bits: int, count: int) -> dict[str, Any]:
    """Fill a float32 array of 2**bits elements; the median of up to 5 fills, and the peak of memory besides it in the first."""
    threads.limit(count)  # before NumPy is there
    cases, peers = importlib.import_module("cases"), importlib.import_module("peers")
    case = cases.BY_NAME[function]
    # What is loaded or made once, the library's modules and tables, is neither time nor memory of the fill.
    _prepare(peers, case, peers.empty("cpu", case.shape(2**LEAST), "float32"), count).run()
    x = peers.empty("cpu", case.shape(2**bits), "float32")
    fill = _prepare(peers, case, x, count).run
    before = _reset_peak()
    seconds = [_time(fill)]
    scratch = _peak() - before
    while len(seconds) < 5 and sum(seconds) < 5:
        seconds.append(_time(fill))
    return {
        "function": function,
        "size": x.size,
        "threads": count,
        "bytes": x.nbytes,
        "seconds": float(f"{statistics.median(seconds):.4g}"),
        "scratch": scratch,
    }


def _prepare(peers: Any, case: Any, x: Any, count: int) -> Any:
    (ours,) = peers.select("cpu", [peers.OURS])
    return ours.prepare(case, x, count)


def _time(fill: Any) -> float:
    start = time.perf_counter()
    fill()
    return time.perf_counter() - start


def _reset_peak() -> int:
    """Bytes resident now; the peak counts anew from here, where the system lets it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise SystemExit(f"the peak of memory is read from Linux's /proc: {error}") from error
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {name}")


def _judge(report: Any, functions: dict[str, int], sizes: list[dict[str, Any]], counts: list[dict[str, Any]]) -> int:
    """Print time, memory and its bound at the largest size; 1 if a bound is passed anywhere."""
    rows, passed = [], False
    for name in functions:
        points = [point for point in sizes if point["function"] == name]
        over = [point for point in points if point["scratch"] > _bound(point)]
        passed = passed or bool(over)
        last, worst = points[-1], max(point["scratch"] for point in points)
        by_threads = [point["seconds"] for point in counts if point["function"] == name]
        rows.append(
            [
                name,
                f"2**{last['size'].bit_length() - 1}",
                f"{last['seconds']:.3g} s",
                f"{worst / 1e6:.1f} MB",
                f"{TIMES_THE_ARRAY} x the array" if name == "orthogonal_" else f"{A_THREAD * last['threads'] / 1e6:g} MB",
                "NO" if over else "yes",
                f"{by_threads[0] / by_threads[-1]:.2f}x",
            ]
        )
    columns = ("function", "elements", "time", "most memory besides", "bound", "met", "all threads")
    report.console.table("Largest arrays, float32", columns, rows, right=("time", "most memory besides", "all threads"))
    return int(passed)


def _bound(point: dict[str, Any]) -> int:
    """Small arrays may use what threads may use at most."""
    threads_bound = A_THREAD * point["threads"]
    return max(threads_bound, TIMES_THE_ARRAY * point["bytes"]) if point["function"] == "orthogonal_" else threads_bound


if __name__ == "__main__":
    sys.exit(main())
