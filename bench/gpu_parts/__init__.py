"""The parts of `bench/gpu_report.py`: modules with a `main(task)`, each run in a process of its own by `python -m gpu_parts`."""

from __future__ import annotations

from typing import NamedTuple


class Part(NamedTuple):
    """A part of the report.

    `weight` is its share of the time that is left when it starts, beside the weights of the parts after it.
    """

    name: str
    title: str
    module: str
    weight: float = 1


MACHINE = Part("machine", "The machine", "gpu_parts.machine")

# In the order in which they run: the most valuable first. Letters are those of the report.
PARTS = (
    Part("a", "Right: info and selfcheck", "gpu_parts.right", 14),
    Part("c", "Fast: every fill beside other libraries", "gpu_parts.fills", 34),
    Part("b", "Tests: the GPU half of the suite", "gpu_parts.suite", 24),
    Part("e", "Variants of the kernels", "gpu_parts.variants", 14),
    Part("d", "Small: microseconds per call", "gpu_parts.small", 8),
    Part("f", "Why: profiler and sanitizer", "gpu_parts.why", 14),
    Part("g", "First call: seconds of compilation", "gpu_parts.first_call", 6),
)
