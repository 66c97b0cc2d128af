"""Keys for many spawn keys at once are those of `numpy.random.SeedSequence`."""

from __future__ import annotations

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._contract.seed_sequence import key_of, keys_of

SEEDS = [0, 1, 42, 2**32 - 1, 2**32, 2**64 + 5, 2**128 - 1, 2**128, 42 + 5 * 2**128, 2**200 + 3]
WORDS = np.random.default_rng(0).integers(0, 2**32, (50, 5)).tolist()


@pytest.mark.parametrize("spawn_key", [(), (3,), (0x6E616D65, 1, 2, 3, 2**32 - 1)], ids=len)
@pytest.mark.parametrize("seed", SEEDS)
def test_keys_are_numpys(seed, spawn_key):
    for length in (1, 2, 5):
        ends = [tuple(words[:length]) for words in WORDS]
        sequences = [np.random.SeedSequence(seed, spawn_key=(*spawn_key, *end)) for end in ends]
        expected = [tuple(sequence.generate_state(2, np.uint32).tolist()) for sequence in sequences]
        for count in (0, 1, 4, 5, 50):
            assert keys_of(seed, spawn_key, ends[:count]) == expected[:count]
        assert [key_of(seed, (*spawn_key, *end)) for end in ends] == expected


def test_children_by_names_and_numbers_are_the_same_alone_and_together():
    root = gi.Generator(7).spawn("model")
    names = [f"layers.{number}.weight" for number in range(40)]
    for together, name in zip(root._spawn_named(names), names, strict=True):
        assert together.state == root.spawn(name).state
        assert together.reserve(1) == root.spawn(name).reserve(1)
    numbered, one_by_one = gi.Generator(7).spawn(30), gi.Generator(7)
    for child in numbered:
        assert child.reserve(1) == one_by_one.spawn(1)[0].reserve(1)
