"""Whether a callable has left the array that it was to fill untouched, as far as that can be found out."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Any

from gpuinit._backends.hashing import source_of
from gpuinit._backends.views import view_of


def watch(x: Any) -> Callable[[], bool]:
    """Return a function that says whether `x` is untouched since.

    torch counts the writes to a tensor, except those that autograd does not see, such as writes to `x.data`. These change a
    checksum, unless they write the same bytes again. Other arrays do not count writes. A callable may write the same bytes again,
    for example when a model is initialized twice, so these arrays never count as untouched.
    """
    torch = sys.modules.get("torch")
    checksum = _checksum(x) if torch is not None and isinstance(x, torch.Tensor) else None
    if checksum is None or x.is_inference():  # inference tensors have no count
        return cannot_be_told
    version = x._version
    return lambda: x._version == version and _checksum(x) == checksum


def cannot_be_told() -> bool:
    """Count an array as written to."""
    return False


def _checksum(x: Any) -> int | None:
    """The CRC of a tensor's elements in this process; None if there are none, or gpuinit cannot read them."""
    try:
        view = view_of(x)
    except (TypeError, RuntimeError):
        return None
    if not view.array.size:
        return None
    checksum = 0
    with view.context():
        for piece in source_of(view.array).pieces():
            checksum = zlib.crc32(piece.view("u1").data, checksum)
    return checksum
