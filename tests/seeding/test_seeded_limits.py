"""`seeded`: what is refused, what other code sees of it, and what it leaves behind."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

import gpuinit as gi
from tests.support.seeding import Layer, drawn, stream, values

torch = pytest.importorskip("torch")
nn = torch.nn
init = torch.nn.init

pytestmark = pytest.mark.torch


def test_a_patched_function_is_refused_or_goes_on(monkeypatch):
    """Its code stays what it is, and torch's own runs where it calls that."""
    original = init.normal_
    monkeypatch.setattr(init, "normal_", lambda x, **keywords: original(x, std=3, **keywords))
    patched = init.normal_.__code__
    assert torch.equal(drawn(lambda w: init.normal_(w))[0], values("normal_", std=3))
    assert init.normal_.__code__ is patched
    monkeypatch.undo()
    assert init.normal_(torch.empty(3)).isfinite().all()


def test_modes_of_torch_come_first():
    """As one that leaves out all initialization."""

    class Empty(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), keywords=None):
            if getattr(function, "__module__", "") == "torch.nn.init":
                return arguments[0]
            return function(*arguments, **(keywords or {}))

    def code(w):
        w.fill_(5)
        with Empty():
            init.normal_(w)

    assert (drawn(code)[0] == 5).all()

    def on_a_device(w):
        with torch.device("cpu"):
            init.normal_(w)

    assert torch.equal(drawn(on_a_device)[0], values("normal_"))


def in_thread(work):
    errors = []

    def run():
        try:
            work()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


# What code does -> what the error says.
REFUSED = {
    "nothing": (lambda w: None, "wrote to no parameter"),
    "an unknown operation": (
        lambda w: torch.nn.functional.rrelu(w, training=True),
        r"rrelu\S* draws random numbers .* the module ''",
    ),
    "NumPy's generator": (lambda w: w.copy_(torch.tensor(np.random.rand(6, 4))), "a draw from numpy.random"),
    "Python's generator": (lambda w: w.fill_(random.random()), "a draw from random"),
    "a seed": (lambda w: (torch.manual_seed(3), w.normal_()), "torch.manual_seed"),
    "another thread": (lambda w: in_thread(lambda: init.normal_(w)), "some in another one"),
    "another thread, by a method": (lambda w: in_thread(lambda: w.data.normal_()), "a draw from torch's generator of the CPU"),
    "itself": (lambda w: gi.seeded(Layer(), seed=1).__enter__(), "cannot be nested"),
    "out= of another shape": (lambda w: torch.rand(3, out=torch.empty(4)), r"aten\.rand\.out draws"),
    "too many integers": (lambda w: w.random_(2**60), "from 1 to 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    code, match = REFUSED[name]
    state, threads_state = torch.get_rng_state(), (random.getstate(), np.random.get_state())
    with pytest.raises((RuntimeError, ValueError), match=match):
        drawn(code)
    torch.set_rng_state(state)
    random.setstate(threads_state[0])
    np.random.set_state(threads_state[1])
    found, _ = drawn(init.normal_)
    assert torch.equal(found, values("normal_"))


def test_a_fork_is_refused():
    """In a program of its own: other libraries warn of forks."""
    code = """
import os, torch, gpuinit
model = torch.nn.Linear(2, 2)
with gpuinit.seeded(model, seed=1):
    model.reset_parameters()
    child = os.fork()
    if child == 0:
        for draw in (lambda: torch.empty(3).normal_(), lambda: torch.nn.init.normal_(model.weight)):
            try: draw()
            except RuntimeError as error: assert "must not be left by a fork" in str(error)
            else: os._exit(1)
        os._exit(17)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_compiled_code_runs_uncompiled():
    """torch itself does not compile while operations are intercepted."""
    code = torch.compile(lambda w: w.normal_(), backend="eager")
    found, _ = drawn(lambda w: code(w.data))
    assert torch.equal(found, values("normal_"))


def test_a_block_in_a_compiled_function_runs_uncompiled():
    layer = Layer(init.normal_)

    @torch.compile(backend="eager")
    def code():
        with gi.seeded(layer, seed=1):
            layer.initialize()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about what it does not compile
        code()
    assert torch.equal(layer.weight.detach(), gi.normal_(torch.empty(6, 4), generator=stream(seed=1)))


def test_meta_tensors_are_refused():
    with torch.device("meta"):
        model = nn.Linear(3, 2)
    with pytest.raises(TypeError, match="to_empty"), gi.seeded(model, seed=1):
        model.reset_parameters()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"model": {"w": 1}}, "model must be a torch.nn.Module, got"),
        ({"seed": "a"}, "seed must be an int"),
        ({"strict": 1}, "strict must be True or False"),
        ({"prefix": 3}, "prefix must be the name"),
    ],
)
def test_arguments(arguments, match):
    with pytest.raises(TypeError, match=match), gi.seeded(**{"model": nn.Linear(2, 2), "seed": 1, **arguments}):
        pass


def test_torchs_functions_are_themselves_again():
    names = [name for name in dir(init) if name.endswith("_") and not name.startswith("_")]
    before = {name: getattr(init, name).__code__ for name in names}
    context = gi.seeded(nn.Linear(2, 2), seed=1)
    context.__enter__()
    assert init.normal_.__code__ is not before["normal_"]
    assert init.zeros_.__code__ is before["zeros_"]
    assert not context.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert {name: getattr(init, name).__code__ for name in names} == before
    torch.manual_seed(1)
    x = init.normal_(torch.empty(3))
    torch.manual_seed(1)
    assert torch.equal(x, torch.empty(3).normal_())


def test_errors_about_arguments_are_torchs():
    with pytest.raises(TypeError, match=r"normal_\(\) got an unexpected keyword"):
        drawn(lambda w: init.normal_(w, deviation=3))


def test_other_threads_go_on_with_torchs_generator():
    """A thread that initializes something else is none of ours, but moves torch's generator, which is noticed."""
    other, done = torch.empty(5), []

    def code(w):
        init.normal_(w)
        state = torch.get_rng_state()
        in_thread(lambda: init.normal_(other))
        done.append(other.clone())
        torch.set_rng_state(state)

    torch.manual_seed(11)
    found, _ = drawn(code)
    torch.manual_seed(11)
    assert torch.equal(done[0], init.normal_(torch.empty(5)))
    assert torch.equal(found, values("normal_"))
