"""Patterns of rules, on names and on modules' classes."""

from __future__ import annotations

import re

import pytest

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
