"""Checkpoints (safetensors) filled by rules: larger than memory, and there as a whole or not at all."""

from __future__ import annotations

import errno
import io
import mmap
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from gpuinit._contract.arguments import short_repr
from gpuinit._contract.dtypes import INEXACT, as_dtype
from gpuinit._contract.generator import Generator
from gpuinit._models.checkpoint_files import Checkpoint, copy_others, find_checkpoint, named, opened, place_of, read_headers
from gpuinit._models.replacing import write_file, write_folder
from gpuinit._models.report import Entry, Report
from gpuinit._models.safetensors_header import Header, Tensor
from gpuinit._models.steps import Deferred, Progress, Step, perform, plan, progress_bar, root_of
from gpuinit._rules.calls import Initializer, Keep
from gpuinit._rules.matching import Rule, choose_initializers, warn_of_unused
from gpuinit._rules.modules import without_wrappers
from gpuinit._rules.parameters import Param, Shapes, check_names, places_of
from gpuinit._rules.plans import Plans
from gpuinit._rules.ties import Ties, check_tied, name_ties

_PIECE = 2**24  # bytes copied at once


def initialize_file(
    path: str | os.PathLike[str],
    rules: Any,
    *,
    seed: int | Generator,
    out: str | os.PathLike[str],
    progress: Progress = None,
    tied: Mapping[str, str] | None = None,
) -> Report:
    """Write a safetensors file with the names, shapes, dtypes and metadata of another, and its tensors filled by rules.

    The values are those that `initialize` gives a mapping of the same names. Tensors are filled and copied through the file's
    pages, so it may be larger than memory. A file beside `out` takes its place when complete, and is removed after an error.
    Of a file that is replaced, the new one has the mode and owner. A symbolic link stays: what it leads to is replaced.

    A checkpoint of several files is filled as if it were one: `path` is its folder or its index, and `out` a new folder. Rules
    see the tensors of all files, and values, report and digest do not depend on which file has a tensor. The files are filled
    one after the other. The new folder has an index with the true total size, and all other files as they are.

    Parameters
    ----------
    path : path-like
        The file whose header is taken over byte for byte, and the elements of the tensors to keep. Or a folder of such files
        with an index, as `save_pretrained` writes it, or with one file alone; or the index, whose name ends in ``.json``.
    rules : list of (pattern, initializer)
        As for `initialize`; a tensor that is not of float8_e4m3fn, float8_e5m2, float16, bfloat16, float32, float64 or complex64
        must be kept.
    seed : int or Generator
        The tensor `name` is filled from ``Generator(seed).spawn(name)``.
    out : path-like
        The file to write; one that is there is replaced, and it may be `path` itself. For a folder, the name of a new one.
    progress : bool or callable, optional
        As for `initialize`.
    tied : mapping of str to str, optional
        As for `initialize`. Names of a tied parameter that `safetensors.torch.save_model` left out of a file are in the file's
        metadata: do not give them here.

    Returns
    -------
    Report
        It measures the tensors in the new files, which stay open for it: look before other programs write to them. An OSError
        says if one became shorter; if that happens while it is read, the system ends the process (SIGBUS).

    Raises
    ------
    OSError
        If a file cannot be read or written, or the disk is full.
    TypeError, ValueError
        If `path` is no safetensors file, no rule matches some tensors, or an initializer cannot fill its tensor; if `out` is
        no place for a file, or for a new folder; if an index is missing, or does not name each tensor of the folder's files.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gpuinit.checkpoint import initialize_file
    >>> header = b'{"bias": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}'
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "model.safetensors")
    ...     _ = path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    ...     report = initialize_file(path, [("*", "normal_(std=0.02)")], seed=42, out=path)
    ...     (report.rows[0].name, report.rows[0].dtype, report.rows[0].initializer)
    ('bias', 'float32', 'normal_(std=0.02)')
    """
    root = root_of(seed)
    model = find_checkpoint(path)
    write = write_folder if model.is_folder else write_file
    return write(place_of(model, out), [], lambda new, _: fill(model, rules, root, new, progress, tied), lambda: None)


def fill(
    model: Checkpoint,
    rules: Any,
    root: Generator,
    new: BinaryIO | Path,
    progress: Progress,
    tied: Mapping[str, str] | None = None,
) -> Report:
    """Fill a new file, or what a new folder is to have, as `initialize_file` does."""
    with opened(model) as sources:
        headers, parts, unused = _plan(model, sources, rules, root, lambda name, size: _allocate(new, name, size), tied)
        warn_of_unused(unused, stacklevel=8)  # in the code that calls `initialize_file`
        steps = [step for part in parts for step in part.steps]
        with progress_bar(progress, len(steps)) as advance:
            if isinstance(new, Path):
                copy_others(model, headers, new)
            for source, header, part in zip(sources, headers, parts, strict=True):
                _copy(source, part.memory, 0, header.end)
                perform(part.steps, advance)
                part.memory.flush()  # before the next file takes memory
    return Report([step.entry for step in steps], root, unused=unused)


def dry_run(model: Checkpoint, rules: Any, root: Generator) -> list[Entry]:
    """Return what `initialize_file` would do, after all its checks but those of the place."""
    with opened(model) as sources:
        _, parts, unused = _plan(model, sources, rules, root, _pretend)
        warn_of_unused(unused)
        return [step.entry for part in parts for step in part.steps]


def list_tensors(model: Checkpoint) -> list[Tensor]:
    """Return the tensors, file by file, in the order of the headers."""
    with opened(model) as sources:
        return [tensor for header in read_headers(model, sources) for tensor in header.tensors]


class _Part(NamedTuple):
    """What fills a new file, and its memory."""

    memory: mmap.mmap
    steps: list[Step]


def _plan(
    model: Checkpoint,
    sources: Sequence[io.BufferedReader],
    rules: Any,
    root: Generator,
    allocate: Callable[[str, int], mmap.mmap],
    tied: Mapping[str, str] | None = None,
) -> tuple[list[Header], list[_Part], list[Rule]]:
    """Return the headers of the files, what fills new ones by them, and the rules that match nothing."""
    headers = read_headers(model, sources)
    with named(model.path):
        choices, unused = _choices(headers, rules, check_tied(tied))
        generators, plans = root._spawn_named([param.name for param, _ in choices]), Plans()
        planned, parts = zip(choices, generators, strict=True), []
        for path, source, header in zip(model.files, sources, headers, strict=True):
            memory = allocate(path.name, header.size)
            steps = [
                _step(param, tensor, choice, source, memory, generator, plans)
                for tensor, ((param, choice), generator) in zip(header.tensors, planned, strict=False)  # the rest is the next's
            ]
            parts.append(_Part(memory, steps))
    return headers, parts, unused


def _choices(headers: Sequence[Header], rules: Any, tied: Ties) -> tuple[list[tuple[Param, Initializer]], list[Rule]]:
    """What is to be done to each tensor, if its dtype permits that, and the rules that match none."""
    tensors = [tensor for header in headers for tensor in header.tensors]
    groups = _all_names(headers)
    check_names(name for group in groups for name in group)
    ties = name_ties(groups, tied)
    shapes = Shapes((name, tensor.shape) for tensor, names in zip(tensors, ties, strict=True) for name in names)
    params = [
        Param(names[0], tensor.shape, tensor.dtype, (), shapes, places_of(names))
        for tensor, names in zip(tensors, ties, strict=True)
    ]
    initializers, unused = choose_initializers(rules, params)
    choices = list(zip(params, initializers, strict=True))
    for param, choice in choices:
        if type(choice) is not Keep:
            _check_dtype(param, choice)
    return choices, unused


def _all_names(headers: Sequence[Header]) -> list[list[str]]:
    """The names of each tensor: its own, and those of which metadata says that `save_model` left them out for it."""
    groups = {tensor.name: [without_wrappers(tensor.name)] for header in headers for tensor in header.tensors}
    for left_out, kept in dict.fromkeys(pair for header in headers for pair in header.metadata.items()):
        if kept in groups and left_out not in groups and left_out != "format":  # that of the library that wrote the file
            groups[kept].append(without_wrappers(left_out))
    return list(groups.values())


def _check_dtype(param: Param, choice: Initializer) -> None:
    if param.dtype not in INEXACT:
        raise TypeError(
            f"{param.name} is of {param.dtype}, which {choice} cannot fill here: keep it by a rule, or convert it to a floating "
            "dtype first"
        )
    try:
        as_dtype(param.dtype)
    except TypeError as error:
        raise TypeError(f"{param.name}: {error}") from error


def _step(
    param: Param,
    tensor: Tensor,
    choice: Initializer,
    source: io.BufferedReader,
    memory: mmap.mmap,
    generator: Generator,
    plans: Plans,
) -> Step:
    if type(choice) is Keep:
        return Deferred(Entry(param, None, "keep", kept=True), lambda: _copy(source, memory, tensor.start, tensor.end))
    try:
        array: np.ndarray = np.ndarray(tensor.shape, as_dtype(tensor.dtype).newbyteorder("<"), memory, tensor.start)
    except ValueError:
        raise ValueError(
            f"{param.name} has a shape that NumPy cannot have, of {len(tensor.shape)} axes, {short_repr(tensor.shape)}: "
            "keep it by a rule"
        ) from None
    return plan(param, array, choice, generator, plans)


def _copy(source: io.BufferedReader, memory: mmap.mmap, start: int, end: int) -> None:
    source.seek(start)
    for first in range(start, end, _PIECE):
        piece = memoryview(memory)[first : min(first + _PIECE, end)]
        if source.readinto(piece) < len(piece):
            raise OSError(errno.EIO, "the file became shorter while it was read", source.name)


def _pretend(name: str, size: int) -> mmap.mmap:
    with tempfile.TemporaryFile() as file:  # without elements it takes no place on the disk
        os.ftruncate(file.fileno(), size)
        return mmap.mmap(file.fileno(), size)


def _allocate(new: BinaryIO | Path, name: str, size: int) -> mmap.mmap:
    """Return the memory of a new file, or of one of that name in a new folder."""
    if isinstance(new, Path):
        with open(new / name, "x+b") as file:
            return _allocate(file, name, size)
    _reserve(new.fileno(), size)
    return mmap.mmap(new.fileno(), size)


def _reserve(file: int, size: int) -> None:
    """Give a file its size, and where the system can do so, its place on the disk: a write to mapped memory that finds the disk
    full ends the process."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # what file systems say that cannot
            raise OSError(error.errno, f"{error.strerror}, where out needs {size:,} bytes") from error
    os.ftruncate(file, size)
