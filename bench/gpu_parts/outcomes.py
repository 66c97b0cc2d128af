"""A pytest plugin: the outcome of each test as a line of JSON, written at once, so that a run that is stopped keeps them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FILE = "GPU_REPORT_OUTCOMES"  # the variable that names the file
# Tests that have never run on a GPU come first, then those of values; the rest as pytest finds them.
_FIRST = ("test_torch_cuda", "test_torch", "test_selfcheck", "test_reference", "test_graphs", "test_interop")


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Put the most valuable tests first."""
    items.sort(key=lambda item: _FIRST.index(item.path.stem) if item.path.stem in _FIRST else len(_FIRST))


class _Lines:
    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A test's outcome is that of its call, or of what kept it from being called."""
        if report.when != "call" and report.outcome == "passed":
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": report.nodeid, "outcome": report.outcome, "reason": _reason(report)}) + "\n")

    def pytest_collectreport(self, report: Any) -> None:
        """A file that cannot be imported is a failure; one that skips itself is skipped."""
        if report.outcome != "passed":
            self.pytest_runtest_logreport(report)


def pytest_configure(config: Any) -> None:
    """Write from the main process alone: it hears of the tests of all others."""
    if FILE in os.environ and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Lines(Path(os.environ[FILE])))


def _reason(report: Any) -> str:
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    lines = str(getattr(report.longrepr, "reprcrash", "") or report.longrepr or "").strip().splitlines()
    return lines[-1][:300] if lines else ""
