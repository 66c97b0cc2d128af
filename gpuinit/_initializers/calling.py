"""Calls of initializers as users of other libraries write them: they work if they are torch's, and else get a hint."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from gpuinit._contract.arguments import is_integer, short_repr
from gpuinit._initializers.axes import parameters_of
from gpuinit._initializers.fans import Family, Mode, NonLinearity

Function = TypeVar("Function", bound=Callable[..., Any])

# Other libraries' keywords, and what they are here.
_KEYWORDS = {
    **dict.fromkeys(("seed", "rng", "key", "random_state"), "generator"),
    **dict.fromkeys(("minval", "low"), "a"),
    **dict.fromkeys(("maxval", "high"), "b"),
    **dict.fromkeys(("value", "fill_value"), "val"),
    "scale": "gain",
    "column_axis": "out_axis",
    "loc": "mean",
    "stddev": "std",
}
# Other libraries' names of initializers, and what they are here.
_CUT_AVG, _CUT_HE = "variance_scaling_(mode='fan_avg')", "variance_scaling_(scale=2.0)"
NAMESAKES = {
    "glorot_uniform": "xavier_uniform_",
    "glorot_normal": f"xavier_normal_, or {_CUT_AVG} for the one of Keras and JAX, which is cut at 2 std",
    "he_uniform": "kaiming_uniform_(nonlinearity='relu')",
    "he_normal": f"kaiming_normal_(nonlinearity='relu'), or {_CUT_HE} for the one of Keras and JAX, which is cut at 2 std",
    "truncated_normal": "trunc_normal_",
    "trunc_normal_tf": "trunc_normal_(in_std=True)",
    "delta_orthogonal": "delta_orthogonal_",
    "identity": "eye_",
}


def meant_by(name: str) -> str:
    """Return what another library's name of an initializer is here; empty if it is not known."""
    return NAMESAKES.get(name.removesuffix("_"), "")


# The parameters that take names, and the names.
_NAMED = {"mode": Mode, "nonlinearity": NonLinearity, "distribution": Family}


def initializer(function: Function) -> Function:
    """Let the array be given as `tensor=`, as torch does, and add a hint to errors where it is clear what was meant.

    All of this happens after an error. A call without one pays for one more function call, about 0.2 us.
    """

    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        try:
            return function(*args, **keywords)
        except (TypeError, ValueError) as error:
            if "tensor" in keywords and not args and "x" not in keywords:
                failed = None
            elif hint := _hint(call, args, keywords, str(error)):
                failed = (TypeError if isinstance(error, TypeError) else ValueError)(f"{error}; {hint}")
            else:
                raise
        if failed is not None:
            raise failed
        return function(keywords.pop("tensor"), **keywords)

    *own, last = inspect.signature(function).parameters.values()
    if last.kind is inspect.Parameter.VAR_KEYWORD:  # of the axes: editors, rules and Dask then see each
        call.__signature__ = inspect.Signature([*own, *parameters_of(last.annotation)])  # type: ignore[attr-defined]
    return cast(Function, call)


def _hint(function: Callable[..., Any], args: tuple[Any, ...], keywords: Mapping[str, Any], error: str) -> str:
    """What to write instead of what was given; empty if that is not clear."""
    known = inspect.signature(function).parameters
    for name, value in keywords.items():
        meant = _KEYWORDS.get(name)
        if name not in known and meant in known:
            return f"write {meant}={short_repr(value)}"
        if meant == "generator":
            return f"it draws no random numbers: leave {name} out"
    given = {**dict(zip(known, args, strict=False)), **keywords}
    if error.startswith("x must be an array"):
        try:
            return _array_hint(function.__name__, given["x"])
        except Exception:  # of an object's own methods
            return ""
    for name, value in given.items():
        if type(value) is str and not _takes(name, value) and (meant := _argument(value, known)):
            return f"write {meant}"
    return ""


def _takes(name: str, value: str) -> bool:
    return name in _NAMED and value in list(_NAMED[name])


def _argument(value: str, known: Mapping[str, Any]) -> str:
    """The argument of a function that a string was meant for; empty if there is none."""
    for name in _NAMED:
        if name in known and _takes(name, value):
            return f"{name}={value!r}"
    return f"gain=gpuinit.calculate_gain({value!r})" if "gain" in known and _takes("nonlinearity", value) else ""


def _array_hint(function: str, x: Any) -> str:
    """What to fill in the place of what cannot be filled."""
    if hasattr(type(x), "named_parameters") or isinstance(x, Mapping):
        return "fill each of its arrays, or all by gpuinit.initialize(x, seed=42)"
    if isinstance(x, (list, tuple)):
        if x and all(map(is_integer, x)):
            return f"for a new array, write {function}(numpy.empty({short_repr(tuple(x))}, numpy.float32))"
        if any(hasattr(type(item), "dtype") for item in x):
            return "fill each array in it"
        return f"write {function}(numpy.array(x, numpy.float32))"
    if re.match(r"(torch\.)?(u?int|bool)", str(getattr(x, "dtype", ""))):
        return "fill an array of a floating dtype, and convert it"
    return ""
