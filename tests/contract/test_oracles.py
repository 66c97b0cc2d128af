"""The stream against other people's Philox4x32-10."""

from __future__ import annotations

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._contract.philox import halves, philox
from tests.support import reference
from tests.support.stream import blocks_at, words_at

# Random123's known answers for philox4x32 with 10 rounds: counter, key, words.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
NUMBERS = [0, 1, 5, 2**32 - 1, 2**32, 2**63 + 7, 2**64 - 2]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_answers(counter, key, words):
    counter, key, words = (tuple(int(word, 16) for word in text.split()) for text in (counter, key, words))
    assert philox(key, counter) == words
    assert reference.philox(key, counter) == words


@pytest.mark.jax
def test_jax():
    """JAX's own Philox4x32, run by XLA; its key and counter are the words of ours."""
    jax_philox = pytest.importorskip("jax._src.random.philox4x32")
    key = gi.Generator(9).reserve(0).key
    low, high = (np.array(words, np.uint32) for words in zip(*map(halves, NUMBERS)))
    zeros = np.zeros_like(low)
    words = jax_philox.philox4x32_p.bind(*map(np.uint32, key), low, high, zeros, zeros)
    np.testing.assert_array_equal(np.stack(words, axis=-1), blocks_at(9, NUMBERS))


def test_randomgen():
    """Its stream begins with the block after the counter that it is given."""
    randomgen = pytest.importorskip("randomgen")
    low, high = gi.Generator(9).reserve(0).key
    bits = randomgen.Philox(key=low | high << 32, counter=2**32 - 3, number=4, width=32)
    raw = np.asarray(bits.random_raw(40)).astype(np.uint32)
    np.testing.assert_array_equal(raw, words_at(9, 0, 40, 32, block=2**32 - 2))


def test_children_have_streams_of_their_own():
    """Of 2,000 children, numbered and named: no two first words agree more often than chance has it."""
    parent = gi.Generator(3)
    children = parent.spawn(1000) + [parent.spawn(f"layer.{i}") for i in range(1000)]
    first = np.stack([gi.uniform_(np.empty(64), generator=child) for child in children]) - 0.5
    correlations = np.corrcoef(first.T)[np.triu_indices(64, 1)]  # between the k-th words of all children
    assert np.abs(correlations).max() < 5 / np.sqrt(len(children))
    neighbours = (first[1:] * first[:-1]).sum(axis=1) / (first**2).sum(axis=1)[1:]
    assert abs(neighbours.mean()) < 5 * neighbours.std() / np.sqrt(len(neighbours))
    assert len({child.reserve(0).key for child in children}) == len(children)
