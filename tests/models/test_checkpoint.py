"""Safetensors files filled by rules: elements, headers byte for byte, errors before anything is written, and little memory."""

from __future__ import annotations

import errno
import json
import mmap
import os
import re
import stat
import subprocess
import sys

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._models.checkpoint import initialize_file
from tests.support.checkpoints import BYTES, FILLED, LAYOUTS, NORMAL, described, elements, fails, left, write


@pytest.mark.filterwarnings("ignore:rules should match")  # they are for all layouts
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


def test_names_are_checked_as_those_of_a_model(paths):
    write(paths[0], described(dict.fromkeys(("\u00e9", "e\u0301"), ("F32", (2,)))))
    fails(paths, ValueError, "model.safetensors: model must have parameter names that are unique", [("*", "normal_")])


def test_the_package_reads_and_writes_the_same(paths):
    """Both ways through safetensors' own code."""
    library = pytest.importorskip("safetensors")
    numpy_files = pytest.importorskip("safetensors.numpy")
    path, out = paths
    arrays = {f"{np.dtype(dtype)}.weight": np.ones((5, 3), dtype) for name, dtype in FILLED.items() if "F8" not in name}
    arrays["ids.keep"] = np.arange(7)
    numpy_files.save_file(arrays, path, {"format": "np"})
    report = initialize_file(path, NORMAL, seed=1, out=out)
    gi.initialize(arrays, NORMAL, seed=1)
    after = numpy_files.load_file(out)
    assert {name: after[name].tobytes() for name in after} == {name: arrays[name].tobytes() for name in arrays}
    assert {str(array.dtype) for array in after.values()} == {row.dtype for row in report.rows}
    with library.safe_open(out, "np") as file:
        assert file.metadata() == {"format": "np"}


def test_the_package_reads_and_writes_eight_bits(paths, torch):
    """By torch, since its functions for NumPy read none of these."""
    torch_files = pytest.importorskip("safetensors.torch")
    path, out = paths
    tensors = {f"{dtype}.weight": torch.zeros(5, 3, dtype=dtype) for dtype in (torch.float8_e4m3fn, torch.float8_e5m2)}
    torch_files.save_file(tensors, path)
    report = initialize_file(path, NORMAL[1:], seed=1, out=out)
    assert gi.initialize(tensors, NORMAL[1:], seed=1).digest == report.digest
    after = torch_files.load_file(out)
    assert {name: tensor.dtype for name, tensor in after.items()} == {name: tensor.dtype for name, tensor in tensors.items()}
    assert gi.digest(after) == gi.digest({name: tensors[name] for name in after})


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


posix = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")


@posix
@pytest.mark.parametrize("mode", [None, 0o600, 0o666, 0o444, 0o2750])
def test_permissions_are_those_of_the_file_that_is_replaced(paths, mode):
    """Those of a new one without it."""
    path, out = paths
    write(path, LAYOUTS["metadata"])
    path.chmod(0o400)
    if mode is not None:
        out.touch()
        out.chmod(mode)
    before = os.umask(0o027)
    try:
        initialize_file(path, NORMAL, seed=3, out=out)
    finally:
        os.umask(before)
    assert stat.S_IMODE(out.stat().st_mode) == (0o640 if mode is None else mode)


@posix
def test_the_owner_is_that_of_the_file_that_is_replaced(paths, monkeypatch):
    path, out = paths
    write(path, LAYOUTS["metadata"])
    out.write_text("old")
    uid, gid = os.getuid(), os.getgid()
    given = []

    def old(self, **keywords):
        found = list(kept(self, **keywords))
        found[4:6] = (uid + 1, gid + 2) if self == out else found[4:6]
        return os.stat_result(found)

    def refuse(file, *owner):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    kept = type(out).stat
    monkeypatch.setattr(type(out), "stat", old)
    monkeypatch.setattr(os, "fchown", refuse)
    with pytest.raises(PermissionError, match=f"of user {uid + 1} and group {gid + 2}, which a new one cannot be given; remove"):
        initialize_file(path, NORMAL, seed=3, out=out)
    assert (left(out), out.read_text()) == ([out.name], "old")
    monkeypatch.setattr(os, "fchown", lambda file, *owner: given.append(owner))
    initialize_file(path, NORMAL, seed=3, out=out)
    assert given == [(uid + 1, gid + 2)]
    monkeypatch.undo()
    if uid == 0:
        os.chown(out, 1, 2)
        initialize_file(path, NORMAL, seed=3, out=out)
        assert (out.stat().st_uid, out.stat().st_gid) == (1, 2)


@posix
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("relative", [False, True])
def test_a_symbolic_link_stays_and_what_it_leads_to_is_replaced(paths, tmp_path, there, relative):
    path, link = paths
    write(path, LAYOUTS["metadata"])
    target = tmp_path / "elsewhere" / "file"
    target.parent.mkdir()
    if there:
        target.write_text("old")
        target.chmod(0o600)
    (tmp_path / "middle").symlink_to(target)
    link.symlink_to("../middle" if relative else tmp_path / "middle")
    initialize_file(path, NORMAL, seed=3, out=link)
    assert link.is_symlink()
    assert not target.is_symlink()
    assert target.stat().st_size == path.stat().st_size
    assert not there or stat.S_IMODE(target.stat().st_mode) == 0o600
    assert (left(link), left(target)) == ([link.name], ["file"])


@posix
def test_a_link_to_the_file_itself(paths):
    path, out = paths
    before = write(path, LAYOUTS["metadata"])
    out.symlink_to(path)
    initialize_file(path, NORMAL, seed=3, out=out)
    assert out.is_symlink()
    assert path.read_bytes() != before


def test_progress_tells_each_name_once(paths):
    path, out = paths
    write(path, LAYOUTS["unaligned"])
    names = []
    initialize_file(path, NORMAL, seed=3, out=out, progress=names.append)
    assert sorted(names) == sorted(LAYOUTS["unaligned"])


# Errors: nothing is written, and no file left.


@pytest.mark.parametrize("dtype", BYTES)
@pytest.mark.parametrize("initializer", ["normal_", "zeros_"])
def test_dtypes_that_are_only_kept(paths, dtype, initializer):
    write(paths[0], described({"a": ("F32", (4,)), "layer.b": (dtype, (8,))}))
    named = "(?:bool|u?int)" if dtype[0] in "BUI" else dtype.upper()
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
    fails(paths, TypeError, r"rules must be a list of pairs", "zeros_")


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2"])
def test_what_needs_ml_dtypes_is_kept_without_it(paths, monkeypatch, dtype):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    path, out = paths
    before = write(path, described({"b": (dtype, (8,))}))
    named = np.dtype(FILLED[dtype]).name
    fails(paths, TypeError, rf"b: {named} on the CPU needs the package ml_dtypes: install gpuinit\[bfloat16\]")
    initialize_file(path, [("*", "keep")], seed=1, out=out)
    assert out.read_bytes() == before


def test_places_that_cannot_be_written(paths):
    path, out = paths
    write(path, LAYOUTS["metadata"])
    fails(paths, ValueError, "out must lie in a folder that exists, got out=.*none", out=out.parent / "none" / "x")
    fails(paths, ValueError, "out must be a file or the name of a new one, got out=", out=out.parent)
    for name, target in (("folder", "out"), ("itself", "itself"), ("device", "/dev/null"), ("lost", "none/file")):
        link = path.with_name(name)
        link.symlink_to(target)
        wrong = "lie in a folder that exists" if name == "lost" else "be a file or the name of a new one"
        fails(paths, ValueError, f"out must {wrong}, got out='{link}'", out=link)
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


@pytest.mark.parametrize("name", ["w\x1b]0;title\x07\x1b[2J", "a\u202eb"])
def test_names_in_errors_are_escaped(paths, name):
    shown = re.escape(name.encode("unicode_escape").decode())
    write(paths[0], described({name: ("F32", (4,))}))
    fails(paths, ValueError, f"without a rule.*\n    {shown} \\(4,\\)", [("other", "zeros_")])
    fails(paths, ValueError, shown, [("*", "xavier_normal_")])
    write(paths[0], {name: 1}, data=b"")
    fails(paths, ValueError, shown)


def test_the_warning_of_a_rule_that_matches_nothing_is_for_the_caller(paths):
    path, out = paths
    write(path, described({"a": ("F32", (4,))}))
    with pytest.warns(UserWarning, match="but 'x' matches none") as caught:
        report = initialize_file(path, [("x", "ones_"), ("*", "zeros_")], seed=1, out=out)
    assert [warning.filename for warning in caught] == [__file__]
    assert report.unused == [("x", "ones_")]


# Reports of files that others change.


@pytest.mark.parametrize("look", [lambda report: report.rows, lambda report: report.digest, str, lambda report: report.plot()])
def test_a_report_of_a_file_that_became_shorter(paths, look):
    path, out = paths
    write(path, described({"a": ("F32", (2**16,))}))
    report = initialize_file(path, [("*", "normal_")], seed=1, out=out)
    os.truncate(out, 100)
    with pytest.raises(OSError, match=r"a file became shorter after .*: 262,\d+ bytes are needed"):
        look(report)


@pytest.mark.parametrize(
    "view", [lambda x: x, lambda x: x[1:].T, lambda x: np.asarray(x), lambda x: np.frombuffer(x, np.float32)]
)
def test_a_report_of_any_array_in_a_file_that_became_shorter(tmp_path, view):
    array = np.memmap(tmp_path / "file", np.float32, "w+", shape=(2**8, 2**8))
    report = gi.initialize({"a": view(array)}, [("*", "normal_")], seed=1)
    os.truncate(tmp_path / "file", 100)
    with pytest.raises(OSError, match="a file became shorter"):
        report.rows  # noqa: B018


def test_a_report_of_memory_that_is_no_file():
    memory = mmap.mmap(-1, 1024)
    assert gi.initialize({"a": np.frombuffer(memory, np.float32)}, [("*", "normal_")], seed=1).rows[0].std > 0


# Larger than memory.

LARGE = """
import resource, sys
import numpy as np
import gpuinit as gi
from gpuinit._models.checkpoint import initialize_file

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
