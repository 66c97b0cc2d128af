"""What a module of torch holds: its parameters and buffers, by names on which wrappers have no influence."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

from gpuinit._backends import torch_private
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


def join(prefix: str, name: str) -> str:
    """Return a name within another; either may be empty."""
    return f"{prefix}.{name}" if prefix and name else prefix or name


def without_wrappers(name: str) -> str:
    """Return a name without the parts that only wrappers give."""
    if "_wrapped_module" not in name and "_orig_mod" not in name:
        return name
    return ".".join(part for part in name.split(".") if part not in _INNER)


def held_by(root: Any) -> Iterator[Held]:
    """Return all parameters and buffers of a module as rules are for them; tied ones by all their names.

    In the place of what a parametrization computes a weight from is that weight; in that of what cannot be filled, the reason.
    """
    for place, computes in _places(root):
        if computes:
            array = Parametrized.of(place.module)
            yield Held(join(computes.name, place.own_name), array, computes.owners, not array.originals)
            continue
        for own, tensor, is_buffer in _tensors_of(place.module):
            reason = why_unfit(tensor, own, place.module, place.fsdp)
            yield Held(join(place.name, own), Unfit(tensor, reason) if reason else tensor, place.owners, is_buffer)


def walk(root: Any) -> Iterator[tuple[str, Any, list[Held]]]:
    """Yield all modules within a module, itself first, each by all its names, with its own parameters and buffers as they are."""
    for place, _ in _places(root):
        name, owners = place.name, place.owners
        tensors = [Held(join(name, own), tensor, owners, is_buffer) for own, tensor, is_buffer in _tensors_of(place.module)]
        yield name, place.module, tensors


def tensor_numbers(root: Any) -> list[int]:
    """Return the identities of all parameters and buffers within a module, in its order."""
    found: list[int] = []
    for module in root.modules():
        for own in (torch_private.own_parameters(module), torch_private.own_buffers(module)):
            found += [id(tensor) for _, tensor in own if tensor is not None]
    return found


def _places(root: Any) -> Iterator[tuple[_Place, _Place | None]]:
    """Return the place of each module; for that of a parametrization, the module whose weight it computes too."""
    known: dict[str, _Place] = {}
    for path, module in root.named_modules(remove_duplicate=False):
        parent, _, own = path.rpartition(".")
        known[path] = place = known[parent].of_child(module, own) if path else _Place("", (module,), module)
        yield place, known[parent.rpartition(".")[0]] if "ParametrizationList" in class_names(module.__class__) else None


def _tensors_of(module: Any) -> Iterator[tuple[str, Any, bool]]:
    """Return the name, the tensor, and whether it is a buffer, of all that a module itself has."""
    for name, tensor in torch_private.own_parameters(module):
        if tensor is not None:
            yield name, tensor, False
    for name, tensor in torch_private.own_buffers(module):
        if tensor is not None:
            yield name, tensor, True


class _Place(NamedTuple):
    """A module, its name, the modules from the root to it, and the nearest FSDP1 wrapper around it."""

    name: str
    owners: tuple[Any, ...]
    module: Any
    fsdp: Any = None

    @property
    def own_name(self) -> str:
        return self.name.rpartition(".")[2]

    def of_child(self, child: Any, own: str) -> _Place:
        names = class_names(self.module.__class__)
        fsdp = self.module if "FullyShardedDataParallel" in names else self.fsdp
        if own in _INNER or (own == "module" and names & _WITH_MODULE):
            return _Place(self.name, (*self.owners[:-1], child), child, fsdp)
        return _Place(join(self.name, own), (*self.owners, child), child, fsdp)


@functools.cache
def class_names(kind: Any) -> frozenset[str]:
    """Return the names of a class and of those that it is made of."""
    return frozenset(cls.__name__ for cls in kind.__mro__)
