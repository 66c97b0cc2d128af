"""Views of DTensors that torch cuts from a gathered copy, and whose writes it loses: rows, chunks ..."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from gpuinit._backends import torch_private
from gpuinit._backends.dtensor import is_dtensor, local_part
from gpuinit._contract.shards import parts_of

Step = Callable[[Any], Any]


class _Origin(NamedTuple):
    """The DTensor that a view is one of, the views taken of it in turn, and the number of writes to it that the copy has seen."""

    root: Any
    steps: tuple[Step, ...]
    version: int

    def of(self, whole: Any) -> Any:
        """Return the same view of another tensor."""
        for step in self.steps:
            whole = step(whole)
        return whole


class ShardedViews:
    """Keeps copies and the DTensors that they were cut from the same, as views and what they are views of are."""

    def __init__(self) -> None:
        torch = sys.modules["torch"]
        self._origins: Any = torch.utils.weak.WeakIdKeyDictionary()
        self._has_any = False  # there is none without DTensors: to ask this takes less time than to look for one

    def note(self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], result: Any) -> None:
        """Take down what view of a DTensor an operation gave."""
        viewed = arguments[0]
        if not is_dtensor(viewed):
            return
        origin = self._origins.get(viewed) or _Origin(viewed, (), viewed._version)
        many = isinstance(result, (list, tuple))
        for number, view in enumerate(result if many else [result]):

            def step(x: Any, number: int = number) -> Any:
                found = function(x, *arguments[1:], **keywords)
                return found[number] if many else found

            self._origins[view] = origin._replace(steps=(*origin.steps, step))
            self._has_any = True

    def is_copy(self, x: Any) -> bool:
        """Check for a view that does not share its DTensor's memory."""
        origin = self._origins.get(x) if self._has_any and is_dtensor(x) else None
        return origin is not None and torch_private.storage(x) != torch_private.storage(origin.root)

    def owner(self, x: Any) -> Any:
        """Return the DTensor that a copy was cut from; any other tensor itself."""
        return self._origins[x].root if self.is_copy(x) else x

    def refresh(self, x: Any) -> None:
        """Give a copy the values that its DTensor has by now."""
        if self.is_copy(x) and (origin := self._origins[x]).version != origin.root._version:
            torch_private.local_tensor(x).copy_(torch_private.local_tensor(origin.of(origin.root)))
            self._origins[x] = origin._replace(version=origin.root._version)

    def copy(self, x: Any, values: Any) -> None:
        """Copy a tensor that each process has as a whole to a DTensor, which torch refuses to do."""
        if self.is_copy(x):
            self.write_back(x, values)
        else:
            copy_to_parts(x, values.expand(x.shape))

    def write_back(self, x: Any, values: Any = None) -> None:
        """Give the DTensor the values of a copy, or others, as if the copy shared its memory.

        All processes of the mesh have to come here, as they had to when torch gathered the copy.
        """
        origin = self._origins[x]
        with sys.modules["torch"].no_grad():
            whole = origin.root.full_tensor()
            origin.of(whole).copy_(x.full_tensor() if values is None else values)
            copy_to_parts(origin.root, whole)
        if values is None:
            self._origins[x] = origin._replace(version=origin.root._version)
        else:
            self.refresh(x)


def copy_to_parts(x: Any, whole: Any) -> None:
    """Copy to what this process has of a DTensor from a tensor of the whole."""
    local, place = local_part(x)
    for part, shard in parts_of(local, place):
        if part.numel():  # an empty part has any shape
            part.copy_(whole[shard.index if shard else ...])
    torch_private.raise_version(x)
