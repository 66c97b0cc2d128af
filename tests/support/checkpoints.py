"""Safetensors files made by hand, and what tests of them share."""

from __future__ import annotations

import json
import os

import ml_dtypes
import numpy as np
import pytest

from gpuinit._models.checkpoint import initialize_file

FILLED = {
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
    "C64": np.complex64,
}
BYTES = {
    **{"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4, "U64": 8, "I64": 8},
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"), 1),
    **{"F4": 1 / 2, "F6_E2M3": 3 / 4, "F6_E3M2": 3 / 4},
    "F128_OF_TOMORROW": 16,
    "float32": 3,  # no dtype of the format, though one of NumPy
}
INDEX = "model.safetensors.index.json"
NORMAL = [("*.keep", "keep"), ("*", "normal_(std=0.02)")]


def described(dtypes_and_shapes, metadata=None):
    """A header's content for tensors that lie in this order."""
    content, start = {} if metadata is None else {"__metadata__": metadata}, 0
    for name, (dtype, shape) in dtypes_and_shapes.items():
        size = BYTES.get(dtype) or np.dtype(FILLED[dtype]).itemsize
        end = start + int(np.prod(shape) * size)
        content[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
        start = end
    return content


def write(path, content, size=None, data=None):
    """A file by hand, with random elements unless given; returns its bytes."""
    header = content if isinstance(content, bytes) else json.dumps(content).encode()
    if data is None:
        ends = [entry["data_offsets"][1] for name, entry in content.items() if name != "__metadata__"]
        data = np.random.default_rng(0).bytes(max(ends, default=0))
    everything = (len(header) if size is None else size).to_bytes(8, "little") + header + data
    path.write_bytes(everything)
    return everything


def write_folder(folder, files, metadata=None, index=None):
    """A checkpoint of files with these headers, by their names, random elements, and an index; returns that's content."""
    folder.mkdir()
    for name, content in files.items():
        write(folder / name, content)
    weight_map = {tensor: name for name, content in files.items() for tensor in content if tensor != "__metadata__"}
    index = {"metadata": metadata or {}, "weight_map": weight_map} if index is None else index
    (folder / INDEX).write_bytes(index if isinstance(index, bytes) else json.dumps(index).encode())
    return index


def elements(file):
    """The bytes of each tensor, by the format's description, and all before them."""
    end = 8 + int.from_bytes(file[:8], "little")
    content = json.loads(file[8:end])
    content.pop("__metadata__", None)
    return file[:end], {name: file[end + e["data_offsets"][0] : end + e["data_offsets"][1]] for name, e in content.items()}


LAYOUTS = {
    "metadata": described({"a.weight": ("F32", (7, 5)), "a.keep": ("F32", (3,))}, {"format": "pt", "notes": "é, \u2713"}),
    "each dtype": described({f"{dtype}.weight": (dtype, (9, 4)) for dtype in FILLED}),
    "each dtype, kept": described({f"{dtype}.keep": (dtype, (8, 4)) for dtype in [*FILLED, *BYTES]}),
    "unaligned": described({"pad.keep": ("U8", (1,)), **{f"{dtype}.weight": (dtype, (33, 3)) for dtype in FILLED}}),
    "empty and 0-d": described({"none": ("F32", (0,)), "row": ("F16", (3, 0, 2)), "one": ("F64", ()), "one.keep": ("I64", ())}),
    "an empty one named after what begins at its place": dict(
        reversed(described({"none": ("F32", (0,)), "a": ("F32", (3,))}).items())
    ),
    "nothing": {},
    "only metadata": {"__metadata__": {"format": "pt"}},
    "header's order is not the file's": dict(reversed(described({"b": ("F32", (4, 4)), "a": ("BF16", (5,))}).items())),
}


def left(out):
    return os.listdir(out.parent)


def fails(paths, error, message, rules=NORMAL, out=None):
    path, place = paths
    with pytest.raises(error, match=message):
        initialize_file(path, rules, seed=1, out=out or place)
    assert left(place) == []
