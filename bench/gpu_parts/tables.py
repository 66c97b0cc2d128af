"""The tables of a report, for `report.md`, the terminal and docs/gpu.md alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from peers import MEMSET, OURS, TORCH
from report import markdown

from gpu_parts.fills import HEADLINES

Report = Mapping[str, Any]


class Table(NamedTuple):
    """Columns after the first `text` ones are numbers, aligned to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: int

    @property
    def markdown(self) -> str:
        return markdown(self.rows, self.columns, self.columns[self.text :])


def rows_of(report: Report, kind: str) -> list[dict[str, Any]]:
    return [row for row in report["measured"] if row["kind"] == kind]


def power(size: int) -> str:
    """2**28, where it is one; else the number."""
    return f"2^{size.bit_length() - 1}" if size & (size - 1) == 0 else f"{size:,}"


class Speeds:
    """GB/s of the fills; of several measurements of the same, the first, which is the one beside memset and torch."""

    def __init__(self, report: Report) -> None:
        self._speeds: dict[tuple[str, str, int, str], float] = {}
        for row in rows_of(report, "fill"):
            self._speeds.setdefault((row["function"], row["dtype"], row["size"], row["library"]), row["GB/s"])

    def of(self, function: str, dtype: str, size: int, library: str) -> float | None:
        return self._speeds.get((function, dtype, size, library))

    def best(self, function: str, dtype: str, size: int, beginning: str) -> float | None:
        """Of the libraries whose names begin so."""
        keys = (key for key in self._speeds if key[:3] == (function, dtype, size))
        return max((self._speeds[key] for key in keys if key[3].lower().startswith(beginning)), default=None)

    def largest(self) -> Iterator[tuple[str, str, int]]:
        """Each function and dtype of gpuinit at its largest size, in the order of the measurements."""
        largest: dict[tuple[str, str], int] = {}
        for function, dtype, size, library in self._speeds:
            if library == OURS:
                largest[function, dtype] = max(size, largest.get((function, dtype), 0))
        yield from ((function, dtype, size) for (function, dtype), size in largest.items())


def number(value: float | None, form: str = "") -> str:
    """By default with three digits, or all before the point."""
    return "-" if value is None else f"{value:{form or ('.0f' if value >= 100 else '.3g')}}"


def ratio(value: float | None, to: float | None, form: str = ".2f") -> str:
    return "-" if value is None or not to else f"{value / to:{form}}"


_MORE_HEADLINES = (("sparse_", "float32"), ("orthogonal_", "float32"))
FILLS = ("function", "dtype", "elements", "gpuinit, GB/s", "of memset", "torch, GB/s", "to torch", "CuPy, GB/s", "JAX, GB/s")


def fills(report: Report) -> Table:
    """Every function at its largest size; of CuPy and JAX the fastest of their generators."""
    speeds, rows = Speeds(report), []
    for key in speeds.largest():
        ours, roof, torch = (speeds.of(*key, library) for library in (OURS, MEMSET, TORCH))
        others = [number(speeds.best(*key, beginning)) for beginning in ("cupy", "jax")]
        share = ratio(ours, roof, ".0%")
        rows.append([*key[:2], power(key[2]), number(ours), share, number(torch), ratio(ours, torch), *others])
    return Table("Fills at the largest size", FILLS, rows, 2)


def headlines(report: Report) -> Table:
    """The rows that matter most, few enough for a terminal."""
    table = fills(report)
    return table._replace(rows=[row for row in table.rows if row[0] in HEADLINES or (row[0], row[1]) in _MORE_HEADLINES])


def calls(report: Report) -> Table:
    rows = [
        [row["function"], "x".join(map(str, row["shape"])), row["library"], f"{row['host_us']:.1f}", f"{row['done_us']:.1f}"]
        for row in rows_of(report, "call")
    ]
    return Table("Small arrays: microseconds per call", ("function", "shape", "library", "host", "until done"), rows, 3)


def models(report: Report) -> Table:
    rows = [
        [row["model"], str(row["arrays"]), row["library"], f"{row['host_ms']:.2f}", f"{row['done_ms']:.2f}"]
        for row in rows_of(report, "model")
    ]
    return Table("Models: milliseconds", ("model", "arrays", "library", "host", "until done"), rows, 3)


def variants(report: Report) -> Table:
    """A row for each build; its columns are the sizes of a thread block, in shares of the library's own speed."""
    found: dict[tuple[Any, ...], dict[int, float]] = {}
    for row in rows_of(report, "variant"):
        found.setdefault((row["kernel"], row["dtype"], row["table"], row["blocks"]), {})[row["threads"]] = row["of_library"]
    threads = sorted({number for by_threads in found.values() for number in by_threads})
    rows = [[*map(str, key), *(number(shares.get(count), ".3f") for count in threads)] for key, shares in found.items()]
    columns = ("kernel", "dtype", "table", "blocks per thread", *(f"{count} threads" for count in threads))
    return Table("Variants: speed relative to the library", columns, rows, 3)


def first_calls(report: Report) -> Table:
    rows = [
        [row["function"], row["dtype"], *(number(row[key], ".3f") for key in ("cold_s", "nvrtc_s", "warm_s"))]
        for row in rows_of(report, "first call")
    ]
    return Table("First call: seconds", ("function", "dtype", "empty cache", "of it NVRTC", "filled cache"), rows, 2)


def profile(report: Report) -> Table:
    """A column for each kernel."""
    kernels = {row["kernel"]: row["shown"] for row in rows_of(report, "profile")}
    labels = dict.fromkeys(label for shown in kernels.values() for label in shown)
    rows = [[label, *(shown.get(label, "-") for shown in kernels.values())] for label in labels]
    return Table("Nsight Compute", ("metric", *kernels), rows, 1)


def sanitizers(report: Report) -> Table:
    rows = [
        [row["tool"], "not ended" if row["code"] is None else "ok" if row["code"] == 0 else f"exit code {row['code']}"]
        for row in rows_of(report, "sanitizer")
    ]
    return Table("compute-sanitizer", ("tool", "result"), rows, 2)


def tests(report: Report) -> Table:
    rows = [[row["name"], row["reason"].replace("|", "/")] for row in rows_of(report, "failed test")]
    return Table("Failed tests", ("test", "reason"), rows, 2)


def missing(report: Report) -> Table:
    rows = [[row["library"], "; ".join(row["reasons"]).replace("|", "/")] for row in rows_of(report, "missing")]
    return Table("Not measured", ("library", "reason"), rows, 2)


PARTS = ("part", "result", "seconds", "what it found")


def parts(report: Report) -> Table:
    rows = [
        [f"{row['part']}. {row['title']}", row["status"], f"{row['seconds']:.0f}", row["reason"].replace("|", "/")]
        for row in report["parts"]
    ]
    return Table("Parts", PARTS, rows, len(PARTS))


ALL = (tests, fills, models, calls, variants, profile, sanitizers, first_calls, missing)
