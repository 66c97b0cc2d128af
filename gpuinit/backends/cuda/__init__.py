"""The GPU backend: CuPy arrays of any layout and device."""

from __future__ import annotations

import functools
from typing import Any

import cupy

from gpuinit.backends.cuda.fill import constant, dirac, eye, fill, sparse, trunc
from gpuinit.backends.cuda.orthogonal import orthogonal

__all__ = ["check", "constant", "dirac", "eye", "fill", "orthogonal", "sparse", "trunc"]


def check(x: Any) -> Any:
    """The array to be filled; an error where no kernel can run."""
    _need_cuda()
    return x


@functools.cache
def _need_cuda() -> None:
    if cupy.cuda.runtime.is_hip:
        raise RuntimeError("gpuinit's kernels are CUDA code, but this CuPy is built for ROCm; use NumPy arrays")
    if not cupy.is_available():
        raise RuntimeError("CuPy finds no CUDA device that can be used; `python -m gpuinit info` tells more")
