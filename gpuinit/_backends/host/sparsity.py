"""sparse_ on the CPU: a normal fill, then zeros: in a whole array, written to the rows of the first ranks of each column; in a
shard, to the elements that have such a rank."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from gpuinit._backends.host.fills import fill
from gpuinit._backends.host.philox import philox
from gpuinit._backends.host.workspace import Workspace, workspace
from gpuinit._backends.threads import for_each
from gpuinit._contract.distributions import Normal
from gpuinit._contract.generator import Stream
from gpuinit._contract.permutation import ROUND_KEYS, column_key, domain_bits, fold
from gpuinit._contract.shards import Shard

PIECE = 2**17
# Elements a piece of a shard, and columns, so that their keys serve many rows.
SHARD_PIECE = 2**16
SHARD_COLUMNS = 2**10
Rounds = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]


def sparse(x: np.ndarray, zeros: int, values: Normal, stream: Stream, shard: Shard | None = None) -> None:
    """Fill with `values`, then zero `zeros` elements of each column."""
    rows, _ = shard.global_shape if shard else x.shape
    fill(x, values, stream, shard)
    if zeros == rows:
        x[...] = 0
    elif zeros and shard:
        _zero_by_elements(x, zeros, stream, shard)
    elif zeros:
        _zero_by_ranks(x, zeros, stream)


def _zero_by_ranks(x: np.ndarray, zeros: int, stream: Stream) -> None:
    """Zero the rows of the first ranks."""
    rows, columns = x.shape
    width = -(-columns // -(-columns * zeros // PIECE))  # of pieces that are equally long
    starts = list(itertools.product(range(0, columns, width), range(0, zeros, PIECE)))

    def zero_pieces(taken: Iterable[tuple[int, int]]) -> None:
        with workspace() as space:
            for column, rank in taken:
                chosen = np.arange(column, min(column + width, columns))
                keys = _inverse(*_keys(space, column, len(chosen), rows, stream))
                _zero(x, _permute(range(rank, min(rank + PIECE, zeros)), rows, *keys, _unrank), chosen)

    for_each(zero_pieces, starts)


def _zero(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
    """Zero the elements (rows[i, j], columns[j]), of a contiguous array in the order in which they lie in memory."""
    if not x.flags.c_contiguous:
        x[rows, columns] = 0
        return
    numbers: Any = rows.astype(np.int32 if x.size < 2**31 else np.int64)
    numbers *= x.shape[1]
    numbers += _spread(columns, numbers)
    numbers = np.sort(numbers, axis=None)
    x.reshape(-1)[numbers.astype(np.intp, copy=False)] = 0


def _zero_by_elements(x: np.ndarray, zeros: int, stream: Stream, shard: Shard) -> None:
    """Zero the elements of the first ranks, which may be few of those that their whole columns have."""
    first_row, first_column = shard.start
    width = min(x.shape[1], SHARD_COLUMNS)
    height = SHARD_PIECE // width
    starts = list(itertools.product(range(0, x.shape[0], height), range(0, x.shape[1], width)))

    def zero_pieces(taken: Iterable[tuple[int, int]]) -> None:
        with workspace() as space:
            for row, column in taken:
                part = x[row : row + height, column : column + width]
                rows = range(first_row + row, first_row + row + part.shape[0])
                keys = _keys(space, first_column + column, part.shape[1], shard.global_shape[0], stream)
                part[_permute(rows, shard.global_shape[0], *keys, _rank) < zeros] = 0

    for_each(zero_pieces, starts)


def _permute(start: range, rows: int, multipliers: np.ndarray, addends: np.ndarray, rounds: Rounds) -> np.ndarray:
    """Where the columns' permutations, or their inverses, take some places of each column: an array (places, columns)."""
    bits = domain_bits(rows)
    dtype = np.uint16 if bits <= 16 else np.uint32
    multipliers, addends = multipliers.astype(dtype), addends.astype(dtype)
    shape = len(start), multipliers.shape[1]
    places = np.empty(shape, dtype)
    places[...] = np.arange(start.start, start.stop, dtype=dtype)[:, None]
    places = rounds(places, multipliers[:, None], addends[:, None], bits)
    # Cycle walking: a place outside the column goes round again until it falls inside.
    outside = np.nonzero(places.reshape(-1) >= rows)[0]
    flat = places.reshape(-1)
    while len(outside):
        column = outside % shape[1]
        again = rounds(flat[outside], multipliers[:, column], addends[:, column], bits)
        flat[outside] = again
        outside = outside[again >= rows]
    return places


def _rank(places: np.ndarray, multipliers: np.ndarray, addends: np.ndarray, bits: int) -> np.ndarray:
    """The rounds of the permutation, x * m + a and a fold each; `places` is overwritten."""
    mask, shift = places.dtype.type((1 << bits) - 1), places.dtype.type(fold(bits))
    for multiplier, addend in zip(multipliers, addends):
        places *= _spread(multiplier, places)
        places += _spread(addend, places)
        places &= mask
        places ^= places >> shift
    return places


def _unrank(places: np.ndarray, multipliers: np.ndarray, addends: np.ndarray, bits: int) -> np.ndarray:
    """Undo the rounds of the permutation, the last one first, with the inverse keys; `places` is overwritten."""
    mask, shift = places.dtype.type((1 << bits) - 1), places.dtype.type(fold(bits))
    for multiplier, addend in zip(multipliers[::-1], addends[::-1]):
        places ^= places >> shift
        places *= _spread(multiplier, places)
        places += _spread(addend, places)
        places &= mask
    return places


def _spread(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Broadcast values to a new array: ufuncs would do it with buffers, and NumPy 2.4 crashes if it finds no memory for these."""
    spread = np.empty_like(like)
    spread[...] = values
    return spread


def _keys(space: Workspace, column: int, count: int, rows: int, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Return multipliers and addends of the rounds of `count` columns, each (ROUNDS, columns)."""
    numbers = np.arange(column, column + count, dtype=np.uint64)
    keys = np.hstack([philox(space, column_key(stream), numbers, third) for third in ROUND_KEYS]).T
    return keys | np.uint32(1), keys >> np.uint32(32 - domain_bits(rows))


def _inverse(multipliers: np.ndarray, addends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers and addends that undo the rounds: x * m^-1 - a * m^-1."""
    inverse = multipliers.copy()  # right in the lowest 3 bits; each of Newton's steps doubles them
    for _ in range(4):
        inverse *= np.uint32(2) - multipliers * inverse
    return inverse, np.uint32(0) - addends * inverse
