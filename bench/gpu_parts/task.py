"""What a part sees of the report: how long it may take, and where its results go."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any


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

    def fail(self, text: str) -> None:
        """Report something that is wrong, and go on: the part will count as failed."""
        self.failures += 1
        print(f"FAILED: {text}", flush=True)
        self.add("failure", text=text)
