"""Pictures: the signal through a network's depth, and weights beside the densities that were asked for.

They need matplotlib (`gpuinit[plot]`), which is imported when one is drawn.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gpuinit._backends.views import view_of
from gpuinit._contract.arguments import short_repr
from gpuinit._contract.densities import density
from gpuinit._contract.distributions import Distribution
from gpuinit._initializers.fans import NonLinearity
from gpuinit._plot.signals import Signal, signal_variances
from gpuinit._rules.calls import parse_initializer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gpuinit._plot.figure import Figure

# Of Okabe and Ito's palette, which colour-blind readers can tell apart; the dashes tell lines apart that lie on each other.
_STYLES = list(
    zip(("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"), itertools.cycle(("-", "--", "-.", ":")), "os^Dv*")
)
_FILL, _LINE = "#9ecae1", "#D55E00"
_SAMPLE = 2**18
_BINS = 60
_COLUMNS = 4
_NAMED_LAYERS = 24
_NAME_LENGTH = 30


def new_figure(height: float) -> Figure:
    """A figure 1000 pixels wide and 100 times `height` tall; a RuntimeError that says what to install without matplotlib."""
    try:
        from gpuinit._plot.figure import Figure
    except ImportError as error:
        raise RuntimeError('pictures need matplotlib: pip install "gpuinit[plot]"') from error
    return Figure(10, height)


def signal(
    model: Any,
    init: Any = None,
    nonlinearity: str | NonLinearity = "relu",
    *,
    seed: int = 0,
    batch: int = 256,
    inputs: Any = None,
    axes: Sequence[Axes] | None = None,
) -> Figure:
    """Draw how activations and gradients grow or shrink through depth, as Glorot and Bengio (2010) and He et al. (2015) do.

    Parameters
    ----------
    model : sequence of (out, in), torch.nn.Module, or mapping of str to either
        A stack of dense layers, such as ``[(500, 500)] * 30``, or a module as it is; or several to compare, by their labels. See
        `signal_variances`, which gives the numbers.
    init : initializer, or mapping of str to initializer
        For all weights of a stack, or several to compare, by their labels; None for a module. A function of gpuinit,
        `functools.partial` of one, or a string.
    nonlinearity : str or NonLinearity
        What follows each layer of a stack.
    seed, batch, inputs
        As for `signal_variances`.
    axes : two matplotlib Axes, optional
        Where to draw activations and gradients; those of a new figure if None.

    Returns
    -------
    matplotlib.figure.Figure
        A notebook shows it; ``savefig("signal.png")`` writes it.

    Raises
    ------
    TypeError, ValueError
        As for `signal_variances`.
    RuntimeError
        If matplotlib is not installed.

    Examples
    --------
    >>> import functools, gpuinit as gi
    >>> from gpuinit import plot
    >>> kaiming = functools.partial(gi.kaiming_normal_, nonlinearity="relu")
    >>> figure = plot.signal([(100, 100)] * 10, {"Xavier": gi.xavier_normal_, "Kaiming": kaiming})
    >>> [panel.get_title() for panel in figure.axes]
    ['Activations, forward', 'Gradients, backward']
    """
    if axes is None:
        figure = new_figure(4)
        axes = figure.subplots(1, 2)
        figure.suptitle(_title(model, nonlinearity, seed))
    for label, one, filled in _runs(model, init):
        draw_signal(axes, label, signal_variances(one, filled, nonlinearity, seed=seed, batch=batch, inputs=inputs))
    return axes[0].figure  # type: ignore[return-value]


def _title(model: Any, nonlinearity: str, seed: int) -> str:
    if isinstance(model, Sequence) and model:
        return f"Signal through {len(model)} layers, {nonlinearity}, seed {seed}"
    return f"Signal through a network, seed {seed}"


def _runs(model: Any, init: Any) -> list[tuple[str, Any, Any]]:
    """A label, a model and an initializer for each line to draw."""
    if isinstance(model, Mapping):
        return [(label, one, init) for label, one in model.items()]
    if isinstance(init, Mapping):
        return [(label, model, one) for label, one in init.items()]
    return [(type(model).__name__ if init is None else str(parse_initializer(init)), model, init)]


def draw_signal(axes: Sequence[Axes], label: str, measured: Signal) -> None:
    """Add a line for activations to the first panel, and one for gradients to the second."""
    titles = "Activations, forward", "Gradients, backward"
    units = "mean of a²", "mean of (∂L/∂a)²"
    for panel, title, unit, values in zip(axes, titles, units, (measured.activations, measured.gradients), strict=True):
        colour, dashes, marker = _STYLES[len(panel.lines) % len(_STYLES)]
        # Beyond, matplotlib's margins overflow.
        visible = np.where((values > 1e-200) & (values < 1e200), values, np.nan)
        panel.plot(visible, dashes, color=colour, marker=marker, markersize=3, linewidth=1.5, label=label)
        panel.set_yscale("log")
        panel.autoscale(axis="y")
        low, high = panel.get_ylim()
        panel.set_ylim(min(low, 0.1), max(high, 10.0))  # so that a signal that is kept looks level
        last = max(np.size(line.get_xdata()) for line in panel.lines) - 1
        panel.set_xlim(-0.04 * last, 1.04 * last)
        panel.set_title(title, fontsize=11)
        panel.set_ylabel(unit)
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
        _name_places(panel, measured.names)


def _name_places(panel: Axes, names: Sequence[str]) -> None:
    """Ticks below a panel: the numbers of a stack's layers, or names of a module's."""
    if all(map(str.isdecimal, names)):
        panel.locator_params(axis="x", integer=True)
        panel.set_xlabel("layers passed (0: the input)")
        return
    places = range(0, len(names), -(-len(names) // _NAMED_LAYERS))
    panel.set_xticks(places, [shorten_name(names[place]) for place in places], rotation=90, fontsize=7, family="monospace")
    panel.set_xlabel("at the input of")


def shorten_name(name: str) -> str:
    """Return the end of a long name, which tells layers apart."""
    return name if len(name) <= _NAME_LENGTH else f"…{name[1 - _NAME_LENGTH :]}"


def histograms(entries: Sequence[tuple[str, Any, Distribution | None]], *, limit: int = 24) -> Figure:
    """Draw a histogram of each array beside the density that was asked for.

    Parameters
    ----------
    entries : sequence of (name, array, distribution)
        The arrays, of any kind that the initializers fill, and what they were drawn from, if that is known. A histogram is of
        2**18 values, evenly spaced in the array, or somewhat fewer; of a complex array, of the real parts.
    limit : int
        The most panels to draw, of the largest arrays.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    RuntimeError
        If matplotlib is not installed.
    ValueError
        If there is nothing to draw.
    """
    if not entries:
        raise ValueError(f"entries must hold at least one array, got entries={short_repr(entries)}")
    largest = sorted(range(len(entries)), key=lambda i: -math.prod(entries[i][1].shape))[:limit]
    rows = -(-len(largest) // _COLUMNS)
    figure = new_figure(1.1 + 1.9 * rows)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).flat
    for i in sorted(largest):
        draw_histogram(next(panels), *entries[i])
    for panel in panels:
        panel.set_axis_off()
    shown_of = f"the {len(largest)} largest of {len(entries)}" if len(largest) < len(entries) else f"{len(entries)}"
    figure.suptitle(f"Values drawn and densities asked for: {shown_of} parameters", fontsize=12)
    figure.supylabel("density", fontsize=10)
    figure.supxlabel("value", fontsize=10)
    key_to_histograms(figure, figure.axes, "outside lower right")
    return figure


def key_to_histograms(
    figure: Figure, panels: Sequence[Axes], place: Literal["outside lower left", "outside lower right"]
) -> None:
    """One legend for all panels."""
    handles = {handle.get_label(): handle for panel in panels for handle in panel.get_legend_handles_labels()[0]}
    if handles:
        figure.legend(handles=list(handles.values()), loc=place, ncols=2, fontsize=8)


def draw_histogram(panel: Axes, name: str, array: Any, distribution: Distribution | None) -> None:
    """Fill a panel with an array's values and their density; one value alone is written out."""
    shape = "x".join(map(str, array.shape))
    values = _sample(array)
    panel.set_title(f"{shorten_name(name)}\n{shape}", fontsize=8, family="monospace")
    panel.tick_params(labelsize=7)
    if not values.size or values.min() == values.max():
        text = f"all {values[0]:.6g}" if values.size else "no finite value"
        panel.text(0.5, 0.5, text, ha="center", va="center", transform=panel.transAxes)
        panel.set(xticks=[], yticks=[])
        return
    asked = None if distribution is None else density(distribution)
    low, high = values.min(), values.max()
    if asked is not None and asked.std:
        low, high = min(low, asked.support[0]), max(high, asked.support[1])
        x = np.linspace(low - 0.05 * (high - low), high + 0.05 * (high - low), 600)
        panel.plot(x, asked.pdf(x), color=_LINE, linewidth=1.2, label="density asked for")
    heights, edges = np.histogram(values, _BINS, (low, high), density=True)
    panel.stairs(heights, edges, fill=True, color=_FILL, label="values drawn")
    panel.locator_params(nbins=4)
    panel.grid(alpha=0.3)


def _sample(array: Any) -> np.ndarray:
    """At most 2**18 of an array's finite values, as float64 on the host."""
    view = view_of(array)
    with view.context():
        # An odd step comes to all columns of a matrix whose rows have a power of two of them.
        piece = view.array.reshape(-1)[:: -(-view.array.size // _SAMPLE) | 1]
        on_host = piece.get() if hasattr(piece, "get") else piece
    values = np.asarray(on_host.real, np.float64)
    return np.compress(np.isfinite(values), values)
