"""Files of tensors (safetensors), filled by rules: larger than memory, and there as a whole or not at all."""

from __future__ import annotations

import errno
import io
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from gpuinit._console import escaped
from gpuinit._contract.arguments import short_repr
from gpuinit._contract.dtypes import INEXACT, as_dtype
from gpuinit._contract.generator import Generator
from gpuinit._models.replacing import find_place, write_files
from gpuinit._models.report import Entry, Report
from gpuinit._models.safetensors_header import Header, Tensor, read_header
from gpuinit._models.steps import Deferred, Progress, Step, carry_out, plan, root_of
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

    Parameters
    ----------
    path : path-like
        The file whose header is taken over byte for byte, and the elements of the tensors to keep.
    rules : list of (pattern, initializer)
        As for `initialize`; a tensor that is not of float8_e4m3fn, float8_e5m2, float16, bfloat16, float32, float64 or complex64
        must be kept.
    seed : int or Generator
        The tensor `name` is filled from ``Generator(seed).spawn(name)``.
    out : path-like
        The file to write; one that is there is replaced, and it may be `path` itself.
    progress : bool or callable, optional
        As for `initialize`.
    tied : mapping of str to str, optional
        As for `initialize`. Names of a tied parameter that `safetensors.torch.save_model` left out of a file are in the file's
        metadata: do not give them here.

    Returns
    -------
    Report
        It measures the tensors in the new file, which stays open for it: look before other programs write to that file. An
        OSError says if it became shorter; if that happens while it is read, the system ends the process (SIGBUS).

    Raises
    ------
    OSError
        If a file cannot be read or written, or the disk is full.
    TypeError, ValueError
        If `path` is no safetensors file, no rule matches some tensors, or an initializer cannot fill its tensor; if `out` is
        no place for a file.

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
    return write_files([find_place("out", out)], lambda files: fill_file(path, rules, root, files[0], progress, tied))


def fill_file(
    path: str | os.PathLike[str],
    rules: Any,
    root: Generator,
    file: BinaryIO,
    progress: Progress,
    tied: Mapping[str, str] | None = None,
) -> Report:
    """Fill a new file as `initialize_file` does."""
    with open(path, "rb") as source:
        header, steps, memory, unused = _plan(source, rules, root, file, _allocate, tied)
        warn_of_unused(unused, stacklevel=6)  # in the code that calls `initialize_file`
        _copy(source, memory, 0, header.end)
        report = carry_out(steps, root, progress, unused=unused)
    memory.flush()
    return report


def plan_file(path: str | os.PathLike[str], rules: Any, root: Generator) -> list[Entry]:
    """Return what `initialize_file` would do, after all its checks but those of the place."""
    # Without elements the file takes no place on the disk.
    with open(path, "rb") as source, tempfile.TemporaryFile() as file:
        _, steps, _, unused = _plan(source, rules, root, file, os.ftruncate)
        warn_of_unused(unused)
        return [step.entry for step in steps]


def list_file(path: str | os.PathLike[str]) -> list[Tensor]:
    """Return the tensors of a file, in the order of its header."""
    with open(path, "rb") as source, _named(source):
        return read_header(source).tensors


def _plan(
    source: io.BufferedReader,
    rules: Any,
    root: Generator,
    file: BinaryIO,
    give_size: Callable[[int, int], None],
    tied: Mapping[str, str] | None = None,
) -> tuple[Header, list[Step], mmap.mmap, list[Rule]]:
    """Return the header of a file, the steps that fill a new one by it, the memory of that, and the rules that match nothing."""
    with _named(source):
        header = read_header(source)
        choices, unused = _choices(header, rules, check_tied(tied))
        give_size(file.fileno(), header.size)
        memory = mmap.mmap(file.fileno(), header.size)
        generators, plans = root._spawn_named([param.name for param, _ in choices]), Plans()
        steps = [
            _step(param, tensor, choice, source, memory, generator, plans)
            for tensor, (param, choice), generator in zip(header.tensors, choices, generators, strict=True)
        ]
    return header, steps, memory, unused


@contextmanager
def _named(source: io.BufferedReader) -> Iterator[None]:
    """Begin errors about a file's content with its path; the names in them may be anybody's, and a terminal may show them."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(escaped(f"{source.name}: {error}", but="\n")) from None


def _choices(header: Header, rules: Any, tied: Ties) -> tuple[list[tuple[Param, Initializer]], list[Rule]]:
    """What is to be done to each tensor, if its dtype permits that, and the rules that match none."""
    groups = _all_names(header)
    check_names(name for group in groups for name in group)
    named = name_ties(groups, tied)
    shapes = Shapes((name, tensor.shape) for tensor, names in zip(header.tensors, named, strict=True) for name in names)
    params = [
        Param(names[0], tensor.shape, tensor.dtype, (), shapes, places_of(names))
        for tensor, names in zip(header.tensors, named, strict=True)
    ]
    initializers, unused = choose_initializers(rules, params)
    choices = list(zip(params, initializers, strict=True))
    for param, choice in choices:
        if type(choice) is not Keep:
            _check_dtype(param, choice)
    return choices, unused


def _all_names(header: Header) -> list[list[str]]:
    """The names of each tensor: its own, and those of which the metadata says that `save_model` left them out for it."""
    groups = {tensor.name: [without_wrappers(tensor.name)] for tensor in header.tensors}
    for left_out, kept in header.metadata.items():
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


def _allocate(file: int, size: int) -> None:
    """Give a file its size, and where the system can do so, its place on the disk: a write to mapped memory that finds the disk
    full ends the process."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # what file systems say that cannot
            raise OSError(error.errno, f"{error.strerror}, where out needs {size:,} bytes") from error
    os.ftruncate(file, size)
