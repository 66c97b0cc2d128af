"""The operations and the protocol of backends: each operation is one call, with the same parameters on both backends."""

from __future__ import annotations

import importlib
import inspect
from typing import get_args

import numpy as np
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
        return lambda *arguments, **_: self.calls.append((name, arguments))


STREAM, NORMAL, POINT = "stream", "normal", "point"
MATRIX = operations.Matrices((slice(0, 3), slice(2, 5)), (1, 0), 1)
# Operations that hand on all that they hold, and those that come to other calls: the function and the rest of its arguments.
SIMPLE = (operations.Fill, operations.Constant, operations.Eye, operations.Dirac, operations.Truncate)
COMPOSED = [
    (
        operations.Parts(1, (2, 3), (NORMAL, POINT), STREAM),
        [("fill", (3, 2), NORMAL, STREAM), ("fill", (3, 3), POINT, STREAM)],
    ),
    (operations.Padded(operations.Fill(NORMAL, STREAM), 2), [("fill", (3, 5), NORMAL, STREAM), ("constant", (5,), 0)]),
    (operations.Sparse(1, NORMAL, STREAM), [("sparse", (3, 5), 1, NORMAL, STREAM)]),
    (operations.Sparse(1, NORMAL, STREAM, by_rows=True), [("sparse", (5, 3), 1, NORMAL, STREAM)]),
    (operations.Orthogonal(2.0, STREAM, MATRIX), [("constant", (3, 5), 0), ("orthogonal", (3, 3), 2.0, STREAM)]),
]


@pytest.mark.parametrize("kind", SIMPLE, ids=lambda kind: kind.__name__)
def test_an_operation_is_one_call(kind):
    """It hands on the array, all that the operation holds, and the shard if the function takes one."""
    backend, values = Recorder(), [object() for _ in kind._fields]
    operations.perform(backend, "array", kind(*values), "shard")
    ((name, arguments),) = backend.calls
    takes_shard = "shard" in inspect.signature(METHODS[name]).parameters
    assert arguments == ("array", *values, *(["shard"] if takes_shard else []))


@pytest.mark.parametrize(("operation", "expected"), COMPOSED)
def test_an_operation_of_other_calls(operation, expected):
    backend = Recorder()
    operations.perform(backend, np.empty((3, 5)), operation, None)
    found = [(name, x.shape, *rest) for name, (x, *rest) in backend.calls]
    assert [call[: len(wanted)] for call, wanted in zip(found, expected, strict=True)] == expected


def test_each_method_is_an_operation():
    assert {*SIMPLE, *(type(operation) for operation, _ in COMPOSED)} == {*get_args(operations.Operation)}
    called = {kind.__name__.lower() for kind in SIMPLE} | {name for _, calls in COMPOSED for name, *_ in calls}
    assert called == set(METHODS)
