"""The machine: its GPU and driver, versions, and whether the device is an emulated one."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import report
import threads

from gpu_parts.task import Task
from gpuinit import CONTRACT_VERSION

_PROPERTIES = {"multiprocessors": "multiProcessorCount", "L2 bytes": "l2CacheSize", "memory bytes": "totalGlobalMem"}
_QUERY = ("driver_version", "clocks.max.sm", "clocks.max.memory", "power.limit", "temperature.gpu", "ecc.mode.current")


def main(task: Task) -> None:
    reason, device = _device()
    found = report.machine(threads.available())  # after CuPy was imported, so that it names the GPU
    task.add("machine", **{**found, "contract": CONTRACT_VERSION, "device": device, "emulated": _is_emulated(found["gpu"])})
    task.note(f"{found['gpu']}, driver {device.get('driver_version', device['driver'])}" if device else f"no GPU: {reason}")


def _is_emulated(name: str | None) -> bool:
    return importlib.util.find_spec("cudasim") is not None or "simulator" in (name or "").lower()


def _device() -> tuple[str, dict[str, Any]]:
    """Why there is no device, or what CUDA and nvidia-smi say of the current one."""
    try:
        import cupy

        if not cupy.is_available():
            return "CuPy finds no CUDA device", {}
    except Exception as error:  # a broken CuPy raises anything, and that is a result too
        return " ".join(f"CuPy cannot be imported ({error})".split()), {}
    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(cupy.cuda.Device().id)
    return "", {
        **{name: properties[key] for name, key in _PROPERTIES.items() if key in properties},
        "compute capability": f"{properties['major']}.{properties['minor']}",
        "driver": _release(runtime.driverGetVersion()),
        "runtime": _release(runtime.runtimeGetVersion()),
        "NVRTC": "{}.{}".format(*cupy.cuda.nvrtc.getVersion()),
        **_smi(),
    }


def _release(version: int) -> str:
    """CUDA's 13020 is 13.2."""
    return f"CUDA {version // 1000}.{version % 1000 // 10}"


def _smi() -> dict[str, str]:
    """What nvidia-smi answers, if there is one; a field that it does not know makes it answer nothing."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"nvidia-smi: {error}", file=sys.stderr)
        return {}
    cells = [cell.strip() for cell in done.stdout.splitlines()[0].split(",")] if done.returncode == 0 and done.stdout else []
    return dict(zip(_QUERY, cells)) if len(cells) == len(_QUERY) else {}
