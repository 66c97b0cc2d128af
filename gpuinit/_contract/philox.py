"""Philox4x32-10 (Salmon et al. 2011) in Python's integers, for the single blocks that the host needs."""

from __future__ import annotations

MULTIPLIERS = 0xD2511F53, 0xCD9E8D57  # of words 0 and 2: the paper's table 2
INCREMENTS = 0x9E3779B9, 0xBB67AE85  # of the key's words: golden ratio and sqrt(3) - 1
ROUNDS = 10
_MASK = 2**32 - 1


def philox(key: tuple[int, int], counter: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Return the four 32-bit words of a block."""
    k0, k1 = key
    c0, c1, c2, c3 = counter
    for _ in range(ROUNDS):
        p0, p1 = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = p1 >> 32 ^ c1 ^ k0, p1 & _MASK, p0 >> 32 ^ c3 ^ k1, p0 & _MASK
        k0, k1 = k0 + INCREMENTS[0] & _MASK, k1 + INCREMENTS[1] & _MASK
    return c0, c1, c2, c3


def halves(number: int) -> tuple[int, int]:
    """Return a 64-bit number as two 32-bit words, the low one first."""
    return number & _MASK, number >> 32
