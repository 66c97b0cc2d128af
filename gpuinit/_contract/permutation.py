"""The keyed permutation of a column's rows that sparse_ zeroes by: its constants. docs/values.md has the whole."""

from __future__ import annotations

from gpuinit._contract.generator import Stream
from gpuinit._contract.philox import halves, philox

# Third counter words of what sparse_ draws besides its fill, which has 0 there: of the block that holds the key for columns,
# and of the two blocks of a column's keys.
COLUMN_KEY = 1
ROUND_KEYS = (2, 3)
# In a smaller domain eight rounds leave a bias that a chi-square test of a million columns sees.
LEAST_BITS = 5
MOST_ROWS = 2**32


def column_key(stream: Stream) -> tuple[int, int]:
    """Return the key that a fill's column keys are drawn with."""
    low, high, *_ = philox(stream.key, (*halves(stream.block), COLUMN_KEY, 0))
    return low, high


def domain_bits(rows: int) -> int:
    """Return the bits of the permuted domain, the least power of two that holds all rows and is not too small to mix."""
    return max(LEAST_BITS, (rows - 1).bit_length())


def fold(bits: int) -> int:
    """Return the shift that brings the upper half of the bits down: its xor undoes itself."""
    return (bits + 1) // 2
