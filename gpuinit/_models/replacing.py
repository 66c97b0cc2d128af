"""Files and folders that come to their places when all of them are complete, and otherwise leave nothing."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, TypeVar

_T = TypeVar("_T")


def find_place(name: str, path: str | os.PathLike[str]) -> Path:
    """Return where the argument `name` says that a file is to be written: of a symbolic link, where it leads to.

    Raises
    ------
    ValueError
        If no file can be there: there is no such folder, or a folder, a device, or a link that leads to itself.
    """
    place = _find(name, path)
    if os.path.lexists(place) and not place.is_file():
        raise ValueError(f"{name} must be a file or the name of a new one, got {name}={os.fspath(path)!r}")
    return place


def find_new_folder(name: str, path: str | os.PathLike[str]) -> Path:
    """Return where the argument `name` says that a folder is to be written, as `find_place` does for a file.

    Raises
    ------
    ValueError
        If something is there already, or no folder can be there.
    """
    place = _find(name, path)
    if os.path.lexists(place):
        raise ValueError(
            f"{name} must be the name of a new folder, got {name}={os.fspath(path)!r}, which is there; remove it, or name another"
        )
    return place


def _find(name: str, path: str | os.PathLike[str]) -> Path:
    place = Path(os.path.realpath(path))
    if not place.parent.is_dir():
        raise ValueError(f"{name} must lie in a folder that exists, got {name}={os.fspath(path)!r}")
    return place


def write_files(places: Sequence[Path], write: Callable[[list[BinaryIO]], _T], ready: Callable[[], object] = lambda: None) -> _T:
    """Call `write` with new files, and when they are complete, replace those at `places`, the last one last.

    A new file has the mode and owner of the one that it replaces. `ready` is called before the first is replaced. After an
    error the new files are removed. One interrupt at most leaves none either, wherever it comes: hence the second `finally`,
    and no context manager, which an interrupt at its end would leave suspended.
    """
    parts = [_part_of(place) for place in places]
    try:
        try:
            with ExitStack() as stack:
                files: list[BinaryIO] = [stack.enter_context(open(part, "x+b")) for part in parts]
                for file, place in zip(files, places, strict=True):
                    _keep_mode_and_owner(file, place)
                result = write(files)
                for file in files:
                    file.flush()
                    os.fsync(file.fileno())
            ready()
            for part, place in zip(parts, places, strict=True):
                os.replace(part, place)
            return result
        finally:
            _remove(parts)
    finally:
        _remove(parts)


def write_file(
    place: Path, others: Sequence[Path], write: Callable[[BinaryIO, list[BinaryIO]], _T], ready: Callable[[], object]
) -> _T:
    """Call `write` with a new file for `place`, and those for `others`, as `write_files` does."""
    return write_files([*others, place], lambda files: write(files[-1], files[:-1]), ready)


def write_folder(
    place: Path, others: Sequence[Path], write: Callable[[Path, list[BinaryIO]], _T], ready: Callable[[], object]
) -> _T:
    """Call `write` with a new folder, which then comes to `place`, and with new files for `others`, as `write_files` does.

    The second `finally` is there for the same reason.
    """
    part = _part_of(place)

    def write_all(files: list[BinaryIO]) -> _T:
        result = write(part, files)
        _sync_files_in(part)
        if os.path.lexists(place):  # `others` would be replaced, but not this
            problem = "something came there while the new folder was filled; remove it, or name another"
            raise FileExistsError(errno.EEXIST, problem, str(place))
        return result

    try:
        try:
            part.mkdir()
            result = write_files(others, write_all, ready)
            part.rename(place)
            return result
        finally:
            _remove([part])
    finally:
        _remove([part])


def _part_of(place: Path) -> Path:
    return place.with_name(f".gpuinit-{secrets.token_hex(8)}.part")


def _sync_files_in(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


def _remove(parts: list[Path]) -> None:
    for part in parts:
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)


def _keep_mode_and_owner(file: BinaryIO, place: Path) -> None:
    """Give a new file what POSIX has beside the content, before it has any."""
    if os.name != "posix" or not place.exists():
        return
    old, new = place.stat(), os.fstat(file.fileno())
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        try:
            os.fchown(file.fileno(), old.st_uid, old.st_gid)
        except PermissionError as error:
            owner = f"of user {old.st_uid} and group {old.st_gid}"
            raise PermissionError(
                error.errno, f"the file is {owner}, which a new one cannot be given; remove it first", str(place)
            ) from error
    mode = stat.S_IMODE(old.st_mode)
    if stat.S_IMODE(os.fstat(file.fileno()).st_mode) != mode:  # not every file system has modes to give
        os.fchmod(file.fileno(), mode)
