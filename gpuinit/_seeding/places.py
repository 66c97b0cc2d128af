"""Where a tensor lies in a model: the parameter or buffer that it is a view of, and the module whose code runs."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from gpuinit._backends import torch_private
from gpuinit._rules.modules import Held, join, named_modules, tensors_in


class Span(NamedTuple):
    """A stretch of a storage, and the parameter or buffer that lies there."""

    start: int
    end: int
    held: Held


class Places:
    """The parameters, buffers and modules of a model, as they are now.

    Of tied parameters, the first name in the order of code points stands for all.
    """

    def __init__(self, model: Any, prefix: str = "") -> None:
        self.names: dict[str, list[str]] = {}  # all, by the one that stands for them
        self.held: dict[str, Held] = {}
        self._tensors: dict[int, Held] = {}
        self._storages: dict[Any, list[Span]] = defaultdict(list)
        self._numbers: list[Any] = []
        self._modules: dict[int, str] = {}
        self._found = [held._replace(name=join(prefix, held.name)) for held in tensors_in(model)]
        for held in sorted(self._found, key=lambda held: held.name):
            self._add(held)
        for name, module in named_modules(model):
            full = join(prefix, name)
            self._modules[id(module)] = min(full, self._modules.get(id(module), full))

    def _add(self, held: Held) -> None:
        tensor = held.array
        known = self._tensors.get(id(tensor))
        if known is None and (storage := torch_private.storage(tensor)) is not None:
            start, end = torch_private.span(tensor)
            spans = self._storages[storage]
            known = next((span.held for span in spans if span[:2] == (start, end) != (start, start)), None)
            spans.append(Span(start, end, known or held))
            self._numbers.append(torch_private.storage_number(tensor))
        first = self._tensors[id(tensor)] = known or held
        self.held.setdefault(first.name, first)
        self.names.setdefault(first.name, []).append(held.name)

    def in_order(self) -> list[Held]:
        """Return each parameter and buffer once, by the name that stands for it, in the model's order."""
        return [self.held[name] for name in dict.fromkeys(self._tensors[id(held.array)].name for held in self._found)]

    def find(self, x: Any) -> Held | None:
        """Return the parameter or buffer that a tensor is, or shares memory with; None if there is none."""
        if known := self._tensors.get(id(x)):
            return known
        if held := self.at(torch_private.storage(x), *torch_private.span(x)):
            return held
        base = torch_private.base(x)
        return None if base is None else self._tensors.get(id(base))

    def at(self, storage: Any, start: int, end: int) -> Held | None:
        """Return the parameter or buffer that has these bytes of a storage."""
        spans = self._storages.get(storage, ())
        return next((span.held for span in spans if span.start <= start and end <= span.end), None)

    def innermost(self, frames: Iterable[list[Any]]) -> str:
        """Return the name of the module whose code runs, by what `modules_in_use` gives: the deepest one of the innermost frame
        that has any of the model's, and the first name in the order of code points of several; else that of the model."""
        for modules in frames:
            names = [self._modules[id(module)] for module in modules if id(module) in self._modules]
            if names:
                return min(names, key=lambda name: (-len(name.split(".")) if name else 0, name))
        return min(self._modules.values())


def modules_in_use() -> Iterator[list[Any]]:
    """Yield the modules that are variables of the functions that run, function by function, the innermost first."""
    module = sys.modules["torch"].nn.Module
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        modules = [value for value in frame.f_locals.values() if issubclass(type(value), module)]
        if modules:
            yield modules
        frame = frame.f_back
