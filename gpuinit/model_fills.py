"""`initialize`: all parameters of a model, each by its rule and from the stream of its name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from gpuinit import console
from gpuinit.arguments import as_dtype, is_integer, shown
from gpuinit.backends import EVERY, FLOATS, INEXACT, Write, recorded, target
from gpuinit.backends.together import performed
from gpuinit.generator import Generator
from gpuinit.memory import overlap
from gpuinit.parameters import Param, parameters
from gpuinit.report import Filled, Report
from gpuinit.rules.calls import Call, Chosen, Keep
from gpuinit.rules.matching import chosen
from gpuinit.rules.torch_layers import torch_defaults

Progress = bool | Callable[[str], None] | None


def initialize(model: Any, rules: Any = None, *, seed: int | Generator, dtype: Any = None, progress: Progress = None) -> Report:
    """Fill all parameters of a model in place, each from the stream of its name.

    A parameter's values depend on the seed, its name, its shape, its dtype and its rule alone: other layers, their order, the
    device and sharding have no influence on them. All arguments are checked before anything is written, and on a GPU small
    arrays share launches.

    Parameters
    ----------
    model : mapping, torch.nn.Module, or object with `named_parameters()`
        A mapping of names to arrays of any kind that the initializers take. Mappings and lists may be nested, and hold modules;
        names are then joined by dots. Tied parameters are filled once, by the name that comes first.
    rules : list of (pattern, initializer), optional
        The first rule whose pattern matches counts; `rules.torch_defaults()` if None. A pattern is a glob on the name
        (``"*.bias"``; ``*`` passes dots), a compiled regular expression that must match the whole name, a module's class or its
        name (``"Embedding"``, ``"Linear.bias"``; a subclass counts too). An initializer is a function of this library,
        `functools.partial` of one, a string (``"kaiming_normal_(mode='fan_out')"``), `rules.keep` or ``"keep"`` to leave the
        parameter as it is, what `rules.by_param` makes, or any callable, which is called with the array, the generator and the
        `Param`, and fills the array.
    seed : int or Generator
        The parameter `name` is filled from ``Generator(seed).spawn(name)``; a generator's own position stays as it is.
    dtype : dtype, optional
        The floating dtype in which values are drawn, to be rounded once to the parameter's own; None draws in each parameter's.
        With it, models of different dtypes get the same values but for rounding. Callables are given the array itself, and draw
        in its dtype; so do embeddings with a `padding_idx` in `rules.torch_defaults`.
    progress : bool or callable, optional
        True shows a bar on stderr, where that is a terminal and rich is installed; a callable is called with each name when its
        parameter is done.

    Returns
    -------
    Report
        What was done; it measures when it is first looked at.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these, no rule matches some parameters (all are named), or an initializer cannot fill its
        parameter. Only what a callable raises can come after something was written.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> model = {"embedding": np.empty((1000, 64)), "head": {"weight": np.empty((10, 64)), "bias": np.empty(10)}}
    >>> report = gi.initialize(model, [("*.bias", "zeros_"), ("*", "normal_(std=0.02)")], seed=42)
    >>> report.digest[:16]
    '86153fbadbd9b6ce'
    """
    root = root_of(seed)
    drawn = None if dtype is None else _floating(dtype)
    found = parameters(model)
    choices = chosen(torch_defaults() if rules is None else rules, [param for param, _ in found])
    steps = [checked(param, array, choice, root, drawn) for (param, array), choice in zip(found, choices, strict=True)]
    return carried_out(steps, root, progress)


class Step(NamedTuple):
    """What is to be done to a parameter: planned writes, or what is called when all those are done; neither where it is kept."""

    filled: Filled
    writes: list[Write]
    late: Callable[[], object] | None = None


def checked(param: Param, array: Any, choice: Chosen, root: Generator, drawn: np.dtype[Any] | None = None) -> Step:
    """Check all arguments of what is chosen for a parameter."""
    generator = root.spawn(param.name)
    if isinstance(choice, Keep):
        return Step(Filled(param, array, "keep", kept=True), [])
    if not isinstance(choice, Call):
        name = getattr(choice, "__name__", type(choice).__name__)
        return Step(Filled(param, array, name), [], lambda: _called(choice, array, generator, param))
    filled = Filled(param, array, str(choice))
    try:
        late, writes = _planned(array, choice, generator, drawn)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{param.name}, {choice}: {error}") from error
    filled.note(writes)
    return Step(filled, [] if late else writes, late)


def _called(choice: Callable[..., Any], array: Any, generator: Generator, param: Param) -> None:
    """Call what fills an array in its own way; an array that it makes instead would leave this one as it was, unnoticed."""
    try:
        given = choice(array, generator, param)
        if hasattr(given, "shape") and given is not array and not overlap(given, array):
            raise TypeError(f"a callable must fill the array that it is given, got another one returned: {shown(given)}")
    except Exception as error:
        error.add_note(f"in what the rules have for {param.name}")
        raise


def _planned(
    array: Any, call: Call, generator: Generator, drawn: np.dtype[Any] | None
) -> tuple[Callable[[], None] | None, list[Write]]:
    """The writes of a call; where it draws in another dtype than the array's, to memory that is there for the check alone, and
    a function that does it."""
    to = target(array, EVERY)
    view, dtype = to.view, _drawn_in(to.dtype, drawn)
    if dtype == to.dtype:
        with recorded(only_planned=True) as writes:
            call(array, generator=generator)
        return None, writes
    start = generator.state
    with recorded(only_planned=True) as writes:
        call(np.empty(view.array.shape, dtype), generator=generator, shard=view.shard)

    def convert() -> None:
        generator.state = start
        with view.scope():
            values = type(view.array)(view.array.shape, dtype)
            call(values, generator=generator, shard=view.shard)
            with np.errstate(all="ignore"):  # of values too large or too small for the array
                view.array[...] = values
        view.written()

    return convert, writes


def carried_out(steps: list[Step], root: Generator, progress: Progress) -> Report:
    """Do all that was checked, with a bar or calls of `progress`."""
    with _bar(progress, len(steps)) as advance:
        _perform(steps, advance)
    return Report([step.filled for step in steps], root)


def _perform(steps: list[Step], advance: Callable[[str], None]) -> None:
    planned = [(step.filled.param.name, write) for step in steps for write in step.writes]
    for number in performed([write for _, write in planned]):
        advance(planned[number][0])
    for filled, writes, late in steps:
        if late is not None:
            with recorded(only_planned=False) as noted:
                late()
            filled.exact = all(write.is_exact for write in noted)
        if not writes:
            advance(filled.param.name)


def _drawn_in(dtype: np.dtype[Any], drawn: np.dtype[Any] | None) -> np.dtype[Any]:
    """The dtype in which values for an array are drawn; a complex array's parts are of the one asked for."""
    if drawn is None or dtype.name not in INEXACT:
        return dtype
    if dtype.kind == "c":
        return np.result_type(drawn, np.complex64)
    if drawn.itemsize > 4 and dtype.itemsize < 4:
        raise ValueError(f"dtype must be at most float32 for an array of {dtype}, got dtype={drawn}: values are rounded once")
    return drawn


def _floating(dtype: Any) -> np.dtype[Any]:
    try:
        given = as_dtype(str(dtype).removeprefix("torch.") if type(dtype).__module__ == "torch" else dtype).newbyteorder("=")
    except (TypeError, ValueError):
        given = None
    if given is None or given.name not in FLOATS:
        raise TypeError(f"dtype must be one of {', '.join(sorted(FLOATS))}, got {shown(dtype)}")
    return given


def root_of(seed: Any) -> Generator:
    """The generator of which each parameter has a child."""
    if isinstance(seed, Generator):
        return seed
    if not is_integer(seed):
        raise TypeError(f"seed must be an int or a gpuinit.Generator, got {shown(seed)}; gpuinit.Generator() draws a fresh one")
    return Generator(seed)


def _bar(progress: Progress, total: int) -> AbstractContextManager[Callable[[str], None]]:
    """What is called with the name of each parameter that is done."""
    if progress is None or isinstance(progress, bool):
        return console.progress("filling", total) if progress else nullcontext(lambda name: None)
    if not callable(progress):
        raise TypeError(f"progress must be True, False, None or a callable, got {shown(progress)}")
    return nullcontext(progress)
