"""`python -m gpuinit init`: a safetensors file, or a folder of them, filled by rules from a file."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gpuinit import _console as console
from gpuinit import rules
from gpuinit._cli import stopping
from gpuinit._contract.arguments import shorten
from gpuinit._contract.generator import Generator
from gpuinit._models import checkpoint
from gpuinit._models.checkpoint_files import Checkpoint, find_checkpoint, place_of
from gpuinit._models.replacing import find_place, write_file, write_folder
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
        model, read = find_checkpoint(task.model), rules.load(task.rules)
        *others, place = _places(task, model)
        write = write_folder if model.is_folder else write_file
        report = write(place, others, lambda new, files: _fill(task, model, read, new, files), stopping.commit)
    except _ERRORS as error:
        console.complain("init", error)
        return 1
    with console.optional_output("init"):  # the file is there, whether its table can be shown or not
        title = f"{task.out}, seed {task.seed}: standard deviations expected and measured"
        console.table(title, COLUMNS, report.cells(), RIGHT, COLUMNS[3:4])
        print(report.summary())
        if model.is_folder:
            print(_what_else(model))
    return 0


def dry_run(task: Task) -> int:
    """Show what `run` would do; the exit code is 1 where its would be, unless that finds a disk full or a folder locked."""
    try:
        model = find_checkpoint(task.model)
        place = _places(task, model)[-1]
        entries = checkpoint.dry_run(model, rules.load(task.rules), Generator(task.seed))
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
        f"parameters kept, in {_place_in_words(place, model)} {console.escaped(str(place))}"
    )
    if model.is_folder:
        print(_what_else(model))
    return 0


def show_tensors(model: Path) -> int:
    """Show what tensors a checkpoint has; the exit code is 1, with one line on stderr, if that cannot be read."""
    try:
        tensors = checkpoint.list_tensors(find_checkpoint(model))
    except _ERRORS as error:
        console.complain("init", error)
        return 1
    sizes = [tensor.end - tensor.start for tensor in tensors]
    rows = [(tensor.name, _shape(tensor.shape), tensor.dtype, f"{size:,}") for tensor, size in zip(tensors, sizes, strict=True)]
    console.table(str(model), ("tensor", "shape", "dtype", "bytes"), rows, right=("bytes",))
    print(f"{len(tensors)} tensors, {sum(sizes):,} bytes")
    return 0


def _fill(task: Task, model: Checkpoint, read: list[Rule], new: BinaryIO | Path, files: list[BinaryIO]) -> Report:
    """Fill a new file or folder, and write the report to the file for it, if there is one."""
    report = checkpoint.fill(model, read, Generator(task.seed), new, progress=True)
    text = report.to_json()  # measures too, so that only the table is left to do when all is in its place
    for file in files:
        file.write(f"{text}\n".encode())
    return report


def _places(task: Task, model: Checkpoint) -> list[Path]:
    """Return where all is to be written, the model last; a file that is read cannot be among them, except the model."""
    places = [place_of(model, task.out)]
    _check_apart("out", task.out, [("rules", task.rules)])
    if task.json is not None:
        places.insert(0, find_place("json", task.json))
        inputs = [*(("model", file) for file in model.all_files), ("rules", task.rules)]
        _check_apart("json", task.json, [*inputs, ("out", task.out)])
    return places


def _place_in_words(place: Path, model: Checkpoint) -> str:
    if model.is_folder:
        return "a new folder"
    return "place of the file" if place.exists() else "a new file"


def _what_else(model: Checkpoint) -> str:
    """Say what is copied, since files of another format may have the old weights."""
    others = ", ".join(shorten([console.escaped(str(name)) for name in model.others]))
    return f"{len(model.files)} files of tensors; copied as they are: {others or 'none'}"


def _check_apart(name: str, path: Path, others: list[tuple[str, Path]]) -> None:
    for other, its_path in others:
        if _is_same_file(path, its_path):
            raise ValueError(f"{name} must be another file than {other}, got {name}={str(path)!r} and {other}={str(its_path)!r}")


def _is_same_file(path: Path, other: Path) -> bool:
    try:
        return os.path.samefile(path, other)
    except FileNotFoundError:
        return os.path.realpath(path) == os.path.realpath(other)


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
