"""What code did to a parameter: the last draw, other writes, and whether the values are the same on all machines."""

from __future__ import annotations

from typing import Any

from gpuinit._backends import torch_private
from gpuinit._backends.targets import Asked
from gpuinit._models.report import WRITTEN
from gpuinit._seeding.draws import Drawn


class Record:
    """What happened to a parameter or buffer so far."""

    __slots__ = ("_all_known", "_are_exact", "_known", "drawn", "is_whole", "is_written")

    def __init__(self) -> None:
        self.drawn: Drawn | None = None  # the last
        self.is_whole = False  # that it went to all of the parameter
        self.is_written = False  # in another way, since
        self._are_exact = True  # all writes so far
        # Of which bytes the values do not depend on those of before: all, or these.
        self._all_known = False
        self._known: list[tuple[int, int]] = []

    def drew(self, drawn: Drawn, held: Any, x: Any) -> None:
        self._are_exact = self._are_exact and drawn.exact
        self.is_whole = self._cover(held, x, drawn.exact)
        self.drawn, self.is_written = drawn, False

    def wrote(self, held: Any, x: Any, exact: bool, constant: bool) -> None:
        self._are_exact = self._are_exact and exact
        if constant:
            self._cover(held, x, exact)
        self.is_written = True

    def moved(self) -> None:
        """Take down that it has other memory since the last write that was seen."""
        self._are_exact = False
        self.is_written = True

    def _cover(self, held: Any, x: Any, exact: bool) -> bool:
        """Take down that the values of `x` are new; return whether that is all of the parameter."""
        is_all = _is_all_of(held, x)
        if is_all:
            self._all_known, self._are_exact = True, exact
        elif x.is_contiguous():
            self._known.append(torch_private.span(x))
        return is_all

    def is_exact(self, held: Any) -> bool:
        """Whether all machines have these values to the last bit."""
        if self._all_known:
            return self._are_exact
        start, end = torch_private.span(held)
        for first, last in sorted(self._known):
            if first > start:
                break
            start = max(start, last)
        return self._are_exact and start >= end

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
