"""Objects whose own methods raise, as arguments: errors are gpuinit's, name them, and come before anything is done."""

from __future__ import annotations

import functools
from fractions import Fraction

import numpy as np
import pytest

import gpuinit as gi
from gpuinit import rules
from tests.support.fills import RANDOM
from tests.support.hostile import HOSTILE, OwnError, fail
from tests.support.refusals import shape_for

every_kind = pytest.mark.parametrize("kind", HOSTILE)
MEMORY = np.full((4, 6), 77, np.float32)
COMPLEX = np.full((4, 6), 77, np.complex64)
SCALARS = {
    "uniform_": ("a", "b"),
    "normal_": ("mean", "std"),
    "trunc_normal_": ("mean", "std", "a", "b"),
    "constant_": ("val",),
    "xavier_uniform_": ("gain",),
    "xavier_normal_": ("gain",),
    "kaiming_uniform_": ("a", "mode", "nonlinearity"),
    "kaiming_normal_": ("a", "mode", "nonlinearity"),
    "variance_scaling_": ("scale", "mode", "distribution"),
    "orthogonal_": ("gain",),
    "sparse_": ("sparsity", "std"),
    "embedding_": ("std", "padding_idx"),
}
NEEDED = {"constant_": {"val": 1}, "sparse_": {"sparsity": 0.5}}


def fill(name, argument, memory, e):
    getattr(gi, name)(memory, **{**NEEDED.get(name, {}), argument: e})


def initialize(model=None, given=None, **options):
    gi.initialize({"a.weight": MEMORY} if model is None else model, given or [("*", "normal_")], **{"seed": 1, **options})


def set_state(e):
    gi.Generator(1).state = e


def state_with(**fields):
    return gi.Generator(1).state | fields


def tied(choice):
    """A parameter with two names, for which a callable is compared with itself and another one."""
    return {"a": MEMORY, "b": MEMORY}, [("a", choice), ("b", fail)]


# What is called -> (a function of the object, what the message has)
CALLS = {
    **{
        f"{name}({argument}=)": (functools.partial(fill, name, argument, MEMORY), rf"^{argument} must ")
        for name, arguments in SCALARS.items()
        for argument in arguments
    },
    **{
        f"{name}(generator=)": (functools.partial(fill, name, "generator", MEMORY.reshape(shape_for(name))), "^generator must ")
        for name in RANDOM
    },
    "dirac_(groups=)": (lambda e: gi.dirac_(np.full((4, 2, 3), 77.0), groups=e), "^groups must "),
    "normal_(mean=), complex": (functools.partial(fill, "normal_", "mean", COMPLEX), "^mean must "),
    "normal_(std=), complex": (functools.partial(fill, "normal_", "std", COMPLEX), "^std must "),
    "calculate_gain(e)": (gi.calculate_gain, "^nonlinearity must "),
    "calculate_gain(param=)": (lambda e: gi.calculate_gain("leaky_relu", e), "^param, "),
    "set_num_threads": (gi.set_num_threads, "^threads must "),
    "Generator": (gi.Generator, "^seed must "),
    "manual_seed": (gi.manual_seed, "^seed must "),
    "Generator.manual_seed": (gi.Generator(1).manual_seed, "^seed must "),
    "Generator.spawn": (gi.Generator(1).spawn, "^child must "),
    "Generator.reserve": (gi.Generator(1).reserve, "^blocks must "),
    "Generator.state": (set_state, "^state must "),
    "Generator.state, version": (lambda e: set_state(state_with(version=e)), "^state must be of version 2"),
    "Generator.state, entropy": (lambda e: set_state(state_with(entropy=e)), "^entropy must "),
    "Generator.state, position": (lambda e: set_state(state_with(position=e)), "^position must "),
    "Generator.state, children": (lambda e: set_state(state_with(children=e)), "^children must "),
    "Generator.state, spawn_key": (lambda e: set_state(state_with(spawn_key=e)), "^spawn_key must "),
    "Generator.state, a word": (lambda e: set_state(state_with(spawn_key=[e])), "^spawn_key must "),
    "Shard(e, e)": (lambda e: gi.Shard(e, e), "^global_shape must "),
    "Shard, a length": (lambda e: gi.Shard((e,), (slice(None),)), r"^global_shape\[0\] must "),
    "Shard, index": (lambda e: gi.Shard((3,), e), "^index must "),
    "Shard, a slice": (lambda e: gi.Shard((3,), (e,)), r"^index\[0\] must "),
    "Shard, start": (lambda e: gi.Shard((3,), (slice(e, 2),)), r"^index\[0\].start must "),
    "Shard, stop": (lambda e: gi.Shard((3,), (slice(e),)), r"^index\[0\].stop must "),
    "Shard, step": (lambda e: gi.Shard((3,), (slice(0, 2, e),)), r"^index\[0\].step must "),
    "Shard, start of another step": (lambda e: gi.Shard((3,), (slice(e, 2, 2),)), r"^index\[0\] must have step 1"),
    "digest": (gi.digest, "^arrays must hold arrays, got ''"),
    "digest, an array": (lambda e: gi.digest({"a": e}), "^arrays must hold arrays, got 'a'"),
    "digest, progress": (lambda e: gi.digest(MEMORY, e), "^progress must "),
    "initialize, model": (initialize, "^model must "),
    "initialize, a leaf": (lambda e: initialize({"a": {"b": e}}), "^model must .* for a.b"),
    "initialize, an item of a list": (lambda e: initialize([e]), "^model must .* for 0"),
    "initialize, rules": (lambda e: gi.initialize({"a": MEMORY}, e, seed=1), "^rules must "),
    "initialize, a rule": (lambda e: initialize(given=[e]), r"^rules\[0\] must "),
    "initialize, a pattern": (lambda e: initialize(given=[(e, "normal_")]), r"^rules\[0\] must "),
    "initialize, an initializer": (lambda e: initialize(given=[("*", e)]), r"^rules\[0\], '\*': an initializer must "),
    "initialize, of a mapping": (lambda e: initialize(given={"*": e}), r"^rules\[0\], '\*': an initializer must "),
    "initialize, of a partial": (
        lambda e: initialize(given=[("*", functools.partial(gi.normal_, std=e))]),
        r"^a.weight, normal_\(std=.*\): std must ",
    ),
    "initialize, by_param": (
        lambda e: initialize(given=[("*", rules.by_param(lambda param: e))]),
        "^a.weight, by_param: an initializer must ",
    ),
    **{
        f"initialize, {argument}": (lambda e, argument=argument: initialize(**{argument: e}), f"^{argument} must ")
        for argument in ("seed", "dtype", "progress", "prefix", "tied", "buffers", "frozen")
    },
    "initialize, a name in tied": (lambda e: initialize(tied={"a": e}), "^tied must "),
    "by_param": (rules.by_param, "^function must "),
    "zero_padding_row": (rules.zero_padding_row, "^an initializer must "),
    "gpt2": (rules.gpt2, "^n_layer must "),
    "transformers": (rules.transformers, "^model_type must "),
    "transformers, a number": (
        lambda e: rules.transformers(model_type="llama", initializer_range=e),
        "^initializer_range must ",
    ),
    "transformers, padding": (lambda e: rules.transformers({"model_type": "llama", "pad_token_id": e}), "^pad_token_id must "),
    "vit": (rules.vit, "^code must "),
    "vit, a number": (lambda e: rules.vit(layer_scale=e), "^layer_scale must "),
    "mamba": (lambda e: rules.mamba(time_step_min=e), "^time_step_min must "),
    "resnet": (lambda e: rules.resnet(zero_init_residual=e), "^zero_init_residual must "),
    "mup": (rules.mup, "^base_shapes: model must "),
    "mup, a shape": (lambda e: rules.mup({"a": e}), "^base_shapes: model must .* for a"),
    "mup, rules": (lambda e: rules.mup({"a": (1, 2)}, e), "^rules must "),
    "mup, in_first": (lambda e: rules.mup({"a": (1, 2)}, in_first=e), "^in_first must "),
    "mup, a pattern": (lambda e: rules.mup({"a": (1, 2)}, in_first=[e]), r"^in_first\[0\] must "),
}


def refused(call, match):
    """It raises gpuinit's error: nothing is written, and no generator moves."""
    state = gi.default_generator.state
    with pytest.raises((TypeError, ValueError), match=match):
        call()
    assert (MEMORY == 77).all()
    assert (COMPLEX == 77).all()
    assert gi.default_generator.state == state


@every_kind
@pytest.mark.parametrize("name", CALLS)
def test_arguments(name, kind):
    call, match = CALLS[name]
    refused(lambda: call(HOSTILE[kind]()), match)


LAZY = {
    "shape": "^shape must ",
    "seed": "^seed must ",
    "mean": "^mean must ",
    "std": "^std must ",
    "chunks": "^chunks must ",
    "dtype": "^dtype must ",
    "like": "^like must ",
}


@pytest.mark.dask
@every_kind
@pytest.mark.parametrize("argument", LAZY)
def test_dask(argument, kind):
    lazy = pytest.importorskip("gpuinit.dask", reason="Dask is not installed", exc_type=ImportError)
    refused(lambda: lazy.normal(**{"shape": (4, 6), argument: HOSTILE[kind]()}), LAZY[argument])


class Unspeakable(Fraction):
    """A number with a value and no name."""

    __repr__ = fail


@pytest.mark.dask
def test_dask_with_a_number_whose_methods_raise():
    lazy = pytest.importorskip("gpuinit.dask", reason="Dask is not installed", exc_type=ImportError)
    refused(lambda: lazy.normal((4, 6), std=Unspeakable(1, 2)), "^std must ")


# The user's own code, called as designed: its errors come through.


class Callable:
    def __call__(self, x, generator, param):
        raise OwnError


def broken(kind):
    """A callable whose methods raise as those of a kind do."""
    return type("Broken", (HOSTILE[kind],), {"__call__": lambda self, x, generator, param: gi.ones_(x)})()


@every_kind
def test_callables_whose_methods_raise_are_called(kind):
    x = np.zeros((4, 6), np.float32)
    report = gi.initialize({"a": x, "b": x}, [("*", broken(kind))], seed=1)
    assert (x == 1).all()
    assert report.rows[0].initializer


@every_kind
def test_callables_of_tied_parameters(kind):
    choice, other = broken(kind), broken(kind)
    with pytest.raises(ValueError, match=r"^rules must give a tied parameter the same by all"):
        initialize({"a": MEMORY, "b": MEMORY}, [("a", choice), ("b", other)])
    assert (MEMORY == 77).all()


class Model(dict):
    items = fail


CALLED = {
    "a rule's callable": lambda: initialize(given=[("*", Callable())]),
    "a function of by_param": lambda: initialize(given=[("*", rules.by_param(fail))]),
    "progress": lambda: gi.initialize({"a": np.empty(3)}, [("*", "zeros_")], seed=1, progress=fail),
    "progress of digest": lambda: gi.digest(MEMORY, fail),
    "a mapping of arrays": lambda: gi.digest(Model()),
    "a mapping as model": lambda: initialize(Model(a=MEMORY)),
    "state_dict": lambda: gi.digest(type("Stateful", (), {"state_dict": fail})()),
    "named_parameters": lambda: initialize(type("Model", (), {"named_parameters": fail})()),
}


@pytest.mark.parametrize("name", CALLED)
def test_errors_of_what_is_called_as_designed_come_through(name):
    with pytest.raises(OwnError):
        CALLED[name]()
