"""`python -m gpuinit init`: a safetensors file, filled by rules from a file."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gpuinit import _console as console
from gpuinit import rules
from gpuinit._cli import stopping
from gpuinit._contract.generator import Generator
from gpuinit._models.checkpoint import fill_file, list_file, plan_file
from gpuinit._models.replacing import find_place, write_files
from gpuinit._models.report import COLUMNS, RIGHT, Report
from gpuinit._rules.matching import Rule

_ERRORS = (OSError, TypeError, ValueError, MemoryError)


class Task(NamedTuple):
    """The arguments of a run that fills."""

    model: Path
    rules: Path
    seed: int
    out: Path
    json: Path | None


def run(task: Task) -> int:
    """Fill and show; the exit code is 1, with one line on stderr, if that cannot be done, and then `out` is as it was."""
    try:
        read = rules.load(task.rules)
        report = write_files(_places(task), lambda files: _fill(task, read, files), stopping.commit)
    except _ERRORS as error:
        console.complain("init", error)
        return 1
    with console.optional_output("init"):  # the file is there, whether its table can be shown or not
        title = f"{task.out}, seed {task.seed}: standard deviations expected and measured"
        console.table(title, COLUMNS, report.cells(), RIGHT, COLUMNS[3:4])
        print(report.summary())
    return 0


def dry_run(task: Task) -> int:
    """Show what `run` would do; the exit code is 1 where its would be, unless that finds a disk full or a folder locked."""
    try:
        place = _places(task)[-1]
        entries = plan_file(task.model, rules.load(task.rules), Generator(task.seed))
    except _ERRORS as error:
        console.complain("init", error)
        return 1
    columns = COLUMNS[:5]
    rows = [
        (e.param.name, _shape(e.param.shape), e.param.dtype, e.initializer, "" if math.isnan(e.expected) else f"{e.expected:.6g}")
        for e in entries
    ]
    console.table(f"{task.out}, seed {task.seed}: dry run", columns, rows, columns[4:], columns[3:4])
    sizes = [math.prod(entry.param.shape) for entry in entries if not entry.kept]
    print(
        f"nothing is written; {len(sizes)} parameters, {sum(sizes):,} elements would be filled and {len(entries) - len(sizes)} "
        f"parameters kept, in {'place of the file' if place.exists() else 'a new file'} {console.escaped(str(place))}"
    )
    return 0


def show_tensors(model: Path) -> int:
    """Show what tensors a file has; the exit code is 1, with one line on stderr, if that cannot be read."""
    try:
        tensors = list_file(model)
    except _ERRORS as error:
        console.complain("init", error)
        return 1
    sizes = [tensor.end - tensor.start for tensor in tensors]
    rows = [(tensor.name, _shape(tensor.shape), tensor.dtype, f"{size:,}") for tensor, size in zip(tensors, sizes, strict=True)]
    console.table(str(model), ("tensor", "shape", "dtype", "bytes"), rows, right=("bytes",))
    print(f"{len(tensors)} tensors, {sum(sizes):,} bytes")
    return 0


def _fill(task: Task, read: list[Rule], files: list[BinaryIO]) -> Report:
    """Fill the last of new files, and write the report to the one before it, if there is one."""
    report = fill_file(task.model, read, Generator(task.seed), files[-1], progress=True)
    text = report.to_json()  # measures too, so that only the table is left to do when the file is in its place
    for file in files[:-1]:
        file.write(f"{text}\n".encode())
    return report


def _places(task: Task) -> list[Path]:
    """Return where files are to be written, the model's last; a file that is read cannot be among them, except the model."""
    inputs = {"model": task.model, "rules": task.rules}
    places = [find_place("out", task.out)]
    _check_apart("out", task.out, {"rules": task.rules})
    if task.json is not None:
        places.insert(0, find_place("json", task.json))
        _check_apart("json", task.json, inputs | {"out": task.out})
    return places


def _check_apart(name: str, path: Path, others: dict[str, Path]) -> None:
    for other, its_path in others.items():
        if _is_same_file(path, its_path):
            raise ValueError(f"{name} must be another file than {other}, got {name}={str(path)!r} and {other}={str(its_path)!r}")


def _is_same_file(path: Path, other: Path) -> bool:
    try:
        return os.path.samefile(path, other)
    except FileNotFoundError:
        return os.path.realpath(path) == os.path.realpath(other)


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
