"""`View`: an array of any library as a backend sees it, and the errors that all libraries' arrays share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple

from gpuinit._contract.arguments import type_name
from gpuinit._contract.shards import Patches, Shard


def _notify_nobody() -> None:
    pass


class View(NamedTuple):
    """Memory to fill.

    `array` is NumPy's or CuPy's on that memory. The backend is called within `scope()`, if there is one, and `notify_owner()`
    afterwards. `shard` is what part or parts of a larger array it is, if its owner knows.
    """

    backend: Literal["host", "cuda"]
    array: Any
    scope: Callable[[], AbstractContextManager[Any]] | None = None
    notify_owner: Callable[[], None] = _notify_nobody
    shard: Shard | Patches | None = None

    def context(self) -> AbstractContextManager[Any]:
        """Return the scope, or one that does nothing."""
        return self.scope() if self.scope else contextlib.nullcontext()


def read_only_error(x: Any) -> TypeError:
    """Return the error for an array that cannot be written."""
    return TypeError(
        f"x must be writeable, got a read-only {type_name(x)}; fill a writeable copy, x.copy(), or a new NumPy array, and "
        "convert it (jax.numpy.asarray(filled))"
    )
