"""Measure gpuinit and its peers: `python bench/run.py` for everything, `--bars` for the table of ratios, `--quick` for CI."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import threads

DOCS = Path(__file__).resolve().parent.parent / "docs"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, each once: that everything runs, not how fast")
    parser.add_argument("--bars", action="store_true", help="only the table of ratios; exit code 1 if a bar is missed")
    parser.add_argument("--threads", type=int, default=threads.available(), metavar="N", help="of every library")
    parser.add_argument("--json", metavar="FILE", help="default: docs/benchmarks.json; with --quick or --bars a temporary file")
    parser.add_argument("--plot", metavar="FILE", help='default: docs/benchmarks.png, for the GPU *-cuda.png; "" for none')
    parser.add_argument("--libraries", nargs="+", metavar="NAME", help="only those whose names begin so")
    parser.add_argument("--functions", nargs="+", metavar="NAME", help="only those whose names begin so")
    options = parser.parse_args(arguments)
    if not 1 <= options.threads <= threads.available():
        parser.error(f"--threads must lie between 1 and {threads.available()}, got {options.threads}")
    threads.limit(options.threads)
    import session  # only now: it imports the libraries whose threads were to be limited

    partial = options.quick or options.bars or options.libraries or options.functions
    folder = Path(tempfile.mkdtemp(prefix="gpuinit-bench-")) if partial else DOCS
    written = {
        name: folder / default if value is None else Path(value) if value else None
        for name, value, default in (("json", options.json, "benchmarks.json"), ("plot", options.plot, "benchmarks.png"))
    }
    return session.run(session.Options(**{**vars(options), **written}))


if __name__ == "__main__":
    sys.exit(main())
