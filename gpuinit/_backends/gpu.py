"""CuPy, or the reason why it cannot be used: the only place that knows."""

from __future__ import annotations

import importlib
from typing import Any


def usable_cupy() -> Any:
    """Return CuPy, imported now if need be, where it finds a CUDA device.

    Raises
    ------
    RuntimeError
        If it cannot be used; the text says what is missing, and what to install.
    """
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        reason = " ".join(str(error).split())  # CuPy's own text may be a banner of many lines
        raise RuntimeError(f"CuPy cannot be imported ({reason}); install gpuinit[cuda12] or gpuinit[cuda13]") from error
    if not cupy.is_available():
        raise RuntimeError("CuPy finds no CUDA device that can be used; `python -m gpuinit info` shows more")
    if cupy.cuda.runtime.is_hip:
        raise RuntimeError("gpuinit's kernels are CUDA code, but this CuPy is built for ROCm; use arrays on the CPU")
    return cupy
