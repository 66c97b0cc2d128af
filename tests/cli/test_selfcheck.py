"""`python -m gpuinit selfcheck` passes here, and sees a value that differs and a CPU that flushes subnormals."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._cli import golden, selfcheck


def test_this_machine_passes(capsys):
    assert selfcheck.run() == 0
    assert re.search(r"^all values( except those of cupy)? are as they should be$", capsys.readouterr().out, re.MULTILINE)


def test_what_cannot_be_checked_is_named(monkeypatch, capsys):
    for name in ("cupy", "ml_dtypes"):
        monkeypatch.setitem(sys.modules, name, None)
    assert selfcheck.run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(re.fullmatch(r"not checked: cupy \(.* install gpuinit\[cuda12\].*\)", line) for line in lines)
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        assert any(re.fullmatch(rf"not checked: {name} \(.* install gpuinit\[bfloat16\]\)", line) for line in lines)
    assert lines[-1] == "all values except those of cupy, bfloat16, float8_e4m3fn, float8_e5m2 are as they should be"


@pytest.mark.parametrize(
    ("part", "what", "value", "named"),
    [
        ("fills", "digest", "0" * 64, "uniform_"),
        ("orthogonal", "q", [[0.5] * 4] * 4, "orthogonal_ (within its tolerance)"),
        ("children", "key", ["1", "2"], "Generator.spawn"),
    ],
)
def test_a_difference_is_named(monkeypatch, capsys, part, what, value, named):
    content = golden.load()
    content[part][0][what] = value
    monkeypatch.setattr(golden, "load", lambda: content)
    assert selfcheck.run() == 1
    output = capsys.readouterr().out
    assert re.search(r"^\d+ differences$", output, re.MULTILINE)
    (row,) = re.findall(r"^numpy +(.+?) +\d+ +[1-9]\d*$", output, re.MULTILINE)
    assert row == named


def test_flushed_subnormals_are_seen(torch):
    """In a process of its own, since the CPU's state outlasts a test."""
    code = "import torch; torch.set_flush_denormal(True); from gpuinit._cli.selfcheck import run; raise SystemExit(run())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert "flush subnormal" in run.stdout


def test_nothing_differs_on_the_host_of_another_byte_order():
    """Digests are of little-endian bytes: a big-endian array of the same values has the same one."""
    x = gi.normal_(np.empty(9, ">f8"), generator=1)
    assert gi.digest({"x": x}) == gi.digest({"x": gi.normal_(np.empty(9), generator=1)})
