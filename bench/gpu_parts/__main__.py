"""Run one part: `python -m gpu_parts MODULE --lines FILE --seconds N [--quick]`. The exit code is 1 if something is wrong."""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import sys
from pathlib import Path

from peers import MissingError

from gpu_parts.task import SkipError, Task


def main() -> int:
    parser = argparse.ArgumentParser(prog="gpu_parts", description=__doc__)
    parser.add_argument("module")
    parser.add_argument("--lines", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    # A crash or a hang in CUDA leaves the Python stack in the log.
    faulthandler.enable()
    faulthandler.dump_traceback_later(max(0.5, options.seconds - 1))
    task = Task(options.lines, options.seconds, options.quick)
    try:
        importlib.import_module(options.module).main(task)
    except (SkipError, MissingError) as reason:
        print(f"skipped: {reason}")
        task.add("skipped", reason=str(reason))
    return 1 if task.failures else 0


if __name__ == "__main__":
    sys.exit(main())
