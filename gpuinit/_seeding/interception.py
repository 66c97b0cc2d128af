"""What stands between running code and torch's operations: each random one is given to a ledger, which says from what stream."""

from __future__ import annotations

import functools
import os
from abc import abstractmethod
from typing import Any, NamedTuple, Protocol

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gpuinit._backends import torch_private
from gpuinit._backends.dtensor import is_dtensor
from gpuinit._contract.generator import Generator
from gpuinit._initializers.basic import uniform_
from gpuinit._rules.calls import Call
from gpuinit._rules.plans import Plans
from gpuinit._seeding.draws import LEAST_ERFINV, NEW, Drawn, Source, erfinv_of, in_place
from gpuinit._seeding.sharded_views import ShardedViews

# Arithmetic on each element by itself that IEEE 754 defines to the last bit, with numbers for the other operands.
# Not `div_`, which multiplies by a reciprocal on a GPU.
_EXACT = frozenset(("abs_", "add_", "clamp_", "clamp_max_", "clamp_min_", "fill_", "mul_", "neg_", "sub_", "zero_"))
_CONSTANT = frozenset(("fill_", "zero_"))
_WITHOUT_VALUES = frozenset(("empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided"))


class Draw(NamedTuple):
    """A draw to do: what it fills (perhaps the DTensor in the place of its part), its generator, and the ledger's entry."""

    to: Any
    generator: Generator
    entry: Any = None


class Ledger(Protocol):
    """Chooses the stream of each draw, and takes down what the code does; by default, nothing."""

    @abstractmethod
    def next_draw(self, x: Any, owner: Any) -> Draw:
        """Return the next draw into a tensor, whose memory is that of `owner`."""

    @abstractmethod
    def place(self) -> str:
        """Return what an error calls the place of the code that runs."""

    def knows(self, x: Any) -> bool:
        """Check whether a tensor belongs to the model."""
        return False

    def drew(self, draw: Draw, drawn: Drawn) -> None:
        """Take down what a draw was."""
        return

    def wrote(self, x: Any, exact: bool, constant: bool = False) -> None:
        """Take down another write, whether it does the same to the same values on all machines, and whether it needs none."""
        return

    def converted(self, x: Any, to: Any) -> None:
        """Take down that a tensor was converted or moved to another one."""
        return

    def made(self, x: Any) -> None:
        """Take down that there is a new tensor without values."""
        return


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


class Interception(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is active, the random operations of this thread draw gpuinit's values."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ledger = ledger
        self._plans = Plans()
        self._drawn: dict[int, Drawn] = {}  # by what was asked for, which is the same for layers that are alike
        self._views = ShardedViews()
        self._process = os.getpid()
        self._paused = False
        self._uniform: tuple[Draw, tuple[float, float]] | None = None  # the last draw if it was uniform, and its bounds

    def call(self, call: Call, x: Any) -> None:
        """Do an initializer's work in the place of a function of torch.nn.init."""
        self._check_process()
        self._paused = True
        try:
            self._draw(x, call)
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
        if operation.name in ("erfinv", "erfinv_") and not operation.written_keywords:
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
        out = keywords.pop("out", None)
        if out is None and (source := in_place(name, *arguments[1:], **keywords)):
            self._draw(arguments[0], source)
            return arguments[0]
        if make := NEW.get(name):
            new = make(*arguments, **keywords)
            if out is None or out.shape == new.tensor.shape:
                self._draw(new.tensor if out is None else out, new.source)
                return new.tensor if out is None else out
        raise RuntimeError(
            f"{function} draws random numbers in a way that gpuinit does not replace, in {self._ledger.place()}; use a function "
            "of torch.nn.init, a method such as Tensor.normal_, or torch.rand, randn, randint, randperm or multinomial"
        )

    def _draw(self, x: Any, source: Source) -> None:
        self._fill(self._ledger.next_draw(x, self._views.owner(x)), source)

    def _fill(self, draw: Draw, source: Source) -> None:
        to = draw.to
        if to.is_meta and draw.entry is None:  # nobody's memory
            return
        if self._views.is_copy(to):
            values = torch.empty(to.shape, dtype=to.dtype, device=torch_private.local_tensor(to).device)
            drawn = self._perform(source, values, draw.generator)
            self._views.write_back(to, values)
        else:
            drawn = self._perform(source, to, draw.generator)
        self._ledger.drew(draw, drawn)
        self._uniform = (draw, drawn.bounds) if drawn.bounds else None

    def _perform(self, source: Source, x: Any, generator: Generator) -> Drawn:
        if not isinstance(source, Call):
            return source(x, generator)
        asked = self._plans.perform(source, x, generator)
        drawn = self._drawn.get(id(asked))
        if drawn is None or asked is None or drawn.by is not source:
            bounds = (source.keywords.get("a", 0.0), source.keywords.get("b", 1.0)) if source.function is uniform_ else None
            drawn = self._drawn[id(asked)] = Drawn(source, asked, asked is None or asked.is_exact, bounds)
        return drawn

    def _erfinv(self, x: Any, to: Any) -> bool:
        """Fill a tensor with the inverse error function of another one, which may be itself; False if that was not just drawn
        from a uniform distribution on a part of [-1, 1]."""
        if self._uniform is None:
            return False
        draw, bounds = self._uniform
        if not x.dtype.is_floating_point:
            return False
        low, high = map(float, bounds)
        if _geometry(x) != _geometry(draw.to) or not -1 <= low < high <= 1 or high - low < LEAST_ERFINV:
            return False
        draw.generator.state = {**draw.generator.state, "position": 0}
        self._fill(draw._replace(to=to, entry=draw.entry if to is x else None), erfinv_of(low, high))
        return True

    def _other(self, function: Any, operation: _Operation, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Run an operation that draws nothing."""
        given = [x for x in (*arguments, *keywords.values()) if is_dtensor(x)]
        for x in given:
            self._views.refresh(x)
        if operation.name in ("copy_", "fill_") and is_dtensor(x := arguments[0]) and _is_plain_tensor(arguments[1]):
            self._views.copy(x, arguments[1])
            self._ledger.wrote(self._views.owner(x), exact=False)
            return x
        result = function(*arguments, **keywords)
        if given and operation.is_view:
            self._views.note(function, arguments, keywords, result)
        if operation.name == "_to_copy":
            self._ledger.converted(arguments[0], result)
        if operation.name in _WITHOUT_VALUES:
            self._ledger.made(result)
        written = [arguments[number] for number in operation.written if number < len(arguments)]
        written += [keywords[name] for name in operation.written_keywords if name in keywords]
        for x in written:
            for one in x if isinstance(x, (list, tuple)) else [x]:
                self._take_down(one, operation, arguments, keywords)
        return result

    def _take_down(self, x: Any, operation: _Operation, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if self._views.is_copy(x):
            self._views.write_back(x)
        if self._uniform and torch_private.storage(self._uniform[0].to) == torch_private.storage(x):
            self._uniform = None
        are_numbers = not keywords and not any(isinstance(other, torch.Tensor) for other in arguments[1:])
        owner = self._views.owner(x)
        constant = operation.name in _CONSTANT and are_numbers and owner is x
        self._ledger.wrote(owner, operation.name in _EXACT and are_numbers, constant)


def _is_plain_tensor(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and not is_dtensor(x)


def _geometry(x: Any) -> tuple[Any, ...]:
    """Return what says that two tensors are the same elements of the same memory."""
    return torch_private.storage(x), *torch_private.span(x), tuple(x.shape), x.stride()
