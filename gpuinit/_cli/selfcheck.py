"""`python -m gpuinit selfcheck`: does this machine compute the values of the contract, on every backend that it has?"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from gpuinit import _console as console
from gpuinit._backends.gpu import usable_cupy
from gpuinit._cli import golden
from gpuinit._contract.digests import CONTRACT_VERSION
from gpuinit._contract.dtypes import FROM_ML_DTYPES, as_dtype


def run() -> int:
    """Recompute the golden digests and show what differs; the exit code is 0 if nothing does, else 1."""
    backends: list[Any] = [np]
    missing: dict[str, Exception] = {}
    try:
        backends.append(usable_cupy())
    except RuntimeError as error:
        missing["cupy"] = error
    for name in sorted(FROM_ML_DTYPES):
        try:
            as_dtype(name)
        except TypeError as error:
            missing[name] = error
    rows, wrong = [], 0
    for xp in backends:
        total, failed = _counts(xp)
        wrong += failed.total()
        rows += [(xp.__name__, name, str(count), str(failed[name]) if failed[name] else "-") for name, count in total.items()]
    console.table(
        f"contract on values, version {CONTRACT_VERSION}",
        ("backend", "values of", "cases", "differ"),
        rows,
        right=("cases", "differ"),
    )
    for what, reason in missing.items():
        print(f"not checked: {what} ({reason})")
    if flushes_subnormals():
        wrong += 1
        print("this CPU is set to flush subnormal numbers to zero, as by torch.set_flush_denormal(True): tiny values differ")
    checked = f"all values except those of {', '.join(missing)}" if missing else "all values"
    print(f"{wrong} differences" if wrong else f"{checked} are as they should be")
    return 1 if wrong else 0


def flushes_subnormals() -> bool:
    """Whether the calling thread's CPU state makes results or operands below the normal range zero."""
    least = np.full(1, np.finfo(np.float32).tiny)
    return bool(((least * np.float32(0.5)) == 0)[0] or (np.full(1, 1e-42, np.float32) * np.float32(2) == 0)[0])


def _counts(xp: Any) -> tuple[Counter[str], Counter[str]]:
    """Cases, and cases that differ, by what they are of."""
    total: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for name, equal in golden.differences(xp):
        total[name] += 1
        failed[name] += not equal
    return total, failed
