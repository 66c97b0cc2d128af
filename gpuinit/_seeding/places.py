"""Where a tensor lies in a model: the parameter or buffer that it is a view of, and the module whose code runs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from gpuinit._backends import torch_private
from gpuinit._rules.collector import paused_collector
from gpuinit._rules.modules import Held, join, tensor_numbers, walk


class Places:
    """The parameters, buffers and modules of a model, as they are now.

    Of tied parameters, the first name in the order of code points stands for all.
    """

    def __init__(self, model: Any, prefix: str = "") -> None:
        self.names: dict[str, list[str]] = {}  # all, by the one that stands for them
        self.held: dict[str, Held] = {}
        self._tensors: dict[int, Held] = {}
        self._storages: dict[Any, list[Held]] = {}
        self._modules: dict[int, str] = {}
        self._found: list[Held] = []
        self._numbers: list[int] = []
        with paused_collector():
            for name, module, tensors in walk(model):
                full = join(prefix, name)
                if id(module) not in self._modules:
                    self._numbers += [id(held.array) for held in tensors]
                self._modules[id(module)] = min(full, self._modules.get(id(module), full))
                self._found += [held._replace(name=join(prefix, held.name)) for held in tensors] if prefix else tensors
            for held in sorted(self._found, key=lambda held: held.name):
                self._add(held)

    def _add(self, held: Held) -> None:
        number = id(held.array)
        known = self._tensors.get(number)
        if known is None:
            known, storage = held, torch_private.storage(held.array)
            if storage in self._storages:
                others = self._storages[storage]
                known = next((other for other in others if _same_memory(other.array, held.array)), held)
                others.append(held)
            elif storage is not None:
                self._storages[storage] = [held]
            self._tensors[number] = known
        self.held.setdefault(known.name, known)
        self.names.setdefault(known.name, []).append(held.name)

    def in_order(self) -> list[Held]:
        """Return each parameter and buffer once, by the name that stands for it, in the model's order."""
        return [self.held[name] for name in dict.fromkeys(self._tensors[id(held.array)].name for held in self._found)]

    def are_those_of(self, model: Any) -> bool:
        """Check whether a model has the same tensors in the same places still."""
        return self._numbers == tensor_numbers(model)

    def find(self, x: Any) -> Held | None:
        """Return the parameter or buffer that a tensor is, or is a view of; None if there is none.

        Raises
        ------
        RuntimeError
            If it has memory of several, or more than one.
        """
        known = self._tensors.get(id(x)) or self._tensors.get(id(torch_private.base(x)))
        if known is not None:
            return known
        storage = torch_private.storage(x)
        if storage not in self._storages:
            return None
        start, end = torch_private.span(x)
        if held := self.at(storage, start, end):
            return held
        touched = [held.name for held in self._storages[storage] if self._overlaps(held, storage, start, end)]
        if touched:
            raise RuntimeError(
                f"code must write to one parameter at a time, got a tensor that reaches beyond {touched[0]!r} in its memory; "
                "write to the parameters themselves"
            )
        return None

    def _overlaps(self, held: Held, storage: Any, start: int, end: int) -> bool:
        first, last = torch_private.span(held.array)
        return first < end and start < last and not self.has_moved(held, storage)

    def at(self, storage: Any, start: int, end: int) -> Held | None:
        """Return the parameter or buffer that has these bytes of a storage."""
        for held in self._storages.get(storage, ()):
            first, last = torch_private.span(held.array)
            if first <= start and end <= last and not self.has_moved(held, storage):
                return self._tensors[id(held.array)]
        return None

    def all_in(self, storage: Any) -> Held | None:
        """Return a parameter or buffer that lies in a storage, if it is the only one there."""
        found = {self._tensors[id(held.array)].name: held for held in self._storages.get(storage, ())}
        return self.held[next(iter(found))] if len(found) == 1 else None

    def has_moved(self, held: Held, storage: Any = None) -> bool:
        """Check whether a parameter was given another memory since: a storage that is freed leaves its number to others."""
        now = torch_private.storage(held.array)
        if storage is not None:
            return bool(now != storage)
        return now is not None and held not in self._storages.get(now, ())

    def innermost(self, frames: Iterable[list[Any]]) -> str:
        """Return the name of the module whose code runs, by what `modules_in_use` gives: the deepest one of the innermost frame
        that has any of the model's, and the first name in the order of code points of several; else that of the model."""
        for modules in frames:
            names = [self._modules[id(module)] for module in modules if id(module) in self._modules]
            if names:
                return min(names, key=lambda name: (-len(name.split(".")) if name else 0, name))
        return min(self._modules.values())


def modules_in_use() -> Iterator[list[Any]]:
    """Yield the modules that are arguments of the functions that run, function by function, the innermost first.

    Not those of other variables: after a loop, one of these has the module that came last.
    """
    module = sys.modules["torch"].nn.Module
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if arguments:
            given = frame.f_locals
            modules = [given[name] for name in arguments if issubclass(type(given.get(name)), module)]
            if modules:
                yield modules
        frame = frame.f_back


def _same_memory(a: Any, b: Any) -> bool:
    """Check whether two tensors in one storage have all their elements in common."""
    span = torch_private.span(a)
    return span == torch_private.span(b) and span[0] < span[1]
