"""Part f: Nsight Compute on the three kernels that draw, and compute-sanitizer on a small self-check."""

from __future__ import annotations

import glob
import os
import re
import shutil
import tempfile
from pathlib import Path

from peers import cupy_module

from gpu_parts import commands, ncu
from gpu_parts.task import SkipError, Task

_PLACES = ("/usr/local/cuda/bin", "/opt/nvidia/nsight-compute/*", "/usr/local/cuda*/bin", "/opt/cuda/bin")
_KERNELS = "regex:^gpuinit_(uniform|normal|truncated)"
_SANITIZERS = ("memcheck", "racecheck", "initcheck")
_ERRORS = re.compile(r"(?:ERROR SUMMARY|RACECHECK SUMMARY): (\d+) (?:error|hazard)")
_NCU_SHARE = 0.45  # of the part's time


def main(task: Task) -> None:
    cupy_module()
    profiler, sanitizer = _find("ncu"), _find("compute-sanitizer")
    if not (profiler or sanitizer):
        raise SkipError("neither ncu nor compute-sanitizer is installed")
    notes = [_profile(task, profiler), _sanitize(task, sanitizer)]
    task.note("; ".join(notes))


def _find(name: str) -> str | None:
    folders = [os.environ.get("PATH", ""), *(folder for place in _PLACES for folder in sorted(glob.glob(place))[::-1])]
    return shutil.which(name, path=os.pathsep.join(folders))


def _profile(task: Task, profiler: str | None) -> str:
    if not profiler:
        task.missing("ncu", ["it is not on the PATH"])
        return "ncu is not installed"
    end = task.left() * (1 - _NCU_SHARE)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "ncu.csv"
        # A metric that a GPU does not have may make ncu refuse them all; its own sections always fit.
        for chosen in (["--metrics", ",".join(ncu.METRICS)], []):
            log.unlink(missing_ok=True)
            done = commands.run(_ncu(profiler, log, chosen, task.quick), task.left() - end)
            text = log.read_text("utf-8", errors="replace") if log.exists() else done.output
            # Of each kernel the last launch; ncu may show a kernel's parameters after its name.
            launches = {measured.kernel.partition("(")[0]: measured for measured in ncu.parse(text)}
            if launches:
                break
    print(text)
    for kernel, measured in launches.items():
        task.add("profile", kernel=kernel, shown=ncu.shown(measured), metrics=dict(measured.metrics))
    if not launches:
        task.fail(f"ncu measured nothing (exit code {done.code}): {commands.Done(None, done.output + text).last_line}")
    return f"ncu: {len(launches)} kernels"


def _ncu(profiler: str, log: Path, chosen: list[str], quick: bool) -> list[str]:
    sections = [option for section in ncu.SECTIONS for option in ("--section", section)]
    output = ["--csv", "--page", "raw", "--print-units", "base", "--log-file", str(log)]
    which = ["--kernel-name", _KERNELS, "--clock-control", "none", "--target-processes", "all"]
    return [
        profiler,
        *output,
        *which,
        *sections,
        *chosen,
        *commands.python("-m", "gpu_parts.profiled", *(["--quick"] if quick else [])),
    ]


def _sanitize(task: Task, sanitizer: str | None) -> str:
    if not sanitizer:
        task.missing("compute-sanitizer", ["it is not on the PATH"])
        return "compute-sanitizer is not installed"
    notes = []
    for number, tool in enumerate(_SANITIZERS):
        seconds = (task.left() - 2) / (len(_SANITIZERS) - number)
        command = [sanitizer, "--tool", tool, "--error-exitcode", "7", *commands.python("-m", "gpu_parts.checked")]
        done = commands.run(command, seconds)
        errors = [int(count) for count in _ERRORS.findall(done.output)]
        task.add("sanitizer", tool=tool, errors=errors[-1] if errors else None, code=done.code)
        if done.code:
            task.fail(f"{tool}: {done.last_line}")
        notes.append(f"{tool} {'did not end in time' if done.code is None else 'found nothing' if done.code == 0 else 'failed'}")
    return ", ".join(notes)
