"""The header of a safetensors file: what tensors it has, and where.

The format (https://github.com/huggingface/safetensors#format): the header's length in 8 bytes, little-endian; the header, a JSON
object of name -> {"dtype", "shape", "data_offsets"}, and perhaps "__metadata__"; then the tensors' elements, little-endian, in C
order, without gaps, at offsets from the header's end.
"""

from __future__ import annotations

import json
import math
import os
from typing import Any, BinaryIO, NamedTuple

from gpuinit._contract.arguments import short_repr

_LENGTH_BYTES = 8
_LONGEST = 100_000_000  # the format's own limit for the header
# dtype -> bits of an element, and NumPy's name of it. Files may have others, of which only the place is known.
_DTYPES = {
    "BOOL": (8, "bool"),
    "U8": (8, "uint8"),
    "U16": (16, "uint16"),
    "U32": (32, "uint32"),
    "U64": (64, "uint64"),
    "I8": (8, "int8"),
    "I16": (16, "int16"),
    "I32": (32, "int32"),
    "I64": (64, "int64"),
    "F16": (16, "float16"),
    "BF16": (16, "bfloat16"),
    "F32": (32, "float32"),
    "F64": (64, "float64"),
    "C64": (64, "complex64"),
    "F4": (4, ""),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), (6, "")),
    **dict.fromkeys(("F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2", "F8_E5M2FNUZ", "F8_E8M0"), (8, "")),
}


class Tensor(NamedTuple):
    """A tensor of a file: its dtype in NumPy's words, where NumPy has any, and its first byte in the file and the one after its
    last."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class Header(NamedTuple):
    """The tensors in the header's order, the header's end and the file's, and the metadata."""

    tensors: list[Tensor]
    end: int
    size: int
    metadata: dict[str, str]


def read_header(file: BinaryIO) -> Header:
    """Read a file's header from its beginning.

    Raises
    ------
    ValueError
        If it is no safetensors file, or is cut short, or its tensors overlap or leave gaps, or do not fit their shapes.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    end = _LENGTH_BYTES + length
    if length > _LONGEST or end > size:
        raise ValueError(
            f"must be a safetensors file, which begins with its header's length, at most {_LONGEST:,} bytes and within the file; "
            f"got {length:,} in a file of {size:,} bytes"
        )
    try:
        content = json.loads(file.read(length).decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"must have a header of JSON, in which no name is twice, got another: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"must have a JSON object as header, got {short_repr(content)}")
    metadata = content.get("__metadata__", {})
    _check_metadata(metadata)
    tensors = [_tensor(name, entry, end) for name, entry in content.items() if name != "__metadata__"]
    _check_places(tensors, end, size)
    return Header(tensors, end, size, metadata)


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"__metadata__ must be a map of strings to strings, got {short_repr(metadata)}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return content


def _tensor(name: str, entry: Any, data: int) -> Tensor:
    match entry:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [first, last]} if all(
            type(number) is int and number >= 0 for number in (*shape, first, last)
        ):
            bits, dtype = _DTYPES.get(kind, (None, ""))
        case _:
            raise ValueError(f"{name} must have dtype, shape and data_offsets, of integers >= 0, got {short_repr(entry)}")
    if bits is not None and math.prod(shape) * bits != (last - first) * 8:
        raise ValueError(f"{name}, {kind} of shape {shape}, must have {math.prod(shape) * bits // 8} bytes, got {last - first}")
    # In capitals an unknown one is never NumPy's, whatever the file says.
    return Tensor(name, dtype or kind.upper(), tuple(shape), data + first, data + last)


def _check_places(tensors: list[Tensor], start: int, size: int) -> None:
    for tensor in sorted(tensors, key=lambda tensor: (tensor.start, tensor.end)):
        if tensor.start != start or tensor.end < start:
            raise ValueError(
                f"{tensor.name} must begin where the tensor before it ends, at byte {start}, got {tensor.start} to {tensor.end}"
            )
        start = tensor.end
    if start != size:
        raise ValueError(f"must end with its last tensor, at byte {start}, got {size} bytes: is it cut short?")
