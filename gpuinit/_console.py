"""Tables, errors and progress bars: rich's where it is installed and a terminal shows them, plain text or nothing elsewhere."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TextIO


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = (), cut: Collection[str] = ()
) -> None:
    """Print a table to stdout.

    Parameters
    ----------
    title : str
    columns : sequence of str
        The headers.
    rows : sequence of sequences of str
    right : collection of str
        The columns aligned to the right.
    cut : collection of str
        The columns that alone give way on a narrow terminal, where without them any cell may be folded.
    """
    if not _is_rich(sys.stdout):
        print(f"{escaped(title)}\n\n{plain(columns, rows, right)}\n")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(
        title=Text(escaped(title), "bold"), title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0)
    )

    def text(value: str, column: str) -> Text:
        # Not a str, in which rich would read markup: the brackets of "gpuinit[cuda12]".
        return Text(escaped(value), no_wrap=column in cut, overflow="ellipsis" if column in cut else "fold")

    for column in columns:
        justify: Literal["right", "left"] = "right" if column in right else "left"
        shown.add_column(text(column, column), justify=justify, no_wrap=bool(cut) and column not in cut)
    for row in rows:
        shown.add_row(*map(text, row, columns))
    Console(file=sys.stdout).print(shown, "")


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[str], None]]:
    """A bar on stderr for as long as the block lasts; call what it gives with the name of each of `total` things done."""
    if not _is_rich(sys.stderr):
        yield lambda name: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[name]}", markup=False)
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task(label, total=total, name="")
        yield lambda name: bar.update(task, advance=1, name=escaped(name))


def complain(about: str, error: Exception) -> None:
    """Print an error of a command or stream to stderr, in one line, if that can be written."""
    try:
        print(f"gpuinit {about}: {escaped(' '.join(str(error).split()))}", file=sys.stderr)
    except OSError:
        discard(sys.stderr)


def one_line(message: Warning | str, category: object, filename: str, lineno: int, line: str | None = None) -> str:
    """Return a warning as a command shows it: without the place in the code, which says nothing to its user."""
    return f"gpuinit: warning: {escaped(str(message))}\n"


def escaped(text: str, but: str = "") -> str:
    """Return a text in which a terminal finds no commands: control and format characters, and odd spaces, are Python's escapes.

    A name from a file could otherwise clear the screen, set the window's title, or be shown in another order. Characters of
    `but` stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in but else c.encode("unicode_escape").decode("ascii") for c in text)


@contextmanager
def optional_output(command: str) -> Iterator[None]:
    """Let what the block prints be lost, with a line on stderr, where stdout cannot take it: a full disk, a closed pipe."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        complain(command, error)
        discard(sys.stdout)


def discard(stream: TextIO) -> None:
    """Let nothing more be written to a stream, which cannot be: Python's own flush at the exit would fail as well."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def open_streams() -> None:
    """Give a process the standard streams that it was started without, and let names be printed to any.

    The next file that is opened would otherwise get a closed stream's number, and what is meant for the stream.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), mode, closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _is_rich(stream: TextIO | None) -> bool:
    """Whether rich can be used; a stream of a process that was started without it is None."""
    if stream is None or stream.closed or not stream.isatty():
        return False
    try:
        import rich  # noqa: F401
    except ImportError:
        return False
    return True


def plain(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> str:
    """A table as lines of text."""
    rows = [[escaped(cell) for cell in row] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    aligns = [">" if column in right else "<" for column in columns]
    lines = []
    for row in [columns, ["-" * width for width in widths], *rows]:
        cells = [f"{cell:{align}{width}}" for cell, align, width in zip(row, aligns, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
