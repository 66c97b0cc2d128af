"""What a type checker sees: every function returns the type of its array, and none of the libraries is needed for that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import gpuinit as gi

pytest.importorskip("mypy")

pytestmark = pytest.mark.mypy

ARGUMENTS = {"constant_": ", 2", "sparse_": ", 0.5"}
CALLS = [f"gi.{name}({{x}}{ARGUMENTS.get(name, '')})" for name in gi.__all__ if name.endswith("_")]

# Stubs in the place of torch: mypy reads the real one for most of a minute
STUBS = {
    "torch/__init__.pyi": "from torch import nn as nn\nclass Tensor: ...\ndef empty(*size: int) -> Tensor: ...\n",
    "torch/nn.pyi": "from torch import Tensor\nclass Parameter(Tensor): ...\n",
}
HEAD = """\
from typing import Any, assert_type
import gpuinit as gi
"""
# Name -> (imports, the parameter's annotation)
ARRAYS = {
    "NumPy": ("import numpy as np, numpy.typing as npt", "npt.NDArray[np.float32]"),
    "NumPy, of any dtype": ("import numpy as np", "np.ndarray[tuple[int, int], np.dtype[np.floating[Any]]]"),
    "memory map": ("import numpy as np", "np.memmap[tuple[int, ...], np.dtype[np.float16]]"),
    "CuPy, which has no types": ("import cupy  # type: ignore[import-not-found, import-untyped, unused-ignore]", "Any"),
    "tensor": ("import torch", "torch.Tensor"),
    "parameter": ("import torch", "torch.nn.Parameter"),
    "a producer of one's own": ("class Producer:\n    def __dlpack__(self) -> object: ...", "Producer"),
}
# Calls that a checker refuses, each with the error's code
WRONG = [
    ('gi.normal_(x, std="1")', "arg-type"),
    ("gi.normal_(x, seed=3)", "call-arg"),
    ("gi.normal_(x, generator=1.5)", "arg-type"),
    ('gi.uniform_(x, a="0")', "arg-type"),
    ("gi.uniform_()", "call-arg"),
    ("gi.sparse_(x)", "call-arg"),
    ("gi.constant_(x)", "call-arg"),
    ('gi.dirac_(x, groups="2")', "arg-type"),
    ("gi.ones_(x, generator=1)", "call-arg"),
    ("gi.ones_(x, shard=(4, 6))", "arg-type"),
    ("gi.Shard((4, 6), (1, 2))", "arg-type"),
    ("gi.kaiming_normal_(x, mode=1)", "arg-type"),
    ("gi.calculate_gain(1)", "arg-type"),
    ('gi.manual_seed("1")', "arg-type"),
]
# Expressions and their types
TYPES = [
    ('gi.calculate_gain("relu")', "float"),
    ("gi.calculate_gain(gi.NonLinearity.LEAKY_RELU, 0.2)", "float"),
    ("gi.Generator(1)", "gi.Generator"),
    ("gi.manual_seed(1)", "gi.Generator"),
    ("gi.default_generator", "gi.Generator"),
    ("gi.Generator(1).position", "int"),
    ("gi.Shard((4,), (slice(1, 3),)).shape", "tuple[int, ...]"),
    ("gi.Generator(1).seed", "int"),
    ("gi.get_num_threads()", "int"),
    ("gi.__version__", "str"),
]


def returned(imports, annotation):
    checks = [f"    assert_type({call.format(x='x')}, {annotation})" for call in CALLS]
    more = [
        f"    assert_type(gi.normal_(x, 0, 1.5, generator=gi.Generator(3)), {annotation})",
        f"    assert_type(gi.kaiming_uniform_(x, mode=gi.Mode.FAN_OUT, nonlinearity='relu'), {annotation})",
    ]
    return "\n".join([HEAD + imports, f"def check(x: {annotation}) -> None:", *checks, *more, ""])


def strict(folder, cache, modules, stubs=STUBS):
    """What mypy --strict says of modules, one a name and its text."""
    for name, text in {**stubs, **{f"{name}.py": text for name, text in modules.items()}}.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    command = [sys.executable, "-P", "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}", "--hide-error-context"]
    package = Path(gi.__file__).parents[1]
    # From a checkout mypy has to be told where the package is; of an installed one it must not be told
    environment = {} if package.name == "site-packages" else {"MYPYPATH": str(package)}
    environment.update({name: value for name, value in os.environ.items() if name != "MYPYPATH"})
    done = subprocess.run(
        [*command, *(f"{name}.py" for name in modules)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert not done.stderr
    return done.stdout


@pytest.fixture
def cache(pytestconfig):
    """A cache that outlives the run: what mypy knows of NumPy."""
    return pytestconfig.cache.mkdir("mypy")


def test_types(tmp_path, cache):
    """In one run of mypy, as most of its time goes on its start. In strict mode an `ignore` without its error is one itself."""
    modules = {f"returned{number}": returned(*row) for number, row in enumerate(ARRAYS.values())}
    numpy = f"{HEAD}import numpy as np\nx = np.empty((3, 4), np.float32)\n"
    modules["expressions"] = HEAD + "".join(f"assert_type({expression}, {kind})\n" for expression, kind in TYPES)
    modules["refusals"] = numpy + "".join(f"{call}  # type: ignore[{code}]\n" for call, code in WRONG)
    assert strict(tmp_path, cache, modules).startswith("Success: no issues found")


def test_a_wrong_type_would_be_seen(tmp_path, cache):
    """That the checks of `test_types` can fail."""
    text = f"{HEAD}import numpy as np\nassert_type(gi.ones_(np.empty(3, np.float32)), int)\ngi.ones_(np.empty(3)).nothing\n"
    found = strict(tmp_path, cache, {"seen": text})
    assert "[assert-type]" in found
    assert "[attr-defined]" in found
    assert "Found 2 errors" in found


@pytest.mark.slow
def test_types_of_torch_itself(torch, tmp_path, cache):
    modules = {f"returned{number}": returned(*ARRAYS[name]) for number, name in enumerate(("tensor", "parameter"))}
    assert strict(tmp_path, cache, modules, stubs={}).startswith("Success: no issues found")
