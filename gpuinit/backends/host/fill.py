"""Fills of an array of any layout on the CPU, piece by piece, on several threads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from gpuinit.backends.host.scratch import workspace
from gpuinit.backends.host.transforms import TRANSFORMS
from gpuinit.backends.host.words import words
from gpuinit.backends.reals import reals
from gpuinit.distributions import Distribution, Point, working
from gpuinit.generator import Stream
from gpuinit.threads import for_each

# Elements a piece, an even number for complex arrays' sake: long enough that threads rarely meet at the interpreter's lock, short
# enough for the L2 cache.
PIECE = 2**16
# Of constants: a thread has to write much to be worth waking.
CONSTANT_PIECE = 2**20
# Elements that are copied over the rest of a piece.
ROW = 2**13

Piece = tuple[int, np.ndarray]


def fill(x: np.ndarray, distribution: Distribution, stream: Stream) -> None:
    """Write to each element what the distribution makes of its word."""
    x = reals(np, x)
    if isinstance(distribution, Point):
        constant(x, distribution.value)
        return
    real = working(x.dtype.newbyteorder("="))
    transform = TRANSFORMS[type(distribution)](distribution)

    in_precision = x.dtype == real

    def fill_pieces(taken: Iterable[Piece]) -> None:
        with workspace() as space, np.errstate(all="ignore"):
            for start, part in taken:
                drawn = words(space, stream, start, part.size, 8 * real.itemsize)
                direct = in_precision and part.flags.carray
                out = part.reshape(-1) if direct else space.array("values", part.size, real)
                transform(space, drawn, out)
                if not direct:
                    part[...] = out.reshape(part.shape)

    for_each(fill_pieces, pieces(x, PIECE), most=-(-x.size // PIECE))


def pieces(x: np.ndarray, most: int, start: int = 0) -> Iterator[Piece]:
    """Cut `x` into views of at most `most` elements that are consecutive in C order, each with its first element's number."""
    if x.flags.c_contiguous:
        x = x.reshape(-1)
    if x.ndim == 0 or x.size <= most:
        yield start, x
        return
    inner = math.prod(x.shape[1:])
    rows = most // inner
    if rows == 0:
        for i in range(len(x)):
            yield from pieces(x[i], most, start + i * inner)
        return
    for i in range(0, len(x), rows):
        yield start + i * inner, x[i : i + rows]


def constant(x: np.ndarray, value: Any) -> None:
    """Write `value` to each element."""
    value = np.asarray(value, x.dtype)

    def write_pieces(taken: Iterable[Piece]) -> None:
        for _, part in taken:
            if part.flags.c_contiguous:
                _repeat(part.reshape(-1), value)
            else:
                part[...] = value

    for_each(write_pieces, pieces(x, CONSTANT_PIECE), most=-(-x.size // CONSTANT_PIECE))


def _repeat(x: np.ndarray, value: np.ndarray) -> None:
    """Write `value` over contiguous, flat `x` by the C library's memset and memcpy, which are faster than a loop over elements."""
    if x.size > ROW and len(set(value.tobytes())) == 1:
        x.view(np.uint8).fill(value.tobytes()[0])
        return
    row = x[:ROW]
    row[...] = value
    whole = x.size // ROW * ROW
    x[len(row) : whole].reshape(-1, len(row))[...] = row
    x[whole:] = value


def eye(x: np.ndarray) -> None:
    """Ones on the diagonal, zeros elsewhere."""
    constant(x, 0)
    diagonal = np.arange(min(x.shape))
    x[diagonal, diagonal] = 1


def dirac(x: np.ndarray, groups: int) -> None:
    """Ones at the kernel's centre where output channel o of a group meets input channel o, zeros elsewhere."""
    constant(x, 0)
    per_group = x.shape[0] // groups
    channels = np.arange(min(per_group, x.shape[1]))
    centre = tuple(length // 2 for length in x.shape[2:])
    for group in range(groups):
        x[(group * per_group + channels, channels, *centre)] = 1


def trunc(x: np.ndarray) -> None:
    """Round each element toward zero."""
    np.trunc(x, out=x)
