"""Faulty safetensors files: each is an error that names the file and the tensor."""

from __future__ import annotations

import pytest

from tests.support.checkpoints import fails, write

ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
NAMED = r"model\.safetensors: "


def tensors(*places):
    """A header of tensors x0, x1, ... of bytes, at these places."""
    return {f"x{n}": {"dtype": "U8", "shape": [e - s], "data_offsets": [s, e]} for n, (s, e) in enumerate(places)}


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        pytest.param(
            b"",
            {"data": b"", "size": 2**63},
            "must be .* header's length, at most 100,000,000 bytes .* got 9,2",
            id="long header",
        ),
        pytest.param(
            b"{}", {"data": b"", "size": 3}, "must be .* header's length.* got 3 in a file of 10 bytes", id="header cut short"
        ),
        pytest.param(b"", {"data": b"", "size": 0}, "must have a header of JSON", id="no header"),
        pytest.param(b"{'a'}", {"data": b""}, "must have a header of JSON", id="no JSON"),
        pytest.param(b'{"\xff": 1}', {"data": b""}, "must have a header of JSON.*utf-8", id="no UTF-8"),
        pytest.param(b"[" * 10**5, {"data": b""}, "must have a header of JSON", id="deep"),
        pytest.param(b"[1]", {"data": b""}, r"must have a JSON object as header, got \[1\]", id="a list"),
        pytest.param(
            b'{"a": 1, "a": 2}',
            {"data": b""},
            "must have a header .* no name is twice, got another: 'a' is there twice",
            id="twice",
        ),
        *(
            pytest.param({"__metadata__": metadata}, {"data": b""}, "__metadata__ must be a map of strings", id=f"{metadata}")
            for metadata in (None, [], "pt", {"format": 1}, {"format": None}, {"format": float("nan")}, {"a": "b", "notes": {}})
        ),
        pytest.param({"a": 1}, {"data": b""}, "a must have dtype, shape and data_offsets.* got 1", id="no entry"),
        *(
            pytest.param({"a": ONE | change}, {"data": bytes(8)}, f"a{message}", id=f"{change}")
            for change, message in [
                ({"dtype": 32}, " must have dtype"),
                ({"shape": 2}, " must have dtype"),
                ({"shape": [-2]}, " must have dtype"),
                ({"shape": [2.0]}, " must have dtype"),
                ({"shape": [True, 2]}, " must have dtype"),
                ({"data_offsets": [0]}, " must have dtype"),
                ({"data_offsets": ["0", "8"]}, " must have dtype"),
                ({"shape": [3]}, r", F32 of shape \[3\], must have 12 bytes, got 8"),
                ({"shape": [2**62, 2**62]}, ", F32 of shape .* must have .* bytes, got 8"),
                ({"shape": [], "data_offsets": [8, 0]}, ", F32 of shape .* must have 4 bytes, got -8"),
                ({"dtype": "NEW", "data_offsets": [8, 0]}, " must begin where the tensor before it ends"),
            ]
        ),
        pytest.param(tensors((0, 4), (2, 6)), {}, "x1 must begin where the tensor before it ends, at byte .*, got", id="overlap"),
        pytest.param(tensors((0, 4), (0, 4)), {}, "x1 must begin", id="the same place"),
        pytest.param(tensors((0, 4), (5, 6)), {}, "x1 must begin", id="gap"),
        pytest.param(tensors((1, 4)), {}, "x0 must begin", id="gap at first"),
        pytest.param(tensors((0, 9)), {"data": bytes(8)}, r"must end with its last tensor, at byte (\d+), got", id="cut short"),
        pytest.param(tensors((0, 4)), {"data": bytes(8)}, "must end with its last tensor", id="more"),
    ],
)
def test_faulty_files(paths, content, options, message):
    write(paths[0], content, **options)
    fails(paths, ValueError, NAMED + message, [("*", "keep")])


@pytest.mark.parametrize("size", [0, 5])
def test_files_too_short_for_a_length(paths, size):
    paths[0].write_bytes(bytes(size))
    fails(paths, ValueError, NAMED + f".*in a file of {size} bytes")
