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
        self._folder = tempfile.mkdtemp()
        compiled: dict[Path, Path] = {}
        for level in sources["HOST_LEVELS"]:
            place: Path = sources["host_library"](level)
            try:
                compiled[place] = _compile(sources, level, Path(self._folder, place.name))
            except (OSError, ValueError, subprocess.CalledProcessError) as error:
                if level:  # the compiler, or the machine that it compiles for, has no such level
                    continue
                self.app.display_warning(f"kernels/host.cpp is not compiled, NumPy's ufuncs will do its work: {error}")
                return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform()}"
        build_data["force_include"].update(
            {str(library): str(place.relative_to(self.root)) for place, library in compiled.items()}
        )
        with contextlib.suppress(OSError):  # of a checkout that cannot be written to
            _replace(compiled)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        shutil.rmtree(getattr(self, "_folder", ""), ignore_errors=True)


def _compile(sources: dict[str, Any], level: int, library: Path) -> Path:
    """Compile `host.cpp` for a level of CPUs."""
    compiler = shlex.split(os.environ.get("CXX") or "c++")
    command = [*compiler, *sources["HOST_FLAGS"], *sources["HOST_LEVELS"][level], "-o", str(library), "-"]
    errors = subprocess.DEVNULL if level else None
    subprocess.run(command, check=True, input=sources["source"]("host.cpp").encode(), stderr=errors)
    return library


def _platform() -> str:
    """This machine's tag, not that of a class of machines for which the library would have to be audited."""
    return next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))


def _replace(compiled: dict[Path, Path]) -> None:
    """Put the libraries where they belong, each at once, and take away those of other versions."""
    for place, library in compiled.items():
        unfinished = Path(shutil.copy(library, place.with_suffix(f".{os.getpid()}.so")))
        unfinished.replace(place)
    for other in next(iter(compiled)).parent.glob("*.so"):
        if other not in compiled:
            other.unlink(missing_ok=True)
