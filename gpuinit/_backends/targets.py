"""From the array that a user gives to the write that a backend performs: `target` checks it, `write` has it written."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple

import numpy as np

from gpuinit._backends import host, torch_private
from gpuinit._backends.host import compiled
from gpuinit._backends.operations import Backend, Constant, Fill, Operation, Orthogonal, Padded, Parts, Sparse, perform
from gpuinit._backends.torch_tensors import SmallTensor, small_tensor
from gpuinit._backends.view import View
from gpuinit._backends.views import view_of
from gpuinit._contract.arguments import short_repr, type_name
from gpuinit._contract.dtypes import EIGHT_BITS, INEXACT, native
from gpuinit._contract.generator import Stream
from gpuinit._contract.shards import Patches, Shard, parts_of


class ArrayTarget(NamedTuple):
    """A checked array: the view of its memory, its dtype in native byte order, and what parts of a larger array it is, if any.

    Shape and size are those of the whole: everything but the writing goes by them.
    """

    view: View
    dtype: np.dtype[Any]
    shard: Shard | Patches | None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.shard.global_shape if self.shard else tuple(self.view.array.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shard.global_shape) if self.shard else int(self.view.array.size)


# What an operation is for.
Target = ArrayTarget | SmallTensor


class Asked(NamedTuple):
    """What a write asks for, without the array and its memory."""

    operation: Operation
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def is_exact(self) -> bool:
        """Whether the values are the same everywhere to the last bit: all are, except those that BLAS computes."""
        return not isinstance(self.operation, Orthogonal)

    def drawn_from(self, stream: Stream) -> Asked:
        """Return the same with the words of another stream."""
        match self.operation:
            case Fill() | Parts() | Sparse() | Orthogonal():
                return self._replace(operation=self.operation._replace(stream=stream))
            case Padded(fill, row):
                return self._replace(operation=Padded(fill._replace(stream=stream), row))
        return self


class Write(NamedTuple):
    """An operation and the array that it is for: what an initializer comes to once everything is checked."""

    to: Target
    operation: Operation

    @property
    def asked(self) -> Asked:
        return Asked(self.operation, self.to.shape, self.to.dtype)

    def perform(self) -> None:
        """Write to the array, unless it has no elements, and tell its owner."""
        if type(self.to) is SmallTensor and _perform_at_address(self.to, self.operation):
            torch_private.raise_version(self.to.tensor)
            return
        view = self.to.view
        if view.array.size and view.scope is None:
            self._perform(view)
        elif view.array.size:
            with view.context():
                self._perform(view)
        view.notify_owner()  # of a DTensor without elements here too, so that autograd finds the same in every process

    def _perform(self, view: View) -> None:
        backend, shard = _backend(view.backend), self.to.shard
        if isinstance(shard, Patches):
            for array, part in parts_of(view.array, shard):
                perform(backend, array, self.operation, part)
        else:
            perform(backend, view.array, self.operation, shard)


def _perform_at_address(to: SmallTensor, operation: Operation) -> bool:
    """Perform an operation on the memory of a tensor, if there is a compiled kernel for it."""
    if type(operation) is Fill:
        fill = compiled.filler_of(operation.distribution, to.dtype)
        if fill is not None:
            fill(operation.stream, to.size, to.tensor.data_ptr())
            return True
    return type(operation) is Constant and compiled.constant_at(operation.value, to.size, to.tensor.data_ptr())


# What is done with a write.
_handler: ContextVar[Callable[[Write], None]] = ContextVar("_handler", default=Write.perform)


def write(to: Target, operation: Operation) -> None:
    """Perform an operation on a target; within `planned` or `observed`, do as those say."""
    _handler.get()(Write(to, operation))


@contextlib.contextmanager
def planned() -> Iterator[list[Write]]:
    """Collect the writes of all initializers called within; none is performed, though generators move on."""
    writes: list[Write] = []
    with _handling_by(writes.append):
        yield writes


@contextlib.contextmanager
def observed() -> Iterator[list[Write]]:
    """Collect the writes of all initializers called within, which are performed as ever."""
    writes: list[Write] = []

    def note_and_perform(write: Write) -> None:
        writes.append(write)
        write.perform()

    with _handling_by(note_and_perform):
        yield writes


@contextlib.contextmanager
def _handling_by(handler: Callable[[Write], None]) -> Iterator[None]:
    token = _handler.set(handler)
    try:
        yield
    finally:
        _handler.reset(token)


@functools.cache
def _backend(name: Literal["host", "cuda"]) -> Backend:
    """Return a backend; mypy checks here that each is what the protocol says.

    That of the GPU is imported when the first array for it comes. The CPU's is there from the start: a signal handler that fills,
    while the import by the first fill went on, would get half of it.
    """
    if name == "cuda":
        from gpuinit._backends import cuda

        return cuda
    return host


def target(x: Any, dtypes: frozenset[str] = INEXACT, shard: Shard | None = None) -> Target:
    """Check that `x` is an array that can be filled, of one of `dtypes`, and of the shard's shape.

    Raises
    ------
    TypeError
        If `x` is not an array, or cannot be written, or has another dtype; if `shard` is not a Shard, or `x` has one of its own.
    ValueError
        If `x` overlaps itself, or does not have the shard's shape.
    RuntimeError
        If no device can be used for it.
    """
    if shard is None and type(x) in torch_private.tensor_types():
        small = small_tensor(x)
        if small is not None and native(small.dtype)[1] in dtypes:
            return small
    view = view_of(x)
    dtype, name = native(view.array.dtype)
    if name not in dtypes:
        raise TypeError(f"x must be an array of one of the dtypes {', '.join(sorted(dtypes))}; got {dtype}")
    if name in EIGHT_BITS and view.backend == "cuda":
        raise TypeError(f"x must have a dtype that CuPy has, got {dtype}; fill a float32 or bfloat16 array and convert it")
    if _may_overlap(view.array):
        raise ValueError(
            f"x must not overlap itself, got shape {tuple(view.array.shape)} with strides {tuple(view.array.strides)} "
            "(a broadcast, expanded or as_strided array?); fill a copy of it instead"
        )
    return ArrayTarget(view, dtype, _check_shard(view, shard))


def _check_shard(view: View, shard: Shard | None) -> Shard | Patches | None:
    """Return what part of a larger array the view is, by its owner or the caller; None if it is the whole."""
    if shard is view.shard is None:
        return None
    shape = tuple(view.array.shape)
    if shard is None:
        known = view.shard
        return None if known is None or shape == known.global_shape else known
    if view.shard is not None:
        raise TypeError(f"shard must be None for a DTensor, which knows its place in the whole, got shard={short_repr(shard)}")
    if not issubclass(type(shard), Shard):  # `isinstance` would ask the object for its class
        raise TypeError(f"shard must be a gpuinit.Shard or None, got {short_repr(shard)} of type {type_name(shard)}")
    if shape != shard.shape:
        raise ValueError(f"x must have the shard's shape {shard.shape}, got shape {shape} and shard={short_repr(shard)}")
    return None if shape == shard.global_shape else shard


def _may_overlap(array: Any) -> bool:
    """Check whether two elements may share a byte: true unless each axis steps over all that the smaller steps reach."""
    if array.flags.c_contiguous or array.size == 0:
        return False
    reach = array.itemsize
    for step, length in sorted((abs(stride), length) for stride, length in zip(array.strides, array.shape) if length > 1):
        if step < reach:
            return True
        reach += step * (length - 1)
    return False
