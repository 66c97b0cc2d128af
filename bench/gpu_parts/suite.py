"""Part b: the tests that need a GPU, those of torch on CUDA first, on many processes where pytest-xdist is installed."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import threads
from peers import cupy_module

from gpu_parts import commands
from gpu_parts.outcomes import FILE
from gpu_parts.task import SkipError, Task, read_lines

_QUICK = ("tests/backends/cuda/test_torch_tensors.py", "tests/backends/cuda/test_device.py", "tests/cli/test_selfcheck.py")
_PROCESSES = 16
_MEMORY = 3 * 2**30  # bytes of the device for each process: two contexts, and the largest arrays of the tests
_SHOWN = 20  # failures whose names are in the report


def main(task: Task) -> None:
    if importlib.util.find_spec("pytest") is None:
        raise SkipError("pytest is not installed")
    cupy_module()
    rows: list[dict[str, Any]] = []
    # Should the processes of pytest-xdist not get on, one alone runs what it can.
    for parallel in filter(None, (_parallel(task.quick), ["-p", "no:xdist"])):
        with tempfile.TemporaryDirectory() as folder:
            outcomes = Path(folder) / "outcomes.jsonl"
            done = commands.run(_command(task.quick, parallel), task.left() - 1, _environment(outcomes))
            rows = read_lines(outcomes)
        if any(row["outcome"] == "passed" for row in rows):
            break
    _report(task, rows, done)


def _command(quick: bool, parallel: list[str]) -> list[str]:
    """Only tests, not the doctests and warnings that the project's own runs ask for: what is installed here is not known."""
    paths = _QUICK if quick else ("tests",)
    overrides = ["-o", "addopts=", "-o", "filterwarnings=default"]
    options = [*overrides, "-p", "no:cacheprovider", "-p", "gpu_parts.outcomes", "-q", "-rfE", *parallel]
    return commands.python("-m", "pytest", *paths, "-m", "gpu and not slow", *options)


def _parallel(quick: bool) -> list[str]:
    """pytest's options for many processes; none where pytest-xdist is missing, or would not pay."""
    if quick or importlib.util.find_spec("xdist") is None:
        return []
    _, memory = cupy_module().cuda.runtime.memGetInfo()
    count = min(_PROCESSES, threads.available(), memory // _MEMORY)
    return ["-p", "xdist.plugin", "-n", str(count)] if count > 1 else []


def _environment(outcomes: Path) -> dict[str, str]:
    """No plugins but those asked for: a GPU machine has many, which import the libraries they are made for."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    return {**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", FILE: str(outcomes)}


def _report(task: Task, rows: list[dict[str, Any]], done: commands.Done) -> None:
    counts = Counter(row["outcome"] for row in rows)
    failed = [row for row in rows if row["outcome"] == "failed"]
    reasons = Counter(row["reason"] for row in rows if row["outcome"] == "skipped")
    task.add("tests", **counts, reasons=reasons.most_common(), code=done.code)
    for row in failed[:_SHOWN]:
        task.add("failed test", name=row["name"], reason=row["reason"])
    text = ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in ("passed", "failed", "skipped") if counts[outcome])
    if failed:
        task.fail(f"{text}: {failed[0]['name']}")
    elif done.code is None:
        task.fail(f"stopped before the end: {text or 'no test had ended'}")
    elif done.code not in (0, 5):  # pytest's 5: nothing was collected
        task.fail(f"pytest ended with exit code {done.code}: {done.last_line}")
    task.note(text or "no tests")
