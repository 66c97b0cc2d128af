"""One step per parameter: planned before anything is written, then carried out all together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from gpuinit import _console as console
from gpuinit._backends.batching import perform_all
from gpuinit._backends.targets import Write, observed, planned, target
from gpuinit._contract.arguments import is_integer, short_repr
from gpuinit._contract.arithmetic import exact
from gpuinit._contract.dtypes import EVERY, FLOATS, INEXACT, as_dtype, complex_of
from gpuinit._contract.generator import Generator
from gpuinit._models.report import Entry, Report
from gpuinit._rules.aliasing import overlap
from gpuinit._rules.calls import Call, Initializer, Keep
from gpuinit._rules.parameters import Param

Progress = bool | Callable[[str], None] | None


class Kept(NamedTuple):
    """The parameter stays as it is."""

    entry: Entry


class Planned(NamedTuple):
    """The writes that fill the parameter, all checked."""

    entry: Entry
    writes: list[Write]


class Deferred(NamedTuple):
    """A function that fills the parameter in a way of its own, called when all planned writes are done."""

    entry: Entry
    fill: Callable[[], object]


Step = Kept | Planned | Deferred


def plan(param: Param, array: Any, choice: Initializer, root: Generator, dtype: np.dtype[Any] | None = None) -> Step:
    """Check everything about a parameter's initializer, and return what there is to do.

    `dtype` is the one in which values are drawn; None is the array's own.
    """
    generator = root.spawn(param.name)
    if isinstance(choice, Keep):
        return Kept(Entry(param, array, "keep", kept=True))
    if not isinstance(choice, Call):
        name = getattr(choice, "__name__", type(choice).__name__)
        return Deferred(Entry(param, array, name), lambda: _call(choice, array, generator, param))
    entry = Entry(param, array, str(choice))
    try:
        step = _plan_call(entry, choice, generator, dtype)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{param.name}, {choice}: {error}") from error
    return step


def _call(choice: Callable[..., Any], array: Any, generator: Generator, param: Param) -> None:
    """Call what fills an array in its own way; an array that it makes instead would leave this one as it was, unnoticed."""
    try:
        returned = choice(array, generator, param)
        if hasattr(returned, "shape") and returned is not array and not overlap(returned, array):
            raise TypeError(f"a callable must fill the array that it is given, got another one returned: {short_repr(returned)}")
    except Exception as error:
        error.add_note(f"while initializing parameter {param.name!r}")
        raise


def _plan_call(entry: Entry, call: Call, generator: Generator, dtype: np.dtype[Any] | None) -> Planned | Deferred:
    to = target(entry.array, EVERY)
    drawn_in = _drawing_dtype(to.dtype, dtype)
    if drawn_in != to.dtype:
        return _plan_conversion(entry, call, generator, drawn_in)
    with planned() as writes:
        call(entry.array, generator=generator)
    entry.note(writes)
    return Planned(entry, writes)


def _plan_conversion(entry: Entry, call: Call, generator: Generator, drawn_in: np.dtype[Any]) -> Deferred:
    """Plan to draw in another dtype than the array's; the check is a call on memory that is there for it alone."""
    view = target(entry.array, EVERY).view
    start = generator.state
    with planned() as writes:
        call(np.empty(view.array.shape, drawn_in), generator=generator, shard=view.shard)
    entry.note(writes)

    def draw_and_convert() -> None:
        generator.state = start
        with view.context():
            values = type(view.array)(view.array.shape, drawn_in)
            call(values, generator=generator, shard=view.shard)
            with np.errstate(all="ignore"):  # of values too large or too small for the array
                view.array[...] = values
        view.notify_owner()

    return Deferred(entry, draw_and_convert)


def carry_out(steps: list[Step], root: Generator, progress: Progress) -> Report:
    """Do everything that was planned, with a bar or calls of `progress`."""
    with _progress_bar(progress, len(steps)) as advance:
        _perform(steps, advance)
    return Report([step.entry for step in steps], root)


@exact
def _perform(steps: list[Step], advance: Callable[[str], None]) -> None:
    names_and_writes = [(step.entry.param.name, write) for step in steps if isinstance(step, Planned) for write in step.writes]
    for number in perform_all([write for _, write in names_and_writes]):
        advance(names_and_writes[number][0])
    for step in steps:
        if isinstance(step, Deferred):
            with observed() as writes:
                step.fill()
            step.entry.exact = all(write.is_exact for write in writes)
        if not isinstance(step, Planned) or not step.writes:  # a warning took the place of a write to an empty array
            advance(step.entry.param.name)


def _drawing_dtype(dtype: np.dtype[Any], wanted: np.dtype[Any] | None) -> np.dtype[Any]:
    """Return the dtype in which values for an array are drawn; a complex array's parts are of the one asked for."""
    if wanted is None or dtype.name not in INEXACT:
        return dtype
    if dtype.kind == "c":
        return complex_of(wanted)
    if wanted.itemsize > 4 and dtype.itemsize < 4:
        raise ValueError(f"dtype must be at most float32 for an array of {dtype}, got dtype={wanted}: values are rounded once")
    return wanted


def parse_dtype(dtype: Any) -> np.dtype[Any]:
    """Return a floating dtype of NumPy or torch as NumPy's."""
    try:
        parsed = as_dtype(str(dtype).removeprefix("torch.") if type(dtype).__module__ == "torch" else dtype).newbyteorder("=")
    except (TypeError, ValueError):
        parsed = None
    if parsed is None or parsed.name not in FLOATS:
        raise TypeError(f"dtype must be one of {', '.join(sorted(FLOATS))}, got {short_repr(dtype)}")
    return parsed


def root_of(seed: Any) -> Generator:
    """Return the generator of which each parameter has a child."""
    if isinstance(seed, Generator):
        return seed
    if not is_integer(seed):
        raise TypeError(
            f"seed must be an int or a gpuinit.Generator, got {short_repr(seed)}; gpuinit.Generator() draws a fresh one"
        )
    return Generator(seed)


def _progress_bar(progress: Progress, total: int) -> AbstractContextManager[Callable[[str], None]]:
    """Return what is called with the name of each parameter that is done."""
    if progress is None or isinstance(progress, bool):
        return console.progress("filling", total) if progress else nullcontext(lambda name: None)
    if not callable(progress):
        raise TypeError(f"progress must be True, False, None or a callable, got {short_repr(progress)}")
    return nullcontext(progress)
