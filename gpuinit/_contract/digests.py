"""Digests of arrays: one short text that is equal where, and only where, names, dtypes, shapes and bytes are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

# Of the contract on values, docs/values.md: raised whenever any value changes.
CONTRACT_VERSION = 3

_PIECE = 2**22


def digest(arrays: Mapping[str, Any], progress: Callable[[str], None] | None = None) -> str:
    """SHA-256, in hex, over the name, dtype, shape and elements of each array, in the mapping's order.

    Parameters
    ----------
    arrays : mapping of str to numpy.ndarray or cupy.ndarray
        A CuPy array is copied to the host for it, a piece at a time.
    progress : callable, optional
        Called with each name when its array is done.

    Returns
    -------
    str
        64 hex digits, the same on every machine, for every backend, memory layout and byte order.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> gi.digest({"b": np.zeros(2, np.float32)})[:16]
    '13e0c40a241121bd'
    """
    total = hashlib.sha256()
    for name, array in arrays.items():
        total.update(header(name, array))
        for piece in pieces(array):
            total.update(piece.view(np.uint8).data)
        if progress is not None:
            progress(name)
    return total.hexdigest()


def header(name: str, array: Any) -> bytes:
    """What a digest takes in before an array's elements."""
    dtype = np.dtype(array.dtype).newbyteorder("=")
    return f"{name}\n{dtype}\n{','.join(map(str, array.shape))}\n".encode()


def pieces(array: Any) -> Iterator[np.ndarray]:
    """An array's elements in C order, on the host, contiguous and little-endian."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, _PIECE):
        piece = flat[start : start + _PIECE]
        on_host = piece.get() if hasattr(piece, "get") else piece
        yield np.ascontiguousarray(on_host, np.dtype(array.dtype).newbyteorder("<"))
