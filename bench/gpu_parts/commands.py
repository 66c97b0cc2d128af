"""Commands that a part runs, stopped when the part's own time is over."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Done(NamedTuple):
    """A command that has ended; `code` is None if it was stopped."""

    code: int | None
    output: str

    @property
    def last_line(self) -> str:
        """Of the output, where most commands say what went wrong."""
        return self.output.strip().rpartition("\n")[2]


def python(*arguments: str) -> list[str]:
    """A command that this interpreter runs."""
    return [sys.executable, *arguments]


def run(command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None) -> Done:
    """Run a command and print its output, both streams together, to the part's log."""
    print(f"$ {' '.join(command)}", flush=True)
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=max(1.0, seconds),
            env=environment,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout or ""
        text = output.decode("utf-8", "replace") if isinstance(output, bytes) else output
        print(f"{text}\n(stopped after {seconds:.0f} s)", flush=True)
        return Done(None, text)
    print(done.stdout, flush=True)
    return Done(done.returncode, done.stdout)
