"""The inverse of the normal CDF as a table of short polynomials: its layout, its numbers, and their use in NumPy.

``docs/values.md`` defines the table; ``tools/fit_inverse_cdf.py`` computes it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

OCTAVES = 128  # of probabilities, from 2**-128 to 1


@dataclass(frozen=True)
class Layout:
    """How a float of one precision gives a row: by its exponent and leading mantissa bits. Its mantissa is the argument."""

    dtype: np.dtype[Any]
    segment_bits: int
    degree: int

    @property
    def mantissa_bits(self) -> int:
        return int(np.finfo(self.dtype).nmant)

    @property
    def row_shift(self) -> int:
        return self.mantissa_bits - self.segment_bits

    @property
    def exponent_bias(self) -> int:
        return int(np.finfo(self.dtype).maxexp) - 1

    @property
    def rows(self) -> int:
        return OCTAVES << self.segment_bits

    @property
    def path(self) -> Path:
        return Path(__file__).with_name("data") / f"inverse_cdf{8 * self.dtype.itemsize}.npy"


TABLES = {
    np.dtype(np.float32): Layout(np.dtype(np.float32), segment_bits=5, degree=2),
    np.dtype(np.float64): Layout(np.dtype(np.float64), segment_bits=7, degree=4),
}


@functools.cache
def coefficients(dtype: np.dtype[Any]) -> np.ndarray:
    """The table as stored: one row a segment, lowest power first, z <= 0."""
    layout = TABLES[dtype]
    table: np.ndarray = np.load(layout.path).astype(dtype, copy=False)
    return table


def padded_rows(dtype: np.dtype[Any]) -> np.ndarray:
    """The same, each row padded to whole 16-byte loads, as `kernels/inverse_cdf.cuh` reads it."""
    rows = coefficients(dtype)
    padding = -rows.shape[1] % (16 // dtype.itemsize)
    return np.pad(rows, ((0, 0), (0, padding)))


def first_row(dtype: np.dtype[Any], bits: int) -> int:
    """The number of the row that begins with the probability 2**-bits."""
    return (OCTAVES - bits) << TABLES[dtype].segment_bits
