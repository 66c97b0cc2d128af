"""Run parts one after the other, each in a process that is stopped at its limit, whatever it does.

Nothing here imports CuPy or torch: no fault in CUDA can stop it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gpu_parts import Part
from gpu_parts.task import read_lines

ROOT = Path(__file__).resolve().parents[2]
# Seconds that a killed process may take to go. One that waits inside the driver can take for ever, and is left alone.
_PATIENCE = 5.0
_STARTUP = 1.0  # seconds of a part's limit kept from the part itself: it stops measuring before it is stopped


class Outcome(NamedTuple):
    """How a part ended: "ok", "failed", "timed out" or "skipped"; `reason` says in a line what it found, or why not."""

    part: str
    title: str
    status: str
    reason: str
    seconds: float
    limit: float


class Settings(NamedTuple):
    """What all parts have in common."""

    folder: Path  # results go to `parts/`, logs to `logs/`
    quick: bool
    deadline: float  # of all parts, by time.monotonic()


def environment() -> dict[str, str]:
    """A part's environment: this checkout comes first, and JAX leaves the GPU's memory to the others."""
    places = [str(ROOT), str(ROOT / "bench"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(places),
        "PYTHONUNBUFFERED": "1",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


def run_all(parts: Sequence[Part], settings: Settings, done: Callable[[Part, Outcome], None]) -> None:
    """Run the parts in their order, and call `done` as each ends. Time that one leaves over is shared by those after it."""
    for number, part in enumerate(parts):
        left = settings.deadline - time.monotonic()
        share = part.weight / sum(later.weight for later in parts[number:])
        done(part, run(part, settings, left * share))


def run(part: Part, settings: Settings, limit: float) -> Outcome:
    """Run a part for at most `limit` seconds."""
    log, lines = log_of(part, settings.folder), lines_of(part, settings.folder)
    for path in (log, lines):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    if limit <= _STARTUP:
        log.write_text("not started: no time was left\n", encoding="utf-8")
        return Outcome(part.name, part.title, "timed out", "no time was left", 0.0, max(0.0, limit))
    started = time.monotonic()
    code = _run(_command(part, lines, limit - _STARTUP, settings.quick), log, limit)
    seconds = time.monotonic() - started
    status, reason = _judge(code, rows_of(part, settings.folder), log, limit)
    return Outcome(part.name, part.title, status, reason, round(seconds, 1), round(limit, 1))


def log_of(part: Part, folder: Path) -> Path:
    return folder / "logs" / f"{part.name}-{part.module.rpartition('.')[2]}.log"


def lines_of(part: Part, folder: Path) -> Path:
    return folder / "parts" / f"{part.name}.jsonl"


def rows_of(part: Part, folder: Path) -> list[dict[str, Any]]:
    """The results of a part."""
    return read_lines(lines_of(part, folder))


def _command(part: Part, lines: Path, seconds: float, quick: bool) -> list[str]:
    command = [sys.executable, "-m", "gpu_parts", part.module, "--lines", str(lines.resolve()), "--seconds", f"{seconds:.1f}"]
    return [*command, "--quick"] if quick else command


def _run(command: list[str], log: Path, limit: float) -> int | None:
    """The exit code, or None at the limit. Processes that the part started end with it."""
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment(),
            start_new_session=True,
        )
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)


def _judge(code: int | None, rows: list[dict[str, Any]], log: Path, limit: float) -> tuple[str, str]:
    """Status and reason."""
    found: dict[str, list[str]] = {"note": [], "failure": [], "skipped": []}
    for row in rows:
        if row["kind"] in found:
            found[row["kind"]].append(row.get("text") or row.get("reason") or "")
    if code is None:
        return "timed out", f"stopped after {limit:.0f} s, with {len(rows)} results"
    if found["failure"]:
        others = f", and {len(found['failure']) - 1} more" if len(found["failure"]) > 1 else ""
        return "failed", f"{found['failure'][0]}{others}"
    if code < 0:
        return "failed", f"ended by {_signal(-code)}; see {log.name}"
    if code > 0:
        return "failed", f"{_last_line(log)}; see {log.name}"
    if found["skipped"]:
        return "skipped", found["skipped"][-1]
    return "ok", found["note"][-1] if found["note"] else ""


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no output"
