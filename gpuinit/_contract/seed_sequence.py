"""Keys of streams from seeds: `numpy.random.SeedSequence`, and the same for many spawn keys at once.

SeedSequence hashes the words of the seed, then those of the spawn key; O'Neill (2015), "Developing a seed_seq alternative". NumPy
guarantees that it stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

_POOL = 4  # words
_WORD = 2**32 - 1
_FEW = 4  # spawn keys, for which NumPy's own takes less time
# The constants of bit_generator.pyx in NumPy.
_FIRST_A, _FACTOR_A = 0x43B0D7E5, 0x931E8875
_FIRST_B, _FACTOR_B = 0x8B51F9DD, 0x58F38DED
_LEFT, _RIGHT = np.uint32(0xCA01F9DD), np.uint32(0x4973F715)
_SHIFT = np.uint32(16)

Key = tuple[int, int]


def fresh_seed() -> int:
    """Return 128 bits from the operating system."""
    seed = np.random.SeedSequence().entropy
    assert isinstance(seed, int)
    return seed


def key_of(seed: int, spawn_key: tuple[int, ...]) -> Key:
    """Return the key of a seed and a spawn key of 32-bit words."""
    low, high = np.random.SeedSequence(seed, spawn_key=spawn_key).generate_state(2, np.uint32).tolist()
    return low, high


def keys_of(seed: int, spawn_key: tuple[int, ...], ends: Sequence[tuple[int, ...]]) -> list[Key]:
    """Return the keys of a seed and spawn keys that begin in the same way; `ends` has the words that follow, each as many."""
    if len(ends) <= _FEW:
        return [key_of(seed, (*spawn_key, *end)) for end in ends]
    common = [seed >> shift & _WORD for shift in range(0, max(seed.bit_length(), 32 * _POOL), 32)]
    words = [np.full(1, word, np.uint32) for word in (*common, *spawn_key)]
    words += list(np.array(ends, np.uint32).T)
    with np.errstate(over="ignore"):
        low, high = _generate(_mix_all(words))
    return list(zip(low.tolist(), high.tolist()))


def _mix_all(words: list[Any]) -> list[Any]:
    """Return the pool that all words were mixed into; each word is an array, of one element where all have the same."""
    constants = _constants(_FIRST_A, _FACTOR_A)
    pool = [_hash(word, constants) for word in words[:_POOL]]
    for source in range(_POOL):
        for target in range(_POOL):
            if source != target:
                pool[target] = _mix(pool[target], _hash(pool[source], constants))
    for word in words[_POOL:]:
        pool = [_mix(mixed, _hash(word, constants)) for mixed in pool]
    return pool


def _generate(pool: list[Any]) -> list[Any]:
    """Return the first two words of state."""
    constants = _constants(_FIRST_B, _FACTOR_B)
    return [_hash(mixed, constants) for mixed in pool[:2]]


def _constants(first: int, factor: int) -> Iterator[tuple[np.uint32, np.uint32]]:
    """Yield pairs of constants of which the second is the first of the next pair."""
    while True:
        second = first * factor & _WORD
        yield np.uint32(first), np.uint32(second)
        first = second


def _hash(word: Any, constants: Iterator[tuple[np.uint32, np.uint32]]) -> Any:
    before, factor = next(constants)
    mixed = (word ^ before) * factor
    return mixed ^ mixed >> _SHIFT


def _mix(x: Any, y: Any) -> Any:
    mixed = _LEFT * x - _RIGHT * y
    return mixed ^ mixed >> _SHIFT
