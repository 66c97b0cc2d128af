"""What `Generator` and its methods refuse, and that a refusal changes no state."""

from __future__ import annotations

import numpy as np
import pytest

import gpuinit as gi

STATE = {"version": 2, "entropy": 5, "spawn_key": [2], "position": 9, "children": 3}
NO_STATES = [
    (None, ValueError, "state must be a dict .* got None"),
    ([], ValueError, r"state must be a dict .* got \[\]"),
    ({}, ValueError, r"state must be a dict with the keys .* got \{\}"),
    ({k: v for k, v in STATE.items() if k != "children"}, ValueError, "state must be a dict with the keys"),
    (STATE | {"more": 1}, ValueError, "state must be a dict with the keys .* 'more': 1"),
    (STATE | {"version": 1}, ValueError, "version 2, got version=1; another version's position"),
    (STATE | {"version": "x"}, ValueError, "version 2, got version='x'"),
    (STATE | {"entropy": -1}, ValueError, "entropy must not be negative, got entropy=-1"),
    (STATE | {"entropy": None}, TypeError, "entropy must be an int, got None"),
    (STATE | {"entropy": "5"}, TypeError, "entropy must be an int, got '5'"),
    (STATE | {"spawn_key": [-1]}, ValueError, "spawn_key must not be negative, got spawn_key=-1"),
    (STATE | {"spawn_key": [0.5]}, TypeError, r"spawn_key must be an int, got 0\.5"),
    (STATE | {"spawn_key": "ab"}, TypeError, "spawn_key must be a list of ints, got spawn_key='ab'"),
    (STATE | {"spawn_key": 3}, TypeError, "spawn_key .*3"),
    (STATE | {"position": -1}, ValueError, "position must not be negative, got position=-1"),
    (STATE | {"position": 2**64}, ValueError, f"position must be at most {2**64 - 1}, got position={2**64}"),
    (STATE | {"position": 1.0}, TypeError, r"position must be an int, got 1\.0"),
    (STATE | {"children": -1}, ValueError, "children must not be negative, got children=-1"),
    (STATE | {"children": 0x6E616D66}, ValueError, "children must be at most 1851878757, got children=1851878758"),
    (STATE | {"children": 2**32}, ValueError, "children must be at most"),
    (STATE | {"spawn_key": [2, 2**32]}, ValueError, f"spawn_key must be at most {2**32 - 1}, got spawn_key={2**32}"),
    (STATE | {"children": "x"}, TypeError, "children must be an int, got 'x'"),
]
NO_SEEDS = [
    (-1, ValueError, "seed must not be negative, got seed=-1"),
    (np.int8(-3), ValueError, "seed must not be negative, got seed=-3"),
    ("x", TypeError, "seed must be an int, got 'x' of type str"),
    (1.5, TypeError, r"seed must be an int, got 1\.5 of type float"),
    (1.0, TypeError, r"seed must be an int, got 1\.0 of type float"),
    (True, TypeError, "seed must be an int, got True of type bool"),
    ([1], TypeError, r"seed must be an int, got \[1\] of type list"),
]
NO_CHILDREN = [
    (-1, ValueError, "child must not be negative, got child=-1"),
    (1.5, TypeError, r"child must be an int, got 1\.5 of type float"),
    (None, TypeError, "child must be an int, got None of type NoneType"),
    (b"x", TypeError, "child must be an int, got b'x' of type bytes"),
    (True, TypeError, "child must be an int, got True of type bool"),
    (2**32, ValueError, f"a generator has at most .* got child={2**32}"),
]


@pytest.mark.parametrize(
    ("call", "value", "error", "match"),
    [
        *((lambda g, value: setattr(g, "state", value), *row) for row in NO_STATES),
        *(
            (lambda g, value: g.manual_seed(value), *row)
            for row in [*NO_SEEDS, (None, TypeError, "seed must be an int, got None")]
        ),
        *(
            (lambda g, value: gi.manual_seed(value), *row)
            for row in [*NO_SEEDS, (None, TypeError, "seed must be an int, got None")]
        ),
        *((lambda g, value: gi.Generator(value), *row) for row in NO_SEEDS),
        *((lambda g, value: g.spawn(value), *row) for row in NO_CHILDREN),
    ],
)
def test_generator_methods(call, value, error, match, default_state):
    g = gi.Generator(0)
    g.state = STATE
    with pytest.raises(error, match=match):
        call(g, value)
    assert g.state == STATE
    assert gi.default_generator.state == default_state


def test_names_of_children_that_utf8_lacks():
    with pytest.raises(ValueError, match="child must be a name"):
        gi.Generator(1).spawn("\ud800")
