"""`seeded`: a model's own initialization code, with the values of the streams of its parameters' names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from gpuinit._backends import torch_private
from gpuinit._backends.dtensor import is_dtensor
from gpuinit._contract.arguments import boolean, short_repr, shorten, type_name
from gpuinit._contract.generator import Generator, Stream
from gpuinit._models.report import UNTOUCHED, Entry, Report
from gpuinit._models.steps import check_prefix, root_of
from gpuinit._rules.collector import paused_collector
from gpuinit._rules.modules import Held, join
from gpuinit._rules.parameters import Param, Shapes, places_of
from gpuinit._seeding.broken_ties import mend
from gpuinit._seeding.draws import Drawn
from gpuinit._seeding.init_functions import replaced_by
from gpuinit._seeding.interception import Draw, Interception, Ledger
from gpuinit._seeding.places import Places, modules_in_use
from gpuinit._seeding.records import Record
from gpuinit._seeding.streams import Streams
from gpuinit._seeding.unseen import no_other_draws


@contextlib.contextmanager
def seeded(model: Any, *, seed: int | Generator, strict: bool = False, prefix: str = "") -> Iterator[Report]:
    """Within, whatever code initializes the model draws gpuinit's values, each from the stream of the parameter's name.

    The code itself does not change. A function of torch.nn.init becomes gpuinit's function of the same name. torch's methods
    (`normal_`, `uniform_`, `random_`, `bernoulli_`, `exponential_`, `log_normal_`, `geometric_`, `cauchy_`) and the functions
    that return random tensors (`rand`, `randn`, `randint`, `randperm`, `normal`, `bernoulli`, `multinomial` and the ``_like``
    forms) draw from gpuinit's streams. Constants and arithmetic stay torch's. So the values depend only on the seed and the
    names: not on the order in which modules are visited, the device, or how DTensors are cut. ``docs/values.md`` says which
    stream each draw reads.

    Parameters
    ----------
    model : torch.nn.Module
        With its memory: after ``model.to_empty(device=...)``, if it was made on the meta device. Weights that it declares to be
        tied (`all_tied_weights_keys`, of transformers 5) and that lie apart are tied again first.
    seed : int or Generator
        The first draw into the parameter `name` is from ``Generator(seed).spawn(name)``, as in `initialize`.
    strict : bool, optional
        Whether a parameter that the code does not write to is an error.
    prefix : str, optional
        The name of `model` in a larger one, of which it then gets the values.

    Yields
    ------
    Report
        Complete when the block ends: what was drawn by what, what was written otherwise, and what nothing touched.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these, or a tensor that is drawn into is not one that gpuinit can fill.
    RuntimeError
        If the code draws in a way that gpuinit does not replace, is compiled, or runs in another thread or process, or draws from
        another generator (also NumPy's or Python's); if it writes to no parameter at all, or with `strict` leaves one out. These
        can come after something was written.

    Examples
    --------
    >>> import torch, gpuinit as gi
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.LayerNorm(8))
    >>> def init(module):
    ...     if isinstance(module, torch.nn.Linear):
    ...         torch.nn.init.normal_(module.weight, std=0.02)
    ...         torch.nn.init.zeros_(module.bias)
    >>> with gi.seeded(model, seed=42) as report:
    ...     _ = model.apply(init)
    >>> [(row.name, row.initializer) for row in report.rows][:2]
    [('0.weight', 'normal_(std=0.02)'), ('0.bias', 'written')]
    >>> report.untouched
    ['1.weight', '1.bias']
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {short_repr(model)} of type {type_name(model)}")
    root, strict, prefix = root_of(seed), boolean("strict", strict), check_prefix(prefix)
    if torch.compiler.is_compiling():
        raise RuntimeError("gpuinit.seeded must not be compiled; call the code without torch.compile")
    report = Report([], root)
    report.mended = [join(prefix, name) for name in mend(model)]
    with paused_collector():
        places = Places(model, prefix)
        ledger = _ModelLedger(places, Streams(root, places.held))
    interception = Interception(ledger)
    with no_other_draws(), replaced_by(interception), interception:
        yield report
    outcome = ledger.finish(model, prefix)
    untouched = outcome.untouched(buffers=False)
    report._complete(outcome.entries, outcome.untouched(buffers=True))
    if outcome.is_untouched:
        raise RuntimeError(
            "the code within gpuinit.seeded must initialize the model, got one that wrote to no parameter; a model of Hugging "
            "Face's that was made off the meta device does not initialize itself twice: make it by gpuinit.construct"
        )
    if strict and untouched:
        raise RuntimeError(
            f"the code must write to every parameter, got {len(untouched)} untouched: {', '.join(shorten(untouched))}"
        )


_NOTHING = Record()


class _ModelLedger(Ledger):
    """Draws into a model that is there, from the streams of its names."""

    def __init__(self, places: Places, streams: Streams) -> None:
        self._places = places
        self._streams = streams
        self._records: dict[str, Record] = {}
        self._of_whole: dict[int, Record] = {}  # those of draws into all of a parameter, which keep the draws alive
        self._keys: dict[str, tuple[int, int]] = {}  # of the last draw into each parameter, if it can be repeated
        self._without_values: dict[Any, Any] = {}  # storages, and what keeps their numbers

    def knows(self, x: Any) -> bool:
        return isinstance(x, torch.Tensor) and self._places.find(x) is not None

    def place(self) -> str:
        return f"the module {self._places.innermost(modules_in_use())!r}"

    def next_draw(self, x: Any, owner: Any) -> Draw:
        held = self._places.find(owner)
        if held is None:
            return Draw(x, self._streams.of_module(self._places.innermost(modules_in_use())))
        return Draw(_whole(x, held), self._streams.of_parameter(held.name), held)

    def made(self, x: Any) -> None:
        if (storage := torch_private.storage(x)) is not None:
            self._without_values[storage] = torch_private.storage_number(x)

    def drew(self, draw: Draw, drawn: Drawn) -> None:
        self._has_values(draw.to)
        held = draw.entry
        if held is None or not draw.to.numel():
            return
        if draw.to is held.array:
            self._keys[held.name] = draw.generator._key
            record = self._of_whole.get(id(drawn))
            if record is None:
                record = self._of_whole[id(drawn)] = Record.of_whole(drawn)
        else:
            if _lie_alike(draw.to, held.array):
                self._keys[held.name] = draw.generator._key
            else:
                self._keys.pop(held.name, None)
            record = self._records.get(held.name, _NOTHING).drew(drawn, held.array, draw.to)
        self._records[held.name] = record

    def wrote(self, x: Any, exact: bool, constant: bool = False) -> None:
        self._has_values(x)
        if x.numel() and (held := self._places.find(x)):
            record = self._records.get(held.name, _NOTHING)
            self._records[held.name] = record.wrote(held.array, x, exact, constant)

    def _has_values(self, x: Any) -> None:
        if self._without_values:
            self._without_values.pop(torch_private.storage(x), None)

    def finish(self, model: Any, prefix: str) -> _Outcome:
        """Return what happened to the model as it is now."""
        with paused_collector():
            places = self._places if self._places.are_those_of(model) else Places(model, prefix)
            return _Outcome(places, [(held, self._record_of(held.array)) for held in places.in_order()], self._keys)

    def _record_of(self, x: Any) -> Record | None:
        """Return what happened to a parameter; of one that was replaced by another tensor, that it was written."""
        if self._without_values and torch_private.storage(x) in self._without_values:
            return None
        before = self._places.find(x)
        record = None if before is None else self._records.get(before.name)
        if before is None or self._places.has_moved(before):
            return (record or _NOTHING).moved()
        return record


class _Outcome(NamedTuple):
    """The parameters and buffers of a model after the code has run, and what happened to each; None if nothing did.

    `keys` are those of the streams of draws that can be repeated.
    """

    places: Places
    found: list[tuple[Held, Record | None]]
    keys: dict[str, tuple[int, int]]

    @property
    def is_untouched(self) -> bool:
        """Whether nothing happened."""
        return bool(self.found) and not any(record for _, record in self.found)

    def untouched(self, buffers: bool) -> list[str]:
        """Return the names of the parameters, or buffers, that nothing was written to."""
        return [held.name for held, record in self.found if not record and held.is_buffer == buffers]

    def entries(self) -> list[Entry]:
        """Return the entries of a report: of all parameters, and of buffers that were written."""
        is_lazy = torch.nn.parameter.is_lazy
        shapes = Shapes((held.name, () if is_lazy(held.array) else tuple(held.array.shape)) for held, _ in self.found)
        return [
            _entry(held, self.places.names[held.name], shapes, record, self.keys.get(held.name))
            for held, record in self.found
            if record or not held.is_buffer
        ]


def _entry(held: Held, names: list[str], shapes: Shapes, record: Record | None, key: tuple[int, int] | None) -> Entry:
    frozen = not held.is_buffer and not held.array.requires_grad
    dtype = str(held.array.dtype).removeprefix("torch.")
    param = Param(held.name, shapes[held.name], dtype, held.owners, shapes, places_of(names), frozen)
    if record is None:
        return Entry(param, held.array, UNTOUCHED, kept=True)
    stream = Stream(key, 0) if key and record.asked else None
    return Entry(param, held.array, record.text, record.asked, record.is_exact(held.array), stream=stream)


def _lie_alike(x: Any, tensor: Any) -> bool:
    """Check that the elements of a view of a tensor have their numbers in the tensor."""
    return bool(x.dtype == tensor.dtype and x.shape == tensor.shape and x.stride() == tensor.stride())


def _whole(x: Any, held: Held) -> Any:
    """Return what to fill in the place of `x`: where that is the local part of a DTensor, the DTensor."""
    tensor = held.array
    if x is tensor:
        return x
    if is_dtensor(x) or not is_dtensor(tensor):
        return x
    local = torch_private.local_tensor(tensor)
    if torch_private.span(x) == torch_private.span(local) and x.shape == local.shape and x.stride() == local.stride():
        return tensor
    raise TypeError(
        f"{held.name} is cut between processes, and code drew into a view of this process's part, of shape {tuple(x.shape)}; "
        "draw into the DTensor itself, or into all of its part"
    )
