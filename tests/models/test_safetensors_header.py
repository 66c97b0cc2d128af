"""Faulty safetensors files: each is an error that names the file and the tensor, and comes without a delay."""

from __future__ import annotations

import json
import random
import re
import time

import pytest

from gpuinit._models.checkpoint import initialize_file
from gpuinit._models.safetensors_header import read_header
from tests.support.checkpoints import LAYOUTS, fails, write

ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
NAMED = r"model\.safetensors: "


def tensors(*places):
    """A header of tensors x0, x1, ... of bytes, at these places."""
    return {f"x{n}": {"dtype": "U8", "shape": [e - s], "data_offsets": [s, e]} for n, (s, e) in enumerate(places)}


def beside(text):
    """A header of a tensor that has something that the format does not know."""
    return json.dumps({"a": ONE | {"more": 0}}).replace('"more": 0', f'"more": {text}').encode()


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
            for metadata in ([], "pt", {"format": 1}, {"format": None}, {"a": "b", "notes": {}})
        ),
        *(
            pytest.param(beside(text), {"data": bytes(8)}, f"must have a header of JSON.*{message}", id=text[:20])
            for text, message in [
                ("NaN", "NaN is not JSON"),
                ("[-Infinity]", "-Infinity is not JSON"),
                ("1e400", "'1e400' lies outside the range of float64"),
                ("1" * 400, "'111.* lies outside the range of float64"),
                (r'"\ud800"', "surrogates not allowed"),
                (r'{"\udc00\ud800": 1}', "surrogates not allowed"),
                ("[" * 126 + "]" * 126, "more than 127 objects and lists lie in each other"),
                ('{"x": ' * 126 + "1" + "}" * 126, "more than 127 objects and lists lie in each other"),
                ('"\t"', "Invalid control character"),
                ("01", "delimiter"),
            ]
        ),
        pytest.param(
            {"n" * 1001: ONE}, {"data": bytes(8)}, "'nnn.* must have a name of at most 1,000 characters", id="long name"
        ),
        pytest.param(beside(0).replace(b"[0, 8]", b"[-0, 8]"), {"data": bytes(8)}, "'a' must have dtype", id="-0"),
        pytest.param({"a": 1}, {"data": b""}, "'a' must have dtype, shape and data_offsets.* got 1", id="no entry"),
        *(
            pytest.param({"a": ONE | change}, {"data": bytes(8)}, f"'a'{message}", id=f"{change}")
            for change, message in [
                ({"dtype": 32}, " must have dtype"),
                ({"shape": 2}, " must have dtype"),
                ({"shape": [2**64]}, " must have dtype"),
                ({"shape": [-2]}, " must have dtype"),
                ({"shape": [2.0]}, " must have dtype"),
                ({"shape": [True, 2]}, " must have dtype"),
                ({"data_offsets": [0]}, " must have dtype"),
                ({"data_offsets": ["0", "8"]}, " must have dtype"),
                ({"shape": [3]}, r", F32 of shape \[3\], must have 96 bits, got 64"),
                ({"shape": [2**62, 2**62]}, ", F32 of shape .* must have fewer than 2\\*\\*64 bits"),
                ({"shape": [], "data_offsets": [8, 0]}, ", F32 of shape .* must have 32 bits, got -64"),
                ({"dtype": "NEW", "data_offsets": [8, 0]}, " must begin where the tensor before it ends"),
            ]
        ),
        pytest.param(
            tensors((0, 4), (2, 6)), {}, "'x1' must begin where the tensor before it ends, at byte .*, got", id="overlap"
        ),
        pytest.param(tensors((0, 4), (0, 4)), {}, "'x1' must begin", id="the same place"),
        pytest.param(tensors((0, 4), (5, 6)), {}, "'x1' must begin", id="gap"),
        pytest.param(tensors((1, 4)), {}, "'x0' must begin", id="gap at first"),
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


@pytest.mark.parametrize(
    "content",
    [
        *map(beside, ("null", "[1.5, -3, {}]", "1" * 300, r'"\ud83d\ude00"', "[" * 125 + "]" * 125)),
        b" \n" + beside(0) + b"\t ",
        {"a": ONE, "__metadata__": None},
        {"": ONE},
        {"a": ONE | {"shape": [1] * 65 + [2]}},
        {"a": ONE, "b": {"dtype": "F64", "shape": [2**63, 0], "data_offsets": [8, 8]}},
        {"a": ONE, "b": {"dtype": "F64", "shape": [0, 2**63, 2**63], "data_offsets": [8, 8]}},
    ],
)
def test_unusual_files_that_the_package_reads(paths, content):
    """They can be kept, element for element."""
    deserialize = pytest.importorskip("safetensors").deserialize
    path, out = paths
    before = write(path, content, data=bytes(range(8)))
    assert deserialize(before)
    initialize_file(path, [("*", "keep")], seed=1, out=out)
    assert out.read_bytes() == before


@pytest.mark.parametrize("shape", [[1] * 65 + [2], [2**63, 0], [0, 2**62, 2**62]], ids=["65 axes", "2**63", "product"])
def test_shapes_that_numpy_cannot_have_are_not_filled(paths, shape):
    elements = [0, 8 if shape[-1] == 2 else 0]
    write(paths[0], {"a": {"dtype": "F32", "shape": shape, "data_offsets": elements}})
    fails(
        paths, ValueError, NAMED + r"a has a shape that NumPy cannot have, of \d+ axes, .*: keep it by a rule", [("*", "zeros_")]
    )


# Time.

LONG = {
    "a name of many twice": lambda n: b"{" + b",".join(b'"%d":1' % (i // 2 if i == n - 1 else i) for i in range(n)) + b"}",
    "a name of all": lambda n: b"{" + b",".join([b'"a":1'] * n) + b"}",
    "long lengths": lambda n: json.dumps({"a": ONE}).encode().replace(b"[2]", b"[%s]" % b",".join([b"9" * 4000] * (n // 50))),
    "one long length": lambda n: json.dumps({"a": ONE}).encode().replace(b"[2]", b"[%s]" % (b"9" * 10 * n)),
    "a long fraction": lambda n: json.dumps({"a": ONE}).encode().replace(b"[2]", b"[0.%s]" % (b"9" * 10 * n)),
    "many lengths": lambda n: json.dumps({"a": ONE | {"shape": [2**63] * 4 * n}}).encode(),
    "many lengths of 1": lambda n: json.dumps({"a": ONE | {"shape": [1] * n}}).encode(),
    "deep": lambda n: b"[" * 10 * n,
    "a long name": lambda n: json.dumps({"a" + "\u0301\u0316" * 2 * n: ONE}, ensure_ascii=False).encode(),
    "many gaps": lambda n: json.dumps(tensors(*((2 * i + 1, 2 * i + 2) for i in range(n)))).encode(),
    "escapes": lambda n: beside('"%s"' % (r"\ud83d" * n)),
    "spaces": lambda n: b" " * 10 * n,
}


@pytest.mark.parametrize("header", LONG.values(), ids=LONG)
def test_the_time_is_proportional_to_the_length(paths, header):
    """What takes a time of a square takes minutes here."""
    write(paths[0], content := header(40_000), data=bytes(8))
    assert len(content) < 2**25
    start = time.process_time()
    fails(paths, ValueError, NAMED, [("*", "keep")])
    assert time.process_time() - start < 4


# The judgement of the format's own package.

# What differs on purpose: patterns of the error of the side that refuses, and why the other does not.
STRICTER = {
    "is there twice": "the package takes one of the two, without a word which",
    r"must have dtype, .*got (\[|.*'dtype': \{)": "the package also takes an entry's values in a list, and a dtype as an object",
    "must have a name of at most": "names are normalized, which takes a time that grows with the square of their length",
}
LAXER = {"unknown variant": "a dtype of tomorrow, whose elements can be kept"}

# Texts that a mutation puts in: numbers, strings, structure, and what is not JSON.
NUMBERS = ["0", "-0", "1", "2", "8", "-1", "1.0", "1e0", "9e999", "01", str(2**64 - 1), str(2**64), "9" * 400]
WORDS = ["F32", "F4", "BF16", "F99", "a", "", "é", r"\u0000", r"\ud800", r"\ud83d\ude00", r"\q", "\x01", "n" * 1001]
STRINGS = [f'"{word}"' for word in WORDS]
OTHERS = [
    "null",
    "true",
    "NaN",
    "-Infinity",
    "{}",
    "[]",
    "[2]",
    '{"F32":null}',
    ",",
    ":",
    "{",
    "}",
    "[" * 130 + "]" * 130,
    "\n",
    "\ufeff",
]
PIECES = NUMBERS + STRINGS + OTHERS
TOKEN = re.compile(r'"[^"]*"|-?[\d.eE+]+|\w+|[^\w"]')
ENTRY = re.compile(r'("[^"]*"): \{"dtype": ([^{}]*), "shape": ([^{}]*), "data_offsets": ([^{}]*)\}')


def with_another_token(chance, text):
    """A header in which a token is replaced, taken away, or has another before it."""
    token, other = (chance.choice(list(TOKEN.finditer(text)) or [re.search("", text)]) for _ in range(2))
    start, end = token.span()
    like = STRINGS if token[0][:1] == '"' else NUMBERS if token[0].isdecimal() else OTHERS
    near = str(int(token[0]) + chance.choice((-1, 1, 8))) if token[0].isdecimal() else token[0]
    new = chance.choice((chance.choice(like), chance.choice(PIECES), near, other[0], ""))
    return text[:start] + new + text[chance.choice((start, end, end, end)) :]


def with_another_field(chance, text):
    """A header with a field more, or with an entry in another form."""
    entry = chance.choice(list(ENTRY.finditer(text)) or [re.search("()()()()", text)])
    opened = text.find("{", chance.randrange(len(text) + 1)) + 1
    start, end, new = chance.choice(
        [
            (opened, opened, f'"more": {chance.choice(PIECES)}, '),
            (opened, opened, f'"__metadata__": {{{chance.choice(STRINGS)}: {chance.choice(STRINGS)}}}, '),
            (1, 1, f"{entry[0]}, "),
            (*entry.span(1), chance.choice(STRINGS)),
            (*entry.span(), f"{entry[1]}: [{entry[2]}, {entry[3]}, {entry[4]}]"),
        ]
    )
    return text[:start] + new + text[end:]


def judgement(check, file):
    """The error of a check, or nothing."""
    try:
        check(file)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("count", [3000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_mutated_headers_are_judged_as_by_the_package(tmp_path, count):
    package = pytest.importorskip("safetensors")
    chance = random.Random(0)
    layouts = [layout for name, layout in LAYOUTS.items() if name != "each dtype, kept"]  # of which the package does not know all
    texts = [json.dumps(layout, ensure_ascii=chance.random() < 0.5) for layout in layouts]
    sizes = [max((e["data_offsets"][1] for n, e in layout.items() if n != "__metadata__"), default=0) for layout in layouts]
    seen = {"": 0, "both": 0, **dict.fromkeys((*STRICTER, *LAXER), 0)}
    with open(tmp_path / "file", "w+b") as file:

        def check(content):
            file.seek(0)
            file.truncate()
            file.write(content)
            file.seek(0)
            read_header(file)

        for _ in range(count):
            number = chance.randrange(len(texts))
            text = texts[number]
            for _ in range(chance.choice((1, 1, 1, 1, 2, 3))):
                text = chance.choice((with_another_token, with_another_field))(chance, text)
            header = bytearray(text.encode())
            if header and chance.random() < 0.02:
                header[chance.randrange(len(header))] = chance.randrange(256)
            length = len(header) + (chance.choice((-1, 1, 2**40, 2**63)) if chance.random() < 0.02 else 0)
            data = bytes(sizes[number] + (chance.choice((-1, 1)) if sizes[number] and chance.random() < 0.02 else 0))
            content = length.to_bytes(8, "little") + header + data
            ours, theirs = judgement(check, content), judgement(package.deserialize, content)
            assert ours == "" or ours.startswith("ValueError: ")
            if bool(ours) == bool(theirs):
                seen["both" if ours else ""] += 1
            else:
                reasons = [pattern for pattern in (STRICTER if ours else LAXER) if re.search(pattern, ours or theirs)]
                assert reasons, (content, ours, theirs)
                seen[reasons[0]] += 1
    assert min(seen.values()) > 0, seen
    assert seen[""] > count / 6, seen
