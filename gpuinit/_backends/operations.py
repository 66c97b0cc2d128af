"""What a backend can do to an array: one class per operation, and the protocol that `host` and `cuda` follow.

An initializer comes to exactly one operation, once everything about its arguments is checked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise, product
from typing import Any, NamedTuple, Protocol, assert_never

from gpuinit._contract.distributions import Distribution, Normal
from gpuinit._contract.generator import Stream
from gpuinit._contract.shards import Shard


class Fill(NamedTuple):
    """Write to each element what the distribution makes of its word."""

    distribution: Distribution
    stream: Stream


class Padded(NamedTuple):
    """Fill, then write zeros to one row: that of an embedding's padding."""

    fill: Fill
    row: int


class Constant(NamedTuple):
    """Write one value, a scalar of the array's dtype, to each element."""

    value: Any


class Eye(NamedTuple):
    """Write ones on the diagonal, zeros elsewhere."""


class Dirac(NamedTuple):
    """Write ones at the kernel's centre where output channel o of a group meets input channel o, zeros elsewhere."""

    groups: int


class Sparse(NamedTuple):
    """Write `values`, and 0 to `zeros` elements of each column; `by_rows`, to the transpose."""

    zeros: int
    values: Normal
    stream: Stream
    by_rows: bool = False


class Parts(NamedTuple):
    """Fill the parts of an array along an axis, each from a distribution of its own, and all from the words of the whole."""

    axis: int
    lengths: tuple[int, ...]
    distributions: tuple[Distribution, ...]
    stream: Stream


class Matrix(NamedTuple):
    """A matrix in an array: the elements at a place, whose rows are the first `row_axes` of its axes in this order.

    `first` is the number of its first word.
    """

    place: tuple[slice, ...]
    order: tuple[int, ...]
    row_axes: int
    first: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Its lengths along the axes of the array."""
        return tuple(part.stop - part.start for part in self.place)

    @property
    def short_side(self) -> int:
        """The number of rows or of columns, whichever is less: that of its orthonormal ones."""
        rows = math.prod(self.shape[axis] for axis in self.order[: self.row_axes])
        return min(rows, math.prod(self.shape) // rows)


class Matrices(NamedTuple):
    """The matrices with elements in a place of an array: its parts along an axis, and of these the elements of batch axes.

    The words go to them in this order. There may be more than a list could hold.
    """

    place: tuple[slice, ...]
    order: tuple[int, ...]
    row_axes: int
    batch_axes: tuple[int, ...] = ()
    parts_axis: int = 0
    lengths: tuple[int, ...] = ()  # of the parts; none if all is one

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(part.stop - part.start for part in self.place)

    def parts(self) -> Iterator[tuple[int, Matrix]]:
        """Yield, of each part that has elements, the number of its matrices and the first of them."""
        first, count = 0, math.prod(self.place[axis].stop - self.place[axis].start for axis in self.batch_axes)
        own = self.place[self.parts_axis]
        ends = accumulate(self.lengths or [own.stop - own.start], initial=own.start)
        for start, stop in pairwise(ends):
            place = list(self.place)
            place[self.parts_axis] = slice(start, stop)
            for axis in self.batch_axes:
                place[axis] = slice(place[axis].start, place[axis].start + 1)
            matrix = Matrix(tuple(place), self.order, self.row_axes, first)
            size = math.prod(matrix.shape)
            if size and count:
                yield count, matrix
            first += count * size

    def within(self, index: Sequence[slice]) -> Iterator[Matrix]:
        """Yield the matrices that have elements at an index of the array."""
        for _, matrix in self.parts():
            taken = [range(*_both(self.place[axis], index[axis])) for axis in self.batch_axes]
            for stacked in product(*taken):
                place, number = list(matrix.place), 0
                for axis, at in zip(self.batch_axes, stacked):
                    place[axis] = slice(at, at + 1)
                    number = number * (self.place[axis].stop - self.place[axis].start) + at - self.place[axis].start
                yield matrix._replace(place=tuple(place), first=matrix.first + number * math.prod(matrix.shape))


class Orthogonal(NamedTuple):
    """Write gain * Q to each matrix, Q Haar-distributed with orthonormal columns (rows, if there are fewer rows than columns).

    What lies in none of them becomes 0.
    """

    gain: float
    stream: Stream
    matrices: Matrices


class Truncate(NamedTuple):
    """Round each element toward zero."""


Operation = Fill | Parts | Padded | Constant | Eye | Dirac | Sparse | Orthogonal | Truncate


# An array of a GPU, what it is filled from, and the stream; a `Point` has none.
BatchItem = tuple[Any, Distribution, Stream | None]


class Backend(Protocol):
    """A module with a function per operation.

    `x` is an array of the backend's library that has elements; with a shard, `x` is that part of a larger array.
    """

    def fill(self, x: Any, distribution: Distribution, stream: Stream, shard: Shard | None = None) -> None: ...
    def constant(self, x: Any, value: Any) -> None: ...
    def eye(self, x: Any, shard: Shard | None = None) -> None: ...
    def dirac(self, x: Any, groups: int, shard: Shard | None = None) -> None: ...
    def sparse(self, x: Any, zeros: int, values: Normal, stream: Stream, shard: Shard | None = None) -> None: ...
    def orthogonal(
        self, x: Any, gain: float, stream: Stream, shard: Shard | None = None, *, row_axes: int = 1, first: int = 0
    ) -> None: ...
    def truncate(self, x: Any) -> None: ...


def perform(backend: Backend, x: Any, operation: Operation, shard: Shard | None) -> None:
    """Do one operation to an array."""
    match operation:
        case Fill():
            backend.fill(x, operation.distribution, operation.stream, shard)
        case Padded(fill, row):
            backend.fill(x, fill.distribution, fill.stream, shard)
            place = row - (shard.start[0] if shard else 0)
            if 0 <= place < len(x):  # or another shard has it
                backend.constant(x[place], x.dtype.type(0))
        case Constant():
            backend.constant(x, operation.value)
        case Eye():
            backend.eye(x, shard)
        case Dirac():
            backend.dirac(x, operation.groups, shard)
        case Sparse(zeros, values, stream, by_rows):
            if by_rows:
                x, shard = x.T, shard and Shard(shard.global_shape[::-1], shard.index[::-1])
            backend.sparse(x, zeros, values, stream, shard)
        case Parts():
            _perform_parts(backend, x, operation, shard)
        case Orthogonal():
            _perform_matrices(backend, x, operation, shard)
        case Truncate():
            backend.truncate(x)
        case _:
            assert_never(operation)


def _perform_parts(backend: Backend, x: Any, operation: Parts, shard: Shard | None) -> None:
    whole = shard or _whole(x)
    ends = accumulate(operation.lengths, initial=0)
    for (start, stop), distribution in zip(pairwise(ends), operation.distributions):
        index = [slice(0, length) for length in whole.global_shape]
        index[operation.axis] = slice(start, stop)
        if common := _common(whole, index):
            backend.fill(x[_within(common, whole.start)], distribution, operation.stream, Shard(whole.global_shape, common))


def _perform_matrices(backend: Backend, x: Any, operation: Orthogonal, shard: Shard | None) -> None:
    whole = shard or _whole(x)
    if operation.matrices.size < math.prod(whole.global_shape):
        backend.constant(x, x.dtype.type(0))
    for matrix in operation.matrices.within(whole.index):
        if common := _common(whole, matrix.place):
            part = x[_within(common, whole.start)].transpose(matrix.order)
            backend.orthogonal(
                part, operation.gain, operation.stream, _part_of(matrix, common), row_axes=matrix.row_axes, first=matrix.first
            )


def _part_of(matrix: Matrix, index: tuple[slice, ...]) -> Shard | None:
    """Return which part of a matrix an index of the whole array is; None of all of it."""
    if index == matrix.place:
        return None
    within = _within(index, [own.start for own in matrix.place])
    return Shard(tuple(matrix.shape[axis] for axis in matrix.order), tuple(within[axis] for axis in matrix.order))


def _whole(x: Any) -> Shard:
    return Shard(x.shape, (slice(None),) * x.ndim)


def _common(shard: Shard, index: Sequence[slice]) -> tuple[slice, ...]:
    """Return what a shard and an index of the whole have in common; nothing if that has no elements."""
    common = tuple(slice(*_both(own, part)) for own, part in zip(shard.index, index))
    return common if all(part.start < part.stop for part in common) else ()


def _both(one: slice, other: slice) -> tuple[int, int]:
    return max(one.start, other.start), min(one.stop, other.stop)


def _within(index: Sequence[slice], start: Sequence[int]) -> tuple[slice, ...]:
    """Return an index of the whole as one of a part of it that begins there."""
    return tuple(slice(own.start - first, own.stop - first) for own, first in zip(index, start))
