"""The header of a safetensors file: what tensors it has, and where.

The format (https://github.com/huggingface/safetensors#format): the header's length in 8 bytes, little-endian; the header, a JSON
object of name -> {"dtype", "shape", "data_offsets"}, and perhaps "__metadata__"; then the tensors' elements, little-endian, in C
order, without gaps, at offsets from the header's end.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable
from typing import Any, BinaryIO, NamedTuple, NoReturn

from gpuinit._contract.arguments import short_repr

_LENGTH_BYTES = 8
_LONGEST = 100_000_000  # the format's own limit for the header
_DEEPEST = 127  # objects and lists in each other, as many as the format's own package takes
_INTEGERS = 2**64  # lengths, offsets and sizes in bits are below it
_LONGEST_NAME = 1000  # characters; Unicode's normalization, which names need, takes a time that grows with the length's square
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
    "F8_E4M3": (8, "float8_e4m3fn"),
    "F8_E5M2": (8, "float8_e5m2"),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"), (8, "")),
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
        content = parse_json(file.read(length).decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"must have a header of JSON, in which no name is twice, got another: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"must have a JSON object as header, got {short_repr(content)}")
    metadata = content.get("__metadata__")
    _check_metadata(metadata)
    tensors = [_tensor(name, entry, end) for name, entry in content.items() if name != "__metadata__"]
    _check_places(tensors, end, size)
    return Header(tensors, end, size, metadata or {})


def parse_json(text: str) -> Any:
    """Return what a text of JSON says, in a time proportional to its length.

    Python's own reader takes more than JSON, and longer: not-a-number, what is not Unicode, and integers of any length.
    """
    content = json.loads(text, object_pairs_hook=_unique, parse_int=_integer, parse_float=_real, parse_constant=_refuse_constant)
    _check_depth(content, _DEEPEST)
    if "\\u" in text:
        json.dumps(content, ensure_ascii=False).encode()  # an error for half of a surrogate pair
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{short_repr(twice)} is there twice")
    return content


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= len(str(_INTEGERS)) and text != "-0" else _real(text)


def _real(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{short_repr(text)} lies outside the range of float64")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check_depth(value: Any, left: int) -> None:
    if isinstance(value, (dict, list)):
        if left == 0:
            raise ValueError(f"more than {_DEEPEST} objects and lists lie in each other")
        for child in value.values() if isinstance(value, dict) else value:
            _check_depth(child, left - 1)


def _check_metadata(metadata: Any) -> None:
    if metadata is not None and not (isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())):
        raise ValueError(f"__metadata__ must be a map of strings to strings, got {short_repr(metadata)}")


def _tensor(name: str, entry: Any, data: int) -> Tensor:
    shown = short_repr(name)
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"{shown} must have a name of at most {_LONGEST_NAME:,} characters, got {len(name):,}")
    match entry:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [first, last]} if all(
            type(number) is int and 0 <= number < _INTEGERS for number in (*shape, first, last)
        ):
            bits, dtype = _DTYPES.get(kind, (None, ""))
        case _:
            raise ValueError(
                f"{shown} must have dtype, shape and data_offsets, of integers >= 0 and < 2**64, got {short_repr(entry)}"
            )
    if bits is not None:
        _check_size(f"{shown}, {kind} of shape {short_repr(shape)},", (*shape, bits), (last - first) * 8)
    # In capitals an unknown one is never NumPy's, whatever the file says.
    return Tensor(name, dtype or kind.upper(), tuple(shape), data + first, data + last)


def _check_size(what: str, factors: Iterable[int], bits: int) -> None:
    """Check the size in bits, a product whose first factors already must be below 2**64, as in the format's own package."""
    total = 1
    for factor in factors:
        total *= factor
        if total >= _INTEGERS:
            raise ValueError(f"{what} must have fewer than 2**64 bits")
    if total != bits:
        raise ValueError(f"{what} must have {total:,} bits, got {bits:,}")


def _check_places(tensors: list[Tensor], start: int, size: int) -> None:
    for tensor in sorted(tensors, key=lambda tensor: (tensor.start, tensor.end)):
        if tensor.start != start or tensor.end < start:
            raise ValueError(
                f"{short_repr(tensor.name)} must begin where the tensor before it ends, at byte {start}, "
                f"got {tensor.start} to {tensor.end}"
            )
        start = tensor.end
    if start != size:
        raise ValueError(f"must end with its last tensor, at byte {start}, got {size} bytes: is it cut short?")
