"""What `initialize` did, parameter by parameter, as a table, JSON, HTML, and one digest."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gpuinit import _console as console
from gpuinit._backends.dtensor import is_cut
from gpuinit._backends.targets import Asked
from gpuinit._backends.views import view_of
from gpuinit._contract.arguments import short_repr, shorten
from gpuinit._contract.digests import CONTRACT_VERSION, header, pieces
from gpuinit._contract.distributions import Distribution
from gpuinit._contract.generator import Generator
from gpuinit._models.expectations import distribution_of, expected_std
from gpuinit._models.mapped_files import check_readable
from gpuinit._rules.matching import Rule
from gpuinit._rules.parameters import Param

UNTOUCHED, WRITTEN = "untouched", "written"  # what stands for an initializer where none is known


@dataclass(slots=True)
class Entry:
    """A parameter and what was done to it.

    `initializer` is text; `asked` is what it came to, if that is known and all in one; `exact` says whether the values are the
    same everywhere to the last bit, `kept` whether they are those of before.
    """

    param: Param
    array: Any
    initializer: str
    asked: Asked | None = None
    exact: bool = True
    kept: bool = False

    @property
    def distribution(self) -> Distribution | None:
        """What the values are drawn from, as far as known."""
        return distribution_of(self.asked) if self.asked else None

    @property
    def expected(self) -> float:
        """The standard deviation that was asked for; nan if it is not known."""
        return expected_std(self.asked) if self.asked else math.nan

    @property
    def apart(self) -> bool:
        """Whether its values are none that every process and machine has."""
        return self.kept or not self.exact or is_cut(self.array)

    def note(self, asked: Asked | None) -> None:
        """Take down what an initializer of this library comes to; None if the array has no elements."""
        self.asked = asked
        self.exact = asked is None or asked.is_exact


class Row(NamedTuple):
    """A line of a report; `std` and `digest` are measured, and those of kept parameters nan and empty.

    Of a parameter that is cut between processes, `std` is that of the part in this process, and `digest` is empty.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    initializer: str
    expected_std: float
    std: float
    digest: str


COLUMNS = ("parameter", "shape", "dtype", "initializer", "expected std", "std", "digest")
RIGHT = COLUMNS[4:6]
_SHOWN_DIGITS = 12  # of a parameter's digest in a table


class Report:
    """What `gpuinit.initialize` did, or initialization code within `gpuinit.seeded`.

    It measures standard deviations and digests when it is first looked at, and keeps them: look before the model is trained.
    `str(report)` is a table; notebooks show it as HTML.

    Attributes
    ----------
    rows : list of Row
        In the model's order: name, shape, dtype, initializer, expected_std (nan where it is not known), std, digest.
    digest : str
        64 hex digits: `gpuinit.digest` of all parameters that were filled with the same bits everywhere, in order of their
        names. It is the same on every machine, backend and layout. Empty where there are none, as if all are cut between
        processes.
    apart : list of str
        The names of the parameters outside that digest: those that were kept; those filled by `orthogonal_` or through a
        parametrization, whose values are the same to rounding; and those cut between processes, of which none has all.
    unused : list of (pattern, initializer)
        The rules that match no parameter, those of ready-made sets too. A rule that only matches parameters that earlier ones
        decide is not among them.
    seed : int
        The seed; a report of the same rules, seed and spawn key has the same digest.
    spawn_key : list of int
        Of the generator that was given as seed; empty unless that was a child.
    frozen : list of str
        The names of the parameters with ``requires_grad=False`` that were left alone.
    buffers : list of str
        The names of the buffers that were left alone.
    written : list of str
        Of `seeded`: the names of the parameters and buffers that the code wrote without drawing into them.
    untouched : list of str
        Of `seeded`: the names of the parameters that the code did not write to.
    mended : list of str
        Of `seeded`: the names of the parameters that were tied again, as the model says they are.
    """

    def __init__(
        self, entries: list[Entry], generator: Generator, buffers: Sequence[str] = (), unused: Sequence[Rule] = ()
    ) -> None:
        self._make_entries: Callable[[], list[Entry]] = lambda: entries
        self.buffers = list(buffers)
        self.mended: list[str] = []
        self.unused = list(unused)
        self.seed = generator.seed
        self.spawn_key: list[int] = generator.state["spawn_key"]

    def _complete(self, entries: Callable[[], list[Entry]], buffers: list[str]) -> None:
        """Take down what was done, where that was not known before; `entries` is called when somebody looks."""
        self._make_entries, self.buffers = entries, buffers
        for cached in ("_entries", "_measurements"):
            self.__dict__.pop(cached, None)

    @functools.cached_property
    def _entries(self) -> list[Entry]:
        return self._make_entries()

    @property
    def apart(self) -> list[str]:
        return [entry.param.name for entry in self._entries if entry.apart]

    @property
    def frozen(self) -> list[str]:
        return [entry.param.name for entry in self._entries if entry.kept and entry.param.frozen]

    @property
    def written(self) -> list[str]:
        return [entry.param.name for entry in self._entries if entry.initializer == WRITTEN]

    @property
    def untouched(self) -> list[str]:
        return [entry.param.name for entry in self._entries if entry.initializer == UNTOUCHED]

    @property
    def rows(self) -> list[Row]:
        return self._measurements[0]

    @property
    def digest(self) -> str:
        return self._measurements[1]

    @functools.cached_property
    def _measurements(self) -> tuple[list[Row], str]:
        """The rows and the digest, by one pass over the values."""
        total = hashlib.sha256()
        rows = {}
        for entry in sorted(self._entries, key=lambda entry: entry.param.name):
            rows[entry.param.name] = _row(entry, total)
        covers_none = all(entry.apart for entry in self._entries)
        return [rows[entry.param.name] for entry in self._entries], "" if covers_none else total.hexdigest()

    def to_json(self) -> str:
        """Return the report as JSON, unused rules by their patterns; numbers that are not known, or infinite, are null."""
        import json

        rows = [{key: _finite_or_none(value) for key, value in row._asdict().items()} for row in self.rows]
        content = {
            "contract_version": CONTRACT_VERSION,
            "seed": self.seed,
            "spawn_key": self.spawn_key,
            "digest": self.digest,
            "apart": self.apart,
            "frozen": self.frozen,
            "buffers": self.buffers,
            "written": self.written,
            "untouched": self.untouched,
            "mended": self.mended,
            "unused": [short_repr(pattern) for pattern, _ in self.unused],
            "parameters": rows,
        }
        return json.dumps(content, indent=2, allow_nan=False)

    def cells(self) -> list[tuple[str, ...]]:
        """The rows as text, in the columns of a table."""
        return [
            (
                row.name,
                "x".join(map(str, row.shape)),
                row.dtype,
                row.initializer,
                _number(row.expected_std),
                _number(row.std),
                row.digest[:_SHOWN_DIGITS],
            )
            for row in self.rows
        ]

    def summary(self) -> str:
        """One line: how much was filled, the digest, what lies outside it, and what nobody asked for."""
        sizes = [math.prod(entry.param.shape) for entry in self._entries if not entry.kept]
        elsewhere = {*self.frozen, *self.untouched}
        lists = {
            "apart from it": [name for name in self.apart if name not in elsewhere],
            "frozen and left alone": [name for name in self.frozen if name not in self.untouched],
            "untouched": self.untouched,
            "written, not drawn": self.written,
            "tied again": self.mended,
            "buffers left alone": self.buffers,
        }
        listed = "".join(
            f"; {what}: {', '.join(shorten(list(map(console.escaped, names))))}" for what, names in lists.items() if names
        )
        return f"{len(sizes)} parameters, {sum(sizes):,} elements, seed {self.seed}, digest {self.digest}{listed}"

    def __str__(self) -> str:
        return f"{console.plain(COLUMNS, self.cells(), RIGHT)}\n\n{self.summary()}"

    def __repr__(self) -> str:
        return f"<gpuinit.Report of {len(self._entries)} parameters, seed={self.seed}>"

    def _repr_html_(self) -> str:
        import html

        def line(cells: Sequence[str], tag: str) -> str:
            return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

        body = "\n".join(line(cells, "td") for cells in self.cells())
        head = line(COLUMNS, "th")
        return f"<table>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n<p>{html.escape(self.summary())}</p>"

    def plot(self) -> Any:
        """A histogram of each layer beside the density that was asked for, as a `matplotlib.figure.Figure`.

        Raises
        ------
        RuntimeError
            If matplotlib is not installed.
        """
        from gpuinit._plot.figures import histograms

        filled = [entry for entry in self._entries if not entry.kept]
        for entry in filled:
            check_readable(entry.array)
        return histograms([(entry.param.name, entry.array, entry.distribution) for entry in filled])


def _row(entry: Entry, total: Any) -> Row:
    """Measure a parameter, and add it to the model's digest if it belongs there."""
    param = entry.param
    std, digest = math.nan, ""
    if not entry.kept:
        check_readable(entry.array)
        array = view_of(entry.array).array
        own = hashlib.sha256()
        std = _measure(param.name, array, [own] if entry.apart else [own, total])
        digest = "" if is_cut(entry.array) else own.hexdigest()
    return Row(param.name, param.shape, param.dtype, entry.initializer, entry.expected, std, digest)


@np.errstate(all="ignore")  # of values that are not finite, and squares that overflow
def _measure(name: str, array: Any, hashes: list[Any]) -> float:
    """The standard deviation of an array's elements, summed in float64; what its digest is of goes into `hashes`."""
    for one in hashes:
        one.update(header(name, array))
    total = squares = origin = np.float64(0)
    for number, piece in enumerate(pieces(array)):
        for one in hashes:
            one.update(piece.view(np.uint8).data)
        values = piece.astype(np.result_type(piece.dtype, np.float64) if piece.dtype.kind != "V" else np.float64)
        origin = values[0] if number == 0 else origin  # near the mean, so that a small deviation from a large one is not lost
        values -= origin
        total += values.sum()
        squares += np.vdot(values, values).real
    if not array.size:
        return math.nan
    return float(np.sqrt(np.maximum(0.0, squares / array.size - abs(total / array.size) ** 2)))


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
