"""`python -m gpuinit init`: a safetensors file, filled by rules from a file."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from gpuinit import _console as console
from gpuinit import rules
from gpuinit._models.checkpoint import check_place, initialize_file
from gpuinit._models.report import COLUMNS, RIGHT


def run(model: Path, rules_file: Path, seed: int, out: Path, json: Path | None) -> int:
    """Fill and show; the exit code is 1, with one line on stderr, if that cannot be done, and then `out` is as it was."""
    try:
        if json is not None:
            check_place("json", json)
        with _removing_files_when_stopped():
            report = initialize_file(model, rules.load(rules_file), seed=seed, out=out, progress=True)
        if json is not None:
            json.write_text(report.to_json() + "\n", encoding="utf-8")
    except (OSError, TypeError, ValueError, MemoryError) as error:
        print(f"gpuinit init: {' '.join(str(error).split())}", file=sys.stderr)  # that of unmatched names has many lines
        return 1
    console.table(f"{out}, seed {seed}: standard deviations expected and measured", COLUMNS, report.cells(), RIGHT, COLUMNS[3:4])
    print(report.summary())
    return 0


@contextmanager
def _removing_files_when_stopped() -> Iterator[None]:
    """Signals that end a process raise an exception instead, with the exit code that they give, unless they are ignored."""
    names = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(name, _stop) for name in names if signal.getsignal(name) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _stop(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)
