"""Callables of rules that leave their tensor untouched: an error, and none of any that has written."""

from __future__ import annotations

import numpy as np
import pytest

import gpuinit as gi

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch


def returning_nothing(fill):
    """A rule's callable."""

    def call(x, generator, param):
        fill(x, generator)

    return call


# What does not write to x, and to which dtypes that applies.
UNTOUCHED = {
    "nothing": (lambda x, generator: None, "all"),
    "a converted copy": (lambda x, generator: gi.uniform_(x.float(), 1, 2, generator=generator), "16 bits"),
    "a moved copy": (lambda x, generator: gi.ones_(x.to(torch.float64)), "all"),
    "a clone": (lambda x, generator: x.clone().fill_(3), "all"),
    "a copy in NumPy": (lambda x, generator: x.float().numpy().copy().fill(3), "all"),
}


def assign(x, generator):
    x = torch.ones_like(x)


UNTOUCHED["an assignment"] = (assign, "all")

# What does write to x: seen by autograd, or past it.
WRITTEN = {
    "ours": lambda x, generator: gi.normal_(x, generator=generator),
    "ours, the same": lambda x, generator: gi.ones_(x),
    "torch's": lambda x, generator: torch.nn.init.normal_(x),
    "torch's, the same": lambda x, generator: x.fill_(1),
    "a row": lambda x, generator: x[0].zero_(),
    "a column": lambda x, generator: gi.zeros_(x[:, 1]),
    "out=": lambda x, generator: torch.add(x, 1, out=x),
    "data": lambda x, generator: x.data.normal_(),
    "a row of data": lambda x, generator: x.data[2].zero_(),
    "two rows that change places": lambda x, generator: x.data.copy_(x.data.flip(0)),
    "another data": lambda x, generator: setattr(x, "data", torch.full_like(x, 3)),
}
DTYPES = ["float32", "bfloat16", "float16", "complex64"]


def a_model(dtype):
    """A parameter of ones and others, another one, and one without elements."""
    values = torch.ones(4, 3, dtype=getattr(torch, dtype))
    values[1] = 2
    return {"a": torch.nn.Parameter(values), "b": torch.zeros(3), "none": torch.zeros(0, 3)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("fill", "dtypes"), UNTOUCHED.values(), ids=UNTOUCHED)
@pytest.mark.filterwarnings("ignore:Casting complex values")
def test_what_leaves_a_tensor_untouched(fill, dtypes, dtype):
    if dtypes == "16 bits" and "16" not in dtype:
        pytest.skip("x.float() is x itself or complex")
    model = a_model(dtype)
    before = model["a"].detach().clone()
    with (
        torch.no_grad(),
        pytest.raises(TypeError, match=r"a callable must write to the array .* but left it untouched") as caught,
    ):
        gi.initialize(model, [("a", returning_nothing(fill)), ("*", "keep")], seed=0)
    assert caught.value.__notes__ == ["while initializing parameter 'a'"]
    assert torch.equal(model["a"], before)


@pytest.mark.parametrize("returned", [lambda x: x, lambda x: x.detach(), lambda x: x[:2], lambda x: "done"])
def test_what_it_returns_changes_nothing(returned):
    with pytest.raises(TypeError, match="left it untouched"):
        gi.initialize({"a": torch.ones(3)}, [("*", lambda x, generator, param: returned(x))], seed=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill", WRITTEN.values(), ids=WRITTEN)
def test_what_writes(fill, dtype):
    model = a_model(dtype)
    with torch.no_grad():
        report = gi.initialize(model, [("a", returning_nothing(fill)), ("*", "keep")], seed=0)
    assert report.apart == ["b", "none"]


def test_a_tensor_without_elements_needs_no_write():
    gi.initialize({"none": torch.zeros(0, 3)}, [("*", lambda x, generator, param: None)], seed=0)


def test_tensors_that_gpuinit_cannot_read_are_not_judged():
    gi.initialize({"a": torch.zeros(3, device="meta")}, [("*", lambda x, generator, param: None)], seed=0)
    gi.initialize({"a": torch.zeros(3).to_sparse()}, [("*", lambda x, generator, param: None)], seed=0)
    with torch.inference_mode():
        gi.initialize({"a": torch.zeros(3)}, [("*", lambda x, generator, param: None)], seed=0)


def test_arrays_of_numpy_are_not_judged():
    """They may be given their own bytes again: nothing counts the writes to them."""
    x = np.zeros(3)
    for _ in range(2):
        gi.initialize({"a": x}, [("*", lambda x, generator, param: np.copyto(x, 1))], seed=0)
    assert x.all()
