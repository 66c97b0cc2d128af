"""Pictures: what is on them, that nothing overlaps, and that matplotlib is asked for only when one is drawn."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

import gpuinit as gi
from gpuinit import plot
from gpuinit.__main__ import main
from gpuinit._cli import plot as plot_command
from gpuinit._contract import distributions
from gpuinit._contract.dtypes import as_dtype
from gpuinit._plot import figures
from gpuinit._rules.calls import parse_initializer

pytest.importorskip("matplotlib")

pytestmark = pytest.mark.matplotlib

PNG = b"\x89PNG\r\n\x1a\n"
LONG = "transformer.blocks.{}.attention.projections.output.weight"
TITLES = ["Activations, forward", "Gradients, backward"]
UNITS = ["mean of a²", "mean of (∂L/∂a)²"]


def texts(figure):
    """All that is written on a figure, but legends and empty texts, with the places it takes."""
    figure.draw_without_rendering()
    found = [figure._suptitle, figure._supxlabel, figure._supylabel]
    for panel in figure.axes:
        found += [panel.title, *panel.texts]
        if panel.axison:
            ticks = [(panel.xaxis, panel.get_xlim()), (panel.yaxis, panel.get_ylim())]
            shown = [t for axis, limits in ticks for t in axis.get_major_ticks() if min(limits) <= t.get_loc() <= max(limits)]
            found += [panel.xaxis.label, panel.yaxis.label, *(tick.label1 for tick in shown)]
    return [(text.get_text(), text.get_window_extent()) for text in found if text is not None and text.get_text()]


def assert_readable(figure):
    """Every text lies on the figure, and apart from all others and from the figure's legends."""
    found = texts(figure)
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in found:
        assert 0 <= box.x0 < box.x1 <= width, text
        assert 0 <= box.y0 < box.y1 <= height, text
    boxes = [*found, *(("legend", legend.get_window_extent()) for legend in figure.legends)]
    for (first, box), (second, other) in itertools.combinations(boxes, 2):
        assert not box.overlaps(other), (first, second)
    return [text for text, _ in found]


def legend(panel):
    return [text.get_text() for text in panel.get_legend().get_texts()]


INITS = {"Xavier": gi.xavier_normal_, "Kaiming": "kaiming_normal_(nonlinearity='relu')"}


@pytest.mark.parametrize("init", [INITS, "normal_(std=1e-5)", "normal_(std=1e5)", "zeros_"])
def test_signal_of_a_stack(init):
    figure = plot.signal([(20, 20)] * 30, init, batch=8)
    written = assert_readable(figure)
    assert "Signal through 30 layers, relu, seed 0" in written
    assert [panel.get_title() for panel in figure.axes] == TITLES
    assert [panel.get_ylabel() for panel in figure.axes] == UNITS
    for panel in figure.axes:
        assert panel.get_yscale() == "log"
        assert panel.get_xlabel() == "layers passed (0: the input)"
        assert legend(panel) == (list(init) if isinstance(init, dict) else [str(parse_initializer(init))])


def test_lines_are_the_signal():
    shapes = [(20, 20)] * 5
    expected = plot.signal_variances(shapes, INITS["Kaiming"], seed=3, batch=8)
    for panel, values in zip(plot.signal(shapes, INITS, seed=3, batch=8).axes, expected[1:], strict=True):
        np.testing.assert_array_equal(panel.lines[1].get_ydata(), values)


def test_what_vanishes_or_overflows_is_left_out():
    figure = plot.signal([(9, 9)] * 3, {"zero": "zeros_", "huge": "constant_(val=1e120)"}, batch=2)
    for line in figure.axes[0].lines:
        assert np.isfinite(line.get_ydata()).tolist() == [True, False, False, False]


def test_given_axes():
    figure = figures.new_figure(5)
    axes = figure.subplots(1, 2)
    assert plot.signal([(9, 9)] * 3, "xavier_normal_", batch=2, axes=axes) is figure
    plot.signal([(9, 9)] * 3, "orthogonal_", batch=2, axes=axes)
    assert [legend(panel) for panel in axes] == [["xavier_normal_()", "orthogonal_()"]] * 2
    assert_readable(figure)


def test_signal_of_modules(torch):
    models = {name: torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(60))) for name in ("one", "two")}
    figure = plot.signal(models, inputs=(4,))
    assert_readable(figure)
    for panel in figure.axes:
        assert legend(panel) == ["one", "two"]
        names = [label.get_text() for label in panel.get_xticklabels()]
        assert names[:2] == ["0", "3"]
        assert len(names) <= 24
    (line,) = plot.signal(models["one"], inputs=(4,)).axes[0].lines
    assert line.get_label() == "Sequential"


@pytest.mark.parametrize(
    ("name", "length", "expected"),
    [("a" * 30, 30, "a" * 30), (LONG.format(11), 30, "…ctions.output.weight")],
)
def test_shortened(name, length, expected):
    assert len(figures.shorten_name(name)) == length
    assert figures.shorten_name(name).endswith(expected.removeprefix("…"))
    assert figures.shorten_name(name).startswith(expected[0])


def entry(name, initializer, shape=(60, 50), dtype="float32"):
    x = np.empty(shape, as_dtype(dtype))
    (filled,) = gi.initialize({name: x}, [("*", initializer)], seed=1)._entries
    return name, x, filled.distribution


def test_histograms():
    names = ["n", "u", "t", "o", "z", "e"]
    calls = ["normal_(std=0.02)", "uniform_", "trunc_normal_(a=3, b=inf)", "orthogonal_", "constant_(val=0.1)", "ones_"]
    shapes = [(300, 300), (50, 70), (70, 50), (60, 60), (9, 9), (0, 4)]
    figure = plot.histograms([entry(*row) for row in zip(names, calls, shapes, strict=True)])
    written = assert_readable(figure)
    assert {"Values drawn and densities asked for: 6 parameters", "value", "density", "n\n300x300"} <= set(written)
    assert [[text.get_text() for text in panel.texts] for panel in figure.axes[4:6]] == [["all 0.1"], ["no finite value"]]
    assert [len(panel.lines) for panel in figure.axes] == [1, 1, 1, 0, 0, 0, 0, 0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["density asked for", "values drawn"]
    for panel in figure.axes[:4]:
        heights, edges, _ = panel.patches[0].get_data()
        assert heights @ np.diff(edges) == pytest.approx(1)
        for line in panel.lines:
            at_centres = np.interp((edges[1:] + edges[:-1]) / 2, *line.get_data())
            # Five sigma of a bin's share, and what a steep density changes within a bin
            assert np.all(abs(heights - at_centres) <= 5 * (at_centres.max() / np.diff(edges) / 3500) ** 0.5)


def test_largest_of_many():
    entries = [entry(LONG.format(i), "normal_", (10 + i % 7, 10)) for i in range(40)]
    figure = plot.histograms(entries)
    assert "Values drawn and densities asked for: the 24 largest of 40 parameters" in assert_readable(figure)
    sizes = [10 * (10 + i % 7) for i in range(40)]
    chosen = sorted(sorted(range(40), key=lambda i: -sizes[i])[:24])
    titles = [panel.get_title().split("\n")[0] for panel in figure.axes]
    assert titles == [figures.shorten_name(LONG.format(i)) for i in chosen]


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float64", "complex64"])
def test_histogram_of_a_dtype(dtype):
    figure = plot.histograms([entry("w", "xavier_normal_", (300, 300), dtype)])
    heights, edges, _ = figure.axes[0].patches[0].get_data()
    centres = (edges[1:] + edges[:-1]) / 2
    std = (heights * np.diff(edges) @ centres**2) ** 0.5
    assert std == pytest.approx((2 / 600 / (2 if dtype == "complex64" else 1)) ** 0.5, rel=0.02)


def test_histograms_are_of_a_sample(xp):
    x = gi.uniform_(xp.empty((2**10, 2**9), np.float32), generator=1)
    x[:, 1] = 7  # a column
    sample = figures._sample(x)
    assert 2**17 < sample.size <= 2**18
    assert np.mean(sample == 7) == pytest.approx(2**-9, rel=0.01)


def test_histogram_of_a_tensor(torch):
    layer = torch.nn.Linear(20, 30)
    report = gi.initialize(layer, [("*", "normal_(std=0.5)")], seed=1)
    figure = report.plot()
    assert [panel.get_title() for panel in figure.axes[:2]] == ["weight\n30x20", "bias\n30"]


def test_no_entries():
    with pytest.raises(ValueError, match=r"entries must hold at least one array, got entries=\[\]"):
        plot.histograms([])


def test_a_notebook_shows_a_figure():
    figure = plot.histograms([("w", np.arange(9.0), distributions.uniform(np.dtype(float), 0, 9))])
    assert figure._repr_png_().startswith(PNG)


def run(*arguments):
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "MPLBACKEND")}
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def test_importing_brings_no_matplotlib_and_drawing_no_pyplot():
    code = (
        "import sys; import gpuinit, gpuinit.plot as plot; print('matplotlib' in sys.modules);"
        "plot.signal([(4, 4)] * 2, 'xavier_normal_')._repr_png_();"
        "print('matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    assert run("-c", code).split() == ["False", "True", "False"]


def test_without_matplotlib(monkeypatch, capsys, tmp_path):
    monkeypatch.delitem(sys.modules, "gpuinit._plot.figure", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(RuntimeError, match=r'pip install "gpuinit\[plot\]"'):
        plot.histograms([("w", np.ones(3), None)])
    assert main(["plot", "-o", str(tmp_path / "x.png")]) == 1
    assert capsys.readouterr().err == 'gpuinit plot: pictures need matplotlib: pip install "gpuinit[plot]"\n'


def test_command(tmp_path, capsys):
    path = tmp_path / "signal.png"
    arguments = ["--shape", "40x30", "--function", "xavier_uniform_(gain=5/3)", "--nonlinearity", "tanh", "--depth", "5"]
    assert main(["plot", *arguments, "--seed", "3", "-o", str(path)]) == 0
    assert capsys.readouterr() == (f"{path}\n", "")
    assert path.read_bytes().startswith(PNG)


@pytest.mark.parametrize("call", ["normal_(std=0.02)", "orthogonal_", "zeros_", "variance_scaling_(scale=2, mode='fan_avg')"])
def test_picture_of_the_command(call):
    figure = plot_command.draw((40, 30), parse_initializer(call), "tanh", 5, 3)
    written = assert_readable(figure)
    assert written[0] == f"{parse_initializer(call)}, tanh, 5 layers, seed 3"
    assert [panel.get_title() for panel in figure.axes] == ["weight of the first layer\n40x30", *TITLES]
    expected = plot.signal_variances([(40, 30), (30, 40)] * 2 + [(40, 30)], call, "tanh", seed=3)
    shown = np.where(expected.activations > 0, expected.activations, np.nan)
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_ydata(), shown)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--function", "kaiming_normal_(mode='fan')"], "mode must be one of fan_in, fan_out"),
        (["-o", "nowhere/signal.png"], "nowhere"),
        (["-o", "signal.xyz"], "Format 'xyz' is not supported"),
    ],
)
def test_a_command_that_fails(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plot", "--shape", "9x9", "--depth", "2", *arguments]) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("gpuinit plot: ")
    assert message in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--shape", "512", "must be two integers >= 1, as in 512x512, got '512'"),
        ("--shape", "0x5", "got '0x5'"),
        ("--depth", "0", "must be an integer >= 1, got '0'"),
        ("--function", "kaiming", "an initializer must be one of"),
        ("--function", "keep", "must be a function of gpuinit, got 'keep'"),
        ("--function", "normal_(seed=1)", "must have arguments that its function takes"),
        ("--nonlinearity", "conv1d", "invalid choice: 'conv1d'"),
        ("--seed", "-1", "must be an integer >= 0, got '-1'"),
    ],
)
def test_bad_option(option, value, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["plot", f"{option}={value}"])
    assert message in capsys.readouterr().err
