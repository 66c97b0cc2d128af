"""Draw docs/signal.png, Xavier's and Kaiming's initializers through 30 layers, and docs/histogram.png, the report of a model."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

import gpuinit as gi
from gpuinit import plot

DOCS = Path(__file__).parents[1] / "docs"
STACK = [(500, 500)] * 30
INITS = {
    "relu": {
        "xavier_normal_": gi.xavier_normal_,
        "kaiming_normal_, nonlinearity relu": functools.partial(gi.kaiming_normal_, nonlinearity="relu"),
    },
    "tanh": {
        "xavier_normal_": gi.xavier_normal_,
        "xavier_normal_, gain 5/3": functools.partial(gi.xavier_normal_, gain=gi.calculate_gain("tanh")),
        "kaiming_normal_, nonlinearity relu": functools.partial(gi.kaiming_normal_, nonlinearity="relu"),
    },
}
MODEL = {
    "embedding": (2000, 256),
    "attention.q": (256, 256),
    "attention.out": (256, 256),
    "mlp.up": (1024, 256),
    "mlp.down": (256, 1024),
    "norm": (256,),
    "head.weight": (2000, 256),
    "head.bias": (2000,),
}
RULES = [
    ("embedding", "normal_(std=0.02)"),
    ("attention.q", "xavier_uniform_"),
    ("attention.out", "orthogonal_"),
    ("mlp.up", "kaiming_normal_(nonlinearity='relu')"),
    ("mlp.down", "lecun_normal_"),
    ("norm", "ones_"),
    ("*.bias", "zeros_"),
    ("*", "trunc_normal_(std=0.02, a=-0.02, b=0.06)"),
]


def draw_signals():
    figure = plot.new_figure(7.4)
    for row, (nonlinearity, inits) in zip(figure.subplots(2, 2), INITS.items(), strict=True):
        plot.signal(STACK, inits, nonlinearity, axes=row)
        for panel in row:
            panel.set_title(f"{panel.get_title()}: {nonlinearity}", fontsize=11)
    figure.suptitle("30 dense layers of width 500, inputs and output gradients standard normal, seed 0")
    return figure


def main() -> None:
    draw_signals().savefig(DOCS / "signal.png", dpi=110)
    report = gi.initialize({name: np.empty(shape, np.float32) for name, shape in MODEL.items()}, RULES, seed=42)
    report.plot().savefig(DOCS / "histogram.png", dpi=110)


if __name__ == "__main__":
    main()
