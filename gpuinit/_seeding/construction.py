"""`construct`: a model whose constructors initialize it, with the values of the streams of its parameters' names.

While a constructor runs, nobody knows yet what name its tensors will have. So the model is made twice: in a rehearsal, each draw
is taken down with its tensor, and once the model is complete, where in it that tensor lies. Then draws have names, and the model
is made again.
"""

from __future__ import annotations

import contextlib
import gc
import math
import weakref
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch

from gpuinit._backends import torch_private
from gpuinit._contract.arguments import short_repr, type_name
from gpuinit._contract.generator import Generator
from gpuinit._models.steps import root_of
from gpuinit._rules.modules import Held
from gpuinit._seeding.init_functions import replaced_by
from gpuinit._seeding.interception import Draw, Interception, Ledger
from gpuinit._seeding.places import Places, modules_in_use
from gpuinit._seeding.streams import Streams
from gpuinit._seeding.unseen import no_other_draws

Model = TypeVar("Model")


def construct(factory: Callable[[], Model], *, seed: int | Generator, device: Any = None) -> Model:
    """Make a model whose constructors initialize it, with gpuinit's values in the place of all random draws.

    `factory` is called twice: first to learn which parameter each draw ends in, then to draw from the streams of these names.
    The two models are never in memory at the same time. What draws become is as in `seeded`.

    Parameters
    ----------
    factory : callable
        Takes no arguments, and returns a new `torch.nn.Module`, built in the same way each time.
    seed : int or Generator
        The first draw into the parameter `name` is from ``Generator(seed).spawn(name)``, as in `initialize`.
    device : torch.device, str or int, optional
        Where tensors are made that are made on no device in particular, as by ``with torch.device(device)``.

    Returns
    -------
    torch.nn.Module
        The second one.

    Raises
    ------
    TypeError
        If `factory` is not callable, or does not return a module.
    RuntimeError
        If its two calls draw in different ways, or one as `seeded` refuses it.

    Examples
    --------
    >>> import torch, gpuinit as gi
    >>> model = gi.construct(lambda: torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.ReLU()), seed=42)
    >>> weight = gi.kaiming_uniform_(torch.empty(8, 64), a=5**0.5, generator=gi.Generator(42).spawn("0.weight"))
    >>> bool((model[0].weight == weight).all())
    True
    """
    if not callable(factory):
        raise TypeError(f"factory must be a callable that makes a torch.nn.Module, got {short_repr(factory)}")
    root = root_of(seed)
    rehearsal = _Rehearsal(root)
    rehearsed = _make(factory, rehearsal, device)
    ends, first = rehearsal.ends_in(rehearsed), weakref.ref(rehearsed)
    del rehearsed
    gc.collect()  # a model may contain itself; without this, both would be in memory
    performance = _Performance(root, rehearsal.draws, ends)
    with no_other_draws():  # not in the rehearsal, where libraries are imported, which draw names and the like
        model = _make(factory, performance, device)
    if first() is model:
        raise RuntimeError("factory must make a new model each time that it is called, got the same one twice")
    performance.check_ends(model)
    return model


def _make(factory: Callable[[], Model], ledger: _Recorder, device: Any) -> Model:
    interception = Interception(ledger)
    on_device = contextlib.nullcontext() if device is None else torch.device(device)
    with replaced_by(interception), on_device, interception:
        model = factory()
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"factory must return a torch.nn.Module, got {short_repr(model)} of type {type_name(model)}")
    if on_meta := next((name for name, x in model.named_parameters() if x.is_meta), None):
        raise TypeError(f"factory must make parameters that have memory, got {on_meta!r} on the meta device; leave that out")
    return model


class _Recorded(NamedTuple):
    """A draw: the tensor's shape and dtype, its place in memory, and the modules whose code ran, the innermost first."""

    shape: tuple[int, ...]
    dtype: Any
    storage: Any
    span: tuple[int, int]
    modules: list[list[Any]]


class _End(NamedTuple):
    """Where the values of a draw end up: in a parameter or buffer of that name, or in a tensor that code of that module made."""

    name: str
    is_held: bool
    is_whole: bool = False


class _Recorder(Ledger):
    """Takes down each draw with its tensor."""

    def __init__(self) -> None:
        self.draws: list[_Recorded] = []
        self._converted: dict[Any, tuple[Any, Any]] = {}  # the storages of tensors, and of those that they were converted to

    @abstractmethod
    def generator(self, number: int) -> Generator:
        """Return that of a draw, by the number of draws before it."""

    def place(self) -> str:
        return next((f"the code of a {type(modules[0]).__name__}" for modules in modules_in_use()), "the factory")

    def next_draw(self, x: Any, owner: Any) -> Draw:
        number, place = torch_private.storage_number(x), torch_private.span(x)
        self.draws.append(_Recorded(tuple(x.shape), x.dtype, number, place, list(modules_in_use())))
        return Draw(x, self.generator(len(self.draws) - 1))

    def converted(self, x: Any, to: Any) -> None:
        if x.numel() and torch_private.storage(x) is not None:
            self._converted[torch_private.storage(x)] = torch_private.storage_number(x), torch_private.storage_number(to)

    def ends_in(self, model: Any) -> list[_End]:
        """Return where in the model the values of each draw end, and forget its memory and modules."""
        places = Places(model)
        ends = []
        for number, draw in enumerate(self.draws):
            held = places.at(draw.storage.cdata, *draw.span) or self._place_after_conversion(places, draw.storage.cdata)
            if held:
                ends.append(_End(held.name, True, is_whole=math.prod(draw.shape) == held.array.numel()))
            else:
                ends.append(_End(places.innermost(draw.modules), False))
            self.draws[number] = draw._replace(storage=None, modules=[])
        return ends

    def _place_after_conversion(self, places: Places, storage: Any) -> Held | None:
        """Return what has the memory that a draw's was converted to, as by `module.to(dtype)`."""
        while storage in self._converted:
            storage = self._converted[storage][1].cdata
        return places.all_in(storage)


class _Rehearsal(_Recorder):
    """Draws what nobody will see, but random numbers: code may look at them."""

    def __init__(self, root: Generator) -> None:
        super().__init__()
        self._streams = Streams(root, ())

    def generator(self, number: int) -> Generator:
        return self._streams.of_module("rehearsal")


class _Performance(_Recorder):
    """Draws from the streams of the names that a rehearsal found."""

    def __init__(self, root: Generator, rehearsed: list[_Recorded], ends: list[_End]) -> None:
        super().__init__()
        self._rehearsed, self._ends = rehearsed, ends
        self._generators = _generators(Streams(root, {end.name for end in ends if end.is_held}), ends)

    def generator(self, number: int) -> Generator:
        if number >= len(self._ends) or self._rehearsed[number][:2] != self.draws[number][:2]:
            raise self._unequal(f"draw {number + 1} into a tensor of shape {self.draws[number].shape} the second time only")
        return self._generators[number]

    def check_ends(self, model: Any) -> None:
        """Raise an error if the draws ended elsewhere than in the rehearsal."""
        ends = self.ends_in(model)
        if ends != self._ends:
            number = next((n for n, pair in enumerate(zip(ends, self._ends)) if pair[0] != pair[1]), len(ends))
            raise self._unequal(f"values of draw {number + 1} that end in {self._ends[number].name!r} the first time only")

    @staticmethod
    def _unequal(what: str) -> RuntimeError:
        return RuntimeError(f"factory must make a new model in the same way each time that it is called, got {what}")


def _generators(streams: Streams, ends: list[_End]) -> list[Generator]:
    """Return the generator of each draw. Those that a later one overwrites all of come last in their parameter's numbering: the
    others are from the streams that `seeded` gives them where nothing was drawn before."""
    waiting: dict[str, list[int]] = defaultdict(list)
    overwritten: list[int] = []
    for number, end in enumerate(ends):
        if end.is_whole:
            overwritten += waiting.pop(end.name, [])
        if end.is_held:
            waiting[end.name].append(number)
    order = [*sorted(set(range(len(ends))) - set(overwritten)), *overwritten]
    generators = {n: (streams.of_parameter if ends[n].is_held else streams.of_module)(ends[n].name) for n in order}
    return [generators[number] for number in range(len(ends))]
