"""What `initialize` did, parameter by parameter, as a table, JSON, HTML, and one digest."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gpuinit import _console as console
from gpuinit._backends.dtensor import is_cut
from gpuinit._backends.hashing import Source, hash_all, source_of
from gpuinit._backends.redrawing import holds
from gpuinit._backends.targets import Asked
from gpuinit._backends.views import view_of
from gpuinit._contract.arguments import short_repr, shorten
from gpuinit._contract.digests import CONTRACT_VERSION, digest_of_model
from gpuinit._contract.distributions import Distribution
from gpuinit._contract.generator import Generator, Stream
from gpuinit._models.expectations import distribution_of, expected_std
from gpuinit._models.mapped_files import check_readable
from gpuinit._models.moments import moments_of, std_of
from gpuinit._rules.matching import Rule
from gpuinit._rules.parameters import Param

UNTOUCHED, WRITTEN = "untouched", "written"  # what stands for an initializer where none is known


@dataclass(slots=True)
class Entry:
    """A parameter and what was done to it.

    `initializer` is text; `asked` is what it came to, if that is known and all in one; `exact` says whether the values are the
    same everywhere to the last bit, `kept` whether they are those of before. `stream` is where its words begin (alike parameters
    share an `asked`, and so the stream in that); None if the values cannot be drawn again.
    """

    param: Param
    array: Any
    initializer: str
    asked: Asked | None = None
    exact: bool = True
    kept: bool = False
    stream: Stream | None = None

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

    def note(self, asked: Asked | None, stream: Stream) -> None:
        """Take down what an initializer of this library comes to; None if the array has no elements."""
        self.asked = asked
        self.exact = asked is None or asked.is_exact
        self.stream = stream

    def holds(self, stream: Stream) -> bool:
        """Whether the array has the values that were asked for, as drawn from a stream."""
        check_readable(self.array)
        return self.asked is None or holds(self.array, self.asked.drawn_from(stream))


class Row(NamedTuple):
    """A line of a report; `std` and `digest` are measured.

    They are nan and empty for parameters that were kept, and for those that are cut between processes, of which none has all.
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

    It measures standard deviations and digests on the first access, and keeps them: look before the model is trained.
    `str(report)` is a table; notebooks show it as HTML.

    Attributes
    ----------
    rows : list of Row
        In the model's order: name, shape, dtype, initializer, expected_std (nan where it is not known), std, digest. The digest
        is `gpuinit.digest` of the array alone.
    digest : str
        64 hex digits: `gpuinit.digest` of all parameters that were filled with the same bits everywhere, or of the digests of
        their rows. It is the same on every machine, backend and layout. Empty where there are none, as if all are cut between
        processes.
    recipe : str
        64 hex digits: the SHA-256 of the seed, the spawn key, and each parameter's name, shape, dtype and initializer. It is the
        same in every process, however parameters are cut, and reads no values.
    unverified : list of str
        The names of the parameters that `verify` cannot draw again: those that were kept, or filled by a callable or through a
        parametrization; of `seeded`, all but those whose values are one draw of `normal_`, `uniform_` or an initializer.
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
    def unverified(self) -> list[str]:
        return [entry.param.name for entry in self._entries if entry.stream is None]

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
        measured = {number: (std_of(seen), digest) for number, digest, seen in hash_all(self._sources(), moments_of)}
        rows = [_row(entry, *measured.get(number, (math.nan, ""))) for number, entry in enumerate(self._entries)]
        digests = {row.name: row.digest for row, entry in zip(rows, self._entries, strict=True) if not entry.apart}
        return rows, digest_of_model(digests) if digests else ""

    def _sources(self) -> Iterator[tuple[int, Source]]:
        """The arrays to measure, by the numbers of their entries."""
        for number, entry in enumerate(self._entries):
            if not entry.kept and not is_cut(entry.array):
                check_readable(entry.array)
                view = view_of(entry.array)
                with view.context():
                    source = source_of(view.array)
                yield number, source

    @property
    def recipe(self) -> str:
        parameters = [
            (param.name, param.shape, param.dtype, str(asked.dtype) if asked else "", initializer, stream.key if stream else ())
            for param, asked, initializer, stream in (
                (entry.param, entry.asked, entry.initializer, entry.stream) for entry in self._entries
            )
        ]
        content = json.dumps([CONTRACT_VERSION, self.seed, self.spawn_key, sorted(parameters)])
        return hashlib.sha256(content.encode()).hexdigest()

    def verify(self) -> list[str]:
        """Draw each parameter again, and compare it in place with the model's memory.

        This takes about as long as the fill, and memory for a few pieces (for `orthogonal_`, the whole matrix). Of a parameter
        that is cut between processes, each process compares its part; nothing is communicated. Values are compared to the bit,
        except those of `orthogonal_`, which are compared to rounding.

        Returns
        -------
        list of str
            The names of the parameters whose values differ; empty if all hold. Those in `unverified` are not looked at.

        Examples
        --------
        >>> import numpy as np, gpuinit as gi
        >>> model = {"a": np.empty((50, 40)), "b": np.empty(40)}
        >>> report = gi.initialize(model, [("*", "normal_(std=0.02)")], seed=42)
        >>> report.verify()
        []
        >>> model["b"][7] *= 2
        >>> report.verify()
        ['b']
        """
        return [entry.param.name for entry in self._entries if entry.stream is not None and not entry.holds(entry.stream)]

    def to_json(self) -> str:
        """Return the report as JSON, unused rules by their patterns; numbers that are not known, or infinite, are null."""
        rows = [{key: _finite_or_none(value) for key, value in row._asdict().items()} for row in self.rows]
        content = {
            "contract_version": CONTRACT_VERSION,
            "seed": self.seed,
            "spawn_key": self.spawn_key,
            "digest": self.digest,
            "recipe": self.recipe,
            "apart": self.apart,
            "unverified": self.unverified,
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


def _row(entry: Entry, std: float, digest: str) -> Row:
    param = entry.param
    return Row(param.name, param.shape, param.dtype, entry.initializer, entry.expected, std, digest)


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
