"""Compute the tables of the inverse normal CDF, `gpuinit/_contract/data/inverse_cdf{32,64}.npy`.

Run `python tools/fit_inverse_cdf.py` (needs mpmath and SciPy, a quarter of a minute) to write both tables again;
`--check N` recomputes N rows of each and compares. docs/values.md, section "The table", defines every number.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import mpmath
import numpy as np
from scipy.special import ndtri

from gpuinit._contract.inverse_cdf import OCTAVES, TABLES, Layout

mpmath.mp.dps = 60


def inverse_cdf(p: mpmath.mpf) -> mpmath.mpf:
    """Solve Phi(z) = p for 0 < p < 1/2 by Halley's iteration from SciPy's value."""
    z = mpmath.mpf(float(ndtri(float(p))))
    for _ in range(3):
        error = (mpmath.ncdf(z) - p) / mpmath.npdf(z)
        z -= error / (1 + z * error / 2)
    return z


def interpolate(f: Callable[[mpmath.mpf], mpmath.mpf], start: mpmath.mpf, width: mpmath.mpf, degree: int) -> list[mpmath.mpf]:
    """Coefficients of the polynomial equal to f at the Chebyshev nodes of the interval from `start` on."""
    count = degree + 1
    nodes = [start + width * (1 - mpmath.cos((2 * k + 1) * mpmath.pi / (2 * count))) / 2 for k in range(count)]
    powers = mpmath.matrix(count, count)
    for row, node in enumerate(nodes):
        for column in range(count):
            powers[row, column] = node**column
    values = mpmath.matrix([f(node) for node in nodes])
    return list(mpmath.lu_solve(powers, values))


def table_row(layout: Layout, row: int) -> np.ndarray:
    """The coefficients of one segment, highest power last, for the mantissa r, 1 <= r < 2."""
    segments = 2**layout.segment_bits
    octave, segment = divmod(row, segments)
    if octave == OCTAVES - 1:  # p = 1/2 and no other: z = 0
        return np.zeros(layout.degree + 1, layout.dtype)
    width = mpmath.ldexp(1, -layout.segment_bits)
    polynomial = interpolate(lambda r: inverse_cdf(mpmath.ldexp(r, octave - OCTAVES)), 1 + segment * width, width, layout.degree)
    return np.array([round_to(c, layout.dtype) for c in polynomial], layout.dtype)


def round_to(value: mpmath.mpf, dtype: np.dtype) -> float:
    """Round once to the nearest float32 or float64 (both hold these values as normal numbers)."""
    mantissa, exponent = mpmath.frexp(value)
    bits = np.finfo(dtype).nmant + 1
    return float(mpmath.ldexp(mpmath.nint(mpmath.ldexp(mantissa, bits)), int(exponent) - bits))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", type=int, metavar="N", help="compare N rows with the stored tables, write nothing")
    count = parser.parse_args().check
    for layout in TABLES.values():
        rows = range(layout.rows) if count is None else np.linspace(0, layout.rows - 1, count).astype(int)
        table = np.array([table_row(layout, int(row)) for row in rows])
        if count is None:
            np.save(layout.path, table)
        elif not np.array_equal(table, np.load(layout.path)[rows]):
            raise SystemExit(f"{layout.path.name} differs from its definition")


if __name__ == "__main__":
    main()
