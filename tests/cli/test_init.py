"""`python -m gpuinit init`: what it writes and says, and that a killed run leaves all as it was."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from gpuinit.__main__ import main
from gpuinit._models.checkpoint import initialize_file
from tests.support.checkpoints import LAYOUTS, NORMAL, left, write

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
from gpuinit import __main__
from gpuinit import _console as console

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
