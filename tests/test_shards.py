"""A shard holds exactly what the fill of the whole would put there: every fill, every cut, both backends."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import gpuinit as gi
from tests.conftest import to_host

# (function, parameters, shapes of the whole)
RANDOM = [
    ("uniform_", {"a": -1}, [(), (21,), (5, 7), (3, 2, 5)]),
    ("normal_", {"mean": 1}, [(), (21,), (5, 7), (3, 2, 5)]),
    ("trunc_normal_", {}, [(), (21,), (5, 7), (3, 2, 5)]),
    ("xavier_uniform_", {}, [(5, 7), (3, 2, 5)]),
    ("xavier_normal_", {}, [(5, 7), (3, 2, 5)]),
    ("kaiming_uniform_", {}, [(5, 7), (3, 2, 5)]),
    ("kaiming_normal_", {"mode": "fan_out"}, [(5, 7), (3, 2, 5)]),
    ("lecun_uniform_", {}, [(5, 7), (3, 2, 5)]),
    ("lecun_normal_", {}, [(5, 7), (3, 2, 5)]),
    ("variance_scaling_", {"mode": "fan_avg"}, [(5, 7), (3, 2, 5)]),
    ("sparse_", {"sparsity": 0.4}, [(5, 7), (35, 3)]),
    ("orthogonal_", {"gain": 2}, [(5, 7), (7, 5), (3, 2, 5)]),
]
PLAIN = [
    ("constant_", {"val": 3}, [(), (5, 7)]),
    ("ones_", {}, [(), (5, 7)]),
    ("zeros_", {}, [(), (5, 7)]),
    ("eye_", {}, [(5, 7), (7, 5)]),
    ("dirac_", {}, [(4, 3, 3), (3, 4, 2, 3)]),
    ("dirac_", {"groups": 2}, [(4, 3, 3), (6, 2, 2, 1, 1)]),
]
IS_RANDOM = {name for name, _, _ in RANDOM}


def fill(name, x, parameters, **more):
    """The generator after the fill, if there is one."""
    generator = gi.Generator(11)
    generator.reserve(3)
    source = {"generator": generator} if name in IS_RANDOM else {}
    assert getattr(gi, name)(x, **parameters, **source, **more) is x
    return generator


def cuts(shape):
    """Every set of bounds, empty ones too."""
    return itertools.product(*([slice(a, b) for a in range(n + 1) for b in range(a, n + 1)] for n in shape))


@pytest.mark.parametrize(("name", "parameters", "shapes"), RANDOM + PLAIN)
def test_every_part(xp, name, parameters, shapes):
    for shape in shapes:
        whole = np.empty(shape, np.float32)
        after = fill(name, whole, parameters)
        for index in cuts(shape):
            shard = gi.Shard(shape, index)
            part = xp.empty(shard.shape, np.float32)
            assert fill(name, part, parameters, shard=shard).position == after.position
            np.testing.assert_array_equal(to_host(part), whole[index])
