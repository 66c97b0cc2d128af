"""Compiles `kernels/host.cpp` whenever gpuinit is built or installed in place, with $CXX or c++.

Where that fails, as without a compiler, the package is pure Python: NumPy's ufuncs draw the same values, more slowly.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags


class HostKernels(BuildHookInterface[Any]):
    """Puts the library into the wheel, and into the checkout, whose package is the one that is imported there."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or os.name != "posix":
            return
        sources = runpy.run_path(str(Path(self.root, "gpuinit", "_backends", "kernel_sources.py")))
        place: Path = sources["host_library"]()
        self._folder = tempfile.mkdtemp()
        library = Path(self._folder, place.name)
        try:
            compiler = shlex.split(os.environ.get("CXX") or "c++")
            command = [*compiler, *sources["HOST_FLAGS"], "-o", str(library), "-"]
            subprocess.run(command, check=True, input=sources["source"]("host.cpp").encode())
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            self.app.display_warning(f"kernels/host.cpp is not compiled, NumPy's ufuncs will do its work: {error}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform()}"
        build_data["force_include"][str(library)] = str(place.relative_to(self.root))
        with contextlib.suppress(OSError):  # of a checkout that cannot be written to
            _replace(library, place)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        shutil.rmtree(getattr(self, "_folder", ""), ignore_errors=True)


def _platform() -> str:
    """This machine's tag, not that of a class of machines for which the library would have to be audited."""
    return next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))


def _replace(library: Path, place: Path) -> None:
    """Put the library where it belongs, all of it at once, and take away those of other versions."""
    unfinished = Path(shutil.copy(library, place.with_suffix(f".{os.getpid()}.so")))
    unfinished.replace(place)
    for other in place.parent.glob("*.so"):
        if other != place:
            other.unlink(missing_ok=True)
