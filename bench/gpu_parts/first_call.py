"""Part g: how long the first fill of a process takes, with CuPy's kernel cache empty and filled."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from typing import Any

from peers import cupy_module, dtype_of

import gpuinit as gi
from gpu_parts import commands
from gpu_parts.task import Task

_FUNCTIONS = ("uniform_", "normal_", "trunc_normal_", "sparse_", "orthogonal_", "ones_", "eye_", "dirac_", "trunc_")
_DTYPES = ("float32", "bfloat16")
_ROW = "first call: "  # how a line with a result begins


def main(task: Task) -> None:
    cupy_module()
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "CUPY_CACHE_DIR": cache}
        cold, warm = (_run(task, environment) for _ in range(2))
    for key, (seconds, compiled) in cold.items():
        function, _, dtype = key.partition(" ")
        task.add("first call", function=function, dtype=dtype, cold_s=seconds, nvrtc_s=compiled, warm_s=warm.get(key, (None,))[0])
    if not (cold and warm):
        task.fail("the fills did not end well, or not in time")
    total = [sum(seconds for seconds, _ in run.values()) for run in (cold, warm)]
    task.note(f"{len(cold)} first calls: {total[0]:.1f} s with an empty cache, {total[1]:.2f} s with a filled one")


def _run(task: Task, environment: dict[str, str]) -> dict[str, tuple[float, float]]:
    """Seconds, and of these NVRTC's, by "function dtype", in a process of its own."""
    quick = ["--quick"] if task.quick else []
    done = commands.run(commands.python("-m", "gpu_parts.first_call", *quick), task.left() - 1, environment)
    rows = [json.loads(line.removeprefix(_ROW)) for line in done.output.splitlines() if line.startswith(_ROW)]
    return {key: (seconds, compiled) for key, seconds, compiled in rows}


def _first_calls(quick: bool) -> None:
    cupy = cupy_module()
    compiled = _clocked_compiler()
    cupy.zeros(2, "float32") + 1  # CuPy's own start, and the device's, are not counted
    functions = _FUNCTIONS[:2] if quick else _FUNCTIONS
    for dtype in _DTYPES[:1] if quick else _DTYPES:
        for name in functions:
            x = cupy.zeros((4, 4, 1) if name == "dirac_" else (4, 4), dtype_of(dtype))
            cupy.cuda.Device().synchronize()
            before, start = sum(compiled), time.perf_counter()
            getattr(gi, name)(x, **({"sparsity": 0.5} if name == "sparse_" else {}))
            cupy.cuda.Device().synchronize()
            seconds = round(time.perf_counter() - start, 4)
            print(_ROW + json.dumps([f"{name} {dtype}", seconds, round(sum(compiled) - before, 4)]), flush=True)


def _clocked_compiler() -> list[float]:
    """Seconds of each compilation from now on. CuPy has no public name for it; without the private one the list stays empty."""
    from cupy.cuda import compiler

    seconds: list[float] = []
    program = getattr(compiler, "_NVRTCProgram", None)
    if program is None:
        return seconds
    compile_program = program.compile

    def clock(self: Any, *arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return compile_program(self, *arguments, **options)
        finally:
            seconds.append(time.perf_counter() - start)

    program.compile = clock
    return seconds


if __name__ == "__main__":
    _first_calls("--quick" in sys.argv)
