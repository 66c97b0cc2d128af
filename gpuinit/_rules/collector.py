"""Python's cyclic garbage collector, paused while a model is walked."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused_collector() -> Iterator[None]:
    """Within, no cycles are collected.

    A walk over thousands of layers makes some ten objects per parameter that all stay, and each collection on the way looks at
    the whole model again. For many small layers, that takes as long as all the rest.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
