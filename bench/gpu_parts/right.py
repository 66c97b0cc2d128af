"""Part a: what gpuinit finds on this machine, and whether every backend computes the values that it should."""

from __future__ import annotations

import threads
from peers import MissingError, cupy_module

from gpu_parts import commands
from gpu_parts.task import Task

_WORKERS = 8  # more would wait for the same compilations, and each takes a CUDA context
_COMPILE_SHARE = 0.5  # of the part's time


def main(task: Task) -> None:
    info = commands.run(commands.python("-m", "gpuinit", "info"), min(60.0, task.left()))
    task.add("output", command="info", code=info.code, text=info.output)
    if info.code != 0:
        task.fail("`python -m gpuinit info` did not end well")
    reason = _compile_in_parallel(task)
    check = commands.run(commands.python("-m", "gpuinit", "selfcheck"), task.left())
    task.add("output", command="selfcheck", code=check.code, text=check.output)
    if check.code != 0:
        task.fail(f"selfcheck: {check.last_line}" if check.code else "selfcheck did not end in time")
    task.note(f"selfcheck: {check.last_line}{f' (only the CPU: {reason})' if reason else ''}")


def _compile_in_parallel(task: Task) -> str:
    """Fill CuPy's kernel cache for selfcheck and the parts after it; the reason if there is no GPU to do it for."""
    try:
        cupy_module()
    except MissingError as reason:
        return str(reason)
    count = min(threads.available() // 2, _WORKERS)
    if count > 1 and not task.quick:
        workers = commands.python("-m", "gpu_parts.compiling", str(count))
        commands.run(workers, task.left() * _COMPILE_SHARE)
    return ""
