"""Whether an array still holds what was drawn: it is drawn again, a piece at a time, and compared in place."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from gpuinit._backends.complex_parts import reals
from gpuinit._backends.gpu import usable_cupy
from gpuinit._backends.operations import Orthogonal
from gpuinit._backends.targets import ArrayTarget, Asked, Write
from gpuinit._backends.threads import for_each
from gpuinit._backends.view import View
from gpuinit._backends.views import view_of
from gpuinit._contract.arithmetic import exact
from gpuinit._contract.dtypes import complex_of, native, round_into, working
from gpuinit._contract.shards import Shard, parts_of

# Elements of a piece: on the CPU, what a thread draws in its L2 cache; on a GPU, enough to keep it busy.
PIECE = {"host": 2**17, "cuda": 2**24}
# Of two matrices of `orthogonal_`, in units of its gain: twice the contract's tolerance, or the rounding to 16 or 8 bits.
_TOLERANCES = {
    "float8_e4m3fn": 2.0**-3,
    "float8_e5m2": 2.0**-2,
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
    "float32": 2e-6,
    "float64": 2e-14,
    "complex64": 2e-6,
    "complex128": 2e-14,
}
Box = tuple[slice, ...]


@exact
def holds(x: Any, asked: Asked) -> bool:
    """Check that an array has the bits that a write gives it; of a part of one, that the part has. `orthogonal_` is to rounding.

    It takes memory for a few pieces; `orthogonal_` takes as much as when it wrote.
    """
    view = view_of(x)
    device = view.array.device if view.backend == "cuda" else contextlib.nullcontext()
    with view.context(), device:
        return all(_part_holds(view, part, shard, asked) for part, shard in parts_of(view.array, view.shard) if part.size)


def _part_holds(view: View, part: Any, shard: Shard | None, asked: Asked) -> bool:
    if part.size <= PIECE[view.backend] or isinstance(asked.operation, Orthogonal):
        return _agrees(view, part, shard, asked)
    within = shard or Shard(asked.shape, tuple(slice(0, length) for length in asked.shape))
    differing: list[Box] = []

    def compare(taken: Iterable[Box]) -> None:
        differing.extend(box for box in taken if not _agrees(view, part[box], _shard_of(box, within), asked))

    boxes = _boxes(tuple(part.shape), PIECE[view.backend])
    if view.backend == "host":
        for_each(compare, boxes)
    else:
        compare(boxes)
    return not differing


def _boxes(shape: tuple[int, ...], most: int) -> Iterator[Box]:
    """Cut a shape into parts of at most so many elements."""
    inner = math.prod(shape[1:])
    if inner > most:
        for row in range(shape[0]):
            yield from ((slice(row, row + 1), *box) for box in _boxes(shape[1:], most))
        return
    rows = most // inner
    for first in range(0, shape[0], rows):
        yield slice(first, min(first + rows, shape[0])), *(slice(0, length) for length in shape[1:])


def _shard_of(box: Box, within: Shard) -> Shard:
    """Return the shard that a box of a shard is."""
    index = (slice(start + part.start, start + part.stop) for start, part in zip(within.start, box, strict=True))
    return Shard(within.global_shape, tuple(index))


def _agrees(view: View, part: Any, shard: Shard | None, asked: Asked) -> bool:
    """Draw a part again, and compare it on its device."""
    drawn = type(view.array)(part.shape, asked.dtype)
    Write(ArrayTarget(View(view.backend, drawn), asked.dtype, shard), asked.operation).perform()
    if drawn.dtype != part.dtype:
        values, drawn = drawn, type(view.array)(part.shape, part.dtype)
        round_into(drawn, values)
    if isinstance(asked.operation, Orthogonal):
        return _agree_to_rounding(part, drawn, abs(float(asked.operation.gain)))
    xp = np if view.backend == "host" else usable_cupy()
    return bool((_bits(xp, part) == _bits(xp, drawn)).all())


def _bits(xp: Any, x: Any) -> Any:
    """Return a view of elements as integers: a nan equals itself, and 0 is not -0."""
    x = reals(xp, x)
    return x.view(f"u{x.dtype.itemsize}")


@np.errstate(all="ignore")  # of values that are not finite
def _agree_to_rounding(x: Any, drawn: Any, gain: float) -> bool:
    tolerance = gain * max(_TOLERANCES[native(given.dtype)[1]] for given in (x, drawn))
    real = working(drawn.dtype)
    wide = complex_of(real) if drawn.dtype.kind == "c" else real
    x, drawn = x.astype(wide), drawn.astype(wide)
    return bool(((x == drawn) | (abs(x - drawn) <= tolerance)).all())
