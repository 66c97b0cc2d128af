"""Part d: what a call costs the host, and models of many parameters, beside torch's functions on the same memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from peers import MissingError, cupy_module, module

import gpuinit as gi
from gpu_parts import internals
from gpu_parts.task import Task

_FUNCTIONS = ("uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "zeros_")
_SHAPES = ((1, 1), (64, 64))
_CALLS = 200  # in a row without waiting; a GPU's queue holds about a thousand launches
_ROUNDS = 15
_RULES = [("*.bias", "zeros_"), ("*ln_*", "ones_"), ("*", "normal_(std=0.02)")]
_MANY = 1000


def main(task: Task) -> None:
    cupy = cupy_module()
    torch = _torch(task)
    for shape in _SHAPES:
        for name in _FUNCTIONS:
            _calls(task, name, shape, _callers(name, shape, cupy, torch))
    for model, shapes in _models(task.quick).items():
        try:
            _fill_models(task, model, shapes, cupy, torch)
        except Exception as error:  # also of a GPU that is too small
            task.fail(f"{model}: {type(error).__name__}: {error}")
    task.note(f"{len(_FUNCTIONS)} functions, {len(_models(True))} models")


def _torch(task: Task) -> Any:
    """torch, if it is there with a device; else None, and a line that says why."""
    try:
        torch = module("torch")
        if not torch.cuda.is_available():
            raise MissingError("this torch finds no CUDA device")
    except Exception as reason:  # a broken installation raises anything
        task.missing("torch", [str(reason)])
        return None
    return torch


def _callers(name: str, shape: tuple[int, ...], cupy: Any, torch: Any) -> dict[str, Callable[[], Any]]:
    source = {} if name == "zeros_" else {"generator": gi.Generator(1)}
    fill, x = getattr(gi, name), cupy.empty(shape, "float32")
    callers = {"gpuinit, CuPy array": lambda: fill(x, **source)}
    if torch:
        tensor, theirs = torch.empty(shape, device="cuda"), getattr(torch.nn.init, name)
        callers |= {"gpuinit, torch tensor": lambda: fill(tensor, **source), "torch": lambda: theirs(tensor)}
    return callers


def _calls(task: Task, name: str, shape: tuple[int, ...], callers: dict[str, Callable[[], Any]]) -> None:
    """Microseconds per call until it returns, and until the device is done with all of them; libraries take turns."""
    calls, rounds = (3, 1) if task.quick else (_CALLS, _ROUNDS)
    callers = _drop_failing(task, f"{name} of shape {shape}", callers)
    found: dict[str, list[tuple[float, float]]] = {library: [] for library in callers}
    for _ in range(1 + rounds):  # the first is for compilation, and to warm up
        for library, call in callers.items():
            found[library].append(_time(lambda call=call: [call() for _ in range(calls)]))
    for library, times in found.items():
        host, done = (round(statistics.median(column) / calls * 1e6, 2) for column in zip(*times[1:]))
        task.add("call", function=name, shape=shape, library=library, host_us=host, done_us=done)
        print(f"{name} {shape} {library}: {host} us, until done {done} us", flush=True)


def _drop_failing(task: Task, what: str, callers: dict[str, Callable[[], Any]]) -> dict[str, Callable[[], Any]]:
    """Those that do not raise; the others are failures of the part."""
    found = {}
    for library, call in callers.items():
        try:
            call()
            found[library] = call
        except Exception as error:
            task.fail(f"{what}, {library}: {type(error).__name__}: {error}")
    return found


def _time(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds until the call returns, and until the device is done."""
    device = cupy_module().cuda.Device()
    device.synchronize()
    start = time.perf_counter()
    call()
    returned = time.perf_counter()
    device.synchronize()
    return returned - start, time.perf_counter() - start


def _models(quick: bool) -> dict[str, dict[str, tuple[int, ...]]]:
    gpt2 = internals.gpt2(1, 16, 50, 8) if quick else internals.gpt2()
    many = {f"layer{i}.{'bias' if i % 2 else 'weight'}": (64,) if i % 2 else (64, 64) for i in range(20 if quick else _MANY)}
    return {"GPT-2 small": gpt2, f"{_MANY:,} small arrays": many}


def _fill_models(task: Task, model: str, shapes: dict[str, tuple[int, ...]], cupy: Any, torch: Any) -> None:
    arrays = {name: cupy.empty(shape, "float32") for name, shape in shapes.items()}
    fillers: dict[str, Callable[[], Any]] = {"gpuinit, CuPy arrays": lambda: gi.initialize(arrays, _RULES, seed=0)}
    if torch:
        tensors = {name: torch.empty(shape, device="cuda") for name, shape in shapes.items()}
        fillers["gpuinit, torch tensors"] = lambda: gi.initialize(tensors, _RULES, seed=0)
        fillers["torch"] = lambda: _torch_loop(torch, tensors)
    for library, fill in _drop_failing(task, model, fillers).items():
        times = [_time(fill) for _ in range(1 if task.quick else 8)]
        host, done = (round(statistics.median(column) * 1e3, 3) for column in zip(*times))
        task.add("model", model=model, arrays=len(shapes), library=library, host_ms=host, done_ms=done)
        print(f"{model} {library}: {host} ms, until done {done} ms", flush=True)


def _torch_loop(torch: Any, tensors: dict[str, Any]) -> None:
    """What a user of torch writes for the same rules."""
    for name, tensor in tensors.items():
        if name.endswith(".bias"):
            torch.nn.init.zeros_(tensor)
        elif "ln_" in name:
            torch.nn.init.ones_(tensor)
        else:
            torch.nn.init.normal_(tensor, std=0.02)
