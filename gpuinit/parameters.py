"""The parameters of a model: their names, arrays, and all that a rule may want to know of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gpuinit.arguments import shown
from gpuinit.backends.views import view_of


@dataclass(frozen=True)
class Param:
    """What is known of a parameter but its values.

    Attributes
    ----------
    name : str
        Its name in the model, the parts joined by dots.
    shape : tuple of int
        Of the whole, where the array is a part.
    dtype : str
        "float32", "bfloat16" ...
    owners : tuple of modules
        From the model itself to the module that holds the parameter; empty in a mapping.
    shapes : mapping of str to tuple of int
        The shapes of all parameters of the model, by name.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    owners: tuple[Any, ...]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def own_name(self) -> str:
        """The name within its module: what follows the last dot."""
        return self.name.rpartition(".")[2]

    @property
    def owner(self) -> Any:
        """The module that holds the parameter; None in a mapping."""
        return self.owners[-1] if self.owners else None

    @property
    def siblings(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters of the same module, itself among them, by their names there."""
        prefix = self.name.removesuffix(self.own_name)
        return {
            name.removeprefix(prefix): shape
            for name, shape in self.shapes.items()
            if name.startswith(prefix) and "." not in name.removeprefix(prefix)
        }


class Leaf(NamedTuple):
    """An array of a model, its name, and the modules that it lies in."""

    name: str
    array: Any
    owners: tuple[Any, ...]


def parameters(model: Any) -> list[tuple[Param, Any]]:
    """Each parameter of a model with its array, in the model's order; tied ones once, by their first name.

    Raises
    ------
    TypeError
        If `model` is neither a mapping or sequence nor has `named_parameters()`, or a key is no string or integer.
    ValueError
        If two parameters have the same name, or share a part of their memory.
    """
    leaves = list(_leaves(model, "", ()))
    names: set[str] = set()
    for leaf in leaves:
        if leaf.name in names:
            raise ValueError(f"model must have one parameter of a name, got two of the name {leaf.name!r}")
        names.add(leaf.name)
    shapes = {leaf.name: tuple(leaf.array.shape) for leaf in leaves}
    return [(_param(leaf, shapes), leaf.array) for leaf in _untied(leaves)]


def _param(leaf: Leaf, shapes: Mapping[str, tuple[int, ...]]) -> Param:
    return Param(leaf.name, shapes[leaf.name], str(leaf.array.dtype).removeprefix("torch."), leaf.owners, shapes)


def _leaves(node: Any, name: str, owners: tuple[Any, ...]) -> Iterator[Leaf]:
    """The arrays below a node of the model, whose name is `name`; what is None has no parameter there."""
    if hasattr(node, "named_parameters"):
        modules = dict(node.named_modules()) if hasattr(node, "named_modules") else {}
        for own, array in node.named_parameters():
            yield Leaf(_joined(name, own), array, owners + _path(modules, own))
    elif isinstance(node, (Mapping, list, tuple)):
        for key, child in node.items() if isinstance(node, Mapping) else enumerate(node):
            if not isinstance(key, (str, int)):
                raise TypeError(f"model must have strings or integers as keys, got the key {shown(key)} in {name or 'model'}")
            yield from _leaves(child, _joined(name, str(key)), owners)
    elif hasattr(node, "shape") and hasattr(node, "dtype") and name:
        yield Leaf(name, node, owners)
    elif node is not None:
        raise TypeError(
            "model must be a mapping of names to arrays, perhaps nested, or have named_parameters() as a torch.nn.Module has, "
            f"got {shown(node)} of type {type(node).__name__}" + (f" for {name}" if name else "")
        )


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _path(modules: Mapping[str, Any], parameter: str) -> tuple[Any, ...]:
    """The modules that a parameter lies in, outermost first."""
    parts = parameter.split(".")[:-1]
    prefixes = [".".join(parts[:depth]) for depth in range(len(parts) + 1)]
    return tuple(modules[prefix] for prefix in prefixes if prefix in modules)


def _untied(leaves: list[Leaf]) -> list[Leaf]:
    """The leaves without those whose memory is that of an earlier one."""
    kept: list[Leaf] = []
    spans: list[tuple[str, int, int, str]] = []
    seen: set[Any] = set()
    for leaf in leaves:
        place, span = _memory(leaf.array)
        if place not in seen:
            seen.add(place)
            kept.append(leaf)
            if span:
                spans.append((*span, leaf.name))
    spans.sort()
    for (device, _, end, first), (next_device, start, _, second) in itertools.pairwise(spans):
        if device == next_device and start < end:
            raise ValueError(
                f"model must have parameters that lie apart or are the same, got {first} and {second}, which overlap"
            )
    return kept


def _memory(x: Any) -> tuple[Any, tuple[str, int, int] | None]:
    """What is the same for arrays on the same memory alone; and the bytes they take there, of contiguous ones."""
    try:
        array = view_of(x).array
    except (TypeError, RuntimeError):  # one that cannot be filled; that is an error only if a rule fills it
        return id(x), None
    if not array.size:
        return id(x), None
    device = str(getattr(array, "device", "cpu"))
    start = array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr
    place = device, start, array.shape, array.strides, str(array.dtype)
    return place, (device, start, start + array.nbytes) if array.flags.c_contiguous else None
