"""What is found in torch's modules: names without what wrappers add to them, and the modules that a parameter lies in."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest

import gpuinit as gi
from gpuinit import rules
from gpuinit._rules.modules import without_wrappers
from gpuinit._rules.parameters import find_parameters

torch = pytest.importorskip("torch")
pytest.importorskip("torch.distributed.algorithms._checkpoint.checkpoint_wrapper")
nn = torch.nn

pytestmark = pytest.mark.torch


class Tower(nn.Module):
    """Layers in a list, one of which is another's part by the name `module`, and attention, whose output layer has a rule."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)) for _ in range(3))
        self.attention = nn.MultiheadAttention(8, 2)
        self.inner = nn.ModuleDict({"module": nn.Linear(8, 4)})
        self.head = nn.Linear(8, 12, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return x


def values(model, **arguments):
    report = gi.initialize(model, seed=42, **arguments)
    return {row.name: (row.digest, row.initializer) for row in report.rows}


def compiled(module):
    return torch.compile(module, backend="eager")


def checkpointed(module):
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    return checkpoint_wrapper(module)


def offloaded(module):
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import offload_wrapper

    return offload_wrapper(module)


class DistributedDataParallel(nn.Module):
    """As torch's, whose construction needs a process group."""

    def __init__(self, module):
        super().__init__()
        self.module = module


class FullyShardedDataParallel(nn.Module):
    """As FSDP1 without a parameter to manage."""

    def __init__(self, module):
        super().__init__()
        self._fsdp_wrapped_module = module


WRAPPERS = {
    "compile": compiled,
    "checkpoint": checkpointed,
    "offload": offloaded,
    "averaged": lambda module: torch.optim.swa_utils.AveragedModel(module),
    "data parallel": lambda module: nn.DataParallel(module),
    "distributed": DistributedDataParallel,
    "fsdp": FullyShardedDataParallel,
    "compiled and checkpointed": lambda module: compiled(checkpointed(module)),
    "all": lambda module: DistributedDataParallel(compiled(FullyShardedDataParallel(checkpointed(module)))),
}


def wrap_all(wrap, module):
    """Every module below, and then itself."""
    for name, child in list(module.named_children()):
        if not isinstance(module, nn.MultiheadAttention):
            setattr(module, name, wrap_all(wrap, child))
    return module if isinstance(module, (nn.ModuleList, nn.ModuleDict, nn.Sequential)) else wrap(module)


def wrap_layers(wrap, model):
    model.layers = nn.ModuleList(wrap(layer) for layer in model.layers)
    return model


def wrap_attention(wrap, model):
    model.attention.out_proj = wrap(model.attention.out_proj)
    return model


DEPTHS = {"root": lambda wrap, model: wrap(model), "layers": wrap_layers, "attention": wrap_attention, "all": wrap_all}


@pytest.mark.parametrize(
    ("wrap", "depth"),
    [
        pytest.param(wrap, depth, id=f"{name} {where}")
        for (name, wrap), (where, depth) in itertools.product(WRAPPERS.items(), DEPTHS.items())
        if (name, where) != ("averaged", "all")  # copies, so that the head is not tied
    ],
)
def test_wrappers_have_no_influence(wrap, depth):
    expected = values(Tower())
    assert values(depth(wrap, Tower())) == expected
    assert expected["attention.out_proj.bias"][1] == "zeros_()"
    assert expected["inner.module.weight"][1].startswith("kaiming")


@pytest.mark.parametrize("wrap", [WRAPPERS["compile"], WRAPPERS["checkpoint"], WRAPPERS["fsdp"]])
def test_the_state_of_a_wrapped_module(wrap):
    plain, wrapped = Tower().state_dict(), wrap_all(wrap, Tower()).state_dict()
    normal = [("*bias", "zeros_"), ("*", "normal_")]
    assert values(wrapped, rules=normal) == values(plain, rules=normal)


def test_owners_are_without_wrappers():
    found = {param.name: param for param, _ in find_parameters(wrap_all(compiled, Tower()))}
    types = [type(owner).__name__ for owner in found["layers.1.0.weight"].owners]
    assert types == ["Tower", "ModuleList", "Sequential", "Linear"]


@pytest.mark.parametrize("name", ["module.weight", "module.inner.module.weight", "a._orig_model.b"])
def test_names_that_are_not_only_a_wrappers(name):
    assert without_wrappers(name) == name
    assert list(values({name: np.empty(3)}, rules=[("*", "normal_")])) == [name]


def test_one_module_wrapped_and_as_it_is():
    """Two names of a tied parameter."""
    model = nn.ModuleDict({"layer": nn.Linear(3, 3)})
    model["compiled"] = compiled(model["layer"])
    assert sorted(values(model)) == ["compiled.bias", "compiled.weight"]
    assert values(model, tied={"compiled.weight": "layer.weight"}).keys() == {"layer.weight", "compiled.bias"}


# Parts of a model.

PARTS = {
    "a layer": ("layers.1", lambda model: model.layers[1]),
    "with a dot": ("layers.1.", lambda model: model.layers[1]),
    "a list": ("layers", lambda model: model.layers),
    "a layer in a wrapper": ("layers.1", lambda model: compiled(model.layers[1])),
    "the weight of a layer": ("layers.1.0.weight", lambda model: model.layers[1][0].weight),
    "the state of a layer": ("layers.1", lambda model: model.layers[1].state_dict()),
    "some layers": ("layers", lambda model: {str(i): model.layers[i] for i in (1, 2)}),
    "by names with dots": ("", lambda model: {f"layers.{i}": model.layers[i] for i in (1, 2)}),
    "all": ("", lambda model: model),
}


@pytest.mark.parametrize(("prefix", "part"), PARTS.values(), ids=PARTS)
def test_parts_get_the_values_of_the_whole(prefix, part):
    by_name = [("layers.*.1.*", "ones_"), ("*", "normal_")]
    whole = values(Tower(), rules=by_name)
    found = values(part(Tower()), rules=by_name, prefix=prefix)
    assert found
    assert found.items() <= whole.items()


@pytest.mark.parametrize("prefix", [None, 3, b"layers"])
def test_a_prefix_that_is_none(prefix):
    with pytest.raises(TypeError, match=r"prefix must be the name of the model in a larger one, got "):
        gi.initialize({"a": np.empty(3)}, [("*", "normal_")], seed=0, prefix=prefix)


def test_a_stage_with_one_name_of_a_tie():
    whole, first, last = Tower(), Tower(), Tower()
    normal = [("*", "normal_")]
    tied = {"head.weight": "embed.weight"}
    gi.initialize(whole, normal, seed=1, tied=tied)
    gi.initialize(first.embed, normal, seed=1, prefix="embed", tied=tied)
    gi.initialize({"head": last.head}, normal, seed=1, tied=tied)
    assert torch.equal(whole.head.weight, first.embed.weight)
    assert torch.equal(whole.head.weight, last.head.weight)


# Names that are globs.

ODD = ["w[0]", "w0", "a*", "ab", "?", "x", "[!a]", "b", "w[[]0]"]


@pytest.mark.parametrize("name", ODD)
def test_a_name_is_addressed_exactly(name):
    arrays = {key: np.full(3, 7.0) for key in ODD}
    gi.initialize(arrays, [(name, "zeros_"), ("*", "keep")], seed=0)
    assert [key for key, array in arrays.items() if not array.any()] == [name]


def test_a_pattern_that_is_no_name_stays_a_glob():
    arrays = {key: np.full(3, 7.0) for key in ("w[0]", "w0", "w1")}
    gi.initialize(arrays, [("w[01]", "zeros_"), ("w[[]0]", "ones_"), ("*", "keep")], seed=0)
    assert {key: array[0] for key, array in arrays.items()} == {"w[0]": 1, "w0": 0, "w1": 0}


def test_the_name_of_a_class_stays_one():
    model = nn.ModuleDict({"Linear": nn.Linear(3, 3), "other": nn.Linear(3, 3)})
    report = gi.initialize(model, [("Linear.weight", "zeros_"), ("*", rules.keep)], seed=0)
    assert [row.initializer for row in report.rows] == ["zeros_()", "keep", "zeros_()", "keep"]


def test_copies_of_wrapped_models_agree():
    model = wrap_layers(checkpointed, Tower())
    assert values(copy.deepcopy(model)) == values(compiled(model))
