"""The operations and the protocol of backends: each operation is one call, with the same parameters on both backends."""

from __future__ import annotations

import importlib
import inspect
from typing import get_args

import pytest

from gpuinit._backends import operations

METHODS = {name: value for name, value in vars(operations.Backend).items() if inspect.isfunction(value) and name[0] != "_"}


def parameters_of(function):
    return [(parameter.name, parameter.default) for parameter in inspect.signature(function).parameters.values()]


@pytest.fixture(params=["host", "cuda"])
def backend(request):
    """The modules; that of the GPU is imported only where CuPy is installed."""
    if request.param == "cuda":
        pytest.importorskip("cupy")
    return importlib.import_module(f"gpuinit._backends.{request.param}")


def test_a_backend_has_a_function_for_each_method(backend):
    assert backend.__all__ == sorted(METHODS)
    for name, method in METHODS.items():
        assert parameters_of(getattr(backend, name)) == parameters_of(method)[1:], name  # but self


class Recorder:
    """A backend that takes down what it is asked to do."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append((name, arguments))


@pytest.mark.parametrize("kind", get_args(operations.Operation), ids=lambda kind: kind.__name__)
def test_an_operation_is_one_call(kind):
    """It hands on the array, all that the operation holds, and the shard if the function takes one."""
    backend, values = Recorder(), [object() for _ in kind._fields]
    operations.perform(backend, "array", kind(*values), "shard")
    ((name, arguments),) = backend.calls
    takes_shard = "shard" in inspect.signature(METHODS[name]).parameters
    assert arguments == ("array", *values, *(["shard"] if takes_shard else []))


def test_each_method_is_an_operation():
    called = set()
    for kind in get_args(operations.Operation):
        backend = Recorder()
        operations.perform(backend, None, kind(*kind._fields), None)
        called.add(backend.calls[0][0])
    assert called == set(METHODS)
