"""Calls that must be refused: before anything is written or drawn, with an error that names the argument."""

from __future__ import annotations

import pytest

import gpuinit as gi
from tests.support.arrays import to_host
from tests.support.fills import NAMES, RANDOM

# The arguments that an initializer cannot do without.
REQUIRED = {name: {} for name in NAMES} | {"sparse_": {"sparsity": 0.5}, "constant_": {"val": 1}}


def shape_for(name):
    """A shape of 24 elements that the initializer accepts."""
    return {"dirac_": (4, 6, 1), "delta_orthogonal_": (6, 4, 1)}.get(name, (4, 6))


def refused(name, x, error, match, *, memory=None, **arguments):
    """Call with the default generator and with a given one: the error is raised, `memory` (or x) and the states stay."""
    memory = x if memory is None else memory
    given = gi.Generator(5)
    given.reserve(2)
    default, before = gi.default_generator, (given.state, gi.default_generator.state)
    content = to_host(memory).tobytes()
    for source in ({}, {"generator": given}) if name in RANDOM and "generator" not in arguments else ({},):
        with pytest.raises(error, match=match):
            getattr(gi, name)(x, **{**REQUIRED[name], **arguments, **source})
        assert to_host(memory).tobytes() == content
        assert (given.state, default.state) == before
