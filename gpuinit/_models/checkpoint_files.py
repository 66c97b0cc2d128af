"""The files of a checkpoint: one of safetensors; or a folder of them, as Hugging Face's libraries write it.

In a folder, an index lists the tensors: a file of JSON, `model.safetensors.index.json`, whose "weight_map" has the file of each
tensor, and whose "metadata" has the "total_size" of all in bytes. A folder with one safetensors file has no index.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

from gpuinit._console import escaped
from gpuinit._contract.arguments import short_repr, shorten
from gpuinit._models.replacing import find_new_folder, find_place
from gpuinit._models.safetensors_header import Header, parse_json, read_header

_SUFFIX = ".safetensors"
_LONGEST_INDEX = 100_000_000  # bytes, as of a safetensors file's header


class Index(NamedTuple):
    """An index by its file's name, and what that contains; `files` is the file of each tensor."""

    name: str
    content: dict[str, Any]

    @property
    def files(self) -> dict[str, str]:
        files: dict[str, str] = self.content["weight_map"]
        return files


@dataclass(frozen=True)
class Checkpoint:
    """What `path` stands for: safetensors files, and if they are those of a folder, the others there, by their names in it."""

    path: Path
    files: list[Path]
    folder: Path | None = None
    index: Index | None = None
    others: Sequence[Path] = ()

    @property
    def is_folder(self) -> bool:
        return self.folder is not None

    @property
    def all_files(self) -> list[Path]:
        """All that is read."""
        index = [Path(self.index.name)] if self.index else []
        return self.files + [self.folder / name for name in (*index, *self.others) if self.folder]


def find_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Return the checkpoint that is a folder, that an index (.json) lists, or that is the file of any other name.

    Raises
    ------
    OSError
        If a folder or an index cannot be read.
    ValueError
        If a folder has safetensors files that no index lists; if an index is none, or names files that are not beside it.
    """
    path = Path(path)
    if path.is_dir():
        return _find_in(path, path, None)
    if path.suffix == ".json":
        return _find_in(path, path.parent, path.name)
    return Checkpoint(path, [path])


def place_of(checkpoint: Checkpoint, out: str | os.PathLike[str]) -> Path:
    """Return where the argument `out` says that the filled checkpoint is to be: that of a folder is a new folder.

    Raises
    ------
    ValueError
        If it cannot be there.
    """
    if checkpoint.folder is None:
        return find_place("out", out)
    place = find_new_folder("out", out)
    if place.is_relative_to(os.path.realpath(checkpoint.folder)):
        raise ValueError(f"out must lie outside the folder that is read, {str(checkpoint.folder)!r}, got out={os.fspath(out)!r}")
    return place


@contextmanager
def opened(checkpoint: Checkpoint) -> Iterator[list[io.BufferedReader]]:
    """Open the safetensors files."""
    with ExitStack() as stack:
        yield [stack.enter_context(open(file, "rb")) for file in checkpoint.files]


def read_headers(checkpoint: Checkpoint, sources: Sequence[io.BufferedReader]) -> list[Header]:
    """Read the headers of the safetensors files, which are open, and check that the index says the same.

    Raises
    ------
    ValueError
        If a file is no safetensors file, or is none that the index describes.
    """
    headers = []
    for file, source in zip(checkpoint.files, sources, strict=True):
        with named(file):
            headers.append(read_header(source))
    if checkpoint.index:
        with named(checkpoint.path):
            _check_index(checkpoint.index.files, checkpoint.files, headers)
    return headers


def copy_others(checkpoint: Checkpoint, headers: Sequence[Header], folder: Path) -> None:
    """Write what a new folder has beside the safetensors files: an index, and the other files as they are, with their modes."""
    assert checkpoint.folder is not None
    for name in checkpoint.others:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(checkpoint.folder / name, folder / name)
    if checkpoint.index:
        index, size = checkpoint.index, sum(header.size - header.end for header in headers)
        content = index.content | {"metadata": index.content.get("metadata", {}) | {"total_size": size}}
        (folder / index.name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Begin errors about a file's content with its path; the names in them may be anybody's, and a terminal may show them."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(escaped(f"{path}: {error}", but="\n")) from None


def _find_in(path: Path, folder: Path, index_name: str | None) -> Checkpoint:
    with named(path):
        names = list(_names_in(folder))
        here = {str(name) for name in names if len(name.parts) == 1}
        tensors = {name for name in here if name.endswith(_SUFFIX)}
        index_name = index_name or _only_index(here, tensors)
        index = _read_index(folder, index_name) if index_name else None
        files = set(index.files.values()) if index else tensors
        if missing := sorted(files - tensors):
            raise ValueError(f"must name files that lie beside the index, got {_listed(missing)}: is the checkpoint complete?")
        if unnamed := sorted(tensors - files):
            raise ValueError(
                f"must have no safetensors files that {index_name} does not name, got {_listed(unnamed)}: move them elsewhere "
                "first"
            )
    others = [name for name in names if str(name) not in {*files, index_name}]
    return Checkpoint(path, [folder / name for name in sorted(files)], folder, index, others)


def _names_in(folder: Path, below: Path = Path()) -> Iterator[Path]:
    """Yield the files in a folder and those below it, but not in hidden ones: `.git` and `.cache` have copies of the weights.

    The files of Hugging Face's cache are links.
    """
    with os.scandir(folder / below) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_file():
            yield below / entry.name
        elif not entry.is_dir(follow_symlinks=False):
            raise ValueError(
                f"must have files and folders alone, got {str(below / entry.name)!r}: a device, or a link to a folder or to "
                "nothing; move it elsewhere first"
            )
        elif not entry.name.startswith("."):
            yield from _names_in(folder, below / entry.name)


def _only_index(names: Iterable[str], tensors: set[str]) -> str | None:
    """Return the name of a folder's index, or None if there is one safetensors file."""
    indexes = sorted(name for name in names if f"{_SUFFIX}.index." in name and name.endswith(".json"))
    if len(indexes) > 1:
        raise ValueError(f"must have one index, got {_listed(indexes)}: move the others and their files elsewhere first")
    if not indexes and len(tensors) != 1:
        got = _listed(sorted(tensors)) if tensors else "none"
        raise ValueError(f"must have an index, *{_SUFFIX}.index.json, or one safetensors file alone, got {got} and no index")
    return indexes[0] if indexes else None


def _read_index(folder: Path, name: str) -> Index:
    with open(folder / name, "rb") as file:
        text = file.read(_LONGEST_INDEX + 1)
    if len(text) > _LONGEST_INDEX:
        raise ValueError(f"must have an index of at most {_LONGEST_INDEX:,} bytes, got a larger {name}")
    try:
        content = parse_json(text.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"must have an index of JSON, in which no name is twice, got another in {name}: {error}") from error
    match content:
        case {"weight_map": dict(files)} if files and isinstance(content.get("metadata", {}), dict):
            pass
        case _:
            raise ValueError(
                f'must have an index with a "weight_map" of the file of each tensor, and perhaps "metadata", got {name} with '
                f"{short_repr(content)}"
            )
    for file in files.values():
        # Paths of Windows too, so that an index means the same everywhere.
        if not isinstance(file, str) or not file.endswith(_SUFFIX) or PureWindowsPath(file).name != file:
            raise ValueError(f"must have an index of names *{_SUFFIX} without a folder, got {short_repr(file)} in {name}")
    return Index(name, content)


def _check_index(files: dict[str, str], paths: Sequence[Path], headers: Sequence[Header]) -> None:
    """Check that files have the tensors that an index says, and no others."""
    found: dict[str, list[str]] = defaultdict(list)
    for path, header in zip(paths, headers, strict=True):
        for tensor in header.tensors:
            found[tensor.name].append(path.name)
    if twice := [f"{short_repr(name)} in {' and '.join(where)}" for name, where in found.items() if len(where) > 1]:
        raise ValueError(f"must have each tensor in one file, got {', '.join(shorten(twice))}")
    if missing := [name for name in files if name not in found]:
        raise ValueError(f"must have the tensors that the index names, got no {_listed(missing)}: is the checkpoint complete?")
    if unnamed := [name for name in found if name not in files]:
        raise ValueError(f"must have an index that names all tensors of its files, got none of {_listed(unnamed)}")
    if elsewhere := [
        f"{short_repr(name)} in {short_repr(files[name])}, which lies in {short_repr(where)}"
        for name, (where,) in found.items()
        if files[name] != where
    ]:
        raise ValueError(f"must have an index of the tensors' files, got {'; '.join(shorten(elsewhere))}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(shorten([short_repr(name) for name in names]))
