"""Every fill writes the numbers that docs/values.md defines, as tests/support/reference.py computes them again from that page."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._contract.inverse_cdf import coefficients
from tests.support import fills, reference
from tests.support.arrays import to_host

ALL = ("float16", "float32", "float64")
WIDE = ("float32", "float64")

# Drawn one after the other from one generator, so each shape but the first starts at another position.
SHAPES = {
    fills.DRAWN: [(), (1,), (7,), (3, 5), (2, 3, 4), (0,), (150,)],
    fills.SCALED: [(3, 5), (2, 3, 4), (4, 3, 2, 2)],
    # 33 and 40 rows are permuted by 6 bits, and so are 64, all that there are; 5 rows and 1 row by the least number of bits, 5;
    # 300 by an odd number above it.
    fills.SPARSE: [(5, 3), (33, 4), (40, 6), (1, 3), (300, 1), (64, 2)],
    fills.ORTHOGONAL: [(3, 5), (5, 3), (4, 4), (2, 3, 4), (12, 2, 3), (3, 2, 2, 4), (1, 1), (1, 7), (7, 1), (40, 33)],
}
FILLS = fills.select(*SHAPES, edges=True)
AT_POSITIONS = [
    *map(fills.first, ("uniform_", "normal_", "lecun_normal_", "sparse_", "orthogonal_")),
    *(row for row in FILLS if row.name == "trunc_normal_" and row.arguments == {"a": 3, "b": 4}),
]

# The rounding of orthogonal_ is open; everything else is defined to the bit.
ORTHOGONAL_TOLERANCE = {"float16": 1e-3, "float32": 2e-6, "float64": 2e-14}


def check(xp, fill, shapes, dtype, seed=5, position=0):
    """Compare fills drawn one after the other, and where they leave the generator."""
    generator, expected_generator = fills.generator_at(position, seed), reference.Generator(seed, position=position)
    for shape in filter(fill.takes, shapes):
        x = xp.empty(shape, fills.dtype_of(dtype))
        fills.call(fill.name, x, fill.arguments, generator)
        actual, expected = to_host(x), getattr(reference, fill.name)(shape, dtype, expected_generator, **fill.arguments)
        if fill.kind == fills.ORTHOGONAL:
            tolerance = ORTHOGONAL_TOLERANCE[dtype] * abs(fill.arguments.get("gain", 1))
            np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance, err_msg=f"{shape}")
        else:
            # As integers, so that -0 is not +0.
            bits = np.dtype(f"u{expected.itemsize}")
            np.testing.assert_array_equal(actual.reshape(-1).view(bits), expected.reshape(-1).view(bits), err_msg=f"{shape}")
        assert generator.position == expected_generator.position


@pytest.mark.parametrize(("fill", "dtype"), fills.cases(FILLS, ALL))
def test_fill(xp, fill, dtype):
    check(xp, fill, SHAPES[fill.kind], dtype)


@pytest.mark.parametrize(("fill", "dtype"), fills.cases_of_eight_bits([row for row in FILLS if row.kind != fills.ORTHOGONAL]))
def test_fill_of_eight_bits(fill, dtype):
    check(np, fill, SHAPES[fill.kind], dtype)


# From 2**64 - 9 on, 8 blocks are left: as many as 15 float64 need.
@pytest.mark.parametrize("position", [1, 2**32 - 1, 2**40 + 3, 2**63 - 1, 2**64 - 9])
@pytest.mark.parametrize(("fill", "dtype"), fills.cases(AT_POSITIONS, ALL))
def test_position(xp, fill, dtype, position):
    check(xp, fill, [(5, 3)], dtype, position=position)


@pytest.mark.parametrize(("fill", "dtype"), fills.cases(AT_POSITIONS, ALL))
def test_end_of_stream(xp, fill, dtype):
    blocks = 8 if dtype == "float64" else 4
    generator, x = fills.generator_at(2**64 - blocks), xp.zeros((5, 3), dtype)
    with pytest.raises(OverflowError, match=f"position {2**64 - blocks} \\+ {blocks} blocks passes the end of the stream"):
        fills.call(fill.name, x, fill.arguments, generator)
    assert generator.position == 2**64 - blocks
    assert not to_host(x).any()


@pytest.mark.parametrize("seed", [0, 1, 2**64, 2**200 + 1])
def test_children(xp, seed):
    names = ["", "layer.0.weight", "caf\u00e9", "cafe\u0301", "\u65e5\u672c"]

    def family(generator):
        # Names before, between and after: they do not count as children.
        first = [generator.spawn(name) for name in names] + generator.spawn(2)
        return [*first, generator.spawn("x"), *generator.spawn(1), *first[1].spawn(1), first[1].spawn("x"), first[-1].spawn("x")]

    for child, expected in zip(family(gi.Generator(seed)), family(reference.Generator(seed)), strict=True):
        x = xp.empty(5, "float64")
        gi.uniform_(x, generator=child)
        np.testing.assert_array_equal(to_host(x), reference.uniform_((5,), "float64", expected))


def test_digest(xp):
    arrays = {
        "a": np.arange(6, dtype=">f4").reshape(2, 3),
        "\u00e9": np.array(3, "float16"),
        "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "empty": np.empty((0, 3)),
    }
    expected = reference.digest(arrays)
    # CuPy has no other byte order than the machine's.
    assert gi.digest({name: xp.asarray(x.astype(x.dtype.newbyteorder("="))) for name, x in arrays.items()}) == expected
    assert gi.digest(arrays) == expected


TABLES = {
    np.float32: "1d38f2437252ba6d78ff1786a9054355bd17f40a1c2e2c4100621fd194228904",
    np.float64: "fccad274f27a97a3e1450af3f416523dd0d649e36158d0afeea95afff8f0776a",
}


def sha256_of(table):
    return hashlib.sha256(table.astype(table.dtype.newbyteorder("<")).tobytes()).hexdigest()


@pytest.mark.parametrize(("work", "sha256"), TABLES.items())
def test_stored_table(work, sha256):
    assert sha256_of(coefficients(np.dtype(work))) == sha256


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "rows", "sha256"), [(np.float32, 4096, TABLES[np.float32]), (np.float64, 16384, TABLES[np.float64])]
)
def test_table_digest(work, rows, sha256):
    assert sha256_of(np.array([reference.row(r, work) for r in range(rows)], work)) == sha256
