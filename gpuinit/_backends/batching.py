"""Many writes at once: on a GPU, fills of small arrays share launches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from gpuinit._backends.operations import BatchItem, Constant, Fill
from gpuinit._backends.targets import Write
from gpuinit._backends.torch_tensors import SmallTensor
from gpuinit._contract.distributions import Point


def perform_all(writes: Sequence[Write]) -> Iterator[int]:
    """Perform writes to arrays that lie apart, and yield the number of each when it is done."""
    items = [_item(write) for write in writes]
    groups: dict[Any, list[int]] = defaultdict(list)
    for number, (write, item) in enumerate(zip(writes, items, strict=True)):
        if item:
            groups[_place(write)].append(number)
    for numbers in groups.values():
        _fill_all([writes[number] for number in numbers], [item for number in numbers if (item := items[number])])
        yield from numbers
    for number, (write, item) in enumerate(zip(writes, items, strict=True)):
        if not item:
            write.perform()
            yield number


def _item(write: Write) -> BatchItem | None:
    """Return the array, distribution and stream of a fill that can share a launch."""
    if isinstance(write.to, SmallTensor):
        return None
    array = write.to.view.array
    if write.to.view.backend != "cuda" or write.to.shard is not None or not array.size:
        return None
    match write.operation:
        case Fill(distribution, stream):
            return array, distribution, stream
        case Constant(value):
            return array, Point(value), None
    return None


def _place(write: Write) -> Any:
    """Return what writes must have in common: with a scope of their own, as torch's have, the device that it is for."""
    view = write.to.view
    return None if view.scope is None else view.array.device.id


def _fill_all(writes: Sequence[Write], items: Sequence[BatchItem]) -> None:
    from gpuinit._backends.cuda.batch import fill_all

    with writes[0].to.view.context():
        fill_all(items)
    for write in writes:
        write.to.view.notify_owner()
