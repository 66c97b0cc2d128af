"""What no interception sees, found out afterwards: draws from generators of other libraries, of compiled code, of threads."""

from __future__ import annotations

import contextlib
import pickle
import random
import sys
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def no_other_draws() -> Iterator[None]:
    """Raise an error in the end if any of the global generators has moved."""
    before = _states()
    yield
    after = _states()
    if moved := [name for name, state in after.items() if state != before.get(name, state)]:
        raise RuntimeError(
            f"the code must draw all random numbers by operations of torch, in its own thread and uncompiled, got a draw from "
            f"{' and '.join(moved)}, whose values do not depend on the seed; draw them from torch, or leave them (and "
            "torch.manual_seed) out of gpuinit.seeded and construct"
        )


def _states() -> dict[str, Any]:
    """Return the states of all global generators that the code may use."""
    states: dict[str, Any] = {
        "torch's generator of the CPU": torch.get_rng_state().numpy().tobytes(),
        "random": random.getstate(),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        for device, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"torch's generator of cuda:{device}"] = state.numpy().tobytes()
    if numpy := sys.modules.get("numpy.random"):
        states["numpy.random"] = pickle.dumps(numpy.get_state(legacy=False))
    return states
