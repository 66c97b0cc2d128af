"""What fills of shards ask of a device, from an emulated device's log."""

from __future__ import annotations

import numpy as np
import pytest

import gpuinit as gi
from tests.support.shards import called

ALL = slice(None)


@pytest.mark.parametrize("index", [(slice(3, 9), ALL), (ALL, slice(2, 5)), (slice(1, 9), slice(2, 3))], ids=str)
@pytest.mark.parametrize(
    ("name", "arguments", "kernel"),
    [
        ("uniform_", {}, "uniform_shard"),
        ("kaiming_normal_", {}, "normal_shard"),
        ("lecun_normal_", {}, "truncated_shard"),
        ("sparse_", {"sparsity": 0.4}, "sparse_shard"),
        ("eye_", {}, "eye_shard"),
        ("ones_", {}, "constant"),
    ],
)
def test_one_launch_and_nothing_else(cupy, cudasim, name, arguments, kernel, index):
    shard = gi.Shard((9, 17), index)
    x = cupy.empty(shard.shape, np.float32)
    called(name, x, arguments, shard=shard)  # compiles the kernel and uploads the table
    with cudasim.trace() as events:
        called(name, x, arguments, shard=shard)
    assert events.counts() == {"launch": 1}
    assert events.launches()[0].startswith(f"gpuinit_{kernel}")


def test_dirac_is_one_launch_and_orthogonal_never_waits(cupy, cudasim):
    shard = gi.Shard((4, 2, 3), (slice(1, 4), ALL, slice(1, 3)))
    x = cupy.empty(shard.shape, np.float32)
    for name, launches in (("dirac_", 1), ("orthogonal_", 6)):
        called(name, x, {}, shard=shard)
        with cudasim.trace() as events:
            called(name, x, {}, shard=shard)
        assert len(events.of("launch")) == launches
        assert not events.of("memcpy")
        assert not events.of("sync")


def test_an_empty_shard_costs_nothing(cupy, cudasim):
    with cudasim.trace() as events:
        called("uniform_", cupy.empty((0, 3), np.float32), {}, shard=gi.Shard((5, 3), (slice(2, 2), ALL)))
    assert not events
