"""Digests of arrays: one short text that is equal where, and only where, names, dtypes, shapes and bytes are."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from gpuinit._contract.arguments import attribute, is_a, short_repr, type_name

# Of the contract on values, docs/values.md: raised whenever any value changes.
CONTRACT_VERSION = 3

_PIECE = 2**22


def digest(arrays: Any, progress: Callable[[str], None] | None = None) -> str:
    """SHA-256, in hex, over the name, dtype, shape and elements of each array, in the mapping's order.

    Parameters
    ----------
    arrays : mapping of str to array, torch.nn.Module, or one array
        The arrays are NumPy's, CuPy's, JAX's, or dense torch tensors; those on a GPU are copied to the host a piece at a time. A
        module stands for its `state_dict()`, and one array for a mapping that has it under the empty name.
    progress : callable, optional
        Called with each name when its array is done.

    Returns
    -------
    str
        64 hex digits, the same on every machine, for every backend, memory layout and byte order.

    Raises
    ------
    TypeError
        If `arrays` is something else, a name is not a string, or an array holds Python objects or is a tensor without plain
        memory of its own (a DTensor, of which a process may hold only a part; a meta, sparse or quantized tensor).

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> gi.digest({"b": np.zeros(2, np.float32)})[:16]
    '13e0c40a241121bd'
    """
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be a callable or None, got {short_repr(progress)}")
    total = hashlib.sha256()
    for name, array in _named(arrays):
        if not is_a(name, str):
            raise TypeError(f"arrays must have strings as names, got {short_repr(name)} of type {type_name(name)}")
        tensor = getattr(sys.modules.get("torch"), "Tensor", ())
        try:
            parts = _parts_of_tensor(array) if is_a(array, tensor) else _parts(array)
        except Exception as error:  # of an array's own attributes too
            raise TypeError(f"arrays must hold arrays, got {short_repr(name)}: {error}") from None
        total.update(_header(name, *parts[:2]))
        for piece in parts[2]:
            total.update(piece.view(np.uint8).data)
        if progress is not None:
            progress(name)
    return total.hexdigest()


def header(name: str, array: Any) -> bytes:
    """What a digest takes in before an array's elements."""
    return _header(name, *_parts(array)[:2])


def pieces(array: Any) -> Iterator[np.ndarray]:
    """An array's elements in C order, on the host, contiguous and little-endian."""
    flat = (np.asarray(array) if isinstance(array, np.ndarray) else array).reshape(-1)  # a matrix would keep two axes
    for start in range(0, flat.size, _PIECE):
        piece = flat[start : start + _PIECE]
        on_host = piece.get() if hasattr(piece, "get") else piece
        yield np.ascontiguousarray(on_host, np.dtype(array.dtype).newbyteorder("<"))


# The name of a dtype, the shape, and the elements.
Parts = tuple[str, tuple[int, ...], Iterator[np.ndarray]]


def _named(arrays: Any) -> Any:
    """Return pairs of a name and an array."""
    if is_a(arrays, Mapping):
        return arrays.items()
    if callable(state_dict := attribute(arrays, "state_dict")) and not isinstance(arrays, type):
        return state_dict().items()
    return [("", arrays)]


def _header(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return a header that shows where each of its parts ends: neither a dtype nor a shape has a line feed."""
    line = name.replace("\\", r"\\").replace("\n", r"\n")
    return f"{line}\n{dtype}\n{','.join(map(str, shape))}\n".encode()


def _parts(array: Any) -> Parts:
    if any(attribute(array, name) is None for name in ("dtype", "shape", "reshape")):
        raise TypeError(f"{short_repr(array)} of type {type_name(array)}")
    dtype = np.dtype(array.dtype).newbyteorder("=")
    if dtype.hasobject:
        raise TypeError(f"an array of {dtype}, whose bytes are addresses")
    return str(dtype), tuple(array.shape), pieces(array)


def _parts_of_tensor(x: Any) -> Parts:
    torch = sys.modules["torch"]
    if hasattr(x, "full_tensor"):
        raise TypeError("a DTensor; give full_tensor() of it, in all processes")
    if torch.nn.parameter.is_lazy(x) or x.is_meta or x.is_nested or x.is_quantized or x.layout != torch.strided:
        raise TypeError(f"a {type(x).__name__} without plain memory: it must be dense, on a device and initialized")
    if hasattr(x, "__tensor_flatten__"):
        raise TypeError(f"the wrapper {type(x).__name__}; give a tensor made from it, or those inside it")
    return str(x.dtype).removeprefix("torch."), tuple(x.shape), _bytes_of_tensor(torch, x.detach())


def _bytes_of_tensor(torch: Any, x: Any) -> Iterator[np.ndarray]:
    """Yield what `pieces` does, as bytes: NumPy lacks some of torch's dtypes."""
    flat = x.resolve_conj().resolve_neg().reshape(-1)
    size = x.element_size() // (2 if x.is_complex() else 1)
    for start in range(0, len(flat), _PIECE):
        piece = flat[start : start + _PIECE].cpu().contiguous().view(torch.uint8).numpy()
        yield piece if sys.byteorder == "little" else np.ascontiguousarray(piece.reshape(-1, size)[:, ::-1])
