"""`python -m gpu_parts.profiled`: a few large fills for a profiler to look at."""

from __future__ import annotations

import sys

import gpuinit as gi


def main(arguments: list[str]) -> int:
    import cupy

    x = cupy.empty(2**12 if "--quick" in arguments else 2**26, "float32")
    for fill in (gi.uniform_, gi.normal_, gi.trunc_normal_):
        for _ in range(2):  # the first finds cold caches
            fill(x, generator=1)
    cupy.cuda.Device().synchronize()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
