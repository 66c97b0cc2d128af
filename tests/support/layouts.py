"""Arrays of every memory layout: windows of a larger buffer whose other elements must stay as they are."""

from __future__ import annotations

import math

import numpy as np

from tests.support.arrays import to_host


def _strided(buffer, shape):
    return buffer.reshape([2 * length + 1 for length in shape])[(*(slice(1, None, 2) for _ in shape), ...)]


# Name -> (elements of the buffer for a shape, the window of that shape in the buffer)
LAYOUTS = {
    "C": (math.prod, lambda buffer, shape: buffer.reshape(shape)),
    "F": (math.prod, lambda buffer, shape: buffer.reshape(shape[::-1]).T),
    "one element off": (lambda shape: math.prod(shape) + 2, lambda buffer, shape: buffer[1:-1].reshape(shape)),
    "reversed": (math.prod, lambda buffer, shape: buffer.reshape(shape)[(*(slice(None, None, -1) for _ in shape), ...)]),
    "every other": (lambda shape: math.prod(2 * length + 1 for length in shape), _strided),
    "first axis last": (
        math.prod,
        lambda buffer, shape: np.moveaxis(buffer.reshape(shape[1:] + shape[:1]), -1, 0) if shape else buffer.reshape(()),
    ),
}


class Window:
    """A window of one layout, `array`, in a buffer of a byte pattern."""

    def __init__(self, xp, layout, shape, dtype):
        size, view = LAYOUTS[layout]
        shape = tuple(shape)
        self.buffer = xp.zeros(size(shape), dtype)
        self.buffer.view(np.uint8)[...] = 0x5A
        self.array = view(self.buffer, shape)
        self.inside = np.zeros(self.buffer.size, bool)
        self.inside[view(np.arange(self.buffer.size), shape)] = True

    def outside_untouched(self) -> bool:
        """Whether the buffer's other elements hold the pattern still."""
        return bool((to_host(self.buffer)[~self.inside].view(np.uint8) == 0x5A).all())
