"""A layer whose weight some code initializes within `seeded`, and the values that it is to get."""

from __future__ import annotations

import pytest

import gpuinit as gi

torch = pytest.importorskip("torch")
nn = torch.nn


class Layer(nn.Module):
    """One weight, and code that initializes it."""

    def __init__(self, code=None, shape=(6, 4), dtype=torch.float32):
        super().__init__()
        self.weight = nn.Parameter(torch.full(shape, 77, dtype=dtype))
        self.code = code

    def initialize(self):
        with torch.no_grad():
            self.code(self.weight)


def drawn(code, seed=42, name="weight", **settings):
    """The weight after its code, and the report."""
    layer = Layer(code, **settings)
    before = torch.get_rng_state()
    with gi.seeded(layer, seed=seed, prefix=name.rpartition(".")[0]) as report:
        layer.initialize()
    assert torch.equal(torch.get_rng_state(), before)
    return layer.weight.detach(), report


def stream(name="weight", number=0, seed=42):
    """The stream of a parameter's draw, by the numbers of docs/values.md alone."""
    child = gi.Generator(seed).spawn(name)
    return child if number == 0 else child.spawn(number)[number - 1]


def values(function, *arguments, shape=(6, 4), dtype=torch.float32, number=0, **keywords):
    return getattr(gi, function)(torch.empty(shape, dtype=dtype), *arguments, generator=stream(number=number), **keywords)
