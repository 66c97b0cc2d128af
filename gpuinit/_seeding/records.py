"""What code did to a parameter: the last draw, other writes, and whether the values are the same on all machines."""

from __future__ import annotations

from typing import Any, NamedTuple

from gpuinit._backends import torch_private
from gpuinit._backends.targets import Asked
from gpuinit._models.report import WRITTEN
from gpuinit._seeding.draws import Drawn


class Record(NamedTuple):
    """What happened to a parameter or buffer so far. It never changes: thousands of layers that are drawn alike share one.

    `drawn` is the last draw, `is_whole` says that it went to all of the parameter, `is_written` that something else was written
    since, `are_exact` that all writes so far were exact. `known` are the bytes whose values do not depend on those of before;
    None stands for all.
    """

    drawn: Drawn | None = None
    is_whole: bool = False
    is_written: bool = False
    are_exact: bool = True
    known: tuple[tuple[int, int], ...] | None = ()

    @classmethod
    def of_whole(cls, drawn: Drawn) -> Record:
        """Return that of a draw into all of a parameter, whatever was there before."""
        return cls(drawn, is_whole=True, are_exact=drawn.exact, known=None)

    def drew(self, drawn: Drawn, held: Any, x: Any) -> Record:
        if _is_all_of(held, x):
            return self.of_whole(drawn)
        return self._replace(
            drawn=drawn,
            is_whole=False,
            is_written=False,
            are_exact=self.are_exact and drawn.exact,
            known=self._known_with(x),
        )

    def wrote(self, held: Any, x: Any, exact: bool, constant: bool) -> Record:
        if constant and _is_all_of(held, x):
            return self._replace(is_written=True, are_exact=exact, known=None)
        known = self._known_with(x) if constant else self.known
        return self._replace(is_written=True, are_exact=self.are_exact and exact, known=known)

    def moved(self) -> Record:
        """Return that of a parameter with other memory since the last write that was seen."""
        return self._replace(is_written=True, are_exact=False)

    def _known_with(self, x: Any) -> tuple[tuple[int, int], ...] | None:
        if self.known is None or not x.is_contiguous():
            return self.known
        start, end = torch_private.span(x)
        if self.known and self.known[-1][1] == start:  # as of row after row
            (first, _), before = self.known[-1], self.known[:-1]
            return *before, (first, end)
        return *self.known, (start, end)

    def is_exact(self, held: Any) -> bool:
        """Whether all machines have these values to the last bit."""
        if self.known is None:
            return self.are_exact
        start, end = torch_private.span(held)
        for first, last in sorted(self.known):
            if first > start:
                break
            start = max(start, last)
        return self.are_exact and start >= end

    @property
    def text(self) -> str:
        """What a report says of it."""
        what = [] if self.drawn is None else [str(self.drawn.by)] if self.is_whole else [str(self.drawn.by), "in parts"]
        return ", ".join([*what, WRITTEN] if self.is_written else what)

    @property
    def asked(self) -> Asked | None:
        """What all of the values come from, if that is one draw."""
        return self.drawn.asked if self.drawn and self.is_whole and not self.is_written else None


def _is_all_of(held: Any, x: Any) -> bool:
    return x is held or (x.numel() == held.numel() and x.element_size() == held.element_size())
