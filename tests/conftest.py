"""The `xp` fixture, which runs a test on NumPy and, where CuPy finds a device, on CuPy; and what tests share."""

from __future__ import annotations

import contextlib
import importlib
from unittest import mock

import numpy as np
import pytest

from gpuinit._backends.host import compiled


def pytest_collection_modifyitems(items):
    """Give the marker `gpu` to each test that asks for CuPy or for a CUDA device by a fixture or a parameter."""
    for item in items:
        if {"cupy", "cudasim"} & set(getattr(item, "fixturenames", ())) or _asks_for_a_gpu(item):
            item.add_marker("gpu")


def _asks_for_a_gpu(item):
    """Whether a parameter names the backend or the device, as those of the fixtures `xp`, `device` and `produced` do."""
    given = getattr(getattr(item, "callspec", None), "params", {})
    values = [given.get(name) for name in ("xp", "device", "produced")]
    return any((value[0] if isinstance(value, tuple) else value) in ("cupy", "cuda") for value in values)


def cupy_or_skip():
    """CuPy, or the test is skipped with the reason."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError:
        pytest.skip("CuPy is not installed")
    if not cupy.is_available():
        pytest.skip("CuPy finds no CUDA device")
    return cupy


@pytest.fixture(params=["numpy", "cupy"])
def xp(request):
    """NumPy, then CuPy."""
    return np if request.param == "numpy" else cupy_or_skip()


@pytest.fixture
def cupy():
    return cupy_or_skip()


@pytest.fixture
def cudasim(cupy):
    """The trace of an emulated device; only there are launches and copies seen."""
    return pytest.importorskip("cudasim")


@pytest.fixture
def paths(tmp_path):
    """A safetensors file to read and one to write, in a folder of its own, where nothing else must be left."""
    (tmp_path / "out").mkdir()
    return tmp_path / "model.safetensors", tmp_path / "out" / "filled.safetensors"


def to_host(array) -> np.ndarray:
    """The elements of a NumPy or CuPy array, in a NumPy array."""
    return array.get() if hasattr(array, "get") else np.asarray(array)


@contextlib.contextmanager
def by_ufuncs():
    """Fills of NumPy arrays within are those of an installation without compiled kernels."""
    with mock.patch.object(compiled, "sampler_of", return_value=None):
        yield
