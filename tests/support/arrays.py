"""Arrays of both backends, and which code fills those of the CPU."""

from __future__ import annotations

import contextlib
import importlib
from unittest import mock

import numpy as np
import pytest

from gpuinit._backends.host import compiled


def cupy_or_skip():
    """CuPy, or the test is skipped with the reason."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        pytest.skip("CuPy is not installed")
    if not cupy.is_available():
        pytest.skip("CuPy finds no CUDA device")
    return cupy


def to_host(array) -> np.ndarray:
    """The elements of a NumPy or CuPy array, in a NumPy array."""
    return array.get() if hasattr(array, "get") else np.asarray(array)


@contextlib.contextmanager
def by_ufuncs():
    """Fill NumPy arrays as an installation without compiled kernels does."""
    with (
        mock.patch.object(compiled, "sampler_of", return_value=None),
        mock.patch.object(compiled, "filler_of", return_value=None),
    ):
        yield
