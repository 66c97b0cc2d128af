"""torch.nn.init's functions, in the place of which gpuinit's of the same names run while a thread is in an interception.

Libraries bind these functions when they are imported, in modules, partials, tables and class bodies. All of these share the
functions' code, so that is what is replaced; other threads get the original.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import torch

from gpuinit._rules.calls import INITIALIZERS, Call
from gpuinit._seeding.interception import Interception

# Constants stay torch's: they draw nothing, and what they write is seen.
_FUNCTIONS = {
    name: getattr(torch.nn.init, name)
    for name in INITIALIZERS
    if hasattr(torch.nn.init, name) and name not in ("constant_", "ones_", "zeros_")
}
_CODE: dict[str, Any] = {name: getattr(function, "__code__", None) for name, function in _FUNCTIONS.items()}
# Those that let a tensor's class, or a mode of torch's, do something else.
_OVERRIDABLE = ("kaiming_uniform_", "normal_", "uniform_")
_lock = threading.Lock()
_active: list[Interception] = []  # of all threads
_here = threading.local()


@contextlib.contextmanager
def replaced_by(interception: Interception) -> Iterator[None]:
    """Within, the functions do what the interception says, in this thread."""
    if interception_here() is not None:
        raise RuntimeError("gpuinit.seeded and construct cannot be nested; leave the one before the next")
    for name, function in _FUNCTIONS.items():
        if type(function) is not FunctionType or function.__module__ != "torch.nn.init" or function.__closure__:
            raise RuntimeError(f"torch.nn.init.{name} must be torch's when gpuinit.seeded is first used, got {function!r}")
    with _lock:
        _active.append(interception)
        for name, function in _FUNCTIONS.items():
            function.__code__ = _stand_in_code(name)
    _here.interception = interception
    try:
        yield
    finally:
        _here.interception = None
        with _lock:
            _active.remove(interception)
            if not _active:
                for name, function in _FUNCTIONS.items():
                    function.__code__ = _CODE[name]


def interception_here() -> Interception | None:
    """Return the interception that this thread is in."""
    return getattr(_here, "interception", None)


def run(name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Do what a function of torch.nn.init is called for."""
    x, rest = (arguments[0], arguments[1:]) if arguments else (keywords.pop("tensor", None), ())
    if name in _OVERRIDABLE and torch.overrides.has_torch_function_variadic(x):
        return torch.overrides.handle_torch_function(_FUNCTIONS[name], (x,), x, *rest, **keywords)
    interception = interception_here()
    are_plain = _PLAIN.issuperset(map(type, (*rest, *keywords.values())))
    call = (_call_of if are_plain else _call_of.__wrapped__)(name, *rest, **keywords)
    if interception is None:
        for other in list(_active):
            other.refuse_thread(x)
    if interception is None or call is None:
        return _original(name)(x, *rest, **keywords)  # which knows what is wrong with these arguments
    interception.call(call, x)
    return x


# Of arguments that stay what they are: a tensor in the place of a number may change between two calls.
_PLAIN = frozenset((bool, float, int, str, type(None)))


@functools.lru_cache(maxsize=4096, typed=True)
def _call_of(name: str, /, *arguments: Any, **keywords: Any) -> Call | None:
    """Return the call of gpuinit's function of this name; None if torch's does not take these arguments beside the tensor."""
    names = _names(name)[1:]
    given = {**dict(zip(names, arguments)), **keywords}
    if len(given) < len(arguments) + len(keywords) or not set(given) <= set(names):
        return None
    given.pop("generator", None)
    return Call(INITIALIZERS[name], given)


@functools.cache
def _stand_in_code(name: str) -> CodeType:
    code, constants = _stand_in.__code__, {"NAME": name, "RUN": run}
    return code.replace(co_consts=tuple(constants.get(constant, constant) for constant in code.co_consts), co_name=name)


@functools.cache
def _original(name: str) -> Callable[..., Any]:
    """Return the function as torch has it."""
    function = _FUNCTIONS[name]
    original = FunctionType(_CODE[name], function.__globals__, name, function.__defaults__)
    original.__kwdefaults__ = function.__kwdefaults__
    return original


@functools.cache
def _names(name: str) -> tuple[str, ...]:
    """Return the names of a function's parameters."""
    return tuple(inspect.signature(_original(name)).parameters)


def _stand_in(*args: Any, **keywords: Any) -> Any:
    do: Any = "RUN"  # a constant of the code, which will be that of a function of another module, where `run` is no name
    return do("NAME", args, keywords)
