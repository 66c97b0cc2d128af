"""`Shard` as a value, and what it refuses; `tests/test_shards.py` fills."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import gpuinit as gi

ALL = slice(None)


def test_shards_are_values():
    shard = gi.Shard([6, np.int64(8)], [slice(None, np.int32(4)), slice(5, None, 1)])
    assert shard == gi.Shard((6, 8), (slice(0, 4), slice(5, 8)))
    assert (shard.global_shape, shard.shape, shard.start) == ((6, 8), (4, 3), (0, 5))
    assert shard.index == (slice(0, 4), slice(5, 8))
    assert all(type(n) is int for n in (*shard.global_shape, *shard.shape, *shard.start))
    assert shard != gi.Shard((6, 8), (slice(0, 4), slice(4, 8)))
    for same in (pickle.loads(pickle.dumps(shard)), copy.deepcopy(shard), eval(repr(shard), {"Shard": gi.Shard})):
        assert same == shard
        assert hash(same) == hash(shard)
    with pytest.raises(AttributeError, match="cannot assign to field 'index'"):
        shard.index = (ALL, ALL)


def test_indices_that_jax_gives(jax):
    mesh = jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "x"))
    for index in sharding.devices_indices_map((4, 6)).values():
        assert gi.Shard((4, 6), index).shape == (4, 6)


BAD_SHARDS = [
    (3, (ALL,), TypeError, r"global_shape must be a tuple of ints, got 3 of type int"),
    ((4.0,), (ALL,), TypeError, r"global_shape\[0\] must be an int, got 4\.0 of type float"),
    ((4, -1), (ALL, ALL), ValueError, r"global_shape\[1\] must not be negative, got global_shape\[1\]=-1"),
    ((2**31, 2**32), (ALL, ALL), ValueError, r"global_shape must have at most 2\*\*62 elements, got global_shape=\(2147483648"),
    ((4, 6), ALL, TypeError, r"index must be a tuple of slices, got slice\(None, None, None\) of type slice"),
    ((4, 6), None, TypeError, r"index must be a tuple of slices, got None of type NoneType"),
    ((4, 6), (ALL,), ValueError, r"index must have one slice for each axis of global_shape=\(4, 6\), got index=\(slice"),
    ((4, 6), (ALL, 2), TypeError, r"index\[1\] must be a slice, got 2 of type int; slice\(i, i \+ 1\) is one element"),
    ((4, 6), (..., ALL), TypeError, r"index\[0\] must be a slice, got Ellipsis"),
    ((4, 6), (slice(-2, None), ALL), ValueError, r"index\[0\]\.start must not be negative, got index\[0\]\.start=-2"),
    ((4, 6), (slice(0, 5), ALL), ValueError, r"index\[0\] must have 0 <= start <= stop <= 4, .* got slice\(0, 5, None\)"),
    ((4, 6), (ALL, slice(7, None)), ValueError, r"index\[1\] must have 0 <= start <= stop <= 6, .* got slice\(7, None, None\)"),
    ((4, 6), (slice(3, 2), ALL), ValueError, r"index\[0\] must have 0 <= start <= stop <= 4, .* got slice\(3, 2, None\)"),
    ((4, 6), (ALL, slice(0, 6, 2)), ValueError, r"index\[1\] must have step 1, got slice\(0, 6, 2\)"),
    ((4, 6), (ALL, slice(None, None, -1)), ValueError, r"index\[1\]\.step must not be negative"),
    ((4, 6), (ALL, slice(0.0, 6)), TypeError, r"index\[1\]\.start must be an int, got 0\.0 of type float"),
    ((4, 6), (ALL, slice(False, 6)), TypeError, r"index\[1\]\.start must be an int, got False of type bool"),
]


@pytest.mark.parametrize(("shape", "index", "error", "match"), BAD_SHARDS, ids=str)
def test_bad_shards(shape, index, error, match):
    with pytest.raises(error, match=match):
        gi.Shard(shape, index)
