"""What stands between running code and torch's operations: each random one is given to a ledger, which says from what stream."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gpuinit._backends import torch_private
from gpuinit._contract.generator import Generator
from gpuinit._rules.calls import Call
from gpuinit._seeding.draws import IN_PLACE, LEAST_ERFINV, NEW, Drawn, call_initializer, redraw_as_erfinv
from gpuinit._seeding.sharded_views import ShardedViews, is_dtensor

# Arithmetic on each element by itself that IEEE 754 defines to the last bit, with numbers for the other operands.
_EXACT = frozenset(("abs_", "add_", "clamp_", "clamp_max_", "clamp_min_", "div_", "fill_", "mul_", "neg_", "sub_", "zero_"))


Fill = Callable[[Any, Generator], Drawn]


class Ledger(Protocol):
    """Who says from what stream a tensor is drawn, and takes down what was written."""

    def knows(self, x: Any) -> bool:
        """Check whether a tensor is one that is to be initialized."""

    def next_draw(self, x: Any) -> tuple[Any, Generator]:
        """Return what the next draw into a tensor fills, which is `x` or the DTensor whose part it is, and its generator."""

    def drew(self, x: Any, drawn: Drawn) -> None:
        """Take down a draw."""

    def wrote(self, x: Any, exact: bool) -> None:
        """Take down another write, and whether it does the same to the same values on all machines."""

    def place(self) -> str:
        """Return what an error calls the place of the code that runs."""


class _Operation(NamedTuple):
    """What is known of one of ATen's operations."""

    name: str
    is_random: bool
    is_view: bool
    written: tuple[int, ...]  # the numbers of the arguments that it writes to
    written_keywords: tuple[str, ...]


@functools.cache
def _operation(function: Any) -> _Operation:
    arguments = function._schema.arguments
    writes = [argument.alias_info is not None and argument.alias_info.is_write for argument in arguments]
    return _Operation(
        function.overloadpacket.__name__,
        torch.Tag.nondeterministic_seeded in function.tags,
        bool(function.is_view),
        tuple(number for number, write in enumerate(writes) if write and not arguments[number].kwarg_only),
        tuple(arguments[number].name for number, write in enumerate(writes) if write and arguments[number].kwarg_only),
    )


class _Uniform(NamedTuple):
    """The last draw if it was uniform: the inverse error function may follow."""

    geometry: tuple[Any, ...]
    bounds: tuple[float, float]
    generator: Generator


class Interception(TorchDispatchMode):
    """While it is active, the random operations of this thread draw gpuinit's values."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger
        self._views = ShardedViews()
        self._process = os.getpid()
        self._paused = False
        self._uniform: _Uniform | None = None

    def call(self, call: Call, x: Any) -> None:
        """Do an initializer's work in the place of a function of torch.nn.init."""
        self._check_process()
        self._paused = True
        try:
            self._draw(x, functools.partial(call_initializer, call))
        finally:
            self._paused = False

    def refuse_thread(self, x: Any) -> None:
        """Raise an error if another thread draws into what this one initializes."""
        if self._ledger.knows(x):
            raise RuntimeError(
                "gpuinit.seeded and construct must have all initialization code in the thread that entered them, got some in "
                "another one"
            )

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        keywords = keywords or {}
        if self._paused:
            return function(*arguments, **keywords)
        self._check_process()
        operation = _operation(function)
        if operation.is_random:
            return self._random(function, operation.name, arguments, keywords)
        if operation.name in ("erfinv", "erfinv_"):
            result = arguments[0] if operation.name == "erfinv_" else torch.empty_like(arguments[0])
            if self._erfinv(arguments[0], result):
                return result
        return self._other(function, operation, arguments, keywords)

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise RuntimeError(
                "gpuinit.seeded and construct must not be left by a fork, got initialization code in a child process, whose "
                "values the parent never sees; initialize before the fork"
            )

    def _random(self, function: Any, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        keywords = {key: value for key, value in keywords.items() if key != "generator"}
        if (fill := IN_PLACE.get(name)) and "out" not in keywords:
            x, *values = arguments
            self._draw(x, lambda x, generator: fill(x, generator, *values, **keywords))
            return x
        if (make := NEW.get(name)) and "out" not in keywords:
            new = make(*arguments, **keywords)
            self._draw(new.tensor, lambda _, generator: new.fill(generator))
            return new.tensor
        raise RuntimeError(
            f"{function} draws random numbers in a way that gpuinit does not replace, in {self._ledger.place()}; use a function of "
            "torch.nn.init, a method such as Tensor.normal_, or torch.rand, randn, randint, randperm or multinomial without out="
        )

    def _draw(self, x: Any, fill: Fill) -> None:
        to, generator = self._ledger.next_draw(x)
        self._fill(to, fill, generator)

    def _fill(self, to: Any, fill: Fill, generator: Generator) -> None:
        if self._views.is_copy(to):
            values = torch.empty(to.shape, dtype=to.dtype, device=torch_private.local_tensor(to).device)
            drawn = fill(values, generator)
            self._views.write_back(to, values)
        else:
            drawn = fill(to, generator)
        self._ledger.drew(to, drawn)
        self._uniform = _Uniform(_geometry(to), drawn.bounds, generator) if drawn.bounds else None

    def _erfinv(self, x: Any, to: Any) -> bool:
        """Fill a tensor with the inverse error function of another one, which may be itself; False if that was not just drawn
        from a uniform distribution on a part of [-1, 1]."""
        drawn = self._uniform
        if drawn is None or drawn.geometry != _geometry(x):
            return False
        low, high = drawn.bounds
        if not -1 <= low < high <= 1 or high - low < LEAST_ERFINV:
            return False
        drawn.generator.state = {**drawn.generator.state, "position": 0}
        self._fill(to, lambda x, generator: redraw_as_erfinv(x, generator, low, high), drawn.generator)
        return True

    def _other(self, function: Any, operation: _Operation, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Run an operation that draws nothing."""
        given = [x for x in (*arguments, *keywords.values()) if is_dtensor(x)]
        for x in given:
            self._views.refresh(x)
        result = function(*arguments, **keywords)
        if given and operation.is_view:
            self._views.note(function, arguments, keywords, result)
        written = [arguments[number] for number in operation.written if number < len(arguments)]
        written += [keywords[name] for name in operation.written_keywords if name in keywords]
        for x in written:
            for one in x if isinstance(x, (list, tuple)) else [x]:
                self._take_down(one, operation, arguments)
        return result

    def _take_down(self, x: Any, operation: _Operation, arguments: tuple[Any, ...]) -> None:
        if self._views.is_copy(x):
            self._views.write_back(x)
        if self._uniform and self._uniform.geometry[0] == torch_private.storage(x):
            self._uniform = None
        exact = operation.name in _EXACT and not any(isinstance(other, torch.Tensor) for other in arguments[1:])
        self._ledger.wrote(x, exact)


def _geometry(x: Any) -> tuple[Any, ...]:
    """Return what says that two tensors are the same elements of the same memory."""
    return torch_private.storage(x), *torch_private.span(x), tuple(x.shape), x.stride()
