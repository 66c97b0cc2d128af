"""Fills of an array of any layout on the CPU, piece by piece, on several threads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from gpuinit.backends.host.scratch import scratch, workspace
from gpuinit.backends.host.shards import shard_words
from gpuinit.backends.host.transforms import TRANSFORMS
from gpuinit.backends.host.words import words
from gpuinit.backends.reals import reals
from gpuinit.distributions import Distribution, Point, working
from gpuinit.generator import Stream
from gpuinit.shards import Shard, runs
from gpuinit.threads import for_each

# Elements a piece, an even number for complex arrays' sake: long enough that threads rarely meet at the interpreter's lock, short
# enough for the L2 cache.
PIECE = 2**16


def fill(x: np.ndarray, distribution: Distribution, stream: Stream, shard: Shard | None = None) -> None:
    """Write to each element what the distribution makes of its word."""
    shard = shard and shard.reals(x.dtype)
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
        if shard is None:
            drawn = words(stream, start, part.size, bits)
        else:
            drawn = shard_words(stream, start, part.shape, shard.strides, bits)
        direct = part.dtype == real and part.flags.carray
        out = part.reshape(-1) if direct else scratch("values", part.size, real)
        with np.errstate(all="ignore"):
            transform(drawn, out)
            if not direct:
                part[...] = out.reshape(part.shape)

    found = pieces(x) if shard is None else shard_pieces(x, shard.offset, shard.strides)
    for_each(fill_piece, found, most=-(-x.size // PIECE))


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


def shard_pieces(x: np.ndarray, start: int, strides: tuple[int, ...]) -> Iterator[tuple[int, np.ndarray]]:
    """Cut a part of a larger array into views of at most PIECE elements, each with its first element's number in the whole."""
    if not runs(x.shape, strides).counts:
        yield from pieces(x, start)
        return
    if x.size <= PIECE:
        yield start, x
        return
    rows = PIECE // math.prod(x.shape[1:])
    for i in range(0, len(x), max(1, rows)):
        if rows:
            yield start + i * strides[0], x[i : i + rows]
        else:
            yield from shard_pieces(x[i], start + i * strides[0], strides[1:])


def constant(x: np.ndarray, value: Any) -> None:
    """Write `value` to each element."""
    x[...] = value


def trunc(x: np.ndarray) -> None:
    """Round each element toward zero."""
    np.trunc(x, out=x)
