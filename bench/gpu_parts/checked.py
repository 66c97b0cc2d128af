"""`python -m gpu_parts.checked`: a small self-check for a sanitizer, which is slow. The exit code is 1 if values differ."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from peers import cupy_module

import gpuinit as gi
from gpu_parts import internals

_SHAPES = {"a.weight": (33, 17), "b.weight": (5, 3), "a.bias": (33,), "b.norm": (7,)}
_RULES = [("*.bias", "zeros_"), ("*.norm", "ones_"), ("a.*", "normal_"), ("*", "trunc_normal_")]


def main() -> int:
    cupy = cupy_module()
    wrong = list(internals.golden_differences(cupy))
    on_device, on_host = _fill(cupy), _fill(np)
    wrong += [name for name, x in on_host.items() if (on_device[name].get() != x).any()]
    print("\n".join(wrong) or "all values are as they should be")
    return 1 if wrong else 0


def _fill(xp: Any) -> dict[str, Any]:
    """Arrays that share launches, and a shard."""
    arrays = {name: xp.empty(shape, np.float32) for name, shape in _SHAPES.items()}
    gi.initialize(arrays, _RULES, seed=1)
    shard = gi.Shard((40, 30), (slice(3, 36), slice(5, 22)))
    return {**arrays, "a shard": gi.normal_(xp.empty((33, 17), np.float32), generator=1, shard=shard)}


if __name__ == "__main__":
    sys.exit(main())
