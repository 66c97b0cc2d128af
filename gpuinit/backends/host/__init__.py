"""The CPU backend: NumPy arrays of any layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuinit.backends.host.fill import constant, dirac, eye, fill, trunc
from gpuinit.backends.host.orthogonal import orthogonal
from gpuinit.backends.host.sparse import sparse

__all__ = ["check", "constant", "dirac", "eye", "fill", "orthogonal", "sparse", "trunc"]


def check(x: Any) -> np.ndarray:
    """The plain array to be filled; an error for kinds whose elements are not what they seem."""
    if isinstance(x, (np.matrix, np.ma.MaskedArray)):
        raise TypeError(f"x must be a plain array, got {type(x).__name__}; give its data, as in numpy.asarray(x)")
    if not x.flags.writeable:
        raise TypeError("x must be writeable, got a read-only array; fill a copy, x.copy(), or set x.flags.writeable")
    return np.asarray(x)
