"""sparse_ on the CPU: a normal fill, then zeros written to the rows of the first ranks of each column."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np

from gpuinit.backends.host.fill import fill
from gpuinit.backends.host.scratch import Workspace, workspace
from gpuinit.backends.host.words import RAW, WORDS, seek
from gpuinit.distributions import Distribution
from gpuinit.generator import Stream
from gpuinit.permutation import COLUMN_KEYS, ROUNDS, domain_bits, fold
from gpuinit.threads import for_each

PIECE = 2**17


def sparse(x: np.ndarray, zeros: int, values: Distribution, stream: Stream) -> None:
    """Fill with `values`, then zero `zeros` elements of each column."""
    rows, columns = x.shape
    fill(x, values, stream)
    if zeros == 0:
        return
    if zeros == rows:
        x[...] = 0
        return
    width = -(-columns // -(-columns * zeros // PIECE))  # of pieces that are equally long
    starts = list(itertools.product(range(0, columns, width), range(0, zeros, PIECE)))

    def zero_pieces(taken: Iterable[tuple[int, int]]) -> None:
        with workspace() as space:
            for column, rank in taken:
                chosen = np.arange(column, min(column + width, columns))
                keys = _inverse_keys(space, chosen, domain_bits(rows), stream)
                _zero(x, _rows_of_ranks(range(rank, min(rank + PIECE, zeros)), keys, rows), chosen)

    for_each(zero_pieces, starts, most=len(starts))


def _zero(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
    """Zero the elements (rows[i, j], columns[j]), of a contiguous array in the order in which they lie in memory."""
    if not x.flags.c_contiguous:
        x[rows, columns] = 0
        return
    numbers: Any = rows.astype(np.int32 if x.size < 2**31 else np.int64)
    numbers *= x.shape[1]
    numbers += columns.astype(numbers.dtype)
    numbers = np.sort(numbers, axis=None)
    x.reshape(-1)[numbers.astype(np.intp, copy=False)] = 0


def _rows_of_ranks(ranks: range, keys: tuple[np.ndarray, np.ndarray], rows: int) -> np.ndarray:
    """The rows of some ranks in each of the columns, as an array (ranks, columns)."""
    bits = domain_bits(rows)
    dtype = np.uint16 if bits <= 16 else np.uint32
    multipliers, addends = keys[0].astype(dtype), keys[1].astype(dtype)
    columns = multipliers.shape[1]
    shape = len(ranks), columns
    first = np.broadcast_to(np.arange(ranks.start, ranks.stop, dtype=dtype)[:, None], shape)
    places = _unrank(first, multipliers[:, None], addends[:, None], bits)
    # Cycle walking: a place outside the column goes round again until it falls inside.
    outside = np.nonzero(places.reshape(-1) >= rows)[0]
    flat = places.reshape(-1)
    while len(outside):
        column = outside % columns
        again = _unrank(flat[outside], multipliers[:, column], addends[:, column], bits)
        flat[outside] = again
        outside = outside[again >= rows]
    return places


def _unrank(places: np.ndarray, multipliers: np.ndarray, addends: np.ndarray, bits: int) -> np.ndarray:
    """Undo the rounds of the permutation, the last one first."""
    mask, shift = places.dtype.type((1 << bits) - 1), places.dtype.type(fold(bits))
    for multiplier, addend in zip(multipliers[::-1], addends[::-1]):
        places = places ^ (places >> shift)
        places *= multiplier
        places += addend
        places &= mask
    return places


def _inverse_keys(space: Workspace, columns: np.ndarray, bits: int, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers and addends, each (ROUNDS, columns), that undo the rounds x * m + a: x * m^-1 - a * m^-1."""
    seek(space.philox, stream.key, (int(columns[0]), stream.block, COLUMN_KEYS, 0))
    raw = space.philox.random_raw(4 * len(columns))
    keys = raw.astype(RAW, copy=False).view(WORDS[32]).reshape(len(columns), ROUNDS).T
    odd = keys | np.uint32(1)
    inverse = odd.copy()  # right in the lowest 3 bits; each of Newton's steps doubles them
    for _ in range(4):
        inverse *= np.uint32(2) - odd * inverse
    return inverse, np.uint32(0) - (keys >> np.uint32(32 - bits)) * inverse
