"""The parameters of a model: their names, arrays, and all that a rule may want to know of them."""

from __future__ import annotations

import functools
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gpuinit._contract.arguments import short_repr
from gpuinit._rules.aliasing import Memory, check_apart, memory_of


class Shapes(dict[str, tuple[int, ...]]):
    """The shapes of a model's parameters, by name."""

    @functools.cached_property
    def by_module(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Those of each module, by their names there; the module's own name ends in a dot, unless it is the model."""
        found: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
        for name, shape in self.items():
            module, dot, own = name.rpartition(".")
            found[module + dot][own] = shape
        return found


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
    shapes : Shapes
        A mapping of str to tuple of int: the shapes of all parameters of the model, by name.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    owners: tuple[Any, ...]
    shapes: Shapes

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
        return dict(self.shapes.by_module[self.name.removesuffix(self.own_name)])


class Leaf(NamedTuple):
    """An array of a model, its name, and the modules that it lies in."""

    name: str
    array: Any
    owners: tuple[Any, ...]


def find_parameters(model: Any) -> list[tuple[Param, Any]]:
    """Return each parameter of a model with its array, in the model's order; tied ones once, by their first name.

    Raises
    ------
    TypeError
        If `model` is neither a mapping or sequence nor has `named_parameters()`, or a key is no string or integer, or empty.
    ValueError
        If two parameters have the same name, but for Unicode's ways to write it, or share a part of their memory; if UTF-8 cannot
        encode a name, or `model` contains itself.
    """
    try:
        leaves = list(_leaves(model, "", ()))
    except RecursionError:
        raise ValueError("model must not contain itself; give one without the cycle") from None
    check_names([leaf.name for leaf in leaves])
    shapes = Shapes((leaf.name, tuple(leaf.array.shape)) for leaf in leaves)
    return [(_param(leaf, shapes), leaf.array) for leaf in _drop_ties(leaves)]


def check_names(names: Iterable[str]) -> None:
    """Refuse names that have no stream, or the same one: Unicode may write a name in several ways."""
    seen: set[str] = set()
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(f"model must have names that UTF-8 can encode, got {name!r}") from None
        normal = unicodedata.normalize("NFC", name)
        if normal in seen:
            raise ValueError(f"model must have parameter names that are unique, got {name!r} twice")
        seen.add(normal)


def _param(leaf: Leaf, shapes: Shapes) -> Param:
    dtype = leaf.array.dtype
    name = getattr(dtype, "name", str(dtype).removeprefix("torch."))  # without NumPy's byte order
    return Param(leaf.name, shapes[leaf.name], name, leaf.owners, shapes)


def _leaves(node: Any, name: str, owners: tuple[Any, ...]) -> Iterator[Leaf]:
    """The arrays below a node of the model, whose name is `name`; what is None has no parameter there."""
    if hasattr(node, "named_parameters") and not isinstance(node, type):
        # Tied weights by all their names: the bias beside a second one needs its shape.
        every = {"remove_duplicate": False} if hasattr(node, "named_modules") else {}
        modules = dict(node.named_modules(**every)) if every else {}
        for own, array in node.named_parameters(**every):
            yield from _leaves(array, _join(name, own), owners + _path(modules, own))
    elif isinstance(node, (Mapping, list, tuple)):
        for key, child in node.items() if isinstance(node, Mapping) else enumerate(node):
            if not isinstance(key, (str, int)) or key == "":
                raise TypeError(
                    f"model must have non-empty strings or integers as keys, got the key {short_repr(key)} in {name or 'model'}"
                )
            yield from _leaves(child, _join(name, str(key)), owners)
    elif hasattr(node, "shape") and hasattr(node, "dtype") and name:
        yield Leaf(name, node, owners)
    elif node is not None:
        raise TypeError(
            "model must be a mapping of names to arrays, perhaps nested, or have named_parameters() as a torch.nn.Module has, "
            f"got {short_repr(node)} of type {type(node).__name__}" + (f" for {name}" if name else "")
        )


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _path(modules: Mapping[str, Any], parameter: str) -> tuple[Any, ...]:
    """The modules that a parameter lies in, outermost first."""
    parts = parameter.split(".")[:-1]
    prefixes = [".".join(parts[:depth]) for depth in range(len(parts) + 1)]
    return tuple(modules[prefix] for prefix in prefixes if prefix in modules)


def _drop_ties(leaves: list[Leaf]) -> list[Leaf]:
    """Return the leaves without those whose memory is that of an earlier one."""
    kept: dict[Any, Leaf] = {}
    for leaf in leaves:
        kept.setdefault(memory_of(leaf.array) or id(leaf.array), leaf)
    check_apart([(memory, leaf.name) for memory, leaf in kept.items() if isinstance(memory, Memory)])
    return list(kept.values())
