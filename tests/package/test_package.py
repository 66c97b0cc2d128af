"""The package itself: its public names, what importing costs, and that the headers and data come along."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._backends import kernel_sources

INITIALIZERS = [name for name in gi.__all__ if name.endswith("_")]


def run(code):
    return subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True).stdout


def test_all_is_sorted_and_true():
    assert gi.__all__ == sorted(gi.__all__)
    assert set(gi.__all__) < set(dir(gi))
    assert all(getattr(gi, name) for name in gi.__all__)  # some are imported only now
    public = {name for name, value in vars(gi).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert public == set(gi.__all__) - {"rules"}


@pytest.mark.parametrize("name", ["construct", "seeded"])
def test_what_needs_torch_says_so(name):
    code = f"""
import sys
sys.modules["torch"] = None
import gpuinit
try: gpuinit.{name}(3)
except RuntimeError as error: print(error)
"""
    assert run(code).strip() == f"gpuinit.{name} needs torch, which is not installed: pip install torch"


def test_importing_brings_neither_cupy_nor_torch():
    loaded = run("import sys, gpuinit; print(*sorted(sys.modules))").split()
    assert not {"cupy", "torch", "dask", "jax", "rich", "scipy", "mpmath"} & set(loaded)


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match=r"module 'gpuinit' has no attribute 'normal'"):
        gi.normal  # noqa: B018


# Of the standard library, imported by gpuinit first; each takes at most some milliseconds. Other Pythons may need a few more.
STANDARD = {
    *("copy", "dataclasses", "decimal", "errno", "fnmatch", "future__", "heapq", "ipaddress", "ntpath", "pathlib", "queue"),
    *("unicodedata", "urllib", "urllib.parse"),
}


def test_importing_brings_little():
    """Modules are counted, since seconds depend on the machine: those of the initializers, and little else."""
    code = "import sys, numpy, numpy.random; before = {*sys.modules}; import gpuinit; print(*{*sys.modules} - before)"
    loaded = set(run(code).split())
    ours = {name for name in loaded if name.partition(".")[0] == "gpuinit"}
    assert {name.split(".")[1] for name in ours if "." in name} == {"_backends", "_contract", "_initializers"}
    assert len(ours) <= 51
    assert len({name.lstrip("_") for name in loaded - ours} - STANDARD) <= 3


def test_headers_are_found():
    names = {path.name for path in kernel_sources.folder().glob("*.cuh")}
    assert {"ieee.cuh", "philox.cuh", "uniform.cuh", "normal.cuh", "sparse.cuh", "orthogonal.cuh"} <= names
    for name in names:
        assert "namespace gpuinit" in kernel_sources.source(name)


def test_the_version_is_the_installed_one():
    try:
        installed = metadata.version("gpuinit")
    except metadata.PackageNotFoundError:
        pytest.skip("run from a bare checkout")
    assert installed == gi.__version__


@pytest.mark.parametrize(
    "name", [*INITIALIZERS, "Generator", "Shard", "calculate_gain", "digest", "initialize", "manual_seed", "warmup"]
)
def test_public_docstrings_have_an_example(name):
    assert ">>> " in getattr(gi, name).__doc__


def test_the_site_documents_every_public_name():
    page = (Path(__file__).parents[2] / "docs" / "functions.rst").read_text(encoding="utf-8")
    names = set(re.findall(r"^\.\. (?:auto\w+|data):: (\w+)$", page, re.MULTILINE))
    assert names == {*gi.__all__, *gi.rules.__all__} - {"rules"}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_the_array_is_first_and_the_generator_by_keyword(name):
    parameters = list(inspect.signature(getattr(gi, name)).parameters.values())
    assert parameters[0].name == "x"
    if "generator" in (parameter.name for parameter in parameters):
        (shard,) = (parameter for parameter in parameters if parameter.name == "shard")
        assert shard.kind is inspect.Parameter.KEYWORD_ONLY
        assert shard.default is None


@pytest.mark.parametrize("name", INITIALIZERS)
def test_every_initializer_returns_its_array(xp, name):
    x = xp.ones((3, 3, 3) if name in ("dirac_", "delta_orthogonal_") else (3, 3), np.float32)
    parameters = {"constant_": {"val": 2}, "sparse_": {"sparsity": 0.5}}.get(name, {})
    assert getattr(gi, name)(x, **parameters) is x
