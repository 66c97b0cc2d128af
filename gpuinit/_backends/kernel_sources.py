"""The kernels in `kernels/`, as text and compiled for the CPU: in the package once installed, else at the top of a checkout.

`tools/build_host.py` runs this file alone, so it imports nothing except the standard library.
"""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path

# How `host.cpp` is compiled. No value may depend on the compiler: each operation is rounded once, so none is fused with another.
HOST_FLAGS = ("-O3", "-std=c++17", "-fno-fast-math", "-ffp-contract=off", "-fPIC", "-shared", "-x", "c++")
# What is added for CPUs of more than the baseline, by `gpuinit_level()`, the best last: the x86-64 levels with AVX2 and AVX-512.
HOST_LEVELS = {0: (), 3: ("-march=x86-64-v3",), 4: ("-march=x86-64-v4",)}
_INCLUDE = re.compile(r'^#include "([\w.]+)"\n', re.MULTILINE)
_ONCE = re.compile(r"^#pragma once\n", re.MULTILINE)


@functools.cache
def folder() -> Path:
    """Return the folder of the headers.

    Raises
    ------
    FileNotFoundError
        If they are in neither place: the installation is broken.
    """
    package = Path(__file__).parents[1]
    for place in (package / "kernels", package.parent / "kernels"):
        if (place / "ieee.cuh").is_file():
            return place
    raise FileNotFoundError(f"gpuinit's CUDA headers are missing from {package / 'kernels'}; install gpuinit again")


@functools.cache
def source(*headers: str) -> str:
    """Return headers with all that they include, each once, as one text.

    The text itself goes into the kernels, because CuPy's kernel cache does not see what an #include brings in.
    """
    seen: set[str] = set()
    return "".join(_expand(header, seen) for header in headers)


def _expand(header: str, seen: set[str]) -> str:
    if header in seen:
        return ""
    seen.add(header)
    text = _ONCE.sub("", (folder() / header).read_text("utf-8"))
    return _INCLUDE.sub(lambda match: _expand(match[1], seen), text)


@functools.cache
def host_library(level: int = 0) -> Path:
    """Return the path of a compiled library. Its name contains a hash of the sources, so a stale one is never loaded."""
    digest = hashlib.sha256(" ".join((*HOST_FLAGS, source("host.cpp"))).encode()).hexdigest()
    return Path(__file__).with_name("host") / f"kernels-{digest[:16]}-{level}.so"
