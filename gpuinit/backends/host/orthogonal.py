"""orthogonal_ on the CPU: Householder reflectors drawn directly (Stewart 1980), multiplied out in blocks by matmul."""

from __future__ import annotations

import numpy as np

from gpuinit.backends.host.fill import fill
from gpuinit.distributions import Normal, working
from gpuinit.generator import Stream
from gpuinit.shards import Shard

BLOCK = 96
# Elements of the product that are changed at a time: what matmul returns for them then stays in the cache.
STRIP = 2**19


def orthogonal(x: np.ndarray, gain: float, stream: Stream, shard: Shard | None = None) -> None:
    """Write gain * Q, Q Haar-distributed with orthonormal columns (rows, if there are fewer rows than columns)."""
    if shard is not None:
        whole = np.empty(shard.global_shape, x.dtype)
        orthogonal(whole, gain, stream)
        x[...] = whole[shard.index]
        return
    real = working(x.dtype)
    rows = len(x)
    columns = x.size // rows
    field = np.result_type(real, np.complex64) if x.dtype.kind == "c" else real
    normals = np.empty((min(rows, columns), max(rows, columns)), field)
    fill(normals, Normal(real.type(0), real.type(1), real.type(0)), stream)
    with np.errstate(all="ignore"):
        factors, phases = reflectors(normals)
        in_place = x.dtype == field and x.flags.carray
        q = x.reshape(rows, columns) if in_place else np.empty((rows, columns), field)
        multiply_out(normals, factors, q)
        scale = real.type(gain) * phases
        q *= scale[:, None] if rows < columns else scale
        if not in_place:
            x[...] = q.reshape(x.shape)


def reflectors(normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn row j, from element j on, into the Householder vector (1, v) that maps it to a multiple of the first axis.

    Returns tau of I - tau v v* for each row, and the phases (signs) of R's diagonal. The last row of a square matrix is a
    single number, which needs no reflection: its vector becomes 0, its phase is its own; so with a row of zeros.
    """
    for j, row in enumerate(normals):  # np.triu would make a whole new matrix
        row[:j] = 0
    parts = normals.view(normals.real.dtype)
    norms = np.sqrt(np.einsum("ij,ij->i", parts, parts))
    heads = normals.diagonal().copy()
    lengths = np.abs(heads)
    phases = np.where(lengths == 0, 1, heads / np.where(lengths == 0, 1, lengths))
    identity = norms == 0
    if normals.shape[0] == normals.shape[1]:
        identity[-1] = True
    normals /= np.where(identity, 1, phases * (lengths + norms))[:, None]
    np.fill_diagonal(normals, 1)
    normals[identity] = 0
    factors = 1 + lengths / np.where(identity, np.inf, norms)
    return factors, np.where(identity, phases, -phases)


def multiply_out(vectors: np.ndarray, factors: np.ndarray, q: np.ndarray) -> None:
    """Write the first columns of the product of all reflections to `q`; as rows, if it has fewer rows than columns.

    Rows are computed as such: to transpose a large matrix at the end would cost as much as half the product.
    """
    wide = q.shape[0] < q.shape[1]
    count = len(vectors)
    q[...] = 0
    np.fill_diagonal(q, 1)
    for first in range((count - 1) // BLOCK * BLOCK, -1, -BLOCK):
        block = vectors[first : first + BLOCK, first:]
        middle = triangular(block, factors[first : first + BLOCK])
        corner = q[first:, first:]
        if wide:
            left, right = corner @ block.conj().T @ middle.T, block
        else:
            left, right = block.T, middle @ (block.conj() @ corner)
        rows = max(1, STRIP // corner.shape[1])
        for start in range(0, len(corner), rows):
            corner[start : start + rows] -= left[start : start + rows] @ right


def triangular(block: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """T of the compact form I - V T V* of a product of reflections (Schreiber and Van Loan 1989; here by inversion,
    Joffrain et al. 2006): T's inverse is the upper triangle of V*V, its diagonal 1 / tau."""
    inverse = np.triu(block.conj() @ block.T, 1)
    np.fill_diagonal(inverse, 1 / factors)
    return np.linalg.inv(inverse)
