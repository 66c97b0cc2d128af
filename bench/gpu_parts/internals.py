"""All that the report takes from inside gpuinit; the rest of it uses the public names alone."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

from gpuinit._backends.hashing import digest
from gpuinit._cli import demo_models, golden
from gpuinit._contract.generator import BLOCK_BYTES

gpt2 = demo_models.gpt2


class Launch(NamedTuple):
    """A kernel that a fill launches, CuPy's ElementwiseKernel, and what with: its last argument is the array."""

    kernel: Any
    arguments: tuple[Any, ...]
    size: int


def launch_of(fill: Callable[[], Any]) -> Launch:
    """The only launch of a fill of a CuPy array, which is not done."""
    module = _fill_module()
    launches: list[Launch] = []
    kernel_of = module.kernel

    def record(name: str, real: Any = None) -> Callable[..., None]:
        return lambda *arguments, size: launches.append(Launch(kernel_of(name, real), arguments, size))

    with mock.patch.object(module, "kernel", record):
        fill()
    (launch,) = launches
    return launch


def block_bytes() -> int:
    """Of the words of a Philox block."""
    return BLOCK_BYTES


def _fill_module() -> Any:
    """Imported only now: it imports CuPy."""
    return importlib.import_module("gpuinit._backends.cuda.fills")


def golden_cases(xp: Any) -> list[tuple[dict[str, Any], str]]:
    """The cases of `selfcheck` that need a fill by the module `xp`, each in both memory orders."""
    content = golden.load()
    fills = [(case, order) for case in golden.cases_of(content["fills"], xp) for order in "CF"]
    return fills + [(case, "C") for case in golden.cases_of(content["orthogonal"], xp)]


def fill_golden(case: dict[str, Any], order: str, xp: Any) -> Any:
    """A new array of the module `xp`, filled as the case says."""
    return golden.fill(case, xp, order)


def golden_differences(xp: Any) -> Iterator[str]:
    """Those of the functions that do not give the stored values; of each, only the first case is tried."""
    first = {case["function"]: case for case in reversed(golden.cases_of(golden.load()["fills"], xp))}
    for function, case in first.items():
        if digest({"x": golden.fill(case, xp)}) != case["digest"]:
            yield f"{function} of {case['dtype']}"
