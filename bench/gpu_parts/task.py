"""What a part sees of the report: how long it may take, and where its results go."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_REASONS = 6  # of one library in the report


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The results in a file. A last line that was cut off is left out."""
    rows = []
    for line in path.read_text("utf-8", errors="replace").splitlines() if path.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


class SkipError(Exception):
    """The part cannot run here; the text is the reason."""


class Task:
    """A running part. Each result is written at once, so that a part that is stopped keeps what it has measured."""

    def __init__(self, lines: Path, seconds: float, quick: bool) -> None:
        self.quick = quick
        self.failures = 0
        self._lines = lines
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until the part is stopped."""
        return self._end - time.monotonic()

    def add(self, kind: str, **row: Any) -> None:
        """Write a result."""
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **row}) + "\n")

    def note(self, text: str) -> None:
        """Say in a few words what the part found; the last note is the one that the table shows."""
        print(text, flush=True)
        self.add("note", text=text)

    def missing(self, library: str, reasons: Sequence[str]) -> None:
        """Say that a library was left out, or from what, and why."""
        shown = [*reasons[:_REASONS], *([f"and {len(reasons) - _REASONS} more"] if len(reasons) > _REASONS else [])]
        print(f"not measured: {library}: {'; '.join(shown)}", flush=True)
        self.add("missing", library=library, reasons=shown)

    def fail(self, text: str) -> None:
        """Report something that is wrong, and go on: the part will count as failed."""
        self.failures += 1
        print(f"FAILED: {text}", flush=True)
        self.add("failure", text=text)
