"""Safetensors files filled by rules: elements, headers byte for byte, errors before anything is written, and killed runs."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import stat
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

import gpuinit as gi
from gpuinit.__main__ import main
from gpuinit.checkpoint import initialize_file

FILLED = {
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
    "C64": np.complex64,
}
BYTES = {
    **{"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4, "U64": 8, "I64": 8},
    **dict.fromkeys(("F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2", "F8_E5M2FNUZ", "F8_E8M0"), 1),
    **{"F4": 1 / 2, "F6_E2M3": 3 / 4, "F6_E3M2": 3 / 4},
    "F128_OF_TOMORROW": 16,
}
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


def elements(file):
    """The bytes of each tensor, by the format's description, and all before them."""
    end = 8 + int.from_bytes(file[:8], "little")
    content = json.loads(file[8:end])
    content.pop("__metadata__", None)
    return file[:end], {name: file[end + e["data_offsets"][0] : end + e["data_offsets"][1]] for name, e in content.items()}


@pytest.fixture
def paths(tmp_path):
    """A file to read and one to write, in a folder of its own, where nothing else must be left."""
    (tmp_path / "out").mkdir()
    return tmp_path / "model.safetensors", tmp_path / "out" / "filled.safetensors"


def left(out):
    return os.listdir(out.parent)


# What is written.


LAYOUTS = {
    "metadata": described({"a.weight": ("F32", (7, 5)), "a.keep": ("F32", (3,))}, {"format": "pt", "notes": "é, \u2713"}),
    "each dtype": described({f"{dtype}.weight": (dtype, (9, 4)) for dtype in FILLED}),
    "each dtype, kept": described({f"{dtype}.keep": (dtype, (8, 4)) for dtype in [*FILLED, *BYTES]}),
    "unaligned": described({"pad.keep": ("U8", (1,)), **{f"{dtype}.weight": (dtype, (33, 3)) for dtype in FILLED}}),
    "empty and 0-d": described({"none": ("F32", (0,)), "row": ("F16", (3, 0, 2)), "one": ("F64", ()), "one.keep": ("I64", ())}),
    "nothing": {},
    "only metadata": {"__metadata__": {"format": "pt"}},
    "header's order is not the file's": dict(reversed(described({"b": ("F32", (4, 4)), "a": ("BF16", (5,))}).items())),
}


@pytest.mark.parametrize("content", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("padding", [b"", b"   "], ids=["", "padded"])
def test_filled_and_kept(paths, content, padding):
    """Kept tensors and the header are as they were, filled ones as `initialize` fills arrays of these names."""
    path, out = paths
    header = json.dumps(content, ensure_ascii=False).encode() + padding
    write(path, content)  # for its elements
    before = write(path, header, data=path.read_bytes()[8 + len(json.dumps(content)) :])
    report = initialize_file(path, NORMAL, seed=42, out=out)
    head, values = elements(out.read_bytes())
    kept_head, kept = elements(before)
    assert (head, len(out.read_bytes()), path.read_bytes()) == (kept_head, len(before), before)

    entries = {name: entry for name, entry in content.items() if name != "__metadata__"}
    arrays = {n: np.zeros(e["shape"], FILLED[e["dtype"]]) for n, e in entries.items() if not n.endswith(".keep")}
    expected = gi.initialize(arrays, NORMAL, seed=42)
    assert values == {name: arrays[name].tobytes() if name in arrays else kept[name] for name in entries}
    assert report.digest == expected.digest
    assert [str(row) for row in report.rows if row.initializer != "keep"] == list(map(str, expected.rows))
    assert left(out) == [out.name]


def test_the_package_reads_and_writes_the_same(paths):
    """Both ways through safetensors' own code."""
    library = pytest.importorskip("safetensors")
    numpy_files = pytest.importorskip("safetensors.numpy")
    path, out = paths
    arrays = {f"{np.dtype(dtype)}.weight": np.ones((5, 3), dtype) for dtype in FILLED.values()}
    arrays["ids.keep"] = np.arange(7)
    numpy_files.save_file(arrays, path, {"format": "np"})
    report = initialize_file(path, NORMAL, seed=1, out=out)
    gi.initialize(arrays, NORMAL, seed=1)
    after = numpy_files.load_file(out)
    assert {name: after[name].tobytes() for name in after} == {name: arrays[name].tobytes() for name in arrays}
    assert {str(array.dtype) for array in after.values()} == {row.dtype for row in report.rows}
    with library.safe_open(out, "np") as file:
        assert file.metadata() == {"format": "np"}


def test_the_package_accepts_what_is_written_by_hand(paths):
    library = pytest.importorskip("safetensors")
    path, out = paths
    write(path, {**LAYOUTS["unaligned"]})
    initialize_file(path, NORMAL, seed=1, out=out)
    tensors = dict(library.deserialize(out.read_bytes()))
    assert {name: bytes(tensor["data"]) for name, tensor in tensors.items()} == elements(out.read_bytes())[1]


def test_the_file_itself_and_a_file_that_is_there(paths):
    path, out = paths
    before = write(path, LAYOUTS["metadata"])
    out.write_text("old")
    initialize_file(path, NORMAL, seed=3, out=out)
    assert path.read_bytes() == before
    report = initialize_file(path, NORMAL, seed=3, out=path)
    assert path.read_bytes() == out.read_bytes() != before
    assert report.digest == initialize_file(out, NORMAL, seed=3, out=out).digest


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_are_those_of_a_new_file(paths):
    path, out = paths
    write(path, LAYOUTS["metadata"])
    path.chmod(0o400)
    before = os.umask(0o027)
    try:
        initialize_file(path, NORMAL, seed=3, out=out)
    finally:
        os.umask(before)
    assert stat.S_IMODE(out.stat().st_mode) == 0o640


def test_progress_tells_each_name_once(paths):
    path, out = paths
    write(path, LAYOUTS["unaligned"])
    names = []
    initialize_file(path, NORMAL, seed=3, out=out, progress=names.append)
    assert sorted(names) == sorted(LAYOUTS["unaligned"])


# Errors: nothing is written, and no file left.


def fails(paths, error, message, rules=NORMAL, out=None):
    path, place = paths
    with pytest.raises(error, match=message):
        initialize_file(path, rules, seed=1, out=out or place)
    assert left(place) == []


@pytest.mark.parametrize("dtype", BYTES)
@pytest.mark.parametrize("initializer", ["normal_", "zeros_"])
def test_dtypes_that_are_only_kept(paths, dtype, initializer):
    write(paths[0], described({"a": ("F32", (4,)), "layer.b": (dtype, (8,))}))
    named = "(?:bool|u?int)" if dtype[0] in "BUI" else dtype
    fails(
        paths,
        TypeError,
        rf"model.safetensors: layer\.b is of {named}.*, which {initializer}.* cannot fill here: keep it",
        [("*", initializer)],
    )


def test_rules_that_do_not_fit(paths):
    write(paths[0], described({"a.keep": ("F32", (4,)), "b": ("I64", (8,)), "c": ("F8_E4M3", (2, 2))}))
    unmatched = r"model.safetensors: rules must match every parameter, got 2 without.*\n    b \(8,\)\n    c \(2, 2\)$"
    fails(paths, ValueError, unmatched, [("a.*", "zeros_")])
    fails(paths, ValueError, r"a\.keep, xavier_normal_\(\): .*got shape", [("a.*", "xavier_normal_"), ("*", "keep")])
    fails(paths, TypeError, r"rules must be a list of pairs", {"*": "zeros_"})


def test_without_ml_dtypes_bfloat16_is_kept(paths, monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    path, out = paths
    before = write(path, described({"b": ("BF16", (8,))}))
    fails(paths, TypeError, r"b: .*bfloat16.* needs the package ml_dtypes: install gpuinit\[bfloat16\]")
    initialize_file(path, [("*", "keep")], seed=1, out=out)
    assert out.read_bytes() == before


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


def test_places_that_cannot_be_written(paths):
    path, out = paths
    write(path, LAYOUTS["metadata"])
    fails(paths, ValueError, "out must lie in a folder that exists, got out=.*none", out=out.parent / "none" / "x")
    fails(paths, ValueError, "out must be a file or the name of a new one, got out=", out=out.parent)
    with pytest.raises(FileNotFoundError, match="missing"):
        initialize_file(path.with_name("missing"), NORMAL, seed=1, out=out)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs posix_fallocate")
def test_a_full_disk(paths, monkeypatch):
    path, out = paths
    size = len(write(path, LAYOUTS["metadata"]))

    def allocate(file, start, size):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    code = errno.ENOSPC
    fails(paths, OSError, f"No space left on device, where out needs {size} bytes")
    code = errno.EOPNOTSUPP  # a file system that cannot allocate
    initialize_file(path, NORMAL, seed=1, out=out)
    assert left(out) == [out.name]


def test_an_exception_in_the_middle(paths):
    def fail(x, generator, param):
        raise ZeroDivisionError

    before = write(paths[0], LAYOUTS["metadata"])
    paths[1].write_text("old")
    with pytest.raises(ZeroDivisionError):
        initialize_file(paths[0], [("*.keep", "keep"), ("*", fail)], seed=1, out=paths[1])
    assert (left(paths[1]), paths[1].read_text(), paths[0].read_bytes()) == ([paths[1].name], "old", before)


def test_a_file_that_shrinks_in_the_middle(paths):
    def cut(x, generator, param):
        os.truncate(paths[0], os.path.getsize(paths[0]) - 4)

    write(paths[0], described({"a": ("F32", (4,)), "b.keep": ("F32", (2**16,))}))
    fails(paths, OSError, "the file became shorter while it was read: .*model", [("*.keep", "keep"), ("*", cut)])


# The command.

RULES = """
[[rules]]
pattern = "*.keep"
initializer = "keep"

[[rules]]
pattern = "*"
initializer = "normal_(std=0.02)"
"""


@pytest.fixture
def command(paths):
    """What to give `main`."""
    path, out = paths
    write(path, LAYOUTS["unaligned"])
    rules = path.with_name("rules.toml")
    rules.write_text(RULES)
    return ["init", str(path), "--rules", str(rules), "--seed", "42", "-o", str(out)]


def test_command(paths, command, capsys):
    path, out = paths
    report = path.with_name("report.json")
    assert main([*command, "--json", str(report)]) == 0
    output, errors = capsys.readouterr()
    content = json.loads(report.read_text())
    after = out.read_bytes()
    expected = initialize_file(path, NORMAL, seed=42, out=out)
    assert (after, content["digest"], content["seed"]) == (out.read_bytes(), expected.digest, 42)
    assert output.splitlines()[-1] == expected.summary()
    assert set(LAYOUTS["unaligned"]) <= {line.split(" ")[0] for line in output.splitlines()}
    assert errors == ""


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({1: "none.safetensors"}, r"\[Errno 2\] No such file or directory: 'none.safetensors'"),
        ({3: "none.toml"}, r"\[Errno 2\] No such file or directory: 'none.toml'"),
        ({3: "{model}"}, r".*model\.safetensors must be a file of TOML: .*"),
        ({7: "none/out"}, r"out must lie in a folder that exists, got out='none/out'"),
        ({8: "--json", 9: "none/json"}, r"json must lie in a folder that exists, got json='none/json'"),
    ],
)
def test_errors_of_the_command(paths, command, changed, message, capsys):
    given = dict(enumerate(command)) | {n: text.format(model=paths[0]) for n, text in changed.items()}
    assert main(list(given.values())) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert re.fullmatch(f"gpuinit init: {message}\n", errors)
    assert left(paths[1]) == []


def test_the_command_needs_all_arguments(command, capsys):
    for missing in (slice(1, 2), slice(2, 4), slice(4, 6), slice(6, 8)):
        given = command.copy()
        del given[missing]
        with pytest.raises(SystemExit, match="2"):
            main(given)
        assert "the following arguments are required" in capsys.readouterr().err


# Killed.

# The command, which stops when the first tensor is done until a line comes. What ignores a signal starts others that ignore it.
STOPPING = """
import contextlib, signal, sys
from gpuinit import __main__, console

@contextlib.contextmanager
def progress(label, total):
    def advance(name):
        print(name, flush=True)
        sys.stdin.readline()
    yield advance

console.progress = progress
number, handler = int(sys.argv[1]), getattr(signal, sys.argv[2])
if number != signal.SIGKILL:
    signal.signal(number, handler)
sys.exit(__main__.main(sys.argv[3:]))
"""


def killed(command, number, handler):
    """The exit code of a run that is sent a signal in the middle."""
    arguments = [sys.executable, "-W", "error", "-c", STOPPING, str(int(number)), handler, *command]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() != "", run.stderr.read()
        run.send_signal(number)
        if handler != "SIG_IGN":
            run.wait(60)
        _, errors = run.communicate("\n" * 100, timeout=60)
    assert errors == ""
    return run.returncode


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("there", [False, True], ids=["new", "replacing"])
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129), ("SIGKILL", -9)])
def test_a_killed_run_leaves_all_as_it_was(paths, command, name, code, there):
    path, out = paths
    before = path.read_bytes()
    if there:
        out.write_text("old")
    assert killed(command, signal.Signals[name], "SIG_DFL") == code
    assert path.read_bytes() == before
    assert (out.read_text() == "old") if there else not out.exists()
    parts = set(left(out)) - {out.name}
    assert len(parts) == (name == "SIGKILL")  # of which nothing can clean up
    assert all(re.fullmatch(r"\.gpuinit-\w+\.part", part) for part in parts)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_ignored_signal_stays_ignored(paths, command):
    """As `nohup` has it."""
    assert killed(command, signal.SIGHUP, "SIG_IGN") == 0
    assert left(paths[1]) == [paths[1].name]


# Larger than memory.

LARGE = """
import resource, sys
import numpy as np
import gpuinit as gi
from gpuinit.checkpoint import initialize_file

gi.normal_(np.empty((2**11, 2**11), np.float32), generator=1)  # threads and their buffers
with open("/proc/self/status") as status:
    data = next(int(line.split()[1]) for line in status if line.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (data + int(sys.argv[3]),) * 2)
report = initialize_file(sys.argv[1], [("filled*", "uniform_(a=-1, b=1)"), ("*", "keep")], seed=1, out=sys.argv[2])
print(*(row.std for row in report.rows))
"""


@pytest.mark.slow
def test_a_file_larger_than_memory(paths):
    """Anonymous memory, which is limited to a fraction of a tensor, does not grow with the file."""
    if not sys.platform.startswith("linux"):
        pytest.skip("limits memory as Linux does")
    path, out = paths
    shape = (2**15, 2**13)  # 1 GiB
    write(path, content := described({"kept": ("F32", shape), "filled": ("F32", shape), "filled.too": ("BF16", shape)}), data=b"")
    size = path.stat().st_size + content["filled.too"]["data_offsets"][1]
    os.truncate(path, size)
    try:
        limit = 2**28
        run = subprocess.run([sys.executable, "-W", "error", "-c", LARGE, path, out, str(limit)], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        kept, *filled = map(float, run.stdout.split())
        assert np.isnan(kept)
        assert filled == pytest.approx([3**-0.5] * 2, rel=1e-4)
        assert out.stat().st_size == size
    finally:
        out.unlink(missing_ok=True)
