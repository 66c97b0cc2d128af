"""Fills of parts of arrays: what is cut, and the call."""

from __future__ import annotations

from tests.support import fills

VECTORS = [(), (21,)]
WEIGHTS = [(5, 7), (3, 2, 5)]
# Shapes of wholes that are cut in every way.
SHAPES = {
    fills.DRAWN: VECTORS + WEIGHTS,
    fills.SCALED: WEIGHTS,
    fills.SPARSE: [(5, 7), (35, 3)],
    fills.ORTHOGONAL: [(5, 7), (7, 5), (3, 2, 5)],
    fills.CONSTANT: [(), (5, 7)],
    fills.STRUCTURED: [(5, 7), (7, 5), (4, 3, 3), (3, 4, 2, 3)],
}
# (initializer, arguments, shapes): each initializer as it is used, other ways of the same, and more axes.
CUTS = [
    *((row.name, row.arguments, [s for s in SHAPES[row.kind] if row.takes(s)]) for row in fills.ONE_OF_EACH),
    ("uniform_", {}, [(2, 1, 2, 1, 1, 2)]),
    ("normal_", {}, [(1, 2, 2, 3), (2, 1, 2, 2, 2)]),
    ("normal_", {"mean": 1, "std": 0}, WEIGHTS),
    ("sparse_", {"sparsity": 0}, [(5, 3)]),
    ("embedding_", {"padding_idx": 2}, [(5, 3)]),
    ("sparse_", {"sparsity": 1}, [(5, 3)]),
    ("sparse_", {"sparsity": 0.4, "mean": 1, "axis": 1}, [(5, 7), (3, 35)]),
    ("dirac_", {"groups": 2}, [(4, 3, 3), (6, 2, 2, 1, 1)]),
    ("lecun_normal_", {"parts": (1, 4), "parts_axis": -1}, [(3, 5), (2, 3, 5)]),
    ("orthogonal_", {"parts": (3, 2)}, [(5, 2), (5, 3, 2)]),
    ("orthogonal_", {"batch_axis": 0, "in_axis": 1, "out_axis": -1}, [(2, 3, 4)]),
    ("delta_orthogonal_", {}, [(3, 2, 4), (3, 2, 2, 3)]),
]


def called(name, x, arguments, **shard):
    """Fill from a known place of the stream; the position afterwards."""
    generator = fills.generator_at(3, seed=11)
    assert fills.call(name, x, arguments, generator, **shard) is x
    return generator.position
