"""Folders of safetensors files filled as one model: values, index, other files, and errors before anything is written."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import subprocess
import sys

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._models.checkpoint import initialize_file
from tests.support.checkpoints import INDEX, NORMAL, described, elements, fails, left, write, write_folder

FIRST, SECOND = (f"model-{number}-of-00002.safetensors" for number in ("00001", "00002"))
# Layers whose weight and bias lie apart, in an order that is neither that of names nor that of files.
FILES = {
    SECOND: described({"b.weight": ("F32", (4, 6)), "a.bias": ("F32", (3,)), "ids.keep": ("I64", (5,))}, {"format": "pt"}),
    FIRST: described({"b.bias": ("F32", (4,)), "a.weight": ("BF16", (3, 5))}, {"format": "pt", "notes": "\u2713"}),
}
SIZE = 4 * 6 * 4 + 3 * 4 + 5 * 8 + 4 * 4 + 3 * 5 * 2
RULES = [("*.keep", "keep"), *gi.rules.torch_defaults()]


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tensors_in(folder):
    """The bytes of all tensors."""
    found = [elements(path.read_bytes())[1] for path in folder.glob("*.safetensors")]
    return {name: values for one in found for name, values in one.items()}


@pytest.mark.parametrize("given", ["", INDEX], ids=["folder", "index"])
def test_as_if_all_tensors_were_in_one_file(folders, given):
    """Also the biases, whose values depend on the weight in another file."""
    folder, out = folders
    write_folder(folder, FILES)
    before = files_in(folder)
    report = initialize_file(folder / given, RULES, seed=42, out=out)

    shapes = {name: entry for content in FILES.values() for name, entry in content.items() if name != "__metadata__"}
    one = folder.with_name("one.safetensors")
    write(one, described({name: (entry["dtype"], tuple(entry["shape"])) for name, entry in shapes.items()}))
    expected = initialize_file(one, RULES, seed=42, out=one)
    assert report.digest == expected.digest
    assert [row.name for row in report.rows] == ["b.bias", "a.weight", "b.weight", "a.bias", "ids.keep"]
    assert sorted(map(str, report.rows)) == sorted(map(str, expected.rows))
    values = elements(one.read_bytes())[1] | {"ids.keep": tensors_in(folder)["ids.keep"]}
    assert tensors_in(out) == values
    for name in FILES:
        assert elements((out / name).read_bytes())[0] == elements(before[name])[0]
    assert files_in(folder) == before
    assert left(out) == [out.name]


@pytest.mark.parametrize("metadata", [{}, {"total_size": 1, "total_parameters": 59}, {"total_size": SIZE}])
def test_the_index_has_the_true_size_and_all_else_that_it_had(folders, metadata):
    folder, out = folders
    content = write_folder(folder, FILES, metadata)
    content["more"] = {"\u2713": [1.5, None]}
    (folder / INDEX).write_text(json.dumps(content))
    initialize_file(folder, NORMAL, seed=1, out=out)
    assert json.loads((out / INDEX).read_text()) == content | {"metadata": metadata | {"total_size": SIZE}}


def test_an_index_without_metadata(folders):
    """transformers does not read it."""
    folder, out = folders
    content = write_folder(folder, FILES)
    del content["metadata"]
    (folder / INDEX).write_text(json.dumps(content))
    initialize_file(folder, NORMAL, seed=1, out=out)
    assert json.loads((out / INDEX).read_text())["metadata"] == {"total_size": SIZE}


def test_a_folder_with_one_file_needs_no_index(folders):
    folder, out = folders
    folder.mkdir()
    write(folder / "model.safetensors", FILES[FIRST])
    (folder / "config.json").write_text("{}")
    report = initialize_file(folder, NORMAL[1:], seed=1, out=out)
    assert sorted(files_in(out)) == ["config.json", "model.safetensors"]
    assert report.digest == initialize_file(folder / "model.safetensors", NORMAL[1:], seed=1, out=folder / "new").digest


@pytest.mark.skipif(os.name != "posix", reason="links and permissions of POSIX")
def test_other_files_are_copied_as_they_are(folders):
    """The content of links, as all files of Hugging Face's cache are; and not what git and downloads keep."""
    folder, out = folders
    blobs = folder.with_name("blobs")
    write_folder(blobs, FILES)
    for path in ("config.json", "below/vocabulary.txt", "below/.hidden", "convert.py", ".git/lfs/weights", ".gitattributes"):
        (blobs / path).parent.mkdir(exist_ok=True, parents=True)
        (blobs / path).write_text(path)
    (blobs / "convert.py").chmod(0o755)
    for path in filter(os.path.isfile, blobs.rglob("*")):
        link = folder / path.relative_to(blobs)
        link.parent.mkdir(exist_ok=True, parents=True)
        link.symlink_to(path)
    initialize_file(folder, NORMAL, seed=1, out=out)
    copied = ["config.json", "below/vocabulary.txt", "below/.hidden", "convert.py", ".gitattributes"]
    after = files_in(out)
    assert sorted(after) == sorted([*FILES, INDEX, *copied])
    assert {after[name].decode() for name in copied} == set(copied)
    assert not [path for path in out.rglob("*") if path.is_symlink()]
    assert [bool(stat.S_IMODE((out / name).stat().st_mode) & 0o100) for name in ("convert.py", FIRST)] == [True, False]


@pytest.mark.parametrize(
    ("metadata", "tied"), [({"head": "wte"}, None), ({}, {"wte": "head"})], ids=["of both files", "an argument"]
)
def test_ties_between_files(folders, metadata, tied):
    """The name that a file's metadata has may be that of a tensor in another."""
    folder, out = folders
    write_folder(
        folder,
        {
            FIRST: described({"a": ("F32", (3,))}, {"format": "pt"} | metadata),
            SECOND: described({"wte": ("F32", (4, 2))}, metadata),
        },
    )
    report = initialize_file(folder, NORMAL[1:], seed=1, out=out, tied=tied)
    shared = np.zeros((4, 2), np.float32)
    expected = gi.initialize({"a": np.zeros(3, np.float32), "wte": shared, "head": shared}, NORMAL[1:], seed=1)
    assert (report.rows, report.digest) == (expected.rows, expected.digest)
    assert tensors_in(out)["wte"] == shared.tobytes()


def test_rules_that_split_a_tie(folders):
    write_folder(folders[0], {FIRST: described({"a": ("F32", (3,))}, {"b": "c"}), SECOND: described({"c": ("F32", (4,))})})
    fails(folders, ValueError, "rules must give a tied parameter the same by all its names", [("b", "ones_"), ("*", "zeros_")])


def test_a_rule_that_matches_nothing_is_told_once_and_to_the_caller(folders):
    folder, out = folders
    write_folder(folder, FILES)
    rules = [("a.*", "zeros_"), ("b.*", "ones_"), ("c.*", "ones_"), ("*", "keep")]
    with pytest.warns(UserWarning, match=r"but 'c\.\*' matches none") as caught:
        report = initialize_file(folder, rules, seed=1, out=out)
    assert [warning.filename for warning in caught] == [__file__]
    assert report.unused == [("c.*", "ones_")]


def test_progress_tells_each_name_once_and_file_by_file(folders):
    folder, out = folders
    write_folder(folder, FILES)
    names = []
    initialize_file(folder, NORMAL, seed=3, out=out, progress=names.append)
    assert names == ["b.bias", "a.weight", "b.weight", "a.bias", "ids.keep"]


# Errors: nothing is written, and no file left.


def changed(**changes):
    """An index with other entries; those that are None are left out."""
    weight_map = {tensor: name for name, content in FILES.items() for tensor in content if tensor != "__metadata__"}
    changed = {name.replace("_", "."): file for name, file in changes.items()}
    return {"weight_map": {name: file for name, file in (weight_map | changed).items() if file is not None}}


@pytest.mark.parametrize(
    ("index", "message"),
    [
        pytest.param(b"{", "must have an index of JSON, .* got another in model.safetensors.index.json: ", id="no JSON"),
        pytest.param(b'{"a": 1, "a": 2}', "must have an index of JSON, .* 'a' is there twice", id="twice"),
        pytest.param(b"\xff", "must have an index of JSON, .*utf-8", id="no UTF-8"),
        pytest.param(b"[" * 10**5, "must have an index of JSON", id="deep"),
        *(
            pytest.param(content, 'must have an index with a "weight_map" of the file of each tensor', id=str(content))
            for content in ([], {}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"a": FIRST}, "metadata": 1})
        ),
        *(
            pytest.param(
                changed(a_bias=file),
                rf"must have an index of names \*\.safetensors without a folder, got {re.escape(repr(file))}",
            )
            for file in (
                1,
                None or {},
                "",
                "..",
                "model.bin",
                "../x.safetensors",
                "/x.safetensors",
                "b\\x.safetensors",
                "c:x.safetensors",
            )
        ),
        (changed(a_bias="model-3.safetensors"), "must name files that lie beside the index, got 'model-3.safetensors': is"),
        (changed(c_bias=FIRST), "must have the tensors that the index names, got no 'c.bias': is the checkpoint complete?"),
        (changed(a_bias=None), "must have an index that names all tensors of its files, got none of 'a.bias'"),
        (changed(a_bias=FIRST), f"must have an index of the tensors' files, got 'a.bias' in '{FIRST}', which lies in '{SECOND}'"),
        (
            {"weight_map": {"b.bias": FIRST, "a.weight": FIRST}},
            f"must have no safetensors files that {INDEX} does not name, got '{SECOND}': move them elsewhere first",
        ),
    ],
)
@pytest.mark.parametrize("given", ["", INDEX], ids=["folder", "index"])
def test_an_index_that_does_not_fit(folders, index, message, given):
    folder, out = folders
    write_folder(folder, FILES, index=index)
    fails((folder / given, out), ValueError, f"^{re.escape(str(folder / given))}: {message}")


def test_a_tensor_in_two_files(folders):
    write_folder(folders[0], FILES | {FIRST: described({"b.bias": ("F32", (4,)), "a.bias": ("F32", (3,))})})
    fails(folders, ValueError, f"must have each tensor in one file, got 'a.bias' in {FIRST} and {SECOND}$")


def test_tensors_of_one_name_but_for_unicode(folders):
    tensors = {FIRST: described({"\u00e9": ("F32", (4,))}), SECOND: described({"e\u0301": ("F32", (4,))})}
    write_folder(folders[0], tensors)
    fails(folders, ValueError, "model: model must have parameter names that are unique")


def test_an_index_that_is_too_long(folders, monkeypatch):
    monkeypatch.setattr("gpuinit._models.checkpoint_files._LONGEST_INDEX", 100)
    write_folder(folders[0], FILES)
    fails(folders, ValueError, f"must have an index of at most 100 bytes, got a larger {INDEX}")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"must have an index, \*\.safetensors\.index\.json, or one safetensors file alone, got none and no index"),
        (["pytorch_model.bin", "config.json"], "got none and no index"),
        (["a.safetensors", "b.safetensors"], r"got 'a\.safetensors', 'b\.safetensors' and no index"),
        (
            ["model.safetensors.index.json", "model.safetensors.index.fp16.json"],
            r"must have one index, got 'model\.safetensors\.index\.fp16\.json', 'model\.safetensors\.index\.json': move",
        ),
    ],
)
def test_folders_that_are_no_checkpoint(folders, names, message):
    folders[0].mkdir()
    for name in names:
        (folders[0] / name).touch()
    fails(folders, ValueError, f"^{re.escape(str(folders[0]))}: .*{message}")


def test_paths_that_are_neither(folders):
    folder, out = folders
    write_folder(folder, FILES)
    (folder / "config.json").write_text('{"vocab_size": 7}')
    (folder / "text").write_text("A text, which is longer than a length.")
    fails((folder / "config.json", out), ValueError, 'config.json: must have an index with a "weight_map"')
    fails((folder / "text", out), ValueError, "text: must be a safetensors file")
    for name in ("none", "none.json", "none/model.safetensors.index.json"):
        fails((folder / name, out), FileNotFoundError, "none")


@pytest.mark.skipif(os.name != "posix", reason="links and devices of POSIX")
@pytest.mark.parametrize("target", ["/dev/null", "nowhere", "/"])
def test_what_cannot_be_copied(folders, target):
    write_folder(folders[0], FILES)
    (folders[0] / "below").mkdir()
    (folders[0] / "below" / "link").symlink_to(target)
    fails(folders, ValueError, "must have files and folders alone, got 'below/link': a device, or a link")


def test_a_broken_file_is_named(folders):
    write_folder(folders[0], FILES)
    os.truncate(folders[0] / SECOND, 300)
    fails(folders, ValueError, rf"{SECOND}: must end with its last tensor")


def test_rules_that_do_not_fit_are_told_of_all_files(folders):
    write_folder(folders[0], FILES)
    unmatched = (
        r"model: rules must match every parameter, got 3 without.*\n    a.weight .*\n    b.weight .*\n    ids.keep \(5,\)$"
    )
    fails(folders, ValueError, unmatched, [("*.bias", "zeros_")])
    fails(folders, ValueError, r"model: b\.bias, xavier_normal_\(\): .*got shape", [("*.keep", "keep"), ("*", "xavier_normal_")])
    fails(folders, TypeError, r"model: ids\.keep is of int64, which zeros_\(\) cannot fill here", [("*", "zeros_")])


def test_places_that_cannot_be_written(folders):
    folder, out = folders
    write_folder(folder, FILES)
    fails(folders, ValueError, "out must lie in a folder that exists, got out=.*none", out=out.parent / "none" / "x")
    for place in (folder, folder / INDEX, out.parent):
        fails(folders, ValueError, "out must be the name of a new folder, got out=.*, which is there; remove it", out=place)
    for place in (folder / "new", out.parent / ".." / "model" / "new"):
        fails(folders, ValueError, "out must lie outside the folder that is read, '.*model', got out='.*new'", out=place)
    before = set(FILES) | {INDEX}
    assert set(os.listdir(folder)) == before


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_a_symbolic_link_stays_and_leads_to_the_new_folder(folders):
    folder, link = folders
    write_folder(folder, FILES)
    link.symlink_to("../elsewhere")
    initialize_file(folder, NORMAL, seed=3, out=link)
    assert link.is_symlink()
    assert set(os.listdir(folder.with_name("elsewhere"))) == {*FILES, INDEX}


def fail(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("function", "successes"), [("mmap.mmap", 1), ("shutil.copy", 1), ("os.fsync", 0), ("os.fsync", 4), ("os.rename", 0)]
)
def test_a_full_disk_leaves_nothing(folders, function, successes, monkeypatch):
    module, name = function.split(".")
    original, calls = getattr(sys.modules[module], name), []

    def call(*args, **keywords):
        calls.append(args)
        return (original if len(calls) <= successes else fail)(*args, **keywords)

    write_folder(folders[0], FILES)
    for other in ("config.json", "vocab.txt"):
        (folders[0] / other).write_text("{}")
    monkeypatch.setattr(f"{module}.{name}", call)
    fails(folders, OSError, "No space left on device")


def test_an_exception_in_the_middle_leaves_nothing(folders):
    def stop(x, generator, param):
        raise ZeroDivisionError

    write_folder(folders[0], FILES)
    before = files_in(folders[0])
    fails(folders, ZeroDivisionError, None, [("*.keep", "keep"), ("b.weight", stop), ("*", "ones_")])
    assert files_in(folders[0]) == before


def test_what_comes_to_the_place_meanwhile_stays(folders):
    def come(x, generator, param):
        folders[1].mkdir()
        (folders[1] / "theirs").write_text("theirs")

    write_folder(folders[0], FILES)
    with pytest.raises(FileExistsError, match="something came there while the new folder was filled"):
        initialize_file(folders[0], [("*.keep", "keep"), ("b.bias", come), ("*", "ones_")], seed=1, out=folders[1])
    assert (left(folders[1]), os.listdir(folders[1])) == ([folders[1].name], ["theirs"])


# Memory.

LARGE = """
import re, sys
from pathlib import Path
from gpuinit._models.checkpoint import initialize_file

def now(what):
    return int(re.search(rf"^{what}:\\s+(\\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)[1]) * 1024

initialize_file(sys.argv[1], [("*", "uniform_")], seed=1, out=sys.argv[3] + "-before")  # threads and their buffers
before = now("RssAnon")
peak = []
keep, rest = ("kept*", "keep"), ("*", "uniform_(a=-1, b=1)")
initialize_file(sys.argv[2], [keep, rest], seed=1, out=sys.argv[3], progress=lambda name: peak.append(now("RssAnon")))
print(max(peak) - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(folders):
    """That which belongs to no file; of one file's tensors it takes a fraction."""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads memory as Linux does")
    folder, out = folders
    small = folder.with_name("small.safetensors")
    write(small, described({"a": ("F32", (2**11, 2**11))}))
    peaks = []
    for count in (1, 8):
        of_these = folder.with_name(f"model{count}")
        write_sparse(of_these, count)
        arguments = [small, of_these, out.with_name(f"filled{count}")]
        run = subprocess.run([sys.executable, "-W", "error", "-c", LARGE, *arguments], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        peaks.append(int(run.stdout))
    assert max(peaks) < 2**25, peaks


def write_sparse(folder, count):
    """A checkpoint of files with two tensors of 64 MiB each, without elements on the disk."""
    content = {n: described({f"{n}.a": ("F32", (2**12, 2**12)), f"kept.{n}": ("F32", (2**24,))}) for n in range(count)}
    weight_map = {name: f"{n}.safetensors" for n, entries in content.items() for name in entries}
    folder.mkdir()
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    for n, entries in content.items():
        path = folder / f"{n}.safetensors"
        write(path, entries, data=b"")
        os.truncate(path, path.stat().st_size + 2**27)
