"""Compiles `kernels/host.cpp` whenever gpuinit is built or installed in place, with $CXX or c++.

Where there is no compiler, the package is pure Python as before: NumPy's ufuncs draw the same values, more slowly.
"""

from __future__ import annotations

import os
import runpy
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# No value may depend on the compiler: each operation is rounded once, as the sources say, so none is fused with another.
FLAGS = ("-O3", "-std=c++17", "-ffp-contract=off", "-fPIC", "-shared", "-x", "c++", "-")


class HostKernels(BuildHookInterface[Any]):
    """Puts the library beside its sources, so that a checkout finds it there, and a wheel includes it with them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or os.name != "posix":
            return
        sources = runpy.run_path(str(Path(self.root, "gpuinit", "kernel_sources.py")))
        library = sources["host_library"]()
        try:
            for old in library.parent.glob("host-*.so"):
                old.unlink()
            _compile(sources["source"]("host.cpp"), library)
        except (OSError, subprocess.CalledProcessError) as error:
            self.app.display_warning(f"kernels/host.cpp is not compiled, NumPy's ufuncs will do its work: {error}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def _compile(text: str, library: Path) -> None:
    """Under another name first: a process that looks for it finds all of it or nothing."""
    unfinished = library.with_suffix(f".{os.getpid()}")
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    subprocess.run([*compiler, *FLAGS, "-o", str(unfinished)], check=True, input=text.encode())
    unfinished.replace(library)
