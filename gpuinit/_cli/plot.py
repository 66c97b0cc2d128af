"""`python -m gpuinit plot`: an initializer's weight, and the signal through layers that have it, in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpuinit import _console as console
from gpuinit._backends.targets import observed
from gpuinit._contract.generator import Generator
from gpuinit._models.expectations import distribution_of
from gpuinit._plot.figures import draw_histogram, key_to_histograms, new_figure, signal
from gpuinit._plot.signals import draw_weight
from gpuinit._rules.calls import Call

if TYPE_CHECKING:
    from gpuinit._plot.figure import Figure


def run(shape: tuple[int, int], function: Call, nonlinearity: str, depth: int, seed: int, output: str) -> int:
    """Write the picture; the exit code is 1, with one line on stderr, if that cannot be done."""
    try:
        draw(shape, function, nonlinearity, depth, seed).savefig(output, dpi=120)
    except (RuntimeError, TypeError, ValueError, MemoryError, OSError) as error:
        console.complain("plot", error)
        return 1
    print(output)
    return 0


def draw(shape: tuple[int, int], function: Call, nonlinearity: str, depth: int, seed: int) -> Figure:
    """The histogram of the first weight, and activations and gradients through `depth` layers, the shape alternating with its
    transpose."""
    figure = new_figure(3.8)
    first, *others = figure.subplots(1, 3, width_ratios=(3, 4, 4))
    with observed() as writes:
        weight = draw_weight(shape, function, Generator(seed).spawn("0"))
    draw_histogram(first, "weight of the first layer", weight, distribution_of(writes[-1].asked) if writes else None)
    first.set(xlabel="value", ylabel="density")
    key_to_histograms(figure, [first], "outside lower left")
    signal([(shape, shape[::-1])[i % 2] for i in range(depth)], function, nonlinearity, seed=seed, axes=others)
    for panel in others:
        panel.get_legend().remove()  # of one line, which the title names
    figure.suptitle(f"{function}, {nonlinearity}, {depth} layers, seed {seed}")
    return figure
