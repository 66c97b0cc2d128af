"""Memory that a thread uses again for each piece: fresh pages would cost as much as the arithmetic done in them."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

_local = threading.local()


def scratch(name: str, size: int, dtype: np.dtype[Any] | type) -> np.ndarray:
    """An array of this thread, not initialized; it is valid until the same name and dtype are asked for again."""
    kept = _local.__dict__.setdefault("arrays", {})
    key = name, dtype
    if key not in kept or kept[key].size < size:
        kept[key] = np.empty(size, dtype)
    found: np.ndarray = kept[key][:size]
    return found
