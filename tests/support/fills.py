"""The table of fills that tests select from: each initializer, its arguments, dtypes and numbers of axes.

A test takes the rows it needs with `select`, and the shapes that a row accepts with `Fill.takes`. Only a test that needs
arguments of its own adds rows, next to its selection.
"""

from __future__ import annotations

import math
import warnings
from math import inf
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

import gpuinit as gi

# Dtypes, by name.
FLOATS = ("float16", "bfloat16", "float32", "float64")
WIDE = ("float32", "float64")
# Only NumPy has them, so no row does: see `cases_of_eight_bits`.
EIGHT_BITS = ("float8_e4m3fn", "float8_e5m2")
COMPLEX = ("complex64", "complex128")
INEXACT = FLOATS + COMPLEX
SIGNED = ("int8", "int16", "int32", "int64")
EXACT = ("bool", *SIGNED, "uint8", "uint16", "uint32", "uint64")
EVERY = INEXACT + EXACT

# Kinds of fills, with the least and the greatest number of axes. SPARSE are those that are drawn and then have zeros.
DRAWN, SCALED, SPARSE, ORTHOGONAL = "drawn", "scaled", "sparse", "orthogonal"
CONSTANT, STRUCTURED, TRUNC = "constant", "structured", "trunc"
KINDS = {
    "uniform_": (DRAWN, 0, 32),
    "normal_": (DRAWN, 0, 32),
    "trunc_normal_": (DRAWN, 0, 32),
    "xavier_uniform_": (SCALED, 2, 32),
    "xavier_normal_": (SCALED, 2, 32),
    "kaiming_uniform_": (SCALED, 2, 32),
    "kaiming_normal_": (SCALED, 2, 32),
    "lecun_uniform_": (SCALED, 2, 32),
    "lecun_normal_": (SCALED, 2, 32),
    "variance_scaling_": (SCALED, 2, 32),
    "sparse_": (SPARSE, 2, 2),
    "embedding_": (SPARSE, 2, 2),
    "orthogonal_": (ORTHOGONAL, 2, 32),
    "delta_orthogonal_": (ORTHOGONAL, 3, 5),
    "constant_": (CONSTANT, 0, 32),
    "zeros_": (CONSTANT, 0, 32),
    "ones_": (CONSTANT, 0, 32),
    "eye_": (STRUCTURED, 2, 2),
    "dirac_": (STRUCTURED, 3, 5),
    "trunc_": (TRUNC, 0, 32),
}
NAMES = tuple(KINDS)
RANDOM = tuple(name for name, (kind, *_) in KINDS.items() if kind in (DRAWN, SCALED, SPARSE, ORTHOGONAL))

# The rounding of orthogonal_ is open; every other fill is defined to the bit.
TOLERANCES = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 2e-6, "complex64": 2e-6, "float64": 1e-14, "complex128": 1e-14}


class Fill(NamedTuple):
    """A call of an initializer, and the dtypes of the arrays that it is tested on."""

    name: str
    arguments: dict[str, Any]
    dtypes: tuple[str, ...]

    @property
    def kind(self) -> str:
        return KINDS[self.name][0]

    @property
    def axes(self) -> tuple[int, int]:
        """The least and the greatest number of axes."""
        return KINDS[self.name][1:]

    def __str__(self) -> str:
        arguments = ",".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in self.arguments.items())
        return f"{self.name}({arguments})"

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape is filled, without a warning."""
        least, most = self.axes
        if not least <= len(shape) <= most or (self.kind == SCALED and 0 in shape):
            return False
        if self.name == "delta_orthogonal_" and shape[0] < shape[1]:
            return False
        if "padding_idx" in self.arguments and not shape[0]:
            return False
        return shape[0] % self.arguments.get("groups", 1) == 0 if shape else True


# Each initializer as it is used, the most usual call first; both ways of a call that does without random numbers.
USUAL = [
    Fill("uniform_", {"a": -0.3, "b": 0.7}, INEXACT),
    Fill("uniform_", {}, INEXACT),
    Fill("uniform_", {"a": 0.3, "b": 0.3}, INEXACT),
    Fill("uniform_", {"a": 0, "b": 0}, INEXACT),
    Fill("normal_", {"mean": 0.1, "std": 0.02}, INEXACT),
    Fill("normal_", {}, INEXACT),
    Fill("normal_", {"mean": 2 - 5j, "std": 0.1}, COMPLEX),
    Fill("normal_", {"mean": 0.1, "std": 0}, INEXACT),
    Fill("trunc_normal_", {"a": -1}, FLOATS),
    Fill("trunc_normal_", {}, FLOATS),
    Fill("trunc_normal_", {"a": 1, "b": inf}, FLOATS),
    Fill("trunc_normal_", {"a": -0.001, "b": 0.002}, FLOATS),
    Fill("xavier_uniform_", {"gain": 5 / 3}, INEXACT),
    Fill("xavier_normal_", {}, INEXACT),
    Fill("kaiming_uniform_", {"a": 5**0.5}, INEXACT),
    Fill("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}, INEXACT),
    Fill("lecun_uniform_", {}, INEXACT),
    Fill("lecun_normal_", {}, FLOATS),
    Fill("variance_scaling_", {"scale": 2, "mode": "fan_out"}, FLOATS),
    Fill("variance_scaling_", {"scale": 2, "mode": "fan_avg", "distribution": "uniform"}, INEXACT),
    Fill("variance_scaling_", {"distribution": "normal"}, INEXACT),
    Fill("sparse_", {"sparsity": 0.3}, INEXACT),
    Fill("sparse_", {"sparsity": 0}, INEXACT),
    Fill("sparse_", {"sparsity": 1}, INEXACT),
    Fill("sparse_", {"sparsity": 0.3, "mean": 0.5, "axis": 1}, INEXACT),
    Fill("embedding_", {"std": 0.02, "padding_idx": -1}, INEXACT),
    Fill("embedding_", {"padding_idx": 0}, INEXACT),
    Fill("embedding_", {}, INEXACT),
    Fill("orthogonal_", {"gain": 1.5}, INEXACT),
    Fill("delta_orthogonal_", {}, INEXACT),
    Fill("constant_", {"val": 1}, EVERY),
    Fill("constant_", {"val": -2}, INEXACT + SIGNED),
    Fill("constant_", {"val": 0.1}, INEXACT),
    Fill("constant_", {"val": -0.0}, INEXACT),
    Fill("constant_", {"val": 0.1 - 2j}, COMPLEX),
    Fill("zeros_", {}, EVERY),
    Fill("ones_", {}, EVERY),
    Fill("eye_", {}, EVERY),
    Fill("dirac_", {}, EVERY),
    Fill("dirac_", {"groups": 2}, EVERY),
    Fill("trunc_", {}, FLOATS),
]


def _edges(name, *rows):
    """Rows of arguments, each perhaps with the dtypes that can hold them."""
    return [Fill(name, *row) if isinstance(row, tuple) else Fill(name, row, FLOATS) for row in rows]


# Where results are few, clamped, subnormal, infinite, or one value; where tails are mirrored; where fans or zeros are extreme.
EDGES = [
    *_edges(
        "uniform_",
        {"a": -0.1, "b": 0.1},
        {"a": 0.1, "b": 0.1},
        {"a": -0.0, "b": 0.0},
        {"a": -1e-8, "b": -1e-8},
        # Few values lie between the bounds: most elements are clamped.
        {"a": 1, "b": 1.001},
        {"a": 1, "b": 1 + 2**-9},
        {"a": 1, "b": 1 + 2**-6},
        ({"a": 2.0**24, "b": 2.0**24 + 2}, WIDE),
        {"a": -1e-8, "b": 1e-8},
        {"a": -1e-50, "b": 1},
        {"a": -1, "b": 1e-50},
        {"a": 0, "b": 1e-39},
        {"a": 0, "b": 1e-42},
        {"a": 0, "b": 1e-44},
        {"a": -1e-310, "b": 1e-310},
        {"a": -1e-320, "b": 1e-319},
        {"a": -65504, "b": 65504},
        ({"a": -1.7e38, "b": 1.7e38}, ("bfloat16", *WIDE)),
        ({"a": -8e307, "b": 8e307}, ("float64",)),
    ),
    *_edges(
        "normal_",
        {"mean": 1, "std": 2},
        {"mean": -0.3, "std": 0.02},
        {"mean": -3, "std": 0.02},
        {"mean": -0.0, "std": 0},
        {"mean": -0.0, "std": 1e-50},
        {"mean": 1e5, "std": 1e5},
        {"std": 1e-6},
        {"std": 1e-40},
        {"std": 1e-42},
        {"std": 1e-45},
        {"std": 1e-310},
        {"std": 5e-324},
        {"std": 1e4},
        {"std": 5e4},
        {"std": 3e38},
        ({"std": 1.7e308}, ("float64",)),
    ),
    *_edges(
        "trunc_normal_",
        {"a": 0.1, "b": 0.1},
        {"a": 0.7, "b": 0.7},
        {"a": -0.0, "b": 0.0},
        {"a": -inf, "b": inf},
        {"mean": 1, "std": 2, "a": -3, "b": 1.5},
        {"mean": 0.1, "std": 0.3, "a": -0.1, "b": 0.7},
        {"mean": 0.01, "std": 0.02, "a": -0.04, "b": 0.04},
        {"a": 0, "b": inf},
        {"a": -inf, "b": 1},
        {"a": -inf, "b": 0},
        # Not exactly half of the probability.
        {"a": -1e-300, "b": 1},
        {"a": -inf, "b": -1e-300},
        {"a": -50, "b": 0},
        {"a": -9, "b": 9.5},
        {"a": 0, "b": 1e300},
        # Each with its mirror image.
        {"a": 3, "b": 4},
        {"a": -4, "b": -3},
        {"a": -7, "b": -5.5},
        {"a": 5.5, "b": 7},
        {"a": -inf, "b": -6.2},
        {"a": 6.2, "b": inf},
        {"a": -6.1, "b": -6},
        {"std": 0.02, "a": -0.14, "b": 0.1},
        {"std": 0.02, "a": -0.1, "b": 0.14},
        {"std": 0.02, "a": 0.06, "b": 0.14},
        {"mean": -10, "a": 0, "b": 1},
        {"mean": 10, "a": -inf, "b": 0},
        {"a": 11, "b": 12},
        # Narrow, some in float32 alone; of odd quantiles, in tails, of few values, of values that float32 rounds to zero.
        {"a": -1e-5, "b": 1e-5},
        {"a": -0.125, "b": 0.125},
        {"a": -0.126, "b": 0.126},
        {"a": -1 / 128, "b": 1 / 128},
        {"a": 0, "b": 1e-8},
        {"mean": -3, "a": 0, "b": 0.08},
        {"mean": 10, "a": -0.001, "b": 0},
        {"mean": -1000, "a": 0, "b": 1e-5},
        {"mean": 1e30, "std": 1e25, "a": -1, "b": 2},
        {"std": 1e5, "a": -0.1, "b": 0.1},
        {"a": 0, "b": 1e-40},
        {"a": -1e-310, "b": 2e-310},
        {"mean": 100, "a": -inf, "b": 98},
        {"a": 1, "b": 1.001},
        {"std": 1e-8, "a": -2e-8, "b": 0},
        {"std": 1e-42, "a": -2e-42, "b": 2e-42},
        {"std": 1e-42, "a": -1e-42, "b": 2e-42},
        ({"std": 1e-42, "a": 1e-42, "b": 2e-42}, WIDE),
        {"std": 1e-310, "a": -1e-310, "b": inf},
        {"std": 5e-324, "a": -1e-323, "b": 1e-323},
        {"std": 1e-300, "a": -1e300, "b": 0},
        {"std": 1e4, "a": -inf, "b": inf},
        {"std": 3e4, "a": -1e5, "b": 1e5},
        {"std": 1e38, "a": -1e38, "b": 3e38},
        {"std": 1e38, "a": -inf, "b": inf},
        ({"std": 1e300, "a": -2e300, "b": 2e300}, ("float64",)),
    ),
    *_edges("xavier_uniform_", {}, {"gain": 0}),
    *_edges("xavier_normal_", {"gain": 0.7}),
    *_edges("kaiming_uniform_", {}, {"mode": "fan_out", "nonlinearity": "relu"}, {"nonlinearity": "selu"}),
    *_edges(
        "kaiming_normal_",
        {"a": 0.1},
        {"a": -0.3, "mode": "fan_out"},
        {"nonlinearity": "tanh"},
        {"nonlinearity": "sigmoid"},
    ),
    *_edges(
        "variance_scaling_",
        {},
        {"scale": 2, "mode": "fan_out", "distribution": "uniform"},
        {"scale": 0.37, "mode": "fan_avg", "distribution": "normal"},
        {"scale": 0.37, "mode": "fan_avg", "distribution": "truncated_normal"},
        {"scale": 1e-80, "distribution": "uniform"},
        {"scale": 1e-80},
    ),
    *_edges(
        "sparse_",
        {"sparsity": 0.1},
        {"sparsity": 0.3, "std": 1e-42},
        {"sparsity": 0.5, "std": 0},
        {"sparsity": 0.5, "std": 1},
        {"sparsity": 0.99, "std": 1},
        # 0.07 * 300 is 21.000000000000004 in float64, so 22 zeros.
        {"sparsity": 0.07},
    ),
    *_edges("orthogonal_", {}, {"gain": -2}, {"gain": 1e-3}, {"gain": 0}),
]


def select(*kinds: str, names=NAMES, edges=False) -> list[Fill]:
    """The rows of some kinds (all, if none is given) and names."""
    rows = USUAL + EDGES if edges else USUAL
    return [row for row in rows if row.name in names and (not kinds or row.kind in kinds)]


def first(name: str) -> Fill:
    """The most usual call of an initializer."""
    return next(row for row in USUAL if row.name == name)


# One call of each initializer; trunc_ apart, which neither draws nor writes values of its own.
ONE_OF_EACH = [first(name) for name in NAMES if name != "trunc_"]


def cases(rows: list[Fill], dtypes: tuple[str, ...] = EVERY) -> list[Any]:
    """Parameters `fill` and `dtype` of a test, for the rows and those of the dtypes that they have."""
    return [pytest.param(row, dtype, id=f"{row}-{dtype}") for row in rows for dtype in dtypes if dtype in row.dtypes]


def cases_of_eight_bits(rows: list[Fill]) -> list[Any]:
    """The same for the dtypes of 8 bits, and the rows of float16 whose bounds they hold."""
    held = [row for row in rows if "float16" in row.dtypes and row.arguments.get("b") != 65504]
    return [pytest.param(row, dtype, id=f"{row}-{dtype}") for row in held for dtype in EIGHT_BITS]


def dtype_of(name: str) -> np.dtype:
    """NumPy's dtype of a name; some are those of ml_dtypes."""
    return np.dtype(getattr(ml_dtypes, name, name))


def call(name: str, x: Any, arguments: dict[str, Any], generator: Any = 5, **options: Any) -> Any:
    """Fill x; an initializer that draws nothing is given no generator."""
    source = {"generator": generator} if name in RANDOM else {}
    return getattr(gi, name)(x, **arguments, **source, **options)


def silently(fill: Any, *arguments: Any, **options: Any) -> Any:
    """Call without the warning that an empty weight gives."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors is a no-op", UserWarning)
        return fill(*arguments, **options)


def generator_at(position: int, seed: int = 123) -> gi.Generator:
    """A generator that has come some way."""
    generator = gi.Generator(seed)
    generator.state = generator.state | {"position": position}
    return generator


def blocks_of(shape: tuple[int, ...], dtype: Any) -> int:
    """How far a fill moves the position: a block is 16 bytes, of the words that elements (of complex ones, each part) take."""
    dtype = np.dtype(dtype)
    per_element = {"c": dtype.itemsize}.get(dtype.kind, max(4, dtype.itemsize))
    return -(-math.prod(shape) * per_element // 16)
