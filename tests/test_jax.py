"""The example of a sharded jax.Array, on four devices that XLA makes of one CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jax", reason="JAX is not installed")

pytestmark = pytest.mark.jax

EXAMPLES = Path(__file__).parents[1] / "examples"
CHECK = """
import itertools, jax, numpy as np, gpuinit as gi
from jax.sharding import NamedSharding, PartitionSpec
from jax_sharding import sharded

assert jax.device_count() == 4
mesh = jax.make_mesh((2, 2), ("rows", "columns"))
for fill, parameters, shape in [
    (gi.normal_, {"std": 2}, (8, 12)),
    (gi.trunc_normal_, {}, (4, 8, 3)),
    (gi.kaiming_uniform_, {"mode": "fan_out"}, (8, 4)),
    (gi.sparse_, {"sparsity": 0.3}, (8, 4)),
]:
    expected = fill(np.empty(shape, np.float32), **parameters, generator=7)
    for axes in itertools.permutations((None, "rows", "columns", ("rows", "columns")), 2):
        names = [name for axis in axes if axis for name in ([axis] if isinstance(axis, str) else axis)]
        if len(names) == len(set(names)):
            w = sharded(fill, shape, NamedSharding(mesh, PartitionSpec(*axes)), seed=7, **parameters)
            assert len(w.addressable_shards) == 4
            np.testing.assert_array_equal(np.asarray(w), expected)
"""


def run(*program):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    environment["PYTHONPATH"] = os.pathsep.join([str(EXAMPLES), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run([sys.executable, *program], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_sharding():
    run("-c", CHECK)


def test_the_example():
    lines = run(str(EXAMPLES / "jax_sharding.py")).splitlines()
    assert len(lines) == 3
    assert len({line.split("digest")[1] for line in lines}) == 1
