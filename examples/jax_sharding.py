"""A sharded jax.Array of gpuinit's values: each device's shard is filled on the host, and no process holds the whole.

Run with XLA_FLAGS=--xla_force_host_platform_device_count=4 to see four devices on any machine.
"""

import functools

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import gpuinit as gi


def sharded(initializer, shape, sharding, seed, dtype=np.float32, **parameters):
    """The array that `initializer` fills from `seed`, in the shards of `sharding`."""

    @functools.cache  # replicas of a shard on several devices are filled once
    def filled(shard):
        return initializer(np.empty(shard.shape, dtype), **parameters, generator=seed, shard=shard)

    return jax.make_array_from_callback(shape, sharding, lambda index: filled(gi.Shard(shape, index)))


if __name__ == "__main__":
    mesh = jax.make_mesh((jax.device_count(),), ("model",))
    for spec in (PartitionSpec("model", None), PartitionSpec(None, "model"), PartitionSpec()):
        w = sharded(gi.kaiming_normal_, (512, 256), NamedSharding(mesh, spec), seed=42, mode="fan_out", nonlinearity="relu")
        shard = w.addressable_shards[0].data
        print(f"{spec}: {len(w.addressable_shards)} shards of {shard.shape}, digest {gi.digest({'w': np.asarray(w)})[:16]}")
