"""One command that checks, measures and reports everything about gpuinit on this machine's GPU.

It installs and downloads nothing. What is missing is skipped, with a line that says so; no part can stop the others.
"""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from gpu_parts import MACHINE, PARTS, Part, page, runner, summary  # noqa: E402

from gpuinit import _console as console  # noqa: E402

SCHEMA = 1
_MACHINE_LIMIT = 60.0
_RESERVE = 5.0  # seconds for the report itself


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.page:
        return _write_page(options.out)
    signal.signal(signal.SIGTERM, _interrupt)
    settings = runner.Settings(options.out, options.quick, time.monotonic() + 60 * options.minutes - _RESERVE)
    return run(options.parts, settings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench/gpu_report.py", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--minutes", type=_positive, default=8.0, help="for all parts together (default: %(default)g)")
    parser.add_argument("--quick", action="store_true", help="tiny arrays: shows that all parts run, judges no time")
    parser.add_argument("--out", type=Path, default=Path("gpu-report"), metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--page", action="store_true", help="measure nothing; write docs/gpu.md from FOLDER/report.json")
    parser.add_argument(
        "--parts",
        type=_part,
        nargs="+",
        default=list(PARTS),
        metavar="PART",
        help=f"only these, of {', '.join(sorted(part.name for part in PARTS))}, or modules of yours that have main(task)",
    )
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of minutes above 0, got {text!r}")
    return value


def _part(text: str) -> Part:
    """One of the table by its letter; a longer name is a module's."""
    known = {part.name: part for part in PARTS}
    if len(text) == 1 and text not in known:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(sorted(known))}, or a module's name, got {text!r}")
    return known.get(text) or Part(text, f"Module {text}", text)


def run(parts: Sequence[Part], settings: runner.Settings) -> int:
    """Run the parts, with the report written after each; the exit code is 1 if one failed or was stopped."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "quick": settings.quick,
        "emulated": None,
        "machine": {},
        "parts": [],
        "measured": [],
    }
    with console.progress("parts", 1 + len(parts)) as advance:

        def done(part: Part, outcome: runner.Outcome) -> None:
            _add(report, part, outcome, settings.folder)
            _attempt(summary.write, report, settings.folder)
            advance(outcome.title)
            print(f"{part.name:7}  {outcome.status:9}  {outcome.seconds:6.1f} s  {outcome.title}: {outcome.reason}", flush=True)

        try:
            done(MACHINE, runner.run(MACHINE, settings, min(_MACHINE_LIMIT, settings.deadline - time.monotonic())))
            runner.run_all(parts, settings, done)
        except KeyboardInterrupt:
            print("interrupted: the report has what was measured until now", file=sys.stderr)
            return 1
    _attempt(summary.show, report)
    print(f"report: {settings.folder / 'report.md'}, {settings.folder / 'report.json'}; logs: {settings.folder / 'logs'}")
    return int(any(part["status"] in ("failed", "timed out") for part in report["parts"]))


def _attempt(function: Callable[..., None], *arguments: Any) -> None:
    """Call what shows results; results that it cannot show, as of a part of another version, must not end the run."""
    try:
        function(*arguments)
    except Exception:
        traceback.print_exc()


def _add(report: dict[str, Any], part: Part, outcome: runner.Outcome, folder: Path) -> None:
    """Put what a part wrote into the report."""
    report["parts"].append(outcome._asdict())
    rows = [row for row in runner.rows_of(part, folder) if row["kind"] not in ("note", "skipped")]
    if part is not MACHINE:
        report["measured"] += [{"part": part.name, **row} for row in rows]
    for row in rows:
        if part is MACHINE and row["kind"] == "machine":
            report["emulated"] = row.pop("emulated")
            report["machine"] = {name: value for name, value in row.items() if name != "kind"}


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _write_page(folder: Path) -> int:
    try:
        written = page.write(folder / "report.json")
    except (OSError, ValueError) as error:
        print(f"gpu_report.py: error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {', '.join(map(str, written))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
