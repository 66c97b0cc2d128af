"""Tables and progress bars: rich's where it is installed and a terminal shows them, plain text or nothing elsewhere."""

from __future__ import annotations

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
        print(f"{title}\n\n{plain(columns, rows, right)}\n")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(title, "bold"), title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))

    def text(value: str, column: str) -> Text:
        # Not a str, in which rich would read markup: the brackets of "gpuinit[cuda12]".
        return Text(value, no_wrap=column in cut, overflow="ellipsis" if column in cut else "fold")

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
        yield lambda name: bar.update(task, advance=1, name=name)


def _is_rich(stream: TextIO) -> bool:
    if not stream.isatty():
        return False
    try:
        import rich  # noqa: F401
    except ImportError:
        return False
    return True


def plain(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> str:
    """A table as lines of text."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    aligns = [">" if column in right else "<" for column in columns]
    lines = []
    for row in [columns, ["-" * width for width in widths], *rows]:
        cells = [f"{cell:{align}{width}}" for cell, align, width in zip(row, aligns, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
