"""The keyed permutation of a column's rows that sparse_ zeroes by: its constants. docs/values.md has the whole."""

from __future__ import annotations

# Third counter word of the blocks that hold the column keys; it is 0 in those that fills draw from.
COLUMN_KEYS = 1
# One 32-bit word of a column's block a round.
ROUNDS = 8
# In a smaller domain eight rounds leave a bias that a chi-square test of a million columns sees.
LEAST_BITS = 5
MOST_ROWS = 2**32


def domain_bits(rows: int) -> int:
    """Bits of the permuted domain, the least power of two that holds all rows and is not too small to mix."""
    return max(LEAST_BITS, (rows - 1).bit_length())


def fold(bits: int) -> int:
    """The shift that brings the upper half of the bits down: its xor undoes itself."""
    return (bits + 1) // 2
