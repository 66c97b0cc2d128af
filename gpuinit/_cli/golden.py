"""The stored digests of fills and keys of children (`data/golden.json`), and their recomputation on any backend."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import gpuinit
from gpuinit._backends.hashing import digest
from gpuinit._contract.dtypes import EIGHT_BITS, as_dtype, has_dtype, working
from gpuinit._contract.generator import Generator

PATH = Path(__file__).parents[1] / "_contract" / "data" / "golden.json"


def load() -> dict[str, Any]:
    """The file's content: `version`, `fills`, `orthogonal` and `children`."""
    content: dict[str, Any] = json.loads(PATH.read_text("utf-8"))
    return content


def generator_of(case: dict[str, Any]) -> Generator:
    """A generator at the case's seed and position."""
    generator = Generator(case["seed"])
    generator.reserve(case["position"])
    return generator


def cases_of(part: list[dict[str, Any]], xp: Any) -> list[dict[str, Any]]:
    """The cases whose dtypes the module `xp` has: some need ml_dtypes, and CuPy has none of 8 bits."""
    return [case for case in part if has_dtype(case["dtype"]) and (xp is np or case["dtype"] not in EIGHT_BITS)]


def fill(case: dict[str, Any], xp: Any, order: str = "C") -> Any:
    """A new array of the module `xp`, in C or F order, filled as the case says."""
    parameters = {name: float(value) if value in ("inf", "-inf") else value for name, value in case["parameters"].items()}
    x = xp.empty(case["shape"], as_dtype(case["dtype"]), order=order)
    return getattr(gpuinit, case["function"])(x, **parameters, generator=generator_of(case))


def normals_of(case: dict[str, Any], xp: Any) -> Any:
    """The numbers that an orthogonal_ case draws: the normal fill of its longer by its shorter side."""
    rows, columns = case["shape"]
    x = xp.empty((min(rows, columns), max(rows, columns)), working(as_dtype(case["dtype"])))
    return gpuinit.normal_(x, generator=generator_of(case))


def differences(xp: Any) -> Iterator[tuple[str, bool]]:
    """Recompute every case on a backend: its name, and whether it is as stored."""
    golden = load()
    for case in cases_of(golden["fills"], xp):
        for order in "CF":
            yield case["function"], digest({"x": fill(case, xp, order)}) == case["digest"]
    for case in cases_of(golden["orthogonal"], xp):
        yield "orthogonal_ (numbers drawn)", digest({"x": normals_of(case, xp)}) == case["digest"]
        q = fill(case, xp)
        q = q.get() if hasattr(q, "get") else q
        yield "orthogonal_ (within its tolerance)", bool(np.abs(q - np.array(case["q"])).max() <= case["tolerance"])
    for case in golden["children"]:
        child = (
            Generator(case["seed"]).spawn(case["name"])
            if "name" in case
            else Generator(case["seed"]).spawn(case["number"] + 1)[-1]
        )
        yield "Generator.spawn", [str(word) for word in child.reserve(0).key] == case["key"]
