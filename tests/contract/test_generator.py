"""Generator: NumPy's key and stream, positions, children, states."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._cli import golden
from tests.support.stream import uniform_at

SEEDS = [0, 42, 2**64 - 1, 2**100 + 7]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_key_is_numpys(seed):
    expected = np.random.SeedSequence(seed).generate_state(2, np.uint32)
    assert gi.Generator(seed).reserve(0).key == tuple(expected.tolist())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniform_is_the_stream(xp, seed, dtype):
    for size in (0, 1, 8, 1001):
        filled = gi.uniform_(xp.empty(size, dtype), generator=seed)
        expected = uniform_at(seed, 0, size, dtype)
        assert (filled.get() if hasattr(filled, "get") else filled).tobytes() == expected.tobytes()


def test_fills_follow_each_other_in_the_stream():
    generator = gi.Generator(3)
    parts = [gi.uniform_(np.empty(4 * n, np.float32), generator=generator) for n in (1, 5, 2)]
    assert np.array_equal(np.concatenate(parts), gi.uniform_(np.empty(32, np.float32), generator=3))
    assert generator.position == 8


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("normal_", {"std": 0.0}),
        ("uniform_", {"a": 1, "b": 1}),
        ("trunc_normal_", {"a": 1, "b": 1}),
        ("sparse_", {"sparsity": 0}),
        ("sparse_", {"sparsity": 1}),
        ("orthogonal_", {"gain": 0}),
    ],
)
@pytest.mark.parametrize(("dtype", "blocks"), [("float16", 9), ("float32", 9), ("float64", 18)])
def test_the_position_advances_by_the_logical_size(xp, name, parameters, dtype, blocks):
    generator = gi.Generator(1)
    getattr(gi, name)(xp.empty((5, 7), dtype), **parameters, generator=generator)
    assert generator.position == blocks


def test_without_a_seed_entropy_is_fresh_and_told():
    first, second = gi.Generator(), gi.Generator()
    assert first.seed != second.seed
    assert gi.Generator(first.seed).reserve(0) == first.reserve(0)


def test_manual_seed():
    generator = gi.Generator(1)
    generator.reserve(9)
    assert generator.manual_seed(5) is generator
    assert (generator.seed, generator.position) == (5, 0)
    assert gi.manual_seed(11) is gi.default_generator
    drawn = gi.normal_(np.empty(9))
    assert gi.default_generator.position == 5
    assert np.array_equal(drawn, gi.normal_(np.empty(9), generator=11))


def test_state_survives_json_pickle_and_copies():
    generator = gi.Generator(2**100 + 7).spawn("layer")
    generator.reserve(2**40)
    generator.spawn(2)
    twins = [gi.Generator(0), pickle.loads(pickle.dumps(generator)), copy.deepcopy(generator)]
    twins[0].state = json.loads(json.dumps(generator.state))
    for twin in twins:
        assert twin.state == generator.state
        assert twin.reserve(1) == (generator.reserve(0).key, 2**40)
        assert twin.spawn(1)[0].state == gi.Generator(2**100 + 7).spawn("layer").spawn(3)[2].state
    assert set(generator.state) == {"version", "entropy", "spawn_key", "position", "children"}


def test_numbered_children_are_numpys():
    parent = gi.Generator(42)
    parent.reserve(3)
    children = parent.spawn(2) + parent.spawn(1)
    expected = np.random.SeedSequence(42).spawn(3)
    assert [child.reserve(0).key for child in children] == [tuple(s.generate_state(2, np.uint32).tolist()) for s in expected]
    assert parent.position == 3
    assert all(child.position == 0 for child in children)
    assert parent.spawn(0) == []


def test_named_children_are_pure_and_distinct():
    parent = gi.Generator(42)
    before = parent.state
    names = ["", "a", "b", "a.b", "\u00e9", "layer.0", "layer.1"]
    keys = {parent.spawn(name).reserve(0).key for name in names}
    assert parent.state == before
    assert len(keys) == len(names)
    assert parent.spawn("e\u0301").state == parent.spawn("\u00e9").state  # NFC
    assert keys.isdisjoint(child.reserve(0).key for child in parent.spawn(1000))
    assert parent.spawn("a").spawn("b").state != parent.spawn("b").spawn("a").state


def test_the_last_block_of_the_stream():
    generator = gi.Generator(42)
    generator.reserve(2**64 - 2)
    x = gi.uniform_(np.empty(2), generator=generator)
    assert np.array_equal(x, uniform_at(42, 0, 2, np.float64, block=2**64 - 2))
    with pytest.raises(OverflowError, match="end of the stream"):
        generator.reserve(1)


def test_golden_file(xp):
    """The stored digests of every function; `python -m gpuinit selfcheck` checks the same file."""
    assert golden.load()["version"] == gi.CONTRACT_VERSION
    results = list(golden.differences(xp))
    assert len(results) > 500
    assert {name for name, equal in results if not equal} == set()


def test_digest_depends_on_everything_but_layout(xp):
    x = xp.arange(6, dtype="float32").reshape(2, 3)
    base = gi.digest({"x": x})
    assert base == gi.digest({"x": xp.asarray(x, order="F")})
    assert (
        len(
            {
                base,
                *map(gi.digest, ({"y": x}, {"x": x.reshape(3, 2)}, {"x": x.astype("float64")}, {"x": x + 1}, {"x": x, "y": x})),
            }
        )
        == 6
    )
    if xp is np:
        assert base == gi.digest({"x": x.astype(">f4")})
