"""`digest`: arrays of any library, read and hashed piece by piece on all threads."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from gpuinit._backends.threads import for_each
from gpuinit._contract.arguments import attribute, is_a, short_repr, type_name
from gpuinit._contract.digests import PIECE, digest_of_array, digest_of_model

Key = TypeVar("Key")
Seen = TypeVar("Seen")
# Elements of arrays whose pieces are hashed together: pieces enough for many threads. Arrays that are copied in order to be read
# take memory until all of these are hashed.
_AT_ONCE = 2**26


def digest(arrays: Any, progress: Callable[[str], None] | None = None) -> str:
    """SHA-256, in hex, of one array's dtype, shape and elements, or of the names and digests of several.

    A digest may stand for its array, so processes or files that each have a part of a model can join theirs.

    Parameters
    ----------
    arrays : mapping of str to array or digest, torch.nn.Module, or one array
        The arrays are NumPy's, CuPy's, JAX's, or dense torch tensors; those on a GPU are copied to the host a piece at a time. A
        module stands for its `state_dict()`. The order of a mapping does not matter.
    progress : callable, optional
        Called with each name when its array is done.

    Returns
    -------
    str
        64 hex digits, the same on every machine, for every backend, memory layout, byte order and number of threads.

    Raises
    ------
    TypeError
        If `arrays` is something else, a name is not a string, or an array holds Python objects or is a tensor without plain
        memory of its own (a DTensor, of which a process may hold only a part; a meta, sparse or quantized tensor).
    ValueError
        If a string in the place of an array is not a digest.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> b = np.zeros(2, np.float32)
    >>> gi.digest({"b": b})[:16]
    '235ef60a4a00e268'
    >>> gi.digest({"b": gi.digest(b)}) == gi.digest({"b": b})
    True
    """
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be a callable or None, got {short_repr(progress)}")
    named = _named(arrays)
    digests: dict[str, str] = {}
    for name, found, _ in hash_all(_sources([("", arrays)] if named is None else named, digests), lambda piece: None):
        digests[name] = found
        if progress is not None:
            progress(name)
    return digests[""] if named is None else digest_of_model(digests)


class Source(NamedTuple):
    """An array to read.

    `piece` returns its elements from a number on, in C order, as many as a piece has: on the host, contiguous and little-endian.
    It may be called on any thread.
    """

    dtype: str
    shape: tuple[int, ...]
    size: int
    piece: Callable[[int], np.ndarray]

    def pieces(self) -> Iterator[np.ndarray]:
        """Return all pieces, one after the other."""
        return map(self.piece, range(0, self.size, PIECE))


def hash_all(sources: Iterable[tuple[Key, Source]], look: Callable[[np.ndarray], Seen]) -> Iterator[tuple[Key, str, list[Seen]]]:
    """Yield the key and the digest of each array, and what `look` returns of each of its pieces."""
    waiting, size = [], 0
    for key, source in sources:
        waiting.append((key, source))
        size += source.size
        if size >= _AT_ONCE:
            yield from _hash_together(waiting, look)
            waiting, size = [], 0
    yield from _hash_together(waiting, look)


def _hash_together(
    sources: list[tuple[Key, Source]], look: Callable[[np.ndarray], Seen]
) -> Iterator[tuple[Key, str, list[Seen]]]:
    found: dict[tuple[int, int], tuple[bytes, Seen]] = {}

    def hash_pieces(taken: Iterable[tuple[int, int]]) -> None:
        for number, start in taken:
            piece = sources[number][1].piece(start)
            found[number, start] = hashlib.sha256(piece.view(np.uint8).data).digest(), look(piece)

    places = [[(number, start) for start in range(0, source.size, PIECE)] for number, (_, source) in enumerate(sources)]
    for_each(hash_pieces, [place for own in places for place in own])
    for (key, source), own in zip(sources, places, strict=True):
        pieces = [found.pop(place) for place in own]
        yield key, digest_of_array(source.dtype, source.shape, [piece for piece, _ in pieces]), [seen for _, seen in pieces]


def source_of(array: Any) -> Source:
    """Return how to read an array of NumPy, CuPy or JAX."""
    dtype = np.dtype(array.dtype).newbyteorder("=")
    if isinstance(array, np.ndarray):
        array = np.asarray(array)  # a matrix would keep two axes
        is_flat = array.flags.c_contiguous
        whole = array.reshape(-1) if is_flat else array  # of which reshape would make a copy
    else:
        is_flat, whole = True, _flat(array)

    def piece(start: int) -> np.ndarray:
        part = (whole if is_flat else whole.flat)[start : start + PIECE]
        on_host = part.get() if hasattr(part, "get") else part
        return np.ascontiguousarray(on_host, dtype.newbyteorder("<"))

    return Source(str(dtype), tuple(array.shape), int(array.size), piece)


def _flat(array: Any) -> Any:
    """Return an array with one axis; of CuPy, after waiting for the current stream: threads that copy pieces have others."""
    if not hasattr(array, "get"):
        return array.reshape(-1)
    with array.device:
        flat = array.reshape(-1)
        sys.modules["cupy"].cuda.get_current_stream().synchronize()
    return flat


def _named(arrays: Any) -> Iterable[tuple[Any, Any]] | None:
    """Return pairs of a name and an array; None if there is one array."""
    if is_a(arrays, Mapping):
        return arrays.items()
    if callable(state_dict := attribute(arrays, "state_dict")) and not isinstance(arrays, type):
        return state_dict().items()  # type: ignore[no-any-return]
    return None


def _sources(named: Iterable[tuple[Any, Any]], digests: dict[str, str]) -> Iterator[tuple[str, Source]]:
    """Yield names, and how to read their arrays; what is a digest already goes into `digests`."""
    tensor = getattr(sys.modules.get("torch"), "Tensor", ())
    for name, array in named:
        if not is_a(name, str):
            raise TypeError(f"arrays must have strings as names, got {short_repr(name)} of type {type_name(name)}")
        if is_a(array, str):
            digests[name] = _check_digest(name, array)
            continue
        try:
            source = _source_of_tensor(array) if is_a(array, tensor) else source_of(_check(array))
        except Exception as error:  # of an array's own attributes too
            raise TypeError(f"arrays must hold arrays, got {short_repr(name)}: {error}") from None
        yield name, source


def _check_digest(name: str, text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError(
            f"arrays must hold arrays or their digests, which have 64 hex digits, got {short_repr(name)}: {short_repr(text)}"
        )
    return text


def _check(array: Any) -> Any:
    if any(attribute(array, name) is None for name in ("dtype", "shape", "reshape")):
        raise TypeError(f"{short_repr(array)} of type {type_name(array)}")
    if (dtype := np.dtype(array.dtype)).hasobject:
        raise TypeError(f"an array of {dtype}, whose bytes are addresses")
    return array


def _source_of_tensor(x: Any) -> Source:
    torch = sys.modules["torch"]
    if hasattr(x, "full_tensor"):
        raise TypeError("a DTensor; give full_tensor() of it, in all processes")
    if torch.nn.parameter.is_lazy(x) or x.is_meta or x.is_nested or x.is_quantized or x.layout != torch.strided:
        raise TypeError(f"a {type(x).__name__} without plain memory: it must be dense, on a device and initialized")
    if hasattr(x, "__tensor_flatten__"):
        raise TypeError(f"the wrapper {type(x).__name__}; give a tensor made from it, or those inside it")
    flat = x.detach().resolve_conj().resolve_neg().reshape(-1)
    size = x.element_size() // (2 if x.is_complex() else 1)
    if x.is_cuda:
        torch.cuda.current_stream(x.device).synchronize()  # threads that copy pieces have other streams

    def piece(start: int) -> np.ndarray:
        """Return what `source_of` does, as bytes: NumPy lacks some of torch's dtypes."""
        part: np.ndarray = flat[start : start + PIECE].cpu().contiguous().view(torch.uint8).numpy()
        return part if sys.byteorder == "little" else np.ascontiguousarray(part.reshape(-1, size)[:, ::-1])

    return Source(str(x.dtype).removeprefix("torch."), tuple(x.shape), x.numel(), piece)
