"""`python -m gpuinit info`: what gpuinit finds on this machine, and how to get what it does not find."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Any, NamedTuple

import gpuinit
from gpuinit import _console as console
from gpuinit._backends import kernel_sources
from gpuinit._backends.host import compiled

_CUPY = 'pip install "gpuinit[cuda12]", or "gpuinit[cuda13]" for CUDA 13'
_DRIVER = "a CUDA device needs NVIDIA's driver; does `nvidia-smi` list the device?"
_REINSTALL = "pip install --force-reinstall --no-deps gpuinit"
_COMPILE = f"NumPy's ufuncs do their work, more slowly; to have them, get a C++ compiler, then {_REINSTALL} --no-cache-dir"


class Finding(NamedTuple):
    """A row of the table; `remedy` is empty where nothing is missing."""

    what: str
    found: str
    remedy: str = ""


def run() -> int:
    """Print versions, devices and remedies; the exit code is 0, whatever is missing."""
    findings = [
        Finding("gpuinit", f"{gpuinit.__version__}, contract {gpuinit.CONTRACT_VERSION}"),
        Finding("Python", f"{platform.python_version()}, {platform.python_implementation()}"),
        Finding("platform", platform.platform()),
        Finding("CPUs", f"{os.cpu_count()}, threads in use {gpuinit.get_num_threads()}"),
        _look("NumPy", lambda: metadata.version("numpy"), 'pip install "numpy>=2.0"'),
        _look("ml_dtypes", lambda: str(importlib.import_module("ml_dtypes").__version__), 'pip install "gpuinit[bfloat16]"'),
        _look("rich", lambda: metadata.version("rich"), 'pip install "gpuinit[cli]"'),
        _look("kernel headers", lambda: str(kernel_sources.folder()), _REINSTALL),
        _look("CPU kernels", lambda: f"compiled, {compiled.load()._name}", _COMPILE),
        *_gpu(),
    ]
    console.table("gpuinit on this machine", ("what", "found"), [(f.what, f.found) for f in findings])
    remedies: dict[str, list[str]] = {}
    for finding in findings:
        if finding.remedy:
            remedies.setdefault(finding.remedy, []).append(finding.what)
    for remedy, missing in remedies.items():
        print(f"missing {', '.join(missing)}: {remedy}")
    print(
        "Everything is there." if not remedies else "NumPy arrays need none of these, except ml_dtypes for bfloat16 and float8."
    )
    return 0


def _look(what: str, question: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(what, question())
    except Exception as error:  # a broken installation may raise anything, and this command is there to tell of it
        reason = " ".join(str(error).split()) or type(error).__name__
        return Finding(what, f"not found ({reason})", remedy)


def _cupy() -> Any:
    return importlib.import_module("cupy")


def _cupy_version() -> str:
    """With the distribution's name, which tells for which CUDA it is made."""
    version = _cupy().__version__
    distributions = metadata.packages_distributions().get("cupy", [])
    return f"{version}, {' and '.join(sorted(set(distributions)))}"


def _release(version: int) -> str:
    """CUDA's 13020 is 13.2."""
    if version == 0:
        raise RuntimeError("no driver")
    return f"{version // 1000}.{version % 1000 // 10}"


def _gpu() -> list[Finding]:
    """CuPy, and what can be asked through it alone."""
    library = _look("CuPy", _cupy_version, _CUPY)
    if library.remedy:
        return [library]
    runtime = _cupy().cuda.runtime
    found = [
        library,
        _look("CUDA driver", lambda: _release(runtime.driverGetVersion()), _DRIVER),
        _look("CUDA runtime", lambda: _release(runtime.runtimeGetVersion()), _CUPY),
        _look("NVRTC", lambda: "{}.{}".format(*_cupy().cuda.nvrtc.getVersion()), _CUPY),
        _look("devices", lambda: str(_device_count()), _DRIVER),
    ]
    if not found[-1].remedy:
        found += [_look(f"device {i}", partial(_device, i), _DRIVER) for i in range(int(found[-1].found))]
    return found


def _device_count() -> int:
    count = int(_cupy().cuda.runtime.getDeviceCount())
    if count == 0:
        raise RuntimeError("CUDA has none")
    return count


def _device(number: int) -> str:
    properties = _cupy().cuda.runtime.getDeviceProperties(number)
    memory = properties["totalGlobalMem"] / 2**30
    return f"{properties['name'].decode()}, compute capability {properties['major']}.{properties['minor']}, {memory:.1f} GiB"
