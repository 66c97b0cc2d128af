"""orthogonal_ on the CPU: Householder reflectors drawn directly (Stewart 1980), multiplied out in blocks by matmul."""

from __future__ import annotations

import math

import numpy as np

from gpuinit._backends.host.fills import fill
from gpuinit._contract.arithmetic import exact
from gpuinit._contract.distributions import Normal
from gpuinit._contract.dtypes import complex_of, round_into, working
from gpuinit._contract.generator import Stream
from gpuinit._contract.shards import Shard

BLOCK = 128
# Larger blocks, between which products of triangles leave out what is zero.
STRIP = 512


def orthogonal(
    x: np.ndarray, gain: float, stream: Stream, shard: Shard | None = None, *, row_axes: int = 1, first: int = 0
) -> None:
    """Write gain * Q, Q Haar-distributed with orthonormal columns (rows, if there are fewer rows than columns).

    The first `row_axes` are those of rows. The normals are of the words from number `first` on.
    """
    if shard is not None:
        whole = np.empty(shard.global_shape, x.dtype)
        _write(whole, gain, stream, row_axes, first)
        x[...] = whole[shard.index]
    else:
        _write(x, gain, stream, row_axes, first)


@exact
def _write(x: np.ndarray, gain: float, stream: Stream, row_axes: int, first: int) -> None:
    real = working(x.dtype)
    rows = math.prod(x.shape[:row_axes])
    columns = x.size // rows
    field = complex_of(real) if x.dtype.kind == "c" else real
    normals = np.empty((min(rows, columns), max(rows, columns)), field)
    place = Shard((first + x.size,), (slice(first, None),)) if first else None
    fill(normals.reshape(-1), Normal(real.type(0), real.type(1), real.type(0)), stream, place)
    with np.errstate(all="ignore"):
        inverses, phases = reflectors(normals)
        in_place = x.dtype == field and x.flags.carray
        q = x.reshape(rows, columns) if in_place else np.empty((rows, columns), field)
        multiply_out(normals, inverses, phases, q)
        if gain != 1:
            q *= real.type(gain)
        if not in_place:
            round_into(x, q.reshape(x.shape))


def reflectors(normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn row j, from element j on, into the Householder vector v whose I - tau v v* maps it to a multiple of the first axis.

    Returns 1 / tau for each row, and the phases (signs) of R's diagonal. The last row of a square matrix is a single number,
    which needs no reflection: its vector becomes 0, its phase is its own; so with a row of zeros.
    """
    for j, row in enumerate(normals):  # np.triu would make a whole new matrix
        row[:j] = 0
    parts = normals.view(normals.real.dtype)
    norms = np.sqrt(np.einsum("ij,ij->i", parts, parts))
    heads = normals.diagonal().copy()
    lengths = np.abs(heads)
    phases = np.where(lengths == 0, 1, heads / np.where(lengths == 0, 1, lengths))
    np.fill_diagonal(normals, phases * (lengths + norms))
    identity = norms == 0
    if normals.shape[0] == normals.shape[1]:
        identity[-1] = True
    normals[identity] = 0
    return np.where(identity, 1, norms * (norms + lengths)), np.where(identity, phases, -phases)


def multiply_out(vectors: np.ndarray, inverses: np.ndarray, phases: np.ndarray, q: np.ndarray) -> None:
    """Write the first columns of the product of all reflections, times `phases`, to `q`; as rows, if it is wider than high.

    The product is I - V T V* with one T for all (`middle`), so each element of `q` is written once. The product T V* of the
    first columns lies in `q` until its blocks of columns, the last one first, give way to those of the result.
    """
    tall = q.T if q.shape[0] < q.shape[1] else q
    count = len(vectors)
    right = tall[:count]
    middle(vectors, inverses, right)
    strips = [*_ranges(0, count, STRIP), *([(count, len(tall))] if len(tall) > count else [])]
    for start, stop in reversed(_ranges(0, count, BLOCK)):
        negative = right[:stop, start:stop] * -phases[start:stop]
        for top, bottom in strips:
            inner = min(stop, bottom)  # element i of vector j is 0 for i < j
            np.matmul(vectors[:inner, top:bottom].T, negative[:inner], out=tall[top:bottom, start:stop])
    right[np.diag_indices(count)] += phases


def middle(vectors: np.ndarray, inverses: np.ndarray, out: np.ndarray) -> None:
    """Write T V*, of V's first rows only, where I - V T V* is the product of all reflections (Schreiber and Van Loan 1989).

    T's inverse is the upper triangle of V*V, its diagonal 1 / tau (Joffrain et al. 2006): a triangular system, solved by blocks
    of rows from the last one up.
    """
    count = len(vectors)
    for start, stop in reversed(_ranges(0, count, BLOCK)):
        block = vectors[start:stop, start:].conj()
        rows = block[:, : count - start].copy()
        for first, last in _ranges(stop, count, STRIP):
            product = block[:, first - start :] @ vectors[first:last, first:].T
            rows[:, first - start :] -= product @ out[first:last, first:]
        inverse = np.triu(block @ vectors[start:stop, start:].T, 1)
        np.fill_diagonal(inverse, inverses[start:stop])
        out[start:stop, :start] = 0
        np.matmul(np.linalg.inv(inverse), rows, out=out[start:stop, start:])


def _ranges(start: int, stop: int, step: int) -> list[tuple[int, int]]:
    return [(first, min(first + step, stop)) for first in range(start, stop, step)]
