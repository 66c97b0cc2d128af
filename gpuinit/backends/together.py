"""Many writes at once: on a GPU, fills of small arrays share launches."""

from __future__ import annotations

import contextlib
import importlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from gpuinit.backends import Write
from gpuinit.distributions import Point


def performed(writes: Sequence[Write]) -> Iterator[int]:
    """Perform writes to arrays that lie apart, and give the number of each when it is done."""
    items = [_item(write) for write in writes]
    groups = defaultdict(list)
    for number, (write, item) in enumerate(zip(writes, items, strict=True)):
        if item:
            groups[_place(write)].append(number)
    for numbers in groups.values():
        _fill_all([writes[number] for number in numbers], [items[number] for number in numbers])
        yield from numbers
    for number, (write, item) in enumerate(zip(writes, items, strict=True)):
        if not item:
            write.perform()
            yield number


def _item(write: Write) -> tuple[Any, ...] | None:
    """Array, distribution and stream of a fill that can share a launch."""
    array = write.to.view.array
    if write.to.view.backend != "cuda" or write.to.shard is not None or not array.size:
        return None
    if write.primitive == "fill":
        distribution, stream, _ = write.arguments
        return array, distribution, stream
    return (array, Point(*write.arguments), None) if write.primitive == "constant" else None


def _place(write: Write) -> Any:
    """What writes must have in common: with a scope of their own, as torch's have, the device that it is for."""
    view = write.to.view
    return None if view.scope is contextlib.nullcontext else view.array.device.id


def _fill_all(writes: list[Write], items: list[tuple[Any, ...] | None]) -> None:
    fill_all = importlib.import_module("gpuinit.backends.cuda.batch").fill_all
    with writes[0].to.view.scope():
        fill_all(items)
    for write in writes:
        write.to.view.written()
