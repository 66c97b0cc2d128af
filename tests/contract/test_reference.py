"""Every fill writes the numbers that docs/values.md defines, as tests/support/reference.py computes them again from that page."""

from __future__ import annotations

import hashlib
from math import inf

import numpy as np
import pytest

import gpuinit as gi
from tests.conftest import to_host
from tests.support import reference

ALL = ("float16", "float32", "float64")
WIDE = ("float32", "float64")

# Drawn one after the other from one generator, so each shape but the first starts at another position.
SHAPES = [(), (1,), (7,), (3, 5), (2, 3, 4), (0,), (150,)]
WEIGHTS = [(3, 5), (2, 3, 4), (4, 3, 2, 2)]
# 33 and 40 rows are permuted by 6 bits, 5 rows and 1 row by the least number of bits, 5; 300 by an odd number above it.
MATRICES = [(5, 3), (33, 4), (40, 6), (1, 3), (300, 1)]
ORTHOGONAL = [(3, 5), (5, 3), (4, 4), (2, 3, 4), (12, 2, 3), (1, 1), (1, 7), (7, 1), (40, 33)]

# (function, shapes, parameters, dtypes)
FILLS = [
    *(
        ("uniform_", SHAPES, parameters, dtypes)
        for parameters, dtypes in [
            ({}, ALL),
            ({"a": -0.1, "b": 0.1}, ALL),
            ({"a": 0.1, "b": 0.1}, ALL),
            ({"a": -0.0, "b": 0.0}, ALL),
            ({"a": -1e-8, "b": -1e-8}, ALL),
            # Few values lie between the bounds: most elements are clamped.
            ({"a": 1, "b": 1.001}, ALL),
            ({"a": 2.0**24, "b": 2.0**24 + 2}, WIDE),
            ({"a": -1e-8, "b": 1e-8}, ALL),
            ({"a": -1e-50, "b": 1}, ALL),
            ({"a": -1, "b": 1e-50}, ALL),
            ({"a": 0, "b": 1e-44}, ALL),
            ({"a": -1e-320, "b": 1e-319}, ALL),
            ({"a": -65504, "b": 65504}, ALL),
            ({"a": -1.7e38, "b": 1.7e38}, WIDE),
            ({"a": -8e307, "b": 8e307}, ("float64",)),
        ]
    ),
    *(
        ("normal_", SHAPES, parameters, dtypes)
        for parameters, dtypes in [
            ({}, ALL),
            ({"mean": 1, "std": 2}, ALL),
            ({"mean": -0.3, "std": 0.02}, ALL),
            ({"mean": 0.1, "std": 0}, ALL),
            ({"mean": -0.0, "std": 0}, ALL),
            ({"mean": -0.0, "std": 1e-50}, ALL),
            ({"mean": 1e5, "std": 1e5}, ALL),
            ({"std": 1e-6}, ALL),
            ({"std": 1e-42}, ALL),
            ({"std": 1e-45}, ALL),
            ({"std": 1e-310}, ALL),
            ({"std": 5e-324}, ALL),
            ({"std": 1e4}, ALL),
            ({"std": 3e38}, ALL),
            ({"std": 1.7e308}, ("float64",)),
        ]
    ),
    *(
        ("trunc_normal_", SHAPES, parameters, dtypes)
        for parameters, dtypes in [
            ({}, ALL),
            ({"a": 0.1, "b": 0.1}, ALL),
            ({"a": -0.0, "b": 0.0}, ALL),
            ({"a": -inf, "b": inf}, ALL),
            ({"mean": 1, "std": 2, "a": -3, "b": 1.5}, ALL),
            ({"mean": 0.1, "std": 0.3, "a": -0.1, "b": 0.7}, ALL),
            ({"a": 0, "b": inf}, ALL),
            ({"a": -inf, "b": 1}, ALL),
            ({"a": -inf, "b": 0}, ALL),
            # Not exactly half of the probability.
            ({"a": -1e-300, "b": 1}, ALL),
            ({"a": -inf, "b": -1e-300}, ALL),
            ({"a": -50, "b": 0}, ALL),
            ({"a": -9, "b": 9.5}, ALL),
            ({"a": 0, "b": 1e300}, ALL),
            # Each with its mirror image.
            ({"a": 3, "b": 4}, ALL),
            ({"a": -4, "b": -3}, ALL),
            ({"a": -7, "b": -5.5}, ALL),
            ({"a": 5.5, "b": 7}, ALL),
            ({"a": -inf, "b": -6.2}, ALL),
            ({"a": 6.2, "b": inf}, ALL),
            ({"std": 0.02, "a": -0.14, "b": 0.1}, ALL),
            ({"std": 0.02, "a": -0.1, "b": 0.14}, ALL),
            ({"std": 0.02, "a": 0.06, "b": 0.14}, ALL),
            ({"mean": 100, "a": -inf, "b": 98}, ALL),
            ({"a": 1, "b": 1.001}, ALL),
            ({"std": 1e-8, "a": -2e-8, "b": 0}, ALL),
            ({"std": 1e-42, "a": -2e-42, "b": 2e-42}, ALL),
            ({"std": 1e-42, "a": 1e-42, "b": 2e-42}, WIDE),
            ({"std": 1e-310, "a": -1e-310, "b": inf}, ALL),
            ({"std": 5e-324, "a": -1e-323, "b": 1e-323}, ALL),
            ({"std": 1e-300, "a": -1e300, "b": 0}, ALL),
            ({"std": 1e4, "a": -inf, "b": inf}, ALL),
            ({"std": 3e4, "a": -1e5, "b": 1e5}, ALL),
            ({"std": 1e38, "a": -inf, "b": inf}, ALL),
            ({"std": 1e300, "a": -2e300, "b": 2e300}, ("float64",)),
        ]
    ),
    *(
        (function, WEIGHTS, parameters, ALL)
        for function, parameters in [
            ("xavier_uniform_", {}),
            ("xavier_uniform_", {"gain": 5 / 3}),
            ("xavier_uniform_", {"gain": 0}),
            ("xavier_normal_", {}),
            ("xavier_normal_", {"gain": 0.7}),
            ("lecun_uniform_", {}),
            ("lecun_normal_", {}),
            ("kaiming_uniform_", {}),
            ("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "relu"}),
            ("kaiming_uniform_", {"nonlinearity": "selu"}),
            ("kaiming_normal_", {"a": 0.1}),
            ("kaiming_normal_", {"a": -0.3, "mode": "fan_out"}),
            ("kaiming_normal_", {"nonlinearity": "tanh"}),
            ("kaiming_normal_", {"nonlinearity": "sigmoid"}),
            ("variance_scaling_", {}),
            ("variance_scaling_", {"scale": 2, "mode": "fan_out", "distribution": "uniform"}),
            ("variance_scaling_", {"scale": 0.37, "mode": "fan_avg", "distribution": "normal"}),
            ("variance_scaling_", {"scale": 0.37, "mode": "fan_avg", "distribution": "truncated_normal"}),
            ("variance_scaling_", {"scale": 1e-80, "distribution": "uniform"}),
            ("variance_scaling_", {"scale": 1e-80}),
        ]
    ),
    *(
        ("sparse_", MATRICES, parameters, ALL)
        for parameters in [
            {"sparsity": 0.1},
            {"sparsity": 0.5, "std": 1},
            # 0.07 * 300 is 21.000000000000004 in float64, so 22 zeros.
            {"sparsity": 0.07},
            {"sparsity": 0},
            {"sparsity": 1},
            {"sparsity": 0.5, "std": 0},
            {"sparsity": 0.3, "std": 1e-42},
        ]
    ),
    *(("orthogonal_", ORTHOGONAL, parameters, ALL) for parameters in [{}, {"gain": -2}, {"gain": 1e-3}, {"gain": 0}]),
]

# The rounding of orthogonal_ is open; everything else is defined to the bit.
ORTHOGONAL_TOLERANCE = {"float16": 1e-3, "float32": 2e-6, "float64": 2e-14}

POSITION_FILLS = [
    ("uniform_", {}),
    ("normal_", {}),
    ("trunc_normal_", {"a": 3, "b": 4}),
    ("lecun_normal_", {}),
    ("sparse_", {"sparsity": 0.4}),
    ("orthogonal_", {}),
]


def check(xp, function, shapes, parameters, dtype, seed=5, position=0):
    """Compare fills drawn one after the other, and where they leave the generator."""
    generator, expected_generator = gi.Generator(seed), reference.Generator(seed, position=position)
    generator.reserve(position)
    for shape in shapes:
        x = xp.empty(shape, dtype)
        getattr(gi, function)(x, **parameters, generator=generator)
        actual, expected = to_host(x), getattr(reference, function)(shape, dtype, expected_generator, **parameters)
        if function == "orthogonal_":
            tolerance = ORTHOGONAL_TOLERANCE[dtype] * abs(parameters.get("gain", 1))
            np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance, err_msg=f"{shape}")
        else:
            # As integers, so that -0 is not +0.
            bits = np.dtype(f"u{expected.itemsize}")
            np.testing.assert_array_equal(actual.reshape(-1).view(bits), expected.reshape(-1).view(bits), err_msg=f"{shape}")
        assert generator.position == expected_generator.position


@pytest.mark.parametrize(
    ("function", "shapes", "parameters", "dtype"),
    [(function, shapes, parameters, dtype) for function, shapes, parameters, dtypes in FILLS for dtype in dtypes],
    ids=lambda value: repr(value) if isinstance(value, dict) else value if isinstance(value, str) else "",
)
def test_fill(xp, function, shapes, parameters, dtype):
    check(xp, function, shapes, parameters, dtype)


# From 2**64 - 5 on, 4 blocks are left: as many as 15 float64 need.
@pytest.mark.parametrize("position", [1, 2**32 - 1, 2**40 + 3, 2**63 - 1, 2**64 - 5])
@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize(("function", "parameters"), POSITION_FILLS)
def test_position(xp, function, parameters, dtype, position):
    check(xp, function, [(5, 3)], parameters, dtype, position=position)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize(("function", "parameters"), POSITION_FILLS)
def test_end_of_stream(xp, function, parameters, dtype):
    blocks = 4 if dtype == "float64" else 2
    generator, x = gi.Generator(5), xp.zeros((5, 3), dtype)
    generator.reserve(2**64 - blocks)
    with pytest.raises(OverflowError):
        getattr(gi, function)(x, **parameters, generator=generator)
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


def test_philox_is_numpy_s():
    blocks = [reference.philox(reference.Generator(7).key, (b + 1, 0, 0, 0)) for b in range(3)]
    np.testing.assert_array_equal(np.ravel(blocks), np.random.Philox(7).random_raw(12))


@pytest.mark.parametrize("dtype", WIDE)
def test_uniform_is_numpy_s(dtype):
    expected = np.random.Generator(np.random.Philox(8)).random(101, dtype)
    np.testing.assert_array_equal(reference.uniform_((101,), dtype, reference.Generator(8)), expected)


@pytest.mark.parametrize(
    ("work", "rows", "sha256"),
    [
        (np.float32, 2048, "0f9854beb22fbb01eaaa2c461ecd34fc1b4c9fe3f22a2718b73e6430703c58d5"),
        pytest.param(
            np.float64, 8192, "dbc5bc1cfcc3232d33619ec0fa430c5fccb532cab453dfd899d30a35c9d5f60d", marks=pytest.mark.slow
        ),
    ],
)
def test_table_digest(work, rows, sha256):
    table = np.array([reference.row(r, work) for r in range(rows)], np.dtype(work).newbyteorder("<"))
    assert hashlib.sha256(table.tobytes()).hexdigest() == sha256
