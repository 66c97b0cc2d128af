"""Draw docs/shards.png: one tensor, cut three ways, with the same numbers; they are filled part by part, as engines do it."""

from __future__ import annotations

import itertools
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import gpuinit as gi

SHAPE = (4, 6)
COLOURS = ("#9ecae1", "#fdd0a2", "#a1d99b", "#dadaeb")
CUTS = {
    "whole": ((4,), (6,)),
    "two uneven blocks of rows": ((3, 1), (6,)),
    "three blocks of columns": ((4,), (2, 2, 2)),
    "a 2 x 2 mesh": ((2, 2), (3, 3)),
}


def slices(lengths):
    ends = list(itertools.accumulate(lengths, initial=0))
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def draw(axes, title, cut):
    """One panel: the parts of a cut, each filled alone."""
    for number, index in enumerate(itertools.product(*map(slices, cut))):
        shard = gi.Shard(SHAPE, index)
        part = gi.normal_(np.empty(shard.shape, np.float32), generator=42, shard=shard)
        (top, left), (rows, columns) = shard.start, shard.shape
        place = (left + 0.06, top + 0.06)
        style = {"facecolor": COLOURS[number], "edgecolor": "0.25", "linewidth": 1.2}
        axes.add_patch(plt.Rectangle(place, columns - 0.12, rows - 0.12, **style))
        for (row, column), value in np.ndenumerate(part):
            axes.text(left + column + 0.5, top + row + 0.5, f"{value:.2f}", ha="center", va="center", fontsize=9)
    axes.set(xlim=(0, SHAPE[1]), ylim=(SHAPE[0], 0), aspect="equal")
    axes.set_title(title, fontsize=11)
    axes.axis("off")


def main() -> None:
    figure, panels = plt.subplots(2, 2, figsize=(9, 6.6), layout="constrained")
    for axes, (title, cut) in zip(panels.flat, CUTS.items()):
        draw(axes, title, cut)
    figure.suptitle("normal_ of a 4 x 6 tensor, seed 42: each coloured shard was filled alone", fontsize=12)
    figure.savefig(Path(__file__).parents[1] / "docs" / "shards.png", dpi=110)


if __name__ == "__main__":
    main()
