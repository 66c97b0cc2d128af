"""`python -m gpu_parts.compiling N`: N processes compile the kernels of `selfcheck`, which one alone does slowly.

CuPy keeps what is compiled on disk, where every later process finds it.
"""

from __future__ import annotations

import subprocess
import sys

from gpu_parts import commands, internals


def main(arguments: list[str]) -> int:
    count, *mine = map(int, arguments)
    if not mine:
        workers = [subprocess.Popen(commands.python("-m", "gpu_parts.compiling", str(count), str(k))) for k in range(count)]
        return max(worker.wait() for worker in workers)
    import cupy

    for case, order in internals.golden_cases(cupy)[mine[0] :: count]:
        internals.fill_golden(case, order, cupy)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
