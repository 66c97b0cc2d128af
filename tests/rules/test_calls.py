"""Functions of other libraries as rules: those of `torch.nn.init` mean ours of the same name, others are refused at once."""

from __future__ import annotations

import functools
import inspect

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._rules.calls import INITIALIZERS

torch = pytest.importorskip("torch")
init = torch.nn.init

pytestmark = pytest.mark.torch

REQUIRED = {"constant_": {"val": 0.5}, "sparse_": {"sparsity": 0.5}}
SHAPES = {"eye_": (4, 4), "dirac_": (4, 2, 3)}


@pytest.mark.parametrize("deprecated", [False, True], ids=["", "deprecated"])
@pytest.mark.parametrize("name", [name for name in INITIALIZERS if hasattr(init, name)])
def test_functions_of_torch_mean_ours(name, deprecated):
    function = getattr(init, name.removesuffix("_") if deprecated else name, None)
    if function is None:
        pytest.skip("torch never had one")
    rule = functools.partial(function, **REQUIRED[name]) if name in REQUIRED else function
    theirs, ours = ({"a": np.full(SHAPES.get(name, (4, 6)), 7, np.float32)} for _ in range(2))
    report = gi.initialize(theirs, [("*", rule)], seed=3)
    call = functools.partial(INITIALIZERS[name], **REQUIRED.get(name, {}))
    assert report.rows == gi.initialize(ours, [("*", call)], seed=3).rows
    assert theirs["a"].tobytes() == ours["a"].tobytes() != np.full_like(ours["a"], 7).tobytes()


def test_every_initializer_of_torch_is_known():
    functions = [
        name for name, value in vars(init).items() if inspect.isfunction(value) and name.endswith("_") and name[0] != "_"
    ]
    assert len(functions) >= 14
    assert set(functions) <= set(INITIALIZERS)


def rules_of_jax():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    return [jax.nn.initializers.normal(), jax.nn.initializers.zeros]


FOREIGN = [
    torch.Tensor.normal_,
    torch.Tensor.zero_,
    torch.zero_,
    torch.nn.Linear,
    functools.partial(torch.normal, 0.0),
    init.calculate_gain,
    np.copyto,
    functools.partial(np.full_like, fill_value=3),
]


@pytest.mark.parametrize(
    "function",
    [
        *(pytest.param(lambda function=function: function, id=str(function)) for function in FOREIGN),
        *(pytest.param(lambda number=number: rules_of_jax()[number], marks=pytest.mark.jax) for number in range(2)),
    ],
)
def test_functions_of_other_libraries_are_refused_before_anything_is_written(function):
    arrays = {"a": np.full((4, 6), 7.0), "b": np.full(3, 7.0)}
    with pytest.raises(
        TypeError, match=r"rules\[0\], 'a': a callable must take array, generator and Param, which one of \w+ does"
    ):
        gi.initialize(arrays, [("a", function()), ("*", "zeros_")], seed=0)
    assert all((array == 7).all() for array in arrays.values())


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (functools.partial(init.normal_, generator=torch.Generator()), "must leave generator to `initialize`"),
        (functools.partial(init.normal_, 0.5), "must have its arguments by keyword"),
        (functools.partial(init.normal_, stdev=0.5), "must have arguments that its function takes"),
        (functools.partial(init.normal_, tensor=torch.zeros(3)), "must have arguments that its function takes"),
    ],
)
def test_partials_of_torchs_functions(rule, message):
    with pytest.raises(TypeError, match=rf"rules\[0\], '\*': an initializer.* {message}"):
        gi.initialize({"a": np.zeros(3)}, [("*", rule)], seed=0)


def test_the_sign_of_a_zero_counts():
    """What is remembered of one call must not stand for another."""
    for zero in (0.0, -0.0, 0.0):
        x = np.ones(3)
        gi.initialize({"x": x}, [("*", functools.partial(gi.constant_, val=zero))], seed=1)
        assert (np.signbit(x) == np.signbit(zero)).all()
