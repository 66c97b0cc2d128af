"""The floating-point mode that values are defined in, whatever mode the calling thread is in: to nearest, subnormals kept.

`torch.set_flush_denormal`, C's `fesetround` and libraries built with -ffast-math set other modes, each thread having its own. The
compiled kernels of the CPU set the mode themselves.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")
# Not literals in an expression, which would be computed when the module is compiled.
_LEAST_NORMAL, _HALF, _ONE, _DUST = 2.0**-1022, 0.5, 1.0, 2.0**-60


def exact(function: Callable[[*Arguments], Result]) -> Callable[[*Arguments], Result]:
    """Return the function, computing in the standard mode.

    The caller's mode is back afterwards. Where it is the standard one, this takes a fifth of a microsecond.
    """

    def in_standard_mode(*args: *Arguments) -> Result:
        # Flushed to zero, the product is false; other roundings move one of the sums.
        if _LEAST_NORMAL * _HALF and _ONE + _DUST == _ONE - _DUST:
            return function(*args)
        with _standard_mode():
            return function(*args)

    return in_standard_mode


@contextlib.contextmanager
def _standard_mode() -> Iterator[None]:
    library, standard = _environments()
    callers = ctypes.create_string_buffer(_ENVIRONMENT_BYTES)
    library.fegetenv(callers)
    library.fesetenv(standard)
    try:
        yield
    finally:
        library.fesetenv(callers)


_ENVIRONMENT_BYTES = 256  # more than any system's fenv_t has


def _environments() -> tuple[ctypes.CDLL, Any]:
    """Return C's library, and its FE_DFL_ENV, which is a macro.

    Raises
    ------
    RuntimeError
        If they are not known for this system: nothing has been written yet.
    """
    with contextlib.suppress(AttributeError, ValueError):
        library = ctypes.CDLL(None) if sys.platform in ("linux", "darwin") else None
        if library and library.fegetenv and library.fesetenv:
            if sys.platform == "darwin":
                return library, ctypes.byref(ctypes.c_char.in_dll(library, "_FE_DFL_ENV"))
            return library, ctypes.c_void_p(-1)  # with glibc as with musl
    raise RuntimeError(
        "the calling thread flushes subnormal numbers to zero or does not round to nearest, which would change values: "
        "call torch.set_flush_denormal(False), or C's fesetround(FE_TONEAREST), and fill again"
    )
