"""Patterns of rules, on names and on modules' classes, and the rules that match nothing."""

from __future__ import annotations

import functools
import json
import re
import warnings

import numpy as np
import pytest

import gpuinit as gi
from gpuinit import rules
from gpuinit._rules.matching import matches
from gpuinit._rules.parameters import Param, Shapes


class Base: ...


class Linear(Base): ...


@pytest.mark.parametrize(
    ("pattern", "owner", "matched"),
    [
        ("*", None, True),
        ("*.bias", None, True),
        ("block.0.*", None, True),
        ("block.?.bias", None, True),
        ("block.[1-9].bias", None, False),
        ("bias", None, False),
        ("*.BIAS", None, False),
        ("block.0.bias", None, True),
        (re.compile(r"block\.\d+\.bias"), None, True),
        (re.compile(r"block"), None, False),
        ("Linear", None, False),
        ("Linear", Linear(), True),
        ("Base", Linear(), True),
        ("Linear", Base(), False),
        ("Linear.bias", Linear(), True),
        ("Linear.weight", Linear(), False),
        ("Linear.b*", Linear(), True),
        ("L*", Linear(), False),
        (Linear, Linear(), True),
        (Base, Linear(), True),
        (Linear, None, False),
        (Linear, Base(), False),
    ],
)
def test_patterns(pattern, owner, matched):
    name = "block.0.bias"
    param = Param(name, (3,), "float32", (object(), owner) if owner else (), Shapes({name: (3,)}))
    assert matches(pattern, param) is matched


def arrays_of(*names):
    return {name: np.full((4, 4), 7, np.float32) for name in names}


def only_for(*names):
    return rules.by_param(lambda param: "ones_" if param.name in names else None)


NAMES = ("embed.weight", "fc.weight", "fc.bias")
# Rules, the numbers of those that match nothing, and what the warning says of them.
UNUSED = [
    ([("*.wieght", "normal_"), ("*", "zeros_")], [0], "'\\*.wieght' matches none"),
    ([("Lineer", "normal_"), (re.compile("h.*"), "ones_"), ("*", "zeros_")], [0, 1], r"'Lineer', re.compile\('h.*'\) match none"),
    ([("*", "zeros_"), ("fc.weights", "ones_")], [1], "'fc.weights' matches none"),
    ([("*", only_for("fc.wieght")), ("*", "zeros_")], [0], r"'\*' matches none"),
    ([("*", "zeros_"), ("fc.weight", only_for())], [], None),  # it was not asked
    ([("*.weight", "normal_"), ("*", "zeros_"), ("*", "keep")], [], None),
    ([("fc.*", "zeros_"), ("fc.weight", "ones_"), ("*", "keep")], [], None),
    ([*(("x", "keep") for _ in range(12)), ("*", "zeros_")], [*range(12)], "('x', ){10}and 2 more match none"),
    ([("embed.*", "normal_"), ("fc.*", "zeros_"), *rules.gpt2(2)], [*range(2, 7)], None),  # of a ready-made set
    ([("x", "normal_"), *rules.vit(), ("*", "zeros_")], [*range(11)], "but 'x' matches none"),
]


@pytest.mark.parametrize(("of_rules", "unused", "warning"), UNUSED)
def test_rules_that_match_nothing(of_rules, unused, warning):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = gi.initialize(arrays_of(*NAMES), of_rules, seed=0)
    assert report.unused == [of_rules[number] for number in unused]
    if warning is None:
        assert not caught
    else:
        (found,) = caught
        assert (found.category, found.filename) == (UserWarning, __file__)
        assert re.fullmatch(f"rules should match parameters, .*{warning}", str(found.message))


def test_the_warning_comes_before_anything_is_written():
    arrays = arrays_of(*NAMES)
    with pytest.raises(UserWarning, match="'x' matches none"):
        gi.initialize(arrays, [("x", "ones_"), ("*", "zeros_")], seed=0)
    assert all((array == 7).all() for array in arrays.values())


def test_a_model_without_parameters_needs_none():
    assert gi.initialize({}, [("*", "zeros_")], seed=0).unused == []


def test_rules_of_a_dict_that_match_nothing():
    with pytest.warns(UserWarning, match="but 'x' matches none"):
        report = gi.initialize(arrays_of(*NAMES), {"x": "ones_", "*": "zeros_"}, seed=0)
    assert report.unused == [("x", "ones_")]
    assert json.loads(report.to_json())["unused"] == ["'x'"]


def test_a_dict_counts_in_its_order():
    first, second = arrays_of(*NAMES), arrays_of(*NAMES)
    of_rules = [("*.bias", "zeros_"), ("embed.*", functools.partial(gi.normal_, std=0.02)), ("*", "normal_")]
    digests = {gi.initialize(first, of_rules, seed=1).digest, gi.initialize(second, dict(of_rules), seed=1).digest}
    assert len(digests) == 1
    with pytest.raises(TypeError, match=r"rules\[1\] must have a string, .* got 3"):
        gi.initialize(first, {"*": "keep", 3: "zeros_"}, seed=1)


@pytest.mark.parametrize(("count", "more"), [(10, ""), (11, "\nand 1 more"), (2500, "\nand 2,490 more")])
def test_an_error_shows_ten_names_and_a_count(count, more):
    names = [f"layers.{number}" for number in range(count)]
    with pytest.raises(ValueError, match=f"got {count} without a rule") as caught:
        gi.initialize(arrays_of(*names), [], seed=0)
    _, _, listed = str(caught.value).partition(":\n")
    assert listed == "\n".join(f"    {name} (4, 4)" for name in names[:10]) + more
