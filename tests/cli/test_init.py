"""`python -m gpuinit init`: what it writes and says, that its exit code is true, and that a killed run leaves all as it was."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from gpuinit.__main__ import main
from gpuinit._models.checkpoint import initialize_file
from tests.support.checkpoints import INDEX, LAYOUTS, NORMAL, described, left, write, write_folder

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
        ({8: "--json", 9: "."}, r"json must be a file or the name of a new one, got json='\.'"),
    ],
)
def test_errors_of_the_command(paths, command, changed, message, capsys):
    given = dict(enumerate(command)) | {n: text.format(model=paths[0]) for n, text in changed.items()}
    for option in ([], ["--dry-run"]):
        assert main([*given.values(), *option]) == 1
        output, errors = capsys.readouterr()
        assert output == ""
        assert re.fullmatch(f"gpuinit init: {message}\n", errors)
        assert left(paths[1]) == []


# Folders.

PARTS = {
    f"model-{number}.safetensors": described({f"{number}.weight": ("F32", (4, 3)), f"{number}.keep": ("I64", (5,))})
    for number in range(2)
}


@pytest.fixture
def folder_command(folders):
    """What to give `main` for a folder of two files of tensors and another file."""
    folder, out = folders
    write_folder(folder, PARTS)
    (folder / "config.json").write_text("{}")
    rules = folder.with_name("rules.toml")
    rules.write_text(RULES)
    return ["init", str(folder), "--rules", str(rules), "--seed", "42", "-o", str(out)]


@pytest.mark.parametrize("given", ["", INDEX], ids=["folder", "index"])
def test_a_folder(folders, folder_command, given, capsys):
    folder, out = folders
    report = folder.with_name("report.json")
    folder_command[1] = str(folder / given)
    assert main([*folder_command, "--dry-run", "--json", str(report)]) == 0
    dry = capsys.readouterr().out.splitlines()
    assert (report.exists(), left(out)) == (False, [])
    assert main([*folder_command, "--json", str(report)]) == 0
    output, errors = capsys.readouterr()
    expected = initialize_file(folder, NORMAL, seed=42, out=out.with_name("expected"))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in out.with_name("expected").iterdir()
    }
    assert json.loads(report.read_text())["digest"] == expected.digest
    last = "2 files of tensors; copied as they are: config.json"
    assert output.splitlines()[-2:] == [expected.summary(), last]
    filled = "nothing is written; 2 parameters, 24 elements would be filled and 2 parameters kept"
    assert dry[-2:] == [f"{filled}, in a new folder {out}", last]
    assert errors == ""


def test_the_list_of_a_folders_tensors(folders, folder_command, capsys):
    assert main(["init", str(folders[0]), "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[4:-2]] == ["0.weight", "0.keep", "1.weight", "1.keep"]
    assert lines[-1] == "4 tensors, 176 bytes"


@pytest.mark.parametrize("option", [[], ["--dry-run"]])
def test_errors_of_folders(folders, folder_command, option, capsys):
    folder, out = folders

    def fails(message, *more):
        assert main([*folder_command, *more, *option]) == 1
        output, errors = capsys.readouterr()
        assert output == ""
        assert re.fullmatch(f"gpuinit init: {message}\n", errors)

    for name in (*PARTS, INDEX, "config.json"):
        fails(f"json must be another file than model, got json='.*{name}' and model='.*{name}'", "--json", str(folder / name))
    fails("json must be another file than out, got .*", "--json", str(out))
    assert left(out) == []
    out.mkdir()
    fails("out must be the name of a new folder, got out='.*filled', which is there; remove it, or name another")
    out.rmdir()
    (folder / INDEX).write_text("{")
    fails(f".*model: must have an index of JSON, .* got another in {INDEX}: .*")
    assert left(out) == []


def test_the_command_needs_all_arguments(command, capsys):
    for missing in (slice(1, 2), slice(2, 4), slice(4, 6), slice(6, 8)):
        given = command.copy()
        del given[missing]
        for option in ([], ["--dry-run"]):
            with pytest.raises(SystemExit, match="2"):
                main([*given, *option])
            assert "the following arguments are required" in capsys.readouterr().err


# Files that would be read and written, or written twice.

LINKS = {
    "the same name": lambda file, link: file,
    "another way": lambda file, link: file.parent / "out" / ".." / file.name,
    "a symbolic link": lambda file, link: link.symlink_to(file) or link,
    "a link to a link": lambda file, link: (
        link.symlink_to(link.with_name("next")) or link.with_name("next").symlink_to(file) or link
    ),
    "a hard link": lambda file, link: link.hardlink_to(file) or link,
    "a folder's link": lambda file, link: link.symlink_to(file.parent) or link / file.name,
}


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
@pytest.mark.parametrize("way", LINKS.values(), ids=LINKS)
@pytest.mark.parametrize(("output", "other"), [("json", "model"), ("json", "rules"), ("json", "out"), ("out", "rules")])
@pytest.mark.parametrize("there", [False, True], ids=["new", "replacing"])
def test_outputs_that_are_inputs_are_refused(paths, command, output, other, way, there, capsys):
    model, out = paths
    files = {"model": model, "rules": model.with_name("rules.toml"), "out": out}
    if there or way is LINKS["a hard link"]:
        out.write_text("old")
    given = str(way(files[other], model.with_name("link")))
    command[7:] = [given] if output == "out" else [str(out), "--json", given]
    before = {file: file.read_bytes() for file in files.values() if file.exists()}
    for option in ([], ["--dry-run"]):
        assert main([*command, *option]) == 1
        printed, errors = capsys.readouterr()
        assert printed == ""
        assert re.fullmatch(
            f"gpuinit init: {output} must be another file than {other}, got {output}='.*' and {other}='.*'\n", errors
        )
        assert {file: file.read_bytes() for file in files.values() if file.exists()} == before


@pytest.mark.skipif(os.name != "posix", reason="links and permissions of POSIX")
def test_the_report_replaces_a_file_as_the_model_does(paths, command):
    report, link = paths[0].with_name("report.json"), paths[0].with_name("link")
    report.write_text("old")
    report.chmod(0o600)
    link.symlink_to("report.json")
    assert main([*command, "--json", str(link)]) == 0
    assert link.is_symlink()
    assert report.stat().st_mode & 0o777 == 0o600
    assert json.loads(report.read_text())["seed"] == 42


# What is only shown.


@pytest.mark.parametrize("there", [False, True], ids=["new", "replacing"])
def test_a_dry_run_writes_nothing(paths, command, there, capsys):
    path, out = paths
    if there:
        out.write_text("old")
    before = sorted(path.parent.rglob("*"))
    assert main([*command, "--dry-run", "--json", str(path.with_name("report.json"))]) == 0
    shown, errors = capsys.readouterr()
    assert errors == ""
    assert (sorted(path.parent.rglob("*")), not there or out.read_text() == "old") == (before, True)
    assert main(command) == 0
    done = capsys.readouterr().out
    cells = [[re.split("  +", line)[:5] for line in text.splitlines() if ".weight" in line] for text in (shown, done)]
    assert cells[0] == cells[1] != []
    where = f"in {'place of the file' if there else 'a new file'} {out}"
    filled = "nothing is written; 7 parameters, 693 elements would be filled and 1 parameters kept"
    assert shown.splitlines()[-1] == f"{filled}, {where}"


def test_a_dry_run_finds_what_initializers_refuse(paths, command, capsys):
    write(paths[0], described({"a": ("F32", (4,)), "b": ("F32", (2, 4))}))
    paths[0].with_name("rules.toml").write_text(RULES.replace("normal_(std=0.02)", "xavier_normal_"))
    assert main([*command, "--dry-run"]) == 1
    assert re.search(r"model.safetensors: a, xavier_normal_\(\): .*got shape", capsys.readouterr().err)


def test_a_dry_run_takes_no_memory_and_no_disk(paths, command, capsys):
    path, _ = paths
    write(path, content := described({"a.keep": ("F32", (2**40,)), "b": ("F32", (2**36, 2**3))}), data=b"")
    os.truncate(path, path.stat().st_size + content["b"]["data_offsets"][1])
    assert main([*command, "--dry-run"]) == 0
    assert re.search(r"^b +68719476736x8 +float32 +normal_\(std=0.02\) +0.02$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("content", LAYOUTS.values(), ids=LAYOUTS)
def test_the_list_of_tensors(paths, content, capsys):
    path, _ = paths
    write(path, content)
    assert main(["init", str(path), "--list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    entries = {name: entry for name, entry in content.items() if name != "__metadata__"}
    sizes = {name: entry["data_offsets"][1] - entry["data_offsets"][0] for name, entry in entries.items()}
    assert [(line[0], line[-1]) for line in lines[4:-2]] == [(name.split()[0], f"{size:,}") for name, size in sizes.items()]
    assert lines[-1] == [str(len(entries)), "tensors,", f"{sum(sizes.values()):,}", "bytes"]


def test_the_list_of_no_file(paths, capsys):
    assert main(["init", str(paths[0]), "--list"]) == 1
    assert re.fullmatch(r"gpuinit init: \[Errno 2\] No such file.*\n", capsys.readouterr().err)


# The exit code: 0 if the output is there, else 1, and it is as it was.


@pytest.mark.parametrize("full", [1, 2])
def test_a_full_disk(paths, command, full, monkeypatch, capsys):
    path, out = paths
    calls = []

    def fail(file):
        calls.append(file)
        if len(calls) == full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    out.write_text("old")
    assert main([*command, "--json", str(path.with_name("report.json"))]) == 1
    assert capsys.readouterr().err == "gpuinit init: [Errno 28] No space left on device\n"
    assert (out.read_text(), left(out), path.with_name("report.json").exists()) == ("old", [out.name], False)


def program(arguments, redirection="", **options):
    """A run of the program whose streams a shell redirects."""
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-W", "error", "-m", "gpuinit", *arguments]
    return subprocess.run(shell, capture_output=True, text=True, **options)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="streams of Linux")
@pytest.mark.parametrize("redirection", ["2>&-", ">&-", "<&- >&- 2>&-", "2>/dev/full", ">/dev/full", ">/dev/full 2>&1"])
def test_streams_that_are_closed_or_full(paths, command, redirection):
    path, out = paths
    expected = initialize_file(path, NORMAL, seed=42, out=out) and out.read_bytes()
    out.write_text("old")
    run = program(command, redirection)
    assert (run.returncode, out.read_bytes() == expected, left(out)) == (0, True, [out.name])
    told = "gpuinit init: [Errno 28] No space left on device\n"
    assert run.stderr == (told if redirection == ">/dev/full" else "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="streams of Linux")
@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_an_error_that_cannot_be_shown(command, redirection):
    command[3] = "none.toml"
    run = program(command, redirection)
    assert (run.returncode, run.stdout) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="streams of Linux")
@pytest.mark.parametrize(("redirection", "code"), [("2>&-", 0), (">&-", 0), ("<&- >&- 2>&-", 0), (">/dev/full", 1)])
def test_streams_of_another_command(redirection, code):
    run = program(["info"], redirection)
    assert (run.returncode, run.stderr) == (code, "gpuinit stdout: [Errno 28] No space left on device\n" if code else "")


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--list"], 1)])
def test_a_closed_pipe(paths, command, arguments, code):
    """What is written is written; what is only to be shown was not."""
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "gpuinit", *command, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert (run.returncode, left(paths[1])) == (code, [] if code else [paths[1].name])
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("option", [[], ["--dry-run"]])
def test_a_rule_that_matches_nothing(paths, command, option):
    write(paths[0], described({"a": ("F32", (4,))}))
    run = subprocess.run([sys.executable, "-m", "gpuinit", *command, *option], capture_output=True, text=True)
    assert run.returncode == 0
    assert run.stderr == "gpuinit: warning: rules should match parameters, but '*.keep' matches none\n"


def test_a_name_that_stdout_cannot_have(paths, command):
    write(paths[0], described({"\u00e9\u2713": ("F32", (4,)), "a.keep": ("F32", (4,))}))
    run = program(command, env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert (run.returncode, run.stderr) == (0, "")
    assert re.search(r"^\\xe9\\u2713 ", run.stdout, re.MULTILINE)


def test_names_are_escaped(paths, command, capsys):
    write(paths[0], described({"w\x1b]0;title\x07\x1b[2J\u202e\n.keep": ("F32", (4,))}))
    for option in ([], ["--dry-run"], ["--list"]):
        assert main([*command, *option]) == 0
        output = capsys.readouterr().out
        assert r"w\x1b]0;title\x07\x1b[2J\u202e\n.keep" in output
        assert output.replace("\n", "").isprintable()


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
sys.argv[1:] = sys.argv[3:]
__main__.program()
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
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129), ("SIGKILL", -9)])
def test_a_killed_run_leaves_no_folder(folders, folder_command, name, code):
    folder, out = folders
    report = folder.with_name("report.json")
    report.write_text("old")
    assert killed([*folder_command, "--json", str(report)], signal.Signals[name], "SIG_DFL") == code
    assert report.read_text() == "old"
    assert len(left(out)) == (name == "SIGKILL")
    assert all(re.fullmatch(r"\.gpuinit-\w+\.part", part) for part in left(out))


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_ignored_signal_stays_ignored(paths, command):
    """As `nohup` has it."""
    assert killed(command, signal.SIGHUP, "SIG_IGN") == 0
    assert left(paths[1]) == [paths[1].name]


# Runs in forked processes, to which signals come at any time: a line with the exit code, and what is wrong, for each.
KILLING = """
import os, random, signal, sys, time
from pathlib import Path
import gpuinit
from gpuinit import __main__
from gpuinit._cli import init  # imported once, here, and not by each child

count, model, rules, out, report, errors = int(sys.argv[1]), *map(Path, sys.argv[2:])
sys.argv[1:] = ["init", str(model), "--rules", str(rules), "--seed", "1", "-o", str(out), "--json", str(report)]
for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # until the program has its own handlers
    signal.signal(getattr(signal, name), signal.SIG_DFL)
chance = random.Random(0)
before, names = model.read_bytes(), {out.name, report.name}

def content():
    return out.read_bytes(), report.read_bytes()

def killed(delay, numbers, gap):
    out.write_bytes(b"old")
    report.write_bytes(b"old")
    child = os.fork()
    if child == 0:
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        __main__.program()
    time.sleep(delay)
    for number in numbers:
        os.kill(child, number)  # not waited for yet, so the number is still its own
        time.sleep(gap)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

for _ in range(2):  # the first one finds colder caches
    start = time.perf_counter()
    assert killed(0, [], 0) == 0
    duration = time.perf_counter() - start
complete = content()
for _ in range(count):
    numbers = [chance.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)) for _ in range(chance.randrange(1, 6))]
    code = killed(chance.uniform(0, 1.1 * duration), numbers, chance.choice((0, 1e-5, 1e-4, 1e-3)))
    wrong = []
    if code != 0 and code - 128 not in numbers and -code not in numbers:
        wrong.append("the code is of no signal that was sent")
    if content() != (complete if code == 0 else (b"old", b"old")):
        wrong.append("the code is not true")
    if model.read_bytes() != before:
        wrong.append("the input has changed")
    if set(os.listdir(out.parent)) != names:
        wrong.append(f"left: {set(os.listdir(out.parent)) - names}")
    print(int(code), *wrong, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("count", [20, pytest.param(320, marks=pytest.mark.slow)])
def test_signals_at_any_time_leave_nothing_and_no_false_exit_code(paths, count):
    path, out = paths
    tensors = {f"{number}.weight": ("F32", (2**9 * number,)) for number in range(20)}
    write(path, described(tensors | {"last.keep": ("F32", (2**14,))}))
    rules, report, errors = path.with_name("rules.toml"), out.with_name("report.json"), path.with_name("errors")
    rules.write_text(RULES)
    arguments = [sys.executable, "-c", KILLING, str(count), path, rules, out, report, errors]
    run = subprocess.run(arguments, capture_output=True, text=True, env={**os.environ, "GPUINIT_NUM_THREADS": "2"})
    assert run.returncode == 0, run.stderr
    codes = [line.partition(" ")[0] for line in run.stdout.splitlines()]
    assert [line for line in run.stdout.splitlines() if " " in line] == []
    assert len(codes) == count
    assert len([code for code in codes if code in ("129", "130", "143")]) >= count // 20
    # What Python says of a signal that comes while its handler is replaced, which changes nothing.
    races = {f"OSError: Signal {number:d} ignored due to race condition" for number in signal.Signals}
    assert set(re.findall(r"^\w+Error\b.*", errors.read_text(), re.MULTILINE)) <= races
