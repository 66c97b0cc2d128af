"""The parameters that `gpuinit.initialize` finds in a model: their names, ties, and models that it refuses."""

from __future__ import annotations

import re

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._rules.parameters import Param, Shapes
from tests.support.arrays import to_host

NORMAL = [("*", "normal_")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(np.s_[:], np.s_[::-1], id="reversed"),
        pytest.param(np.s_[:, :3], np.s_[:, 1:], id="columns"),
        pytest.param(np.s_[::2], np.s_[2], id="a row of every second"),
        pytest.param(np.s_[:], np.s_[1:3, 1:3], id="within"),
    ],
)
def test_strided_arrays_that_overlap_are_refused(xp, first, second):
    buffer = xp.full((4, 4), 7.0)
    with pytest.raises(ValueError, match=r"got [ab] and [ab], which overlap"):
        gi.initialize({"a": buffer[first], "b": buffer[second]}, NORMAL, seed=0)
    assert (to_host(buffer) == 7).all()


def test_a_transposed_tie_is_refused(xp):
    buffer = xp.full((4, 4), 7.0)
    with pytest.raises(ValueError, match="got a and b, which overlap"):
        gi.initialize({"a": buffer, "b": buffer.T}, NORMAL, seed=0)
    assert (to_host(buffer) == 7).all()


def test_strided_arrays_may_interleave(xp):
    buffer = xp.full((4, 6), 7.0)
    gi.initialize({"left": buffer[:, :2], "right": buffer[:, 3:]}, [("*", "zeros_")], seed=0)
    assert to_host(buffer).any(axis=0).tolist() == [False, False, True, False, False, False]


def test_a_tied_weight_counts_for_the_bias_beside_its_second_name(torch):
    nn = torch.nn
    model = nn.ModuleDict({"embed": nn.Embedding(20, 16), "head": nn.Linear(16, 20), "again": nn.Identity()})
    model["head"].weight = model["embed"].weight
    model["again"] = model["head"]
    rows = gi.initialize(model, seed=0).rows
    assert [(row.name, row.initializer) for row in rows] == [
        ("again.weight", "normal_()"),
        ("again.bias", "uniform_(a=-0.25, b=0.25)"),
    ]


class Named:
    """What has `named_parameters()` and nothing else."""

    def named_parameters(self):
        return iter({"a": 3.0}.items())


def itself():
    model = {}
    model["inner"] = [model]
    return model


def test_siblings_are_found_once_for_all_parameters():
    names = [f"layers.{i}.{own}" for i in range(3) for own in ("weight", "bias")]
    shapes = Shapes({name: (len(name),) for name in [*names, "layers.scale", "top"]})
    params = {name: Param(name, shape, "float32", (), shapes) for name, shape in shapes.items()}
    assert params["layers.1.bias"].siblings == {"weight": (15,), "bias": (13,)}
    assert params["layers.scale"].siblings == {"scale": (12,)}
    assert params["top"].siblings == {"top": (3,)}
    assert shapes.by_module is params["top"].shapes.by_module


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (itself, ValueError, "model must not contain itself"),
        (lambda: {"": np.ones(3)}, TypeError, "non-empty strings or integers as keys, got the key '' in model"),
        (lambda: {1: np.ones(3), "1": np.ones(3)}, ValueError, "got '1' twice"),
        (lambda: {"\u00e9": np.ones(3), "e\u0301": np.ones(3)}, ValueError, "must have parameter names that are unique"),
        (lambda: {"\udc80": np.ones(3)}, ValueError, r"names that UTF-8 can encode, got '\\udc80'"),
        (Named, TypeError, "got 3.0 of type float for a"),
        (lambda: Named, TypeError, "got <class .*Named'> of type type"),
    ],
)
def test_models_that_are_refused(model, error, message):
    with pytest.raises(error, match=re.compile(message, re.DOTALL)):
        gi.initialize(model(), NORMAL, seed=0)
