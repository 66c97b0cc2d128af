"""The command line, and the two models that it fills."""

from __future__ import annotations

import io
import math
import re
import sys
import time
import unicodedata
from types import SimpleNamespace

import numpy as np
import pytest

import gpuinit as gi
from gpuinit import _console as console
from gpuinit.__main__ import main
from gpuinit._cli.demo_models import MODELS, gpt2, resnet50

RESNET50_DIGEST = "d2e904db1f3d09ee86641e605a6855b3bf4e91a08ee21e82bfbdbe36a68290e3"
LAST_LINE = (
    r"resnet50 on {}: 25,557,032 parameters, 102\.2 MB in \d+\.\d{{3}} s, \d+\.\d\d GB/s, digest " + RESNET50_DIGEST + r"\Z"
)


@pytest.fixture(params=[None, SimpleNamespace(is_available=lambda: False)], ids=["no CuPy", "no device"])
def no_gpu(request, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", request.param)


@pytest.fixture
def no_rich(monkeypatch):
    for name in {"rich", *(name for name in sys.modules if name.startswith("rich."))}:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def terminal(capsys, monkeypatch):
    # On the class, because capsys has other streams in the test than in its fixtures.
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize(("model", "count", "total"), [("gpt2", 148, 124_439_808), ("resnet50", 161, 25_557_032)])
def test_number_of_parameters(model, count, total):
    shapes = MODELS[model]()
    assert len(shapes) == count
    assert sum(map(math.prod, shapes.values())) == total


@pytest.mark.parametrize(
    ("model", "name", "shape"),
    [
        ("gpt2", "transformer.wte.weight", (50257, 768)),
        ("gpt2", "transformer.wpe.weight", (1024, 768)),
        ("gpt2", "transformer.h.0.ln_1.weight", (768,)),
        ("gpt2", "transformer.h.5.attn.c_attn.weight", (768, 2304)),
        ("gpt2", "transformer.h.11.mlp.c_proj.weight", (3072, 768)),
        ("gpt2", "transformer.h.11.mlp.c_fc.bias", (3072,)),
        ("resnet50", "conv1.weight", (64, 3, 7, 7)),
        ("resnet50", "layer1.0.downsample.0.weight", (256, 64, 1, 1)),
        ("resnet50", "layer3.5.conv2.weight", (256, 256, 3, 3)),
        ("resnet50", "layer4.0.downsample.1.bias", (2048,)),
        ("resnet50", "fc.weight", (1000, 2048)),
    ],
)
def test_shape_of_a_parameter(model, name, shape):
    assert MODELS[model]()[name] == shape


def test_order_of_parameters():
    block = ["conv1.weight", "bn1.weight", "bn1.bias", "conv2.weight", "bn2.weight", "bn2.bias"]
    block += ["conv3.weight", "bn3.weight", "bn3.bias", "downsample.0.weight", "downsample.1.weight", "downsample.1.bias"]
    names = list(resnet50())
    assert names[:16] == [
        "conv1.weight",
        "bn1.weight",
        "bn1.bias",
        *(f"layer1.0.{name}" for name in block),
        "layer1.1.conv1.weight",
    ]
    assert list(gpt2(n_layer=1))[:4] == [
        *("transformer.wte.weight", "transformer.wpe.weight"),
        *("transformer.h.0.ln_1.weight", "transformer.h.0.ln_1.bias"),
    ]


@pytest.mark.parametrize("threads", [1, 2])
def test_values_with_any_number_of_threads(threads):
    before = gi.get_num_threads()
    gi.set_num_threads(threads)
    try:
        arrays = {name: np.empty(shape, np.float32) for name, shape in resnet50().items()}
        assert gi.initialize(arrays, gi.rules.resnet(), seed=0).digest == RESNET50_DIGEST
    finally:
        gi.set_num_threads(before)


def test_demo(xp, capsys):
    assert main(["demo", "--model", "resnet50", "--backend", xp.__name__]) == 0
    output, errors = capsys.readouterr()
    lines = output.splitlines()
    assert re.match(LAST_LINE.format(xp.__name__), lines[-1])
    assert set(resnet50()) <= {line.split(" ")[0] for line in lines}
    assert max(map(len, lines[:-1])) <= 130
    assert errors == ""


def test_seed_changes_values(capsys):
    assert main(["demo", "--model", "resnet50", "--backend", "numpy", "--seed", "1"]) == 0
    assert RESNET50_DIGEST not in capsys.readouterr().out


@pytest.mark.usefixtures("no_gpu")
def test_demo_on_cupy_without_a_gpu(capsys):
    assert main(["demo", "--model", "resnet50", "--backend", "cupy"]) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert re.fullmatch(r"gpuinit demo: CuPy .+\n", errors)


@pytest.mark.usefixtures("no_gpu")
def test_auto_without_a_gpu_is_numpy(capsys):
    assert main(["demo", "--model", "resnet50"]) == 0
    assert re.match(LAST_LINE.format("numpy"), capsys.readouterr().out.splitlines()[-1])


def test_demo_with_too_little_memory(monkeypatch, capsys):
    def fail(*_):
        raise MemoryError("Unable to allocate\n1 GiB")

    monkeypatch.setattr(np, "empty", fail)
    assert main(["demo", "--backend", "numpy"]) == 1
    assert capsys.readouterr().err == "gpuinit demo: Unable to allocate 1 GiB\n"


@pytest.mark.usefixtures("terminal")
def test_demo_in_a_terminal(capsys):
    pytest.importorskip("rich")
    assert main(["demo", "--model", "resnet50", "--backend", "numpy"]) == 0
    output, errors = capsys.readouterr()
    *table, last = re.sub(r"\x1b\[[0-9;]*m", "", output).splitlines()
    assert re.match(LAST_LINE.format("numpy"), last)
    assert set(resnet50()) <= {line.split(" ")[0] for line in table}
    assert max(map(len, table)) <= 80
    assert "filling" in errors


@pytest.mark.usefixtures("terminal", "no_rich")
def test_demo_in_a_terminal_without_rich(capsys):
    assert main(["demo", "--model", "resnet50", "--backend", "numpy"]) == 0
    output, errors = capsys.readouterr()
    assert "\x1b" not in output + errors
    assert re.match(LAST_LINE.format("numpy"), output.splitlines()[-1])


def test_plain_table(capsys):
    console.table("Title", ["name", "value"], [["a", "1"], ["longer", "22"]], right=["value"])
    assert capsys.readouterr().out.splitlines() == [
        "Title",
        "",
        "name    value",
        "------  -----",
        "a           1",
        "longer     22",
        "",
    ]


@pytest.mark.usefixtures("terminal")
def test_brackets_in_a_terminal(capsys):
    console.table("[bold]", ["[what]"], [["gpuinit[cuda12]"]])
    output = capsys.readouterr().out
    assert all(text in output for text in ("[bold]", "[what]", "gpuinit[cuda12]"))


def shown_names(names, capsys):
    """Print them in each way; returns what was printed, without rich's own commands and the ends of lines."""
    console.table(names[0], ["name"], [[name] for name in names], cut=["name"])
    with console.progress("filling", len(names)) as advance:
        for name in names:
            advance(name)
            time.sleep(0.12)  # a bar is drawn ten times a second
    console.complain("init", ValueError(names[0]))
    report = gi.initialize({names[0]: np.empty(1)}, [("*", "keep")], seed=0)
    print(report)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|[\r\n]", "", "".join(capsys.readouterr()))


def test_all_that_is_no_character_is_escaped():
    """Controls, formats, surrogates, what is private or unassigned, and all separators but the space."""
    codes = [*range(0x3100), *range(0xD7F0, 0xE010), *range(0xFB00, 0x10010), *range(0xE0000, 0xE0200)]
    commands = [chr(code) for code in codes if code != 0x20 and unicodedata.category(chr(code))[0] in "CZ"]
    assert len(commands) > 3000
    assert all(console.escaped(c) == c.encode("unicode_escape").decode() != c for c in commands)
    assert console.escaped("\x1b\n", but="\n") == "\\x1b\n"
    text = "w.0 \\x1b \u00e9\u4e2d\u05d0\U0001f600"
    assert console.escaped(text) == text


@pytest.mark.parametrize("rich", [False, True], ids=["plain", "rich"])
def test_names_are_escaped_wherever_they_are_shown(rich, request, capsys):
    if rich:
        pytest.importorskip("rich")
        request.getfixturevalue("terminal")
    names = ["\x1b]0;title\x07\x1b[2J", "\x9b2J", "a\u202eb\u2066", "\r\n", "[bold]"]
    shown = shown_names(names, capsys)
    assert shown.isprintable()
    assert all(name.encode("unicode_escape").decode() in shown for name in names)


@pytest.mark.parametrize("close", [lambda stream: None, lambda stream: stream.close() or stream], ids=["none", "closed"])
def test_a_stream_that_is_closed_has_no_progress_bar(monkeypatch, close):
    monkeypatch.setattr(sys, "stderr", close(io.StringIO()))
    report = gi.initialize({"a": np.empty(1)}, [("*", "zeros_")], seed=0, progress=True)
    assert report.rows[0].std == 0


def test_info(xp, capsys):
    assert main(["info"]) == 0
    output = capsys.readouterr().out
    assert re.search(rf"^gpuinit +{re.escape(gi.__version__)}, contract {gi.CONTRACT_VERSION}$", output, re.MULTILINE)
    assert re.search(rf"^NumPy +{re.escape(np.__version__)}$", output, re.MULTILINE)
    if xp is not np:
        assert re.search(rf"^CuPy +{re.escape(xp.__version__)}, cupy", output, re.MULTILINE)
        assert re.search(r"^device 0 +.+, compute capability \d+\.\d, \d+\.\d GiB$", output, re.MULTILINE)


@pytest.mark.usefixtures("no_gpu", "no_rich")
def test_info_without_a_gpu(capsys):
    assert main(["info"]) == 0
    output = capsys.readouterr().out
    assert 'missing CuPy: pip install "gpuinit[cuda12]"' in output
    assert "Traceback" not in output


def test_info_without_ml_dtypes(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    assert main(["info"]) == 0
    output = capsys.readouterr().out
    assert 'missing ml_dtypes: pip install "gpuinit[bfloat16]"' in output
    assert output.splitlines()[-1] == "NumPy arrays need none of these, except ml_dtypes for bfloat16 and float8."


@pytest.mark.parametrize("seed", ["-1", "1.5", "x", ""])
def test_bad_seed(seed, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["demo", "--seed", seed])
    assert f"argument --seed: must be an integer >= 0, got {seed!r}" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["demo"], ["info"], ["plot"], ["selfcheck"]])
def test_help_gives_an_example(arguments, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "--help"])
    assert "example: python -m gpuinit " in capsys.readouterr().out
