"""A model of GPUs, no measurement: what share of the memory's speed a kernel's instruction counts leave it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Gpu(NamedTuple):
    """What docs/gpu_cost.md, which has the sources, takes of a GPU."""

    name: str
    architecture: int  # of the counts
    multiprocessors: int
    clock: float  # GHz
    bandwidth: float  # GB/s
    rates: Mapping[str, int]  # results per clock and multiprocessor, by pipe


def _rates(**others: int) -> dict[str, int]:
    return {"issue": 128, "imad": 64, "integer": 64, "fp32": 128, "fp64": 64, "convert": 16, "convert64": 16, **others}


GPUS = (
    Gpu("T4", 75, 40, 1.59, 320, _rates(fp32=64, fp64=2, convert64=2)),
    Gpu("A100", 80, 108, 1.41, 2039, _rates(fp32=64, fp64=32)),
    Gpu("L4", 80, 58, 2.04, 300, _rates(fp64=2, convert64=2)),
    Gpu("H100", 90, 132, 1.98, 3350, _rates()),
    Gpu("H200", 90, 132, 1.98, 4800, _rates()),
    Gpu("B200", 100, 148, 1.965, 7700, _rates()),
)


class Roof(NamedTuple):
    """Clocks that a multiprocessor needs for an element."""

    memory: float  # its share of the memory's bandwidth
    busy: float  # the busiest pipe
    pipe: str

    @property
    def share(self) -> float:
        """Of the memory's speed, at most 1."""
        return min(1.0, self.memory / self.busy)


def roof(gpu: Gpu, pipes: Mapping[str, float], itemsize: int, wide: int = 1) -> Roof:
    """The model, from instructions an element by pipe; `wide` multiplies count as so many others each."""
    memory = itemsize * gpu.multiprocessors * gpu.clock / gpu.bandwidth
    used = {**pipes, "issue": sum(pipes.values()), "imad": pipes.get("imad", 0) + wide * pipes.get("wide", 0)}
    busy, pipe = max((used.get(name, 0) / rate, name) for name, rate in gpu.rates.items())
    return Roof(memory, busy, pipe)
