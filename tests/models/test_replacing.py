"""Files that replace others, and new folders: together, when complete. An interrupt at any instruction leaves nothing."""

from __future__ import annotations

import dis
import os
import shutil
import sys
import warnings

import pytest

from gpuinit._models import replacing
from gpuinit._models.replacing import write_files, write_folder


@pytest.fixture
def places(tmp_path):
    return [tmp_path / "first", tmp_path / "second"]


def write(files):
    for number, file in enumerate(files):
        file.write(b"new%d" % number)
    return "result"


def content(places):
    """Of the files, after a check that no others are beside them."""
    assert set(os.listdir(places[0].parent)) <= {place.name for place in places}
    return [place.read_bytes() if place.exists() else None for place in places]


@pytest.mark.parametrize("there", [False, True])
def test_files_are_replaced_together_when_all_is_ready(places, there):
    before = [b"old" if there else None] * 2
    for place in places if there else ():
        place.write_bytes(b"old")
    seen = []

    def ready():
        parts = {path.read_bytes() for path in places[0].parent.iterdir() if path not in places}
        seen.append(([place.read_bytes() if place.exists() else None for place in places], parts))

    assert write_files(places, write, ready) == "result"
    assert seen == [(before, {b"new0", b"new1"})]
    assert content(places) == [b"new0", b"new1"]


@pytest.mark.parametrize("where", ["write", "fsync", "ready", "replace"])
def test_an_error_leaves_all_as_it_was(places, where, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    places[1].write_bytes(b"old")
    if where in ("fsync", "replace"):
        monkeypatch.setattr(os, where, fail)
    with pytest.raises(ZeroDivisionError):
        write_files(places, fail if where == "write" else write, fail if where == "ready" else lambda: None)
    assert content(places) == [None, b"old"]


def interrupted(number, call):
    """Call, and raise KeyboardInterrupt before the instruction of that number; returns whether there are so many.

    Python looks for signals after calls, and in loops, but not at a NOP, which it may put between two blocks.
    """
    left = number

    def trace(frame, event, argument):
        nonlocal left
        if frame.f_code.co_filename != replacing.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_code.co_code[frame.f_lasti] != dis.opmap["NOP"]:
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 wants to know before it traces
    sys.settrace(trace)
    try:
        call()
    except (KeyboardInterrupt, ZeroDivisionError):
        pass
    finally:
        sys.settrace(before)
    return left <= 0


@pytest.mark.parametrize("fails", [False, True], ids=["complete", "error"])
def test_an_interrupt_at_any_instruction_leaves_nothing(places, fails, monkeypatch):
    def work(files):
        write(files)
        if fails:
            raise ZeroDivisionError

    monkeypatch.setattr(os, "fsync", lambda file: None)  # which takes its time
    number, seen = 1, set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # for files that no name was given to yet
        while interrupted(number, lambda: write_files(places, work)):
            seen.add(tuple(content(places)))
            for place in places:
                place.write_bytes(b"old")
            number += 1
    assert number > 100
    assert (b"old", b"old") in seen
    assert ((b"new0", b"new1") in seen) == (not fails)


# With a new folder in the place of the last file.


def fill(folder, files):
    (folder / "below").mkdir()
    (folder / "below" / "file").write_bytes(b"new")
    return write(files)


def in_folder(place):
    return {str(path.relative_to(place)) for path in place.rglob("*")}


def test_a_folder_and_files_come_together_when_all_is_ready(places):
    places[0].write_bytes(b"old")
    seen = []
    assert (
        write_folder(places[1], places[:1], fill, lambda: seen.append((places[0].read_bytes(), places[1].exists()))) == "result"
    )
    assert seen == [(b"old", False)]
    assert (places[0].read_bytes(), in_folder(places[1])) == (b"new0", {"below", "below/file"})
    assert set(os.listdir(places[0].parent)) == {place.name for place in places}


@pytest.mark.parametrize("fails", [False, True], ids=["complete", "error"])
def test_an_interrupt_at_any_instruction_leaves_no_folder(places, fails, monkeypatch):
    def work(folder, files):
        fill(folder, files)
        if fails:
            raise ZeroDivisionError

    monkeypatch.setattr(os, "fsync", lambda file: None)  # which takes its time
    number, seen = 1, set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # for files that no name was given to yet
        while interrupted(number, lambda: write_folder(places[1], places[:1], work, lambda: None)):
            assert set(os.listdir(places[0].parent)) <= {place.name for place in places}
            seen.add((places[0].exists(), frozenset(in_folder(places[1]))))
            for place in places:
                shutil.rmtree(place, ignore_errors=True)
                place.unlink(missing_ok=True)
            number += 1
    assert number > 100
    complete = (True, frozenset({"below", "below/file"}))
    # As with files, an interrupt between two places leaves the first.
    assert seen == {(False, frozenset())} if fails else seen - {(True, frozenset())} == {(False, frozenset()), complete}
