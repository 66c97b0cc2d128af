"""What a rule does to a parameter: a call of an initializer, from a function, a partial or a string; `keep`; or any callable."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, final

import numpy as np

from gpuinit._backends.targets import planned
from gpuinit._contract.arguments import attribute, is_a, is_integer, short_repr, type_name
from gpuinit._contract.arithmetic import exact
from gpuinit._contract.generator import Generator
from gpuinit._contract.shards import Shard
from gpuinit._initializers import basic, scaled, structured
from gpuinit._initializers.calling import meant_by
from gpuinit._rules.parameters import Param

INITIALIZERS: dict[str, Callable[..., Any]] = {
    name: function
    for module in (basic, scaled, structured)
    for name, function in vars(module).items()
    if name.endswith("_") and not name.startswith("_") and name != "trunc_"  # which changes the values that are there
}
_signature = functools.cache(inspect.signature)  # of these; a fifth of the time of small parameters otherwise
# Of the strings that spell a call: more than any needs, and little enough for Python's parser to refuse in no time.
_MOST_CHARACTERS = 1000
# Libraries whose functions are never called as a rule's callable is.
_FOREIGN = ("cupy", "flax", "haiku", "jax", "keras", "numpy", "tensorflow", "torch")
# What a rule must leave to `initialize`.
_GIVEN = ("generator", "shard")


@final
@dataclass(frozen=True)
class Call:
    """An initializer of this library and its arguments but the array."""

    function: Callable[..., Any]
    keywords: Mapping[str, Any]

    def __call__(self, x: Any, **given: Any) -> None:
        """Fill an array; of `generator` and `shard`, the function is given what it takes."""
        taken = _signature(self.function).parameters
        self.function(x, **self.keywords, **{name: value for name, value in given.items() if name in taken})

    def __str__(self) -> str:
        return self._text

    @functools.cached_property
    def _text(self) -> str:
        return f"{self.function.__name__}({', '.join(f'{name}={_shown(value)}' for name, value in self.keywords.items())})"


def _shown(value: Any) -> str:
    """Return a value as a rule's string spells it; whole numbers in full, of whatever class."""
    if is_integer(value):
        return repr(int(value))
    if is_a(value, (tuple, list)) and all(map(is_integer, value)):
        return repr(tuple(map(int, value)))
    return short_repr(value)


@final
class Keep:
    """Leaves a parameter as it is."""

    def __repr__(self) -> str:
        return "keep"


keep = Keep()


@final
@dataclass(frozen=True)
class ByParam:
    """Made by `by_param`."""

    function: Callable[[Param], Any]


def by_param(function: Callable[[Param], Any]) -> ByParam:
    """An initializer that depends on the parameter.

    Parameters
    ----------
    function : callable
        Given a `Param`, returns an initializer as a rule may have it, or None, and then the rule does not match.

    Returns
    -------
    ByParam
        To stand in a rule.

    Raises
    ------
    TypeError
        If `function` is no callable.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> from gpuinit import rules
    >>> widths = rules.by_param(lambda param: f"normal_(std=1/sqrt({param.shape[-1]}))")
    >>> report = gi.initialize({"weight": np.empty((50, 400))}, [("*", widths)], seed=42)
    >>> report.rows[0].initializer
    'normal_(std=0.05)'
    """
    if not callable(function):
        raise TypeError(f"function must be a callable that takes a Param, got {short_repr(function)}")
    return ByParam(function)


Initializer = Call | Keep | Callable[..., Any]
RuleItem = Initializer | ByParam


@exact
def parse_initializer(given: Any) -> RuleItem:
    """Return what a rule's second item stands for.

    Raises
    ------
    TypeError, ValueError
        If it is none of those that a rule may have, or has arguments that its function does not take.
    """
    if is_a(given, str):
        return _parse(given)
    if type(given) is Call or type(given) is Keep or type(given) is ByParam:
        return given
    function, keywords = given, {}
    if is_a(given, functools.partial):
        function, keywords = given.func, given.keywords
    function = _namesake(function)
    if _is_initializer(function):
        if attribute(given, "args", ()):
            raise TypeError(f"an initializer must have its arguments by keyword, got {short_repr(given)}")
        if all(type(value) is float and value for value in keywords.values()):  # not of zeros: a cache would take -0.0 for 0.0
            return _make_call_once(function, tuple(keywords.items()))
        return _make_call(function, keywords)
    if callable(given):
        return _check_callable(given)
    raise TypeError(
        f"an initializer must be one of gpuinit's functions, functools.partial of one, a string, keep or a callable; got "
        f"{short_repr(given)} of type {type_name(given)}"
    )


# Shapes that have any number of groups, any row, and each number of axes.
_TRIED: dict[Any, list[tuple[int, ...]]] = {
    structured.dirac_: [(0, 1, 1)],
    structured.embedding_: [(2**40, 0)],
    structured.delta_orthogonal_: [(1,) * axes for axes in (3, 4, 5)],
}
_FUNCTIONS = frozenset(INITIALIZERS.values())


def _is_initializer(function: Any) -> bool:
    return type(function) is FunctionType and function in _FUNCTIONS


def _namesake(function: Any) -> Any:
    """The initializer that has the name of a function of `torch.nn.init`; any other function itself."""
    if module_of(function) != "torch.nn.init":
        return function
    return INITIALIZERS.get(str(attribute(function, "__name__")).removesuffix("_") + "_", function)


def module_of(function: Any) -> str:
    """The name of the module that a function, or its class, is from; empty if that is not known."""
    name = attribute(function, "__module__") or attribute(attribute(function, "__objclass__"), "__module__")
    return name if type(name) is str else ""


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function, or of a callable's class."""
    name = attribute(function, "__name__")
    return name if type(name) is str else str(attribute(type(function), "__name__", "a callable"))


def _check_callable(given: Callable[..., Any]) -> Callable[..., Any]:
    """Check that a callable can be called as `initialize` does, as far as its signature and its origin show."""
    function = given.func if is_a(given, functools.partial) else given
    if (library := module_of(function).partition(".")[0]) in _FOREIGN:
        raise TypeError(
            f"a callable must take array, generator and Param, which one of {library} does not, got {short_repr(given)}; "
            "docs/moving.md has gpuinit's function for it"
        )
    try:
        signature = inspect.signature(given)
    except Exception:  # of some functions in C, and of a callable's own attributes
        return given
    try:
        signature.bind("array", "generator", "param")
    except TypeError as error:
        raise TypeError(f"a callable must take array, generator and Param, got {short_repr(given)}: {error}") from None
    return given


def _make_call(function: Callable[..., Any], keywords: Mapping[str, Any]) -> Call:
    call = Call(function, dict(keywords))
    if refused := [name for name in _GIVEN if name in keywords]:
        raise TypeError(f"an initializer of a rule must leave {refused[0]} to `initialize`, got {call}")
    try:
        _signature(function).bind(None, **keywords)
    except TypeError as error:
        raise TypeError(f"an initializer must have arguments that its function takes, got {call}: {error}") from None
    return call


@functools.lru_cache
def _make_call_once(function: Callable[..., Any], keywords: tuple[tuple[str, float], ...]) -> Call:
    return _make_call(function, dict(keywords))


def check_values(call: Call) -> None:
    """Raise what an initializer has against its arguments whatever array it is given.

    Raises
    ------
    TypeError, ValueError
        If it fills no array of any floating dtype.
    """
    errors = []
    for dtype, shape in itertools.product((np.float64, np.complex128), _shapes_for(call)):
        nothing: np.ndarray = np.empty((0,) * len(shape), dtype)
        try:
            with planned():
                call(nothing, generator=Generator(0), shard=Shard(shape, (slice(0, 0),) * len(shape)))
        except (TypeError, ValueError) as error:
            errors.append(error)
        else:
            return
    real = errors[: len(errors) // 2]
    raise type(real[-1])(f"{call}: {real[-1]}")


def _shapes_for(call: Call) -> list[tuple[int, ...]]:
    """Return shapes of which one suits the call, if any of up to 7 axes does; the last is the least special one."""
    if call.function in _TRIED:
        return _TRIED[call.function]
    given = call.keywords
    if not {"in_axis", "out_axis", "batch_axis", "groups", "parts", "parts_axis"} & set(given):
        return [(2, 2)]
    parts, groups = given.get("parts", 1), given.get("groups", 1)
    lengths = parts if is_a(parts, (tuple, list)) else [parts]
    length = sum(length for length in lengths if is_integer(length) and length > 0) or 1
    length *= groups if is_integer(groups) and groups > 0 else 1
    return [(*(1,) * place, length, *(1,) * (axes - 1 - place)) for axes in range(1, 8) for place in range(axes)]


@functools.lru_cache
def _parse(text: str) -> RuleItem:
    """Return the call that a string spells."""
    function, keywords = parse_call(text, {**INITIALIZERS, "keep": Keep}, "an initializer", skipped=1)
    return Keep(**keywords) if function is Keep else _make_call(function, keywords)


def parse_call(
    text: str, functions: Mapping[str, Callable[..., Any]], what: str, skipped: int = 0
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the function that a string calls, and its arguments by keyword; the first `skipped` ones it cannot give.

    Raises
    ------
    ValueError
        If it is no call of one of `functions` with literals as arguments; `what` it is to be, the message says.
    """
    shown = short_repr(text)
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"{what} must have at most {_MOST_CHARACTERS} characters, got {len(text):,}: {shown}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last is what the parser says of too many parentheses
        raise ValueError(f"{what} must be written as a call, name(argument=value), got {shown}") from None
    call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name not in functions:
        hint = f"; write {meant}" if (meant := meant_by(name)) else ""
        raise ValueError(f"{what} must be one of {', '.join(sorted(functions))}, got {shown}{hint}")
    names = [*_signature(functions[name]).parameters][skipped:]
    try:
        keywords = {name: _evaluate(node) for name, node in zip(names, call.args, strict=False)}
        keywords |= {str(keyword.arg): _evaluate(keyword.value) for keyword in call.keywords}
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{what} must have numbers, strings, tuples and arithmetic as arguments, got {shown}: {error}") from None
    if len(call.args) + len(call.keywords) != len(keywords):
        raise ValueError(f"{what} must have no argument twice and no more than {names}, got {shown}")
    return functions[name], keywords


_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}
_NAMES = {"inf": math.inf, "nan": math.nan, "pi": math.pi}


def _evaluate(node: ast.expr) -> Any:
    """Return the value of a literal, or of arithmetic with sqrt(): correctly rounded, so the same on every machine."""
    match node:
        case ast.Constant(value=value) if value is None or isinstance(value, (bool, int, float, complex, str)):
            return value
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluate_number(left), _evaluate_number(right))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluate_number(operand))
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return tuple(_evaluate(element) for element in elements)
        case ast.Call(func=ast.Name(id="sqrt"), args=[argument], keywords=[]):
            return math.sqrt(_evaluate_number(argument))
    raise ValueError(f"{ast.unparse(node)} is none")


def _evaluate_number(node: ast.expr) -> Any:
    value = _evaluate(node)
    if not isinstance(value, (bool, int, float, complex)):
        raise ValueError(f"{value!r} is no number")
    return value
