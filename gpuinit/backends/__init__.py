"""Which backend fills an array, and with whose memory: `target` answers both, from the table in `views`.

A backend is a module with the functions of `host`: `fill`, `constant`, `eye`, `dirac`, `sparse`, `orthogonal`, `trunc`. It is
imported when the first array for it comes.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from gpuinit.arguments import shown
from gpuinit.backends.views import View, view_of
from gpuinit.shards import Shard

FLOATS = frozenset(("float16", "bfloat16", "float32", "float64"))
COMPLEX = frozenset(("complex64", "complex128"))
INEXACT = FLOATS | COMPLEX
INTEGERS = frozenset(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))
EVERY = INEXACT | INTEGERS | {"bool"}


class Target(NamedTuple):
    """A checked array: the view of its memory, its dtype in native byte order, and what part of a larger array it is, if any.

    Shape and size are those of the whole: all but the writing goes by them.
    """

    view: View
    dtype: np.dtype[Any]
    shard: Shard | None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.shard.global_shape if self.shard else tuple(self.view.array.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shard.global_shape) if self.shard else int(self.view.array.size)

    def write(self, primitive: str, *arguments: Any) -> None:
        """Call a primitive of the array's backend on it; within `recorded`, as that says."""
        write, record = Write(self, primitive, arguments), _record.get()
        if record is not None:
            record.writes.append(write)
            if record.only_planned:
                return
        write.perform()


class Write(NamedTuple):
    """A primitive and its arguments: what an initializer comes to once all is checked."""

    to: Target
    primitive: str
    arguments: tuple[Any, ...]

    @property
    def is_exact(self) -> bool:
        """Whether the values are the same everywhere to the last bit: all but those that BLAS computes."""
        return self.primitive != "orthogonal"

    def perform(self) -> None:
        """Write to the array, unless it has no elements, and tell its owner."""
        view = self.to.view
        if view.array.size:
            with view.scope():
                getattr(_backend(view.backend), self.primitive)(view.array, *self.arguments)
        view.written()  # of a DTensor without elements here too, so that autograd finds the same in every process


class _Record(NamedTuple):
    writes: list[Write]
    only_planned: bool


_record: ContextVar[_Record | None] = ContextVar("_record", default=None)


@contextlib.contextmanager
def recorded(*, only_planned: bool) -> Iterator[list[Write]]:
    """The writes of all initializers called within; those that are only planned are not done, though generators move on."""
    record = _Record([], only_planned)
    token = _record.set(record)
    try:
        yield record.writes
    finally:
        _record.reset(token)


@functools.cache
def _backend(name: str) -> Any:
    return importlib.import_module(f"gpuinit.backends.{name}")


def target(x: Any, dtypes: frozenset[str] = INEXACT, shard: Shard | None = None) -> Target:
    """Check that `x` is an array that can be filled, of one of `dtypes`, and of the shard's shape.

    Raises
    ------
    TypeError
        If `x` is no array, or one that cannot be written, or of another dtype, or `shard` is no Shard, or `x` has one of its own.
    ValueError
        If it overlaps itself, or is of another shape than the shard.
    RuntimeError
        If no device can be used for it.
    """
    view = view_of(x)
    dtype, name = _native(view.array.dtype)
    if name not in dtypes:
        raise TypeError(f"x must be an array of one of the dtypes {', '.join(sorted(dtypes))}; got {dtype}")
    if _may_overlap(view.array):
        raise ValueError(
            f"x must not overlap itself, got shape {tuple(view.array.shape)} with strides {tuple(view.array.strides)} "
            "(a broadcast, expanded or as_strided array?); fill a copy of it instead"
        )
    return Target(view, dtype, _part(view, shard))


def _part(view: View, shard: Shard | None) -> Shard | None:
    """What part of a larger array the view is, by its owner or the caller; None if it is the whole."""
    shape = tuple(view.array.shape)
    if shard is None:
        shard = view.shard
    elif view.shard is not None:
        raise TypeError(f"shard must be None for a DTensor, which knows its place in the whole, got shard={shown(shard)}")
    elif not isinstance(shard, Shard):
        raise TypeError(f"shard must be a gpuinit.Shard or None, got {shown(shard)} of type {type(shard).__name__}")
    elif shape != shard.shape:
        raise ValueError(f"x must have the shard's shape {shard.shape}, got shape {shape} and shard={shown(shard)}")
    return None if shard is None or shape == shard.global_shape else shard


@functools.cache
def _native(dtype: Any) -> tuple[np.dtype[Any], str]:
    """A dtype in native byte order, and its name, which NumPy makes anew each time; longdouble has none here."""
    native = np.dtype(dtype).newbyteorder("=")
    return native, "" if native.char in "gG" else native.name


def _may_overlap(array: Any) -> bool:
    """Whether two elements may share a byte: true unless each axis steps over all that the smaller steps reach."""
    if array.flags.c_contiguous or array.size == 0:
        return False
    reach = array.itemsize
    for step, length in sorted((abs(stride), length) for stride, length in zip(array.strides, array.shape) if length > 1):
        if step < reach:
            return True
        reach += step * (length - 1)
    return False
