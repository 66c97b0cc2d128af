"""Fills of an array of any layout on the CPU, piece by piece, on several threads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from gpuinit.backends.host.regions import region_words
from gpuinit.backends.host.scratch import scratch, workspace
from gpuinit.backends.host.transforms import TRANSFORMS
from gpuinit.backends.host.words import words
from gpuinit.backends.reals import reals
from gpuinit.distributions import Distribution, Point, working
from gpuinit.generator import Stream
from gpuinit.regions import Region, region
from gpuinit.shards import Shard
from gpuinit.threads import for_each

# Elements a piece, an even number for complex arrays' sake: long enough that threads rarely meet at the interpreter's lock, short
# enough for the L2 cache.
PIECE = 2**16
# The same for regions whose elements are not consecutive: up to a Philox block is computed for each.
REGION_PIECE = 2**15


def fill(x: np.ndarray, distribution: Distribution, stream: Stream, shard: Shard | None = None) -> None:
    """Write to each element what the distribution makes of its word."""
    within = region(shard, x.dtype)
    x = reals(np, x)
    if isinstance(distribution, Point):
        constant(x, distribution.value)
        return
    real = working(x.dtype.newbyteorder("="))
    transform = TRANSFORMS[type(distribution)](distribution)

    @workspace()
    def fill_piece(piece: tuple[int, np.ndarray]) -> None:
        start, part = piece
        bits = 8 * real.itemsize
        if within is None:
            drawn = words(stream, start, part.size, bits)
        else:
            drawn = region_words(stream, Region(part.shape, start, within.strides[-part.ndim :]), bits)
        direct = part.dtype == real and part.flags.carray
        out = part.reshape(-1) if direct else scratch("values", part.size, real)
        with np.errstate(all="ignore"):
            transform(drawn, out)
            if not direct:
                part[...] = out.reshape(part.shape)

    found = pieces(x) if within is None else region_pieces(x, within)
    # Short runs take many short calls, for which threads would only wait for each other at the interpreter's lock.
    alone = within is not None and within.runs.length < REGION_PIECE
    for_each(fill_piece, found, most=1 if alone else -(-x.size // PIECE))


def pieces(x: np.ndarray, start: int = 0) -> Iterator[tuple[int, np.ndarray]]:
    """Cut `x` into views of at most PIECE elements that are consecutive in C order, each with its first element's number."""
    if x.flags.c_contiguous:
        x = x.reshape(-1)
    if x.ndim == 0 or x.size <= PIECE:
        yield start, x
        return
    inner = math.prod(x.shape[1:])
    rows = PIECE // inner
    if rows == 0:
        for i in range(len(x)):
            yield from pieces(x[i], start + i * inner)
        return
    for i in range(0, len(x), rows):
        yield start + i * inner, x[i : i + rows]


def region_pieces(x: np.ndarray, within: Region) -> Iterator[tuple[int, np.ndarray]]:
    """Cut a region of a larger array into views of at most so many elements, each with the number of its first one there."""
    if not within.runs.counts:
        yield from pieces(x, within.start)
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
            yield from region_pieces(x[i], Region(within.shape[1:], start, within.strides[1:]))


def constant(x: np.ndarray, value: Any) -> None:
    """Write `value` to each element."""
    x[...] = value


def trunc(x: np.ndarray) -> None:
    """Round each element toward zero."""
    np.trunc(x, out=x)
