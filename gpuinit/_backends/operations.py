"""What a backend can do to an array: one class per operation, and the protocol that `host` and `cuda` follow.

An initializer comes to exactly one operation, once everything about its arguments is checked.
"""

from __future__ import annotations

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
    """Write `values`, and 0 to `zeros` elements of each column."""

    zeros: int
    values: Normal
    stream: Stream


class Orthogonal(NamedTuple):
    """Write gain * Q, Q Haar-distributed with orthonormal columns (rows, if there are fewer rows than columns)."""

    gain: float
    stream: Stream


class Truncate(NamedTuple):
    """Round each element toward zero."""


Operation = Fill | Padded | Constant | Eye | Dirac | Sparse | Orthogonal | Truncate


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
    def orthogonal(self, x: Any, gain: float, stream: Stream, shard: Shard | None = None) -> None: ...
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
        case Sparse():
            backend.sparse(x, operation.zeros, operation.values, operation.stream, shard)
        case Orthogonal():
            backend.orthogonal(x, operation.gain, operation.stream, shard)
        case Truncate():
            backend.truncate(x)
        case _:
            assert_never(operation)
