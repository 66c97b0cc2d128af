"""What `initialize` leaves alone unless it is asked: buffers and frozen parameters, and how the report tells."""

from __future__ import annotations

import copy
import json
import re

import numpy as np
import pytest

import gpuinit as gi

torch = pytest.importorskip("torch")
nn = torch.nn

pytestmark = pytest.mark.torch

GARBAGE = 5.0


class Rotary(nn.Module):
    """Buffers that are no torch layer's: in the state and not in it, and none."""

    def __init__(self):
        super().__init__()
        self.register_buffer("inv_freq", torch.ones(4), persistent=False)
        self.register_buffer("mask", torch.ones(4, 4, dtype=torch.bool))
        self.register_buffer("absent", None)


def norms():
    layers = [nn.Linear(4, 4), nn.BatchNorm1d(4), nn.InstanceNorm1d(4, affine=True, track_running_stats=True)]
    return nn.Sequential(*layers, nn.BatchNorm1d(4, affine=False))


def with_garbage(module):
    """As after `to_empty`, but the same every time."""
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            tensor.fill_(GARBAGE)
    return module


STATISTICS = [f"{i}.{own}" for i in (1, 2, 3) for own in ("running_mean", "running_var", "num_batches_tracked")]


def test_buffers_are_listed_and_left_alone():
    model = with_garbage(norms())
    report = gi.initialize(model, seed=0)
    assert report.buffers == STATISTICS
    assert all((buffer == GARBAGE).all() for buffer in model.buffers())
    assert report.summary().endswith("; buffers left alone: " + ", ".join(STATISTICS))
    assert json.loads(report.to_json())["buffers"] == STATISTICS


def test_buffers_are_filled_on_request():
    """By torch's defaults as torch makes them; values of parameters do not change."""
    model, without, fresh = with_garbage(norms()), norms(), norms()
    report = gi.initialize(model, seed=0, buffers=True)
    gi.initialize(without, seed=0)
    assert report.buffers == []
    assert {row.name for row in report.rows} == {*STATISTICS, *dict(model.named_parameters())}
    for (name, buffer), expected in zip(model.named_buffers(), fresh.buffers(), strict=True):
        assert torch.equal(buffer, expected), name
    for parameter, expected in zip(model.parameters(), without.parameters(), strict=True):
        assert torch.equal(parameter, expected)


def test_the_recipe_leaves_no_garbage():
    """Meta, `to_empty`, fill: each buffer has a rule, or the error names it."""
    with torch.device("meta"):
        model = nn.ModuleDict({"norms": norms(), "rotary": Rotary()})
    model.to_empty(device="cpu")
    with_garbage(model)
    with pytest.raises(ValueError, match=r"2 without a rule.*\n    rotary\.inv_freq \(4,\)\n    rotary\.mask \(4, 4\)"):
        gi.initialize(model, seed=0, buffers=True)
    assert all((tensor == GARBAGE).all() for tensor in [*model.parameters(), model["rotary"].inv_freq])

    def frequencies(x, generator, param):
        x[:] = 10000.0 ** -(torch.arange(4) / 4)

    own = [("*.inv_freq", frequencies), ("*.mask", "ones_"), *gi.rules.torch_defaults()]
    report = gi.initialize(model, own, seed=0, buffers=True)
    assert not report.buffers
    assert not any((tensor == GARBAGE).all() for tensor in [*model.parameters(), *model.buffers()])
    assert model["rotary"].inv_freq[1] == pytest.approx(0.1)


@pytest.mark.parametrize("form", ["module", "below a mapping", "state"])
def test_forms_of_models_with_buffers(form):
    model = with_garbage(norms())
    prefix = "" if form == "module" else "a."
    given = {"module": model, "below a mapping": {"a": model}, "state": {"a": dict(model.state_dict())}}[form]
    report = gi.initialize(given, [("*", "zeros_")], seed=0)
    if form == "state":  # tensors of a mapping are all parameters
        assert (report.buffers, report.frozen) == ([], [])
        assert not any(tensor.any() for tensor in model.state_dict().values())
    else:
        assert report.buffers == [prefix + name for name in STATISTICS]


def test_buffers_that_two_names_have():
    """Tied as parameters are, also with these."""
    model = nn.Module()
    model.weight = nn.Parameter(torch.full((3,), GARBAGE))
    model.register_buffer("same", model.weight.data)
    assert gi.initialize(copy.deepcopy(model), [("*", "zeros_")], seed=0).buffers == ["same"]
    with pytest.raises(ValueError, match=r"got zeros_\(\) for same and ones_\(\) for weight"):
        gi.initialize(model, [("weight", "ones_"), ("*", "zeros_")], seed=0, buffers=True)
    assert (model.weight == GARBAGE).all()


# Frozen parameters.


def lora(rank=2):
    """As peft does: a frozen layer, and two small matrices beside it."""
    model = nn.ModuleDict({"base": nn.Linear(4, 4), "lora_a": nn.Linear(4, rank, bias=False)})
    model["base"].requires_grad_(False)
    return with_garbage(model)


def pretrained():
    return nn.ModuleDict({"e": nn.Embedding.from_pretrained(torch.eye(4)), "l": nn.Linear(4, 4)})


def tied_by_memory():
    frozen = nn.Parameter(torch.ones(4, 4), requires_grad=False)
    return {"a": frozen, "b": nn.Parameter(frozen.data)}


def quantized():
    return {"q": nn.Parameter(torch.ones(4, dtype=torch.int8), requires_grad=False), "b": nn.Parameter(torch.ones(4))}


FROZEN = {
    "a layer": (lora, ["base.weight", "base.bias"]),
    "from_pretrained": (pretrained, ["e.weight"]),
    "one name of a tie": (tied_by_memory, ["a"]),
    "integers": (quantized, ["q"]),
    "parametrized": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)).requires_grad_(False),
        ["weight", "bias"],
    ),
}


def tensors_of(model):
    return dict(model) if isinstance(model, dict) else {**model.state_dict(keep_vars=True)}


@pytest.mark.parametrize(("make", "names"), FROZEN.values(), ids=FROZEN)
def test_frozen_parameters_are_left_alone(make, names):
    model = make()
    before = {name: tensor.detach().clone() for name, tensor in tensors_of(model).items()}
    report = gi.initialize(model, [("*", "normal_")], seed=0)
    assert sorted(report.frozen) == sorted(names)
    assert set(names) <= set(report.apart)
    assert {row.name: row.initializer for row in report.rows if row.name in names} == dict.fromkeys(names, "frozen")
    assert f"; frozen and left alone: {', '.join(report.frozen)}" in report.summary()
    assert json.loads(report.to_json())["frozen"] == report.frozen
    after = tensors_of(model)
    kept = {name for name in before if torch.equal(before[name], after[name])}
    assert kept == {name for name in before if not after[name].requires_grad} | ({"b"} if "a" in names else set())


@pytest.mark.parametrize("make", [lora, pretrained])
def test_frozen_parameters_are_filled_on_request(make):
    model, thawed = make(), make().requires_grad_(True)
    reports = [gi.initialize(x, [("*", "normal_")], seed=0, frozen=True) for x in (model, thawed)]
    assert reports[0].digest == reports[1].digest
    assert [report.frozen for report in reports] == [[], []]
    assert [parameter.requires_grad for parameter in model.parameters()] == [p.requires_grad for p in make().parameters()]
    for parameter, expected in zip(model.parameters(), thawed.parameters(), strict=True):
        assert torch.equal(parameter, expected)


def test_frozen_parameters_need_no_rule():
    report = gi.initialize(lora(), [("lora_*", "normal_")], seed=0)
    assert [row.initializer for row in report.rows] == ["frozen", "frozen", "normal_()"]
    with pytest.raises(ValueError, match=r"2 without a rule"):
        gi.initialize(lora(), [("lora_*", "normal_")], seed=0, frozen=True)


def test_other_parameters_get_the_same_beside_frozen_ones():
    frozen, thawed = lora(), lora().requires_grad_(True)
    for model in (frozen, thawed):
        gi.initialize(model, seed=3)
    assert torch.equal(frozen["lora_a"].weight, thawed["lora_a"].weight)
    assert not torch.equal(frozen["base"].weight, thawed["base"].weight)


def test_param_tells_what_is_frozen():
    seen = {}
    look = gi.rules.by_param(lambda param: seen.update({param.name: param.frozen}) or "keep")
    report = gi.initialize(lora(), [("*", look)], seed=0, frozen=True)
    assert seen == {"base.weight": True, "base.bias": True, "lora_a.weight": False}
    assert report.frozen == ["base.weight", "base.bias"]


def test_long_lists_are_shortened_in_the_summary():
    model = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(15)), Rotary()).requires_grad_(False)
    summary = gi.initialize(model, [], seed=0).summary()
    frozen, buffers = summary.split("; ")[-2:]
    assert re.fullmatch(r"frozen and left alone: 0\.weight, (\d\.weight, ){9}and 5 more", frozen)
    assert buffers == "buffers left alone: 15.inv_freq, 15.mask"


@pytest.mark.parametrize("name", ["buffers", "frozen"])
@pytest.mark.parametrize("value", [1, None, "yes", ["a"], np.array([True, False])])
def test_arguments_that_are_no_bool(name, value):
    with pytest.raises(TypeError, match=f"{name} must be True or False, got "):
        gi.initialize({"a": np.empty(3)}, [("*", "normal_")], seed=0, **{name: value})
