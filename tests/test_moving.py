"""docs/moving.md: each row of its tables, and its own definition of `axes`, run beside the library that it is of."""

from __future__ import annotations

import importlib
import inspect
import math
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import gpuinit as gi

PAGE = (Path(__file__).parents[1] / "docs" / "moving.md").read_text(encoding="utf-8")
SETUP = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
HEADER = re.compile(r"\| `([\w.]+)` \| gpuinit \| notes \|")
ROW = re.compile(r"\| `([^`|]+)` \| `([^`|]+)` \|[^|]*\|")
# (out, in, *kernel) and (*kernel, in, out): no two lengths that could be taken for each other but the kernel's.
SHAPES = {"torch.nn.init": (120, 90, 3, 3), "chainer.initializers": (120, 90, 3, 3)}
REVERSED = (3, 3, 90, 120)
OF_MATRICES = re.compile("eye_|sparse_")

# What Chainer 7.8.1 hands to numpy.random for the shape above (read off by running it with NumPy 1.23), or fills with.
CHAINER = {
    "Normal(scale=0.05)": ("normal", 0.05),
    "Uniform(scale=0.05)": ("uniform", 0.05),
    "LeCunNormal(scale=1.0)": ("normal", 0.03513641844631533),
    "LeCunNormal(scale=0.5)": ("normal", 0.017568209223157664),
    "LeCunUniform(scale=1.0)": ("uniform", 0.06085806194501846),
    "LeCunUniform(scale=0.5)": ("uniform", 0.03042903097250923),
    "GlorotNormal(scale=0.5)": ("normal", 0.016265001215808886),
    "GlorotUniform(scale=0.5)": ("uniform", 0.028171808490950554),
    'HeNormal(scale=1.0, fan_option="fan_in")': ("normal", 0.049690399499995326),
    'HeNormal(scale=0.5, fan_option="fan_out")': ("normal", 0.02151657414559676),
    "HeUniform(scale=1.0)": ("uniform", 0.08606629658238704),
    "HeUniform(scale=0.5)": ("uniform", 0.04303314829119352),
    'Orthogonal(scale=1.1, mode="auto")': ("orthogonal", 1.1),  # the first axis against all others
    "Identity(scale=1.0)": ("identity", 1.0),
    "Constant(0.1)": ("constant", 0.1),
    "Zero()": ("constant", 0.0),
    "One()": ("constant", 1.0),
    "NaN()": ("constant", math.nan),
}


class Row(NamedTuple):
    module: str
    theirs: str
    ours: str

    @property
    def library(self) -> str:
        return self.module.partition(".")[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return (300, 300) if OF_MATRICES.search(self.ours) else SHAPES.get(self.module, REVERSED)


def rows_of_the_page():
    """Every line of a table that is neither its header nor the line below it."""
    module = None
    for line in PAGE.splitlines():
        if header := HEADER.fullmatch(line):
            module = header[1]
        elif line.startswith("|") and not line.startswith("|---"):
            row = ROW.fullmatch(line)
            assert row, f"not a row of two calls and a note: {line}"
            yield Row(module, *row.groups())


ROWS = list(rows_of_the_page())


def needs(module):
    """The marker of a module's library; Chainer's numbers are above."""
    library = module.partition(".")[0]
    return () if library == "chainer" else (getattr(pytest.mark, library),)


def namespace(module):
    """The names of an installed library's module, or the test is skipped."""
    os.environ.setdefault("KERAS_BACKEND", "numpy")
    pytest.importorskip(module.partition(".")[0])
    return dict(vars(importlib.import_module(module)))


def by_torch(row, x):
    names = namespace(row.module)
    torch = importlib.import_module("torch")
    torch.manual_seed(1)
    return eval(row.theirs, names | {"x": torch.from_numpy(x)})


def by_keras(row, x):
    names = namespace(row.module)
    importlib.import_module("keras").utils.set_random_seed(1)
    return eval(row.theirs, names)(x.shape)


def by_jax(row, x):
    names = namespace(row.module)
    return eval(row.theirs, names)(importlib.import_module("jax").random.key(1), x.shape)


def by_chainer(row, x):
    kind, number = CHAINER[row.theirs]
    random = np.random.default_rng(1)
    if kind == "normal":
        return random.normal(0, number, x.shape)
    if kind == "uniform":
        return random.uniform(-number, number, x.shape)
    if kind == "orthogonal":
        return number * np.linalg.qr(random.normal(size=(x.size // len(x), len(x))))[0].T.reshape(x.shape)
    return number * np.eye(len(x)) if kind == "identity" else np.full(x.shape, number)


LIBRARIES = {
    "torch.nn.init": by_torch,
    "keras.initializers": by_keras,
    "jax.nn.initializers": by_jax,
    "chainer.initializers": by_chainer,
}


def by_gpuinit(row, x):
    """What gpuinit's call gives: the number, or the array with the other library's axes."""
    names = {"gi": gi, "np": np, "x": x}
    exec(SETUP, names)
    result = eval(row.ours, names)
    return result if isinstance(result, float) else x


def elements(result):
    return np.asarray(result, np.float32).astype(np.float64)


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.library}-{row.theirs}", marks=needs(row.module)) for row in ROWS])
def test_row(row):
    expected = elements(LIBRARIES[row.module](row, np.full(row.shape, np.nan, np.float32)))
    gi.manual_seed(1)
    found = elements(by_gpuinit(row, np.full(row.shape, np.nan, np.float32)))
    assert found.shape == expected.shape
    if not gi.default_generator.position:
        np.testing.assert_array_equal(found, expected)
        return
    assert_same_moments(found, expected)
    assert_same_ends(found, expected)
    assert_same_ends(-found, -expected)
    for name, measure in STRUCTURES.items():
        if name in row.ours:
            np.testing.assert_allclose(measure(found, row), measure(expected, row), atol=1e-5)


def assert_same_moments(one, other):
    """Means of x, x² and x⁴ within 5 sigma; the last tells a normal distribution from one that is cut at 2 std."""
    for power in (1, 2, 4):
        p, q = one**power, other**power
        assert abs(p.mean() - q.mean()) < 5 * math.sqrt((p.var() + q.var()) / one.size)


def assert_same_ends(one, other):
    """Greatest elements nearer to each other than the greatest and the hundredth of one are: 1e-3 of a uniform's range."""
    hundredth, greatest = np.sort(other, axis=None)[[-100, -1]]
    assert abs(one.max() - greatest) <= greatest - hundredth


def singular_values(x, row):
    """Of x as the matrix that `orthogonal_` sees."""
    out = -1 if "**axes" in row.ours else 0
    return np.linalg.svd(np.moveaxis(x, out, 0).reshape(x.shape[out], -1), compute_uv=False)


STRUCTURES = {
    "orthogonal_": singular_values,
    "sparse_": lambda x, row: (x == 0).sum(axis=0),
    "delta_": lambda x, row: (x == 0).astype(int),
}


def public_names(module):
    """The library's initializers; aliases of a Keras class count once."""
    names = namespace(module)
    if module == "torch.nn.init":
        return {name for name in names if name == "calculate_gain" or (name.endswith("_") and not name.startswith("_"))}
    if module == "keras.initializers":
        kinds = {value.__name__ for value in names.values() if inspect.isclass(value) and issubclass(value, names["Initializer"])}
        return kinds - {"Initializer"}
    return {name for name, value in names.items() if callable(value) and not name.startswith("_")} - {"Initializer"}


@pytest.mark.parametrize("module", [pytest.param(module, marks=needs(module)) for module in LIBRARIES])
def test_no_initializer_is_left_out(module):
    """Each is named in the section of its library, by a row or in words; Chainer's rows are those that have numbers here."""
    if module == "chainer.initializers":
        assert {row.theirs for row in ROWS if row.module == module} == set(CHAINER)
        return
    section = next(part for part in PAGE.split("\n## ") if f"| `{module}` |" in part)
    assert public_names(module) <= set(re.findall(r"`(\w+)[`(]", section))
