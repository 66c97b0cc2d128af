"""Fills of an array of any layout on the CPU, piece by piece, on several threads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from gpuinit._backends.complex_parts import reals
from gpuinit._backends.host import compiled
from gpuinit._backends.host.random_words import run_starts
from gpuinit._backends.host.sampling import sampler_of
from gpuinit._backends.host.workspace import workspace
from gpuinit._backends.threads import for_each, get_num_threads
from gpuinit._contract.arithmetic import exact
from gpuinit._contract.distributions import Distribution, Point
from gpuinit._contract.dtypes import round_into, working
from gpuinit._contract.generator import Stream
from gpuinit._contract.regions import Region, region
from gpuinit._contract.shards import Shard

# Of a piece in the working precision: long enough that threads rarely meet at the interpreter's lock, short enough for the L2
# cache.
PIECE_BYTES = 2**19
# Of what one call of a compiled kernel fills: no piece of any dtype is longer.
AT_ONCE_BYTES = 2**18
# Of constants, which take the least time for each element: the least that a helper is called for, and how much more each thread
# gets than the last one, which wakes up last.
CONSTANT_PIECE = 2**21
HEAD_START = 2**18
# Elements a piece of regions whose elements are not consecutive: up to a Philox block is computed for each.
REGION_PIECE = 2**15
# The least that is not just stored element by element.
REPEATED_BYTES = 2**16

Piece = tuple[int, np.ndarray]
_FROM_THE_FIRST = np.zeros(1, np.int64)  # the start of the only run


def fill(x: np.ndarray, distribution: Distribution, stream: Stream, shard: Shard | None = None) -> None:
    """Write to each element what the distribution makes of its word."""
    if shard is None and x.nbytes <= AT_ONCE_BYTES and x.dtype.kind == "f" and x.flags.carray:
        fill_at_once = compiled.filler_of(distribution, x.dtype)
        if fill_at_once is not None:
            fill_at_once(stream, x.size, compiled.place(x))
            return
    within = region(shard, x.dtype)
    x = reals(np, x)
    if isinstance(distribution, Point):
        constant(x, distribution.value)
        return
    sample, drawn = sampler_of(distribution, x.dtype)
    in_place = x.dtype == drawn
    size = PIECE_BYTES // working(x.dtype).itemsize
    if within is None and in_place and x.size <= size and x.flags.carray:  # nothing to cut, convert or share
        sample(stream, _FROM_THE_FIRST, x.size, x.reshape(-1))
        return

    @exact
    def fill_pieces(taken: Iterable[Piece]) -> None:
        with workspace() as space:
            for start, part in taken:
                direct = in_place and part.flags.carray
                out = part.reshape(-1) if direct else space.array("values", part.size, drawn)
                if within is None:
                    sample(stream, np.array([start]), part.size, out)
                else:
                    piece = Region(part.shape, start, within.strides[-part.ndim :])
                    sample(stream, run_starts(piece), piece.runs.length, out)
                if not direct:
                    round_into(part, out.reshape(part.shape))

    found = pieces(x, size) if within is None else region_pieces(x, size, within)
    for_each(fill_pieces, found)


def pieces(x: np.ndarray, most: int, start: int = 0) -> Iterable[Piece]:
    """Cut `x` into views of at most `most` elements that are consecutive in C order, each with its first element's number."""
    if x.flags.c_contiguous:
        x = x.reshape(-1)
    return [(start, x)] if x.size <= most else _cut(x, most, start)


def _cut(x: np.ndarray, most: int, start: int) -> Iterator[Piece]:
    inner = math.prod(x.shape[1:])
    rows = most // inner
    if rows == 0:
        for i in range(len(x)):
            yield from pieces(x[i], most, start + i * inner)
        return
    for i in range(0, len(x), rows):
        yield start + i * inner, x[i : i + rows]


def region_pieces(x: np.ndarray, most: int, within: Region) -> Iterator[Piece]:
    """Cut a region of a larger array into views of at most so many elements, each with the number of its first one there."""
    if not within.runs.counts:
        yield from pieces(x, most, within.start)
        return
    if x.size <= REGION_PIECE:
        yield within.start, x
        return
    rows = REGION_PIECE // math.prod(x.shape[1:])
    for i in range(0, len(x), max(1, rows)):
        start = within.start + i * within.strides[0]
        if rows:
            yield start, x[i : i + rows]
        else:
            yield from region_pieces(x[i], most, Region(within.shape[1:], start, within.strides[1:]))


def constant(x: np.ndarray, value: Any) -> None:
    """Write `value` to each element."""
    value = np.asarray(value, x.dtype)
    if x.size <= CONSTANT_PIECE:
        repeat(x, value)
        return

    def write_pieces(taken: Iterable[Piece]) -> None:
        for _, part in taken:
            repeat(part, value)

    for_each(write_pieces, pieces(x, constant_piece(x)))


def constant_piece(x: np.ndarray) -> int:
    """Elements a piece of a constant: one piece a thread, since to hand over more takes longer than the threads may differ."""
    return max(CONSTANT_PIECE, -(-(x.size + HEAD_START) // get_num_threads()))


def repeat(x: np.ndarray, value: np.ndarray) -> None:
    """Write a 0-d array's value to each element on this thread; to contiguous memory as fast as memset does."""
    if x.nbytes >= REPEATED_BYTES and x.flags.c_contiguous:
        x = x.reshape(-1)
        pattern = value.tobytes()
        write = compiled.repeat()
        if write and x.itemsize <= 8:
            count = 8 // x.itemsize
            write(pattern * count, x.view(np.uint8))
            x = x[x.size - x.size % count :]
        elif len(set(pattern)) == 1:
            x.view(np.uint8).fill(pattern[0])
            return
    x[...] = value


def truncate(x: np.ndarray) -> None:
    """Round each element toward zero."""
    np.trunc(x, out=x)
