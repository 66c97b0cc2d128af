"""One step per parameter: planned before anything is written, then carried out all together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from gpuinit import _console as console
from gpuinit._backends.batching import perform_all
from gpuinit._backends.targets import Target, Write, observed, planned, target
from gpuinit._backends.view import View
from gpuinit._contract.arguments import attribute, is_a, is_integer, short_repr
from gpuinit._contract.arithmetic import exact
from gpuinit._contract.dtypes import EIGHT_BITS, EVERY, FLOATS, INEXACT, as_dtype, complex_of, round_into
from gpuinit._contract.generator import Generator, describe_source
from gpuinit._contract.shards import parts_of
from gpuinit._models.report import Entry, Report
from gpuinit._models.untouched import cannot_be_told, watch
from gpuinit._rules.aliasing import overlap
from gpuinit._rules.calls import Call, Initializer, Keep, module_of, name_of
from gpuinit._rules.matching import Rule
from gpuinit._rules.parameters import Param
from gpuinit._rules.parametrized import Parametrized
from gpuinit._rules.plans import Plans
from gpuinit._rules.unfit import Unfit

Progress = bool | Callable[[str], None] | None


class Kept(NamedTuple):
    """The parameter stays as it is."""

    entry: Entry


class Planned(NamedTuple):
    """The write that fills the parameter, checked; none where there are no elements."""

    entry: Entry
    write: Write | None


class Deferred(NamedTuple):
    """A function that fills the parameter in a way of its own, called when all planned writes are done."""

    entry: Entry
    fill: Callable[[], object]


Step = Kept | Planned | Deferred


def plan(
    param: Param, array: Any, choice: Initializer, generator: Generator, plans: Plans, dtype: np.dtype[Any] | None = None
) -> Step:
    """Check everything about a parameter's initializer, and return what there is to do.

    `dtype` is the one in which values are drawn; None is the array's own.
    """
    if type(choice) is Keep:
        return Kept(Entry(param, array, "keep", kept=True))
    if isinstance(array, Unfit):
        raise TypeError(f"{param.name} {array.reason}")
    if isinstance(array, Parametrized):
        return _plan_parametrized(param, array, choice, generator, plans, dtype)
    if type(choice) is not Call:
        return Deferred(Entry(param, array, name_of(choice)), lambda: _call(choice, array, generator, param))
    entry = Entry(param, array, str(choice))
    try:
        step = _plan_call(entry, choice, generator, dtype, plans)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{param.name}, {choice}: {error}") from error
    return step


def keep_frozen(param: Param, array: Any) -> Kept:
    """Return the step of a parameter that is left alone since nobody asked for it."""
    return Kept(Entry(param, array, "frozen", kept=True))


def _plan_parametrized(
    param: Param, weight: Parametrized, choice: Initializer, generator: Generator, plans: Plans, dtype: np.dtype[Any] | None
) -> Deferred:
    """Plan to draw a weight that a parametrization computes, and to assign it; tried on a copy, unless a callable draws it."""
    entry = Entry(param, weight, "", exact=False)  # computed by torch
    start = generator.state

    def draw(to: Parametrized) -> None:
        values = to.new_values()
        generator.state = start
        step = plan(param, values, choice, generator, plans, dtype)
        perform([step], lambda name: None)
        try:
            entry.array = to.assign(values)
        except TypeError as error:
            raise TypeError(f"{param.name}, {step.entry.initializer}: {error}") from error
        entry.initializer, entry.asked = step.entry.initializer, step.entry.asked

    if type(choice) is Call:
        draw(weight.copy())
    return Deferred(entry, lambda: draw(weight))


def _call(choice: Callable[..., Any], array: Any, generator: Generator, param: Param) -> None:
    """Call what fills an array in its own way; if it filled another one instead, this one would be as it was, unnoticed."""
    ours = module_of(choice).startswith("gpuinit.")  # they need no watching
    try:
        is_untouched = cannot_be_told if ours else watch(array)
        returned = choice(array, generator, param)
        if attribute(returned, "shape") is not None and returned is not array and not overlap(returned, array):
            raise TypeError(f"a callable must fill the array that it is given, got another one returned: {short_repr(returned)}")
        if is_untouched():
            raise TypeError(
                "a callable must write to the array that it is given, but left it untouched; fill it in place, not a copy of it "
                "(x.float(), x.to(...)), or leave it by the rule keep"
            )
    except Exception as error:
        error.add_note(f"while initializing parameter {param.name!r}")
        raise


def _plan_call(entry: Entry, call: Call, generator: Generator, dtype: np.dtype[Any] | None, plans: Plans) -> Planned | Deferred:
    if dtype is not None and (drawn_in := _drawing_dtype(to := target(entry.array, EVERY), dtype)) != to.dtype:
        return _plan_conversion(entry, call, generator, to.view, drawn_in)
    write, asked, stream = plans.plan(call, entry.array, generator)
    entry.note(asked, stream)
    return Planned(entry, write)


def _plan_conversion(entry: Entry, call: Call, generator: Generator, view: View, drawn_in: np.dtype[Any]) -> Deferred:
    """Plan to draw in another dtype than the array's; the check is a call on memory that is there for it alone."""
    start, stream = generator.state, generator._reserve(0)
    with planned() as writes:
        for part, shard in parts_of(np.empty(view.array.shape, drawn_in), view.shard):
            call(part, generator=generator, shard=shard)
    entry.note(writes[-1].asked if writes else None, stream)

    def draw_and_convert() -> None:
        with view.context():
            values = type(view.array)(view.array.shape, drawn_in)
            for part, shard in parts_of(values, view.shard):
                generator.state = start
                call(part, generator=generator, shard=shard)
            round_into(view.array, values)
        view.notify_owner()

    return Deferred(entry, draw_and_convert)


def carry_out(
    steps: list[Step], root: Generator, progress: Progress, buffers: Sequence[str] = (), unused: Sequence[Rule] = ()
) -> Report:
    """Do everything that was planned, with a bar or calls of `progress`; the rest is for the report."""
    with progress_bar(progress, len(steps)) as advance:
        perform(steps, advance)
    return Report([step.entry for step in steps], root, buffers, unused)


@exact
def perform(steps: list[Step], advance: Callable[[str], None]) -> None:
    names_and_writes = [(step.entry.param.name, step.write) for step in steps if isinstance(step, Planned) and step.write]
    for number in perform_all([write for _, write in names_and_writes]):
        advance(names_and_writes[number][0])
    for step in steps:
        if isinstance(step, Deferred):
            with observed() as writes:
                step.fill()
            step.entry.exact = step.entry.exact and all(write.asked.is_exact for write in writes)
        if not isinstance(step, Planned) or not step.write:  # a warning took the place of a write to an empty array
            advance(step.entry.param.name)


def _drawing_dtype(to: Target, wanted: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which values for an array are drawn; a complex array's parts are of the one asked for."""
    dtype = to.dtype
    if dtype.name not in INEXACT:
        return dtype
    if dtype.kind == "c":
        return complex_of(wanted)
    if wanted.itemsize > 4 and dtype.itemsize < 4:
        raise ValueError(f"dtype must be at most float32 for an array of {dtype}, got dtype={wanted}: values are rounded once")
    if wanted.name in EIGHT_BITS and to.view.backend == "cuda":
        raise ValueError(f"dtype must be one that CuPy has for an array of a GPU, got dtype={wanted}; give bfloat16 or float32")
    return wanted


def parse_dtype(dtype: Any) -> np.dtype[Any]:
    """Return a floating dtype of NumPy or torch as NumPy's."""
    try:
        parsed = as_dtype(str(dtype).removeprefix("torch.") if type(dtype).__module__ == "torch" else dtype).newbyteorder("=")
    except Exception:  # of an object's own attributes too
        parsed = None
    if parsed is None or parsed.name not in FLOATS:
        raise TypeError(f"dtype must be one of {', '.join(sorted(FLOATS))}, got {short_repr(dtype)}")
    return parsed


def root_of(seed: Any) -> Generator:
    """Return the generator of which each parameter has a child."""
    if is_a(seed, Generator):
        return seed
    if not is_integer(seed):
        given = describe_source("seed", seed)
        raise TypeError(f"seed must be an int or a gpuinit.Generator, got {given}; gpuinit.Generator() draws a fresh one")
    return Generator(seed)


def check_prefix(prefix: Any) -> str:
    """Return the name of a model in a larger one, without a last dot."""
    if not is_a(prefix, str):
        raise TypeError(f"prefix must be the name of the model in a larger one, got {short_repr(prefix)}")
    return prefix.removesuffix(".")


def progress_bar(progress: Progress, total: int) -> AbstractContextManager[Callable[[str], None]]:
    """Return what is called with the name of each parameter that is done."""
    if progress is None or is_a(progress, bool):
        return console.progress("filling", total) if progress else nullcontext(lambda name: None)
    if not callable(progress):
        raise TypeError(f"progress must be True, False, None or a callable, got {short_repr(progress)}")
    return nullcontext(progress)
