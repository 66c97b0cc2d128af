"""What a module of torch holds: its parameters and buffers, by names on which wrappers have no influence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from gpuinit._rules.parametrized import Parametrized
from gpuinit._rules.unfit import Unfit, why_unfit

# What wrappers call the module inside them: torch.compile, activation checkpointing and offloading, FSDP1.
_INNER = frozenset({"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"})
# Wrappers that call it `module`, as other modules may call any part of theirs.
_WITH_MODULE = frozenset({"DistributedDataParallel", "DataParallel", "AveragedModel"})


class Held(NamedTuple):
    """A parameter or buffer, its name in the module that was asked, and the modules that it lies in, wrappers left out."""

    name: str
    array: Any
    owners: tuple[Any, ...]
    is_buffer: bool

    @property
    def tensor(self) -> Any:
        """The tensor itself, also where it cannot be filled."""
        return self.array.tensor if isinstance(self.array, Unfit) else self.array


def join(prefix: str, name: str) -> str:
    """Return a name within another; either may be empty."""
    return f"{prefix}.{name}" if prefix and name else prefix or name


def without_wrappers(name: str) -> str:
    """Return a name without the parts that only wrappers give."""
    if "_wrapped_module" not in name and "_orig_mod" not in name:
        return name
    return ".".join(part for part in name.split(".") if part not in _INNER)


def held_by(root: Any, computed: bool = True) -> Iterator[Held]:
    """Return all parameters and buffers of a module; tied ones by all their names.

    A weight that a parametrization computes is one of them, unless `computed` is False: then what it is computed from is.
    """
    for place, owner in _places(root):
        module = place.module
        if computed and owner:
            own = place.name.rpartition(".")[2]
            yield owner.hold(own, Parametrized.of(module), not list(module.parameters(recurse=False)))
            continue
        for name, tensor in module.named_parameters(recurse=False, remove_duplicate=False):
            yield place.hold(name, tensor, is_buffer=False)
        for name, tensor in module.named_buffers(recurse=False, remove_duplicate=False):
            yield place.hold(name, tensor, is_buffer=True)


def named_modules(root: Any) -> Iterator[tuple[str, Any]]:
    """Return all modules within a module, itself first, by all their names."""
    for place, _ in _places(root):
        yield place.name, place.module


def _places(root: Any) -> Iterator[tuple[_Place, _Place | None]]:
    """Return the place of each module; for that of a parametrization, the module whose weight it computes too."""
    known: dict[str, _Place] = {}
    for path, module in root.named_modules(remove_duplicate=False):
        parent, _, own = path.rpartition(".")
        known[path] = place = known[parent].of_child(module, own) if path else _Place("", (), module)
        yield place, known[parent.rpartition(".")[0]] if _is_a(module, "ParametrizationList") else None


class _Place(NamedTuple):
    """A module, its name, the modules that it lies in, and the nearest FSDP1 wrapper among those."""

    name: str
    above: tuple[Any, ...]
    module: Any
    fsdp: Any = None

    def of_child(self, child: Any, own: str) -> _Place:
        fsdp = self.module if _is_a(self.module, "FullyShardedDataParallel") else self.fsdp
        if own in _INNER or (own == "module" and any(_is_a(self.module, name) for name in _WITH_MODULE)):
            return _Place(self.name, self.above, child, fsdp)
        return _Place(join(self.name, own), (*self.above, self.module), child, fsdp)

    def hold(self, own: str, tensor: Any, is_buffer: bool) -> Held:
        reason = why_unfit(tensor, own, self.module, self.fsdp)
        array = Unfit(tensor, reason) if reason else tensor
        return Held(join(self.name, own), array, (*self.above, self.module), is_buffer)


def _is_a(module: Any, name: str) -> bool:
    return any(cls.__name__ == name for cls in type(module).__mro__)
