"""Calls as users of other libraries write them: torch's work, and the others' errors say what to write instead."""

from __future__ import annotations

import inspect
import random
import re

import numpy as np
import pytest

import gpuinit as gi
from tests.support.arrays import to_host
from tests.support.fills import NAMES, RANDOM
from tests.support.refusals import REQUIRED, refused, shape_for


def empty(name, xp=np):
    return xp.full(shape_for(name), 77, np.float32)


@pytest.mark.parametrize("name", RANDOM)
def test_the_generator_is_the_last_positional_argument(xp, name):
    fill = getattr(gi, name)
    own = [
        parameter
        for parameter in inspect.signature(fill).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    assert own[-1].name == "generator"
    arguments = [REQUIRED[name].get(parameter.name, parameter.default) for parameter in own[1:-1]]
    by_position = fill(empty(name, xp), *arguments, gi.Generator(5))
    by_keyword = fill(empty(name, xp), **REQUIRED[name], generator=5)
    assert to_host(by_position).tobytes() == to_host(by_keyword).tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_array_as_tensor(name, default_state):
    fill, x = getattr(gi, name), empty(name)
    source = {"generator": 5} if name in RANDOM else {}
    assert fill(tensor=x, **REQUIRED[name], **source) is x
    assert x.tobytes() == fill(empty(name), **REQUIRED[name], **source).tobytes()
    with pytest.raises(TypeError, match="unexpected keyword argument 'tensor'"):
        fill(x, tensor=x, **REQUIRED[name])
    with pytest.raises(TypeError, match=r"^x must be an array"):
        fill(tensor=3, **REQUIRED[name])
    assert gi.default_generator.state == default_state


@pytest.mark.torch
@pytest.mark.parametrize("name", NAMES)
def test_torchs_parameters_are_ours_in_order(torch, name):
    theirs = getattr(torch.nn.init, name, None)
    if theirs is not None:
        known = inspect.signature(getattr(gi, name)).parameters.values()
        ours = [parameter.name for parameter in known if parameter.kind is not parameter.KEYWORD_ONLY]
        assert ["x" if parameter == "tensor" else parameter for parameter in inspect.signature(theirs).parameters] == ours


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("glorot_uniform_", "xavier_uniform_"),
        ("glorot_normal", "xavier_normal_, or variance_scaling_\\(mode='fan_avg'\\)"),
        ("he_uniform", "kaiming_uniform_\\(nonlinearity='relu'\\)"),
        ("he_normal_", "kaiming_normal_\\(nonlinearity='relu'\\), or variance_scaling_\\(scale=2.0\\)"),
        ("trunc_normal_tf_", "trunc_normal_\\(in_std=True\\)"),
    ],
)
def test_names_of_other_libraries(name, meant):
    with pytest.raises(AttributeError, match=f"no attribute {name!r}; it has {meant}"):
        getattr(gi, name)
    with pytest.raises(ValueError, match=f"got {name!r}; write {meant}"):
        gi.initialize({"w": np.empty((3, 3))}, [("*", name)], seed=0)


# A call but for the array, and the end of its error.
HINTS = [
    ("kaiming_normal_", ("fan_out",), {}, "a must be a real number, got 'fan_out' of type str; write mode='fan_out'"),
    ("kaiming_normal_", ("relu",), {}, "write nonlinearity='relu'"),
    ("kaiming_uniform_", (0, "relu"), {}, "mode must be one of fan_in, fan_out, got mode='relu'; write nonlinearity='relu'"),
    ("kaiming_uniform_", (), {"nonlinearity": "fan_in"}, "got nonlinearity='fan_in'; write mode='fan_in'"),
    ("variance_scaling_", ("fan_avg",), {}, "scale must be a real number, .*; write mode='fan_avg'"),
    ("variance_scaling_", (2, "uniform"), {}, "mode must be one of .*; write distribution='uniform'"),
    ("xavier_normal_", ("tanh",), {}, r"write gain=gpuinit\.calculate_gain\('tanh'\)"),
    ("orthogonal_", (), {"gain": "relu"}, r"write gain=gpuinit\.calculate_gain\('relu'\)"),
    ("xavier_normal_", ("fan_in",), {}, "gain must be a real number, got 'fan_in' of type str"),
    ("kaiming_normal_", (float("inf"), "fan_out"), {}, "a must be finite, got a=inf"),
    ("normal_", (), {"seed": 3}, "unexpected keyword argument 'seed'; write generator=3"),
    ("normal_", (), {"tensor": 3, "rng": 4}, "write generator=4"),
    ("zeros_", (), {"seed": 3}, "'seed'; it draws no random numbers: leave seed out"),
    ("normal_", (), {"stddev": 0.02}, "write std=0.02"),
    ("uniform_", (), {"maxval": 2.0}, "write b=2.0"),
    ("constant_", (), {"value": 2.0}, "write val=2.0"),
    ("zeros_", (), {"stddev": 2.0}, "unexpected keyword argument 'stddev'"),
]


@pytest.mark.parametrize(("name", "arguments", "keywords", "message"), HINTS)
def test_hints_for_arguments(name, arguments, keywords, message, default_state):
    x = empty(name)
    with pytest.raises((TypeError, ValueError), match=f"{message}$"):
        getattr(gi, name)(x, *arguments, **keywords)
    assert (x == 77).all()
    assert gi.default_generator.state == default_state


class Module:
    def named_parameters(self):
        raise AssertionError("only its type is looked at")


@pytest.mark.parametrize(
    ("x", "hint"),
    [
        ([[1.0, 2.0]], r"write normal_\(numpy\.array\(x, numpy\.float32\)\)"),
        ((3, 4), r"for a new array, write normal_\(numpy\.empty\(\(3, 4\), numpy\.float32\)\)"),
        ([np.zeros(3)], "fill each array in it"),
        ({"weight": np.zeros(3)}, r"fill each of its arrays, or all by gpuinit\.initialize\(x, seed=42\)"),
        (Module(), r"fill each of its arrays, or all by gpuinit\.initialize\(x, seed=42\)"),
        (np.zeros(3, int), "fill an array of a floating dtype, and convert it"),
        (np.zeros(3, bool), "fill an array of a floating dtype, and convert it"),
    ],
)
def test_hints_for_what_is_no_array_of_floats(x, hint):
    refused("normal_", x, TypeError, f"; {hint}$", memory=np.zeros(1))


@pytest.mark.torch
def test_hints_for_torchs_objects(torch):
    refused(
        "normal_", torch.nn.Linear(2, 3), TypeError, r"got torch\.nn.*Linear; fill each .*initialize\(x, ", memory=np.zeros(1)
    )
    refused("normal_", torch.zeros(3, dtype=torch.int64), TypeError, "got int64; fill an array of a", memory=np.zeros(1))


# Other libraries' sources of random bits; what they are called with stands in the error.


def check_source(source, name, seed):
    """The error names the full type, and what it says to write works."""
    x = empty("normal_")
    message = re.escape(f"of type {name}; make one of it, once: generator = gpuinit.Generator({seed})")
    refused("normal_", x, TypeError, f"(?s)^generator must be .*{message}$", generator=source)
    for call in (gi.Generator, gi.manual_seed, lambda seed: gi.initialize({"x": x}, [("*", "normal_")], seed=seed)):
        with pytest.raises(
            TypeError, match=rf"(?s)^seed must be an int.* of type {re.escape(name)}; .*: seed = gpuinit\.Generator\("
        ):
            call(source)


SOURCES = [
    (np.random.default_rng(1), "numpy.random._generator.Generator", "int(generator.integers(2**63))"),
    (np.random.RandomState(1), "numpy.random.mtrand.RandomState", "int(generator.randint(2**31))"),
    (np.random.Philox(1), "numpy.random._philox.Philox", "int(generator.random_raw())"),
    (np.random.SeedSequence(1), "numpy.random.bit_generator.SeedSequence", "int(generator.generate_state(1, 'uint64')[0])"),
    (random.Random(1), "random.Random", "generator.getrandbits(64)"),
]


@pytest.mark.parametrize(("source", "name", "seed"), SOURCES, ids=[name for _, name, _ in SOURCES])
def test_other_sources(source, name, seed):
    check_source(source, name, seed)
    assert gi.Generator(eval(seed, {"generator": source})).position == 0


@pytest.mark.torch
def test_a_generator_of_torch(torch):
    source = torch.Generator().manual_seed(-1)
    check_source(source, "torch._C.Generator", "generator.initial_seed()")
    assert gi.Generator(source.initial_seed()).seed == 2**64 - 1


@pytest.mark.jax
@pytest.mark.parametrize("make", ["key", "PRNGKey"])
def test_a_key_of_jax(make):
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    key = getattr(jax.random, make)(0)
    name = f"{type(key).__module__}.{type(key).__qualname__}"
    check_source(key, name, "int(jax.random.bits(generator, dtype='uint32'))")
    assert gi.Generator(int(jax.random.bits(key, dtype="uint32"))).position == 0
