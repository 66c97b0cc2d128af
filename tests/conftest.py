"""The `xp` fixture, which runs a test on NumPy and, where CuPy finds a device, on CuPy; and other fixtures that tests share."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import gpuinit as gi
from tests.support.arrays import cupy_or_skip

# One profile for all tests, so that each run, on every machine, tries the same examples: there is no random seed to report and
# no database of failures. No deadline, since machines differ. Tests set `max_examples` alone.
settings.register_profile(
    "gpuinit", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("gpuinit")

# In the background of a shell, and under nohup, signals are ignored; programs that tests start would inherit that.
for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    number = getattr(signal, name, None)
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


# Fixtures that have the name of a marker. Where all tests of a file need a library, the file has its marker instead.
LIBRARIES = {"jax", "torch"}


def pytest_collection_modifyitems(items):
    """Give the marker `gpu` to each test that asks for CuPy or for a CUDA device by a fixture or a parameter.

    A test that asks for another library by a fixture gets the library's marker.
    """
    for item in items:
        if {"cupy", "cudasim"} & set(getattr(item, "fixturenames", ())) or _asks_for_a_gpu(item):
            item.add_marker("gpu")
        for name in LIBRARIES & set(getattr(item, "fixturenames", ())):
            item.add_marker(name)


def _asks_for_a_gpu(item):
    """Whether a parameter names the backend or the device, as those of the fixtures `xp`, `device` and `produced` do."""
    given = getattr(getattr(item, "callspec", None), "params", {})
    values = [given.get(name) for name in ("xp", "device", "produced")]
    return any((value[0] if isinstance(value, tuple) else value) in ("cupy", "cuda") for value in values)


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
def jax():
    return pytest.importorskip("jax")


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def default_state():
    """A known state of the default generator, and its own back afterwards."""
    kept = gi.default_generator.state
    gi.manual_seed(7).reserve(3)
    yield gi.default_generator.state
    gi.default_generator.state = kept


@pytest.fixture
def paths(tmp_path):
    """A safetensors file to read and one to write, in a folder of its own, where nothing else must be left."""
    (tmp_path / "out").mkdir()
    return tmp_path / "model.safetensors", tmp_path / "out" / "filled.safetensors"


@pytest.fixture
def folders(tmp_path):
    """A checkpoint's folder to read and one to write, as `paths`."""
    (tmp_path / "out").mkdir()
    return tmp_path / "model", tmp_path / "out" / "filled"
