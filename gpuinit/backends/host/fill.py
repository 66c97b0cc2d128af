"""Fills of an array of any layout on the CPU, piece by piece, on several threads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from gpuinit.backends.host.scratch import workspace
from gpuinit.backends.host.transforms import transform_of
from gpuinit.backends.host.words import uniforms, words
from gpuinit.backends.reals import reals
from gpuinit.distributions import Distribution, Point, Uniform, working
from gpuinit.generator import Stream
from gpuinit.threads import for_each

# Of a piece in the working precision: long enough that threads rarely meet at the interpreter's lock, short enough for the L2
# cache.
PIECE_BYTES = 2**19
# Elements a piece of what passes over memory once, so that no cache matters.
LONG_PIECE = 2**20
# Elements that are copied over the rest of a piece.
ROW = 2**13

Piece = tuple[int, np.ndarray]


def fill(x: np.ndarray, distribution: Distribution, stream: Stream) -> None:
    """Write to each element what the distribution makes of its word."""
    x = reals(np, x)
    if isinstance(distribution, Point):
        constant(x, distribution.value)
        return
    real = working(x.dtype)
    in_precision = x.dtype == real
    if real.itemsize == 8 and in_precision and x.flags.carray and _is_unit(distribution):
        _unit_uniform(x, stream)
        return
    transform = transform_of(distribution)
    bits = 8 * real.itemsize
    size = PIECE_BYTES // real.itemsize

    def fill_pieces(taken: Iterable[Piece]) -> None:
        with workspace() as space:
            for start, part in taken:
                direct = in_precision and part.flags.carray
                out = part.reshape(-1) if direct else space.array("values", part.size, real)
                transform(space, words(space, stream, start, part.size, bits), out)
                if not direct:
                    with np.errstate(all="ignore"):  # of 16-bit results that are too large or too small
                        part[...] = out.reshape(part.shape)

    for_each(fill_pieces, pieces(x, size), most=-(-x.size // size))


def _is_unit(distribution: Distribution) -> bool:
    """Whether the values are u itself."""
    return isinstance(distribution, Uniform) and distribution.scale == 1 and distribution.low == 0


def _unit_uniform(x: np.ndarray, stream: Stream) -> None:
    """NumPy's own loop makes u as it draws, in one pass over memory."""

    def fill_pieces(taken: Iterable[Piece]) -> None:
        with workspace() as space:
            for start, part in taken:
                uniforms(space, stream, start, part)

    for_each(fill_pieces, pieces(x, LONG_PIECE), most=-(-x.size // LONG_PIECE))


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

    for_each(write_pieces, pieces(x, LONG_PIECE), most=-(-x.size // LONG_PIECE))


def _repeat(x: np.ndarray, value: np.ndarray) -> None:
    """Write `value` over contiguous, flat `x` by the C library's memset and memcpy, faster than a loop over elements."""
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
