"""The parameters of a model: their names, arrays, and all that a rule may want to know of them."""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from gpuinit._backends import torch_private
from gpuinit._contract.arguments import attribute, is_a, short_repr, type_name
from gpuinit._rules.aliasing import Memory, check_apart, memory_of
from gpuinit._rules.modules import held_by, join, without_wrappers
from gpuinit._rules.parametrized import Parametrized
from gpuinit._rules.ties import Ties, name_ties
from gpuinit._rules.unfit import Unfit, why_unfit


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


class Place(NamedTuple):
    """A name of a parameter, and the modules that it lies in by that name."""

    name: str
    owners: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Param:
    """What is known of a parameter but its values.

    Attributes
    ----------
    name : str
        Its name in the model, the parts joined by dots; of a tied parameter, the one whose rule matched.
    shape : tuple of int
        Of the whole, where the array is a part.
    dtype : str
        "float32", "bfloat16" ...
    owners : tuple of modules
        From the model itself to the module that holds the parameter; empty in a mapping.
    shapes : Shapes
        A mapping of str to tuple of int: the shapes of all parameters of the model, by name.
    names : tuple of str
        All names of a tied parameter, that of its stream first; of others, the one that they have.
    frozen : bool
        Whether it is a torch parameter with ``requires_grad=False``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    owners: tuple[Any, ...]
    shapes: Shapes
    places: tuple[Place, ...] = ()
    frozen: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(place.name for place in self.places) or (self.name,)

    @property
    def by_names(self) -> list[Param]:
        """The parameter as each of its names shows it; those that the model itself has come first."""
        known = sorted(self.places, key=lambda place: not place.owners)
        return [replace(self, name=place.name, owners=place.owners) for place in known] or [self]

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
    """An array of a model, or what stands for it, its name, and the modules that it lies in."""

    name: str
    array: Any
    owners: tuple[Any, ...]
    is_buffer: bool = False


def find_parameters(model: Any) -> list[tuple[Param, Any]]:
    """Return each parameter of a model, as `make_parameters` does; no buffer."""
    return make_parameters([leaf for leaf in find_leaves(model) if not leaf.is_buffer])


def find_leaves(model: Any, prefix: str = "") -> list[Leaf]:
    """Return the parameters and buffers of a model in its order, tied ones by each name; `prefix` is the model's own name.

    Raises
    ------
    TypeError
        If `model` is neither a mapping or sequence nor has `named_parameters()`, or a key is no string or integer, or empty.
    ValueError
        If `model` contains itself.
    """
    try:
        return list(_leaves(model, prefix, ()))
    except RecursionError:
        raise ValueError("model must not contain itself; give one without the cycle") from None


def make_parameters(leaves: list[Leaf], tied: Ties = MappingProxyType({})) -> list[tuple[Param, Any]]:
    """Return the leaves as parameters with their arrays, in the same order; tied ones once.

    In the place of an array may be a `Parametrized` weight, or an `Unfit` one, which can only be kept.

    Raises
    ------
    TypeError
        If a parameter has no shape yet.
    ValueError
        If two parameters have the same name, but for Unicode's ways to write it, or share a part of their memory; if UTF-8 cannot
        encode a name; if `tied` does not fit.
    """
    check_names([leaf.name for leaf in leaves])
    shapes = Shapes((leaf.name, _shape(leaf)) for leaf in leaves)
    groups = _group_ties(leaves, tied)
    if len(groups) == len(leaves) and not tied:
        return [(_param([leaf], [leaf.name], shapes), _fillable(leaf.array)) for leaf in leaves]
    named = name_ties([[leaf.name for leaf in group] for group in groups], tied)
    for group, names in zip(groups, named, strict=True):
        if len(names) > 1:
            shapes.update(dict.fromkeys(names, shapes[group[0].name]))
    return [(_param(group, names, shapes), _fillable(group[0].array)) for group, names in zip(groups, named, strict=True)]


def _fillable(array: Any) -> Any:
    """Return what initializers take: of a whole parameter under FSDP1, which they cannot tell from a part, its memory."""
    torch = sys.modules.get("torch")
    if torch is not None and is_a(array, torch.nn.Parameter) and torch_private.is_of_fsdp1(array):
        return array.detach()
    return array


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


def _shape(leaf: Leaf) -> tuple[int, ...]:
    try:
        return tuple(leaf.array.shape)
    except Exception as error:  # of an array's own attributes too
        raise TypeError(
            f"{leaf.name} must have a shape, got {short_repr(leaf.array)}; if it is a lazy parameter, run the module once, and "
            "then initialize it"
        ) from error


def _param(group: list[Leaf], names: list[str], shapes: Shapes) -> Param:
    first = group[0]
    dtype = first.array.dtype
    dtype_name = getattr(dtype, "name", str(dtype).removeprefix("torch."))  # without NumPy's byte order
    frozen = any(map(_is_frozen, group))
    if len(names) == 1:
        return Param(first.name, shapes[first.name], dtype_name, first.owners, shapes, (), frozen)
    owners = {leaf.name: leaf.owners for leaf in group}
    own = owners.get(names[0], first.owners)
    return Param(names[0], shapes[first.name], dtype_name, own, shapes, places_of(names, owners), frozen)


def places_of(names: Sequence[str], owners: Mapping[str, tuple[Any, ...]] = MappingProxyType({})) -> tuple[Place, ...]:
    """Return the places of a tied parameter, or none of one that has a single name."""
    return tuple(Place(name, owners.get(name, ())) for name in names) if len(names) > 1 else ()


def _is_frozen(leaf: Leaf) -> bool:
    """Whether a leaf is a torch parameter without a gradient; the tensors of a `state_dict` never have one, and are none."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    array = leaf.array.tensor if isinstance(leaf.array, Unfit) else leaf.array
    if isinstance(array, Parametrized):
        return any(not x.requires_grad for x in array.originals if is_a(x, torch.nn.Parameter))
    return is_a(array, torch.nn.Parameter) and not array.requires_grad


_DEEPEST = 200  # nesting of a model; Python's own limit may pass for an error of a node's


def _leaves(node: Any, name: str, owners: tuple[Any, ...], depth: int = 0) -> Iterator[Leaf]:
    """The arrays below a node of the model, whose name is `name`; what is None has no parameter there."""
    if depth > _DEEPEST:
        raise RecursionError
    if attribute(node, "named_parameters") is not None and not isinstance(node, type):
        if attribute(node, "named_modules") is not None:
            for held in held_by(node):
                yield Leaf(join(name, held.name), held.array, owners + held.owners, held.is_buffer)
        else:
            for own, array in node.named_parameters():
                yield from _leaves(array, join(name, own), owners, depth + 1)
    elif is_a(node, (Mapping, list, tuple)):
        for key, child in node.items() if is_a(node, Mapping) else enumerate(node):
            if not is_a(key, (str, int)) or key == "":
                raise TypeError(
                    f"model must have non-empty strings or integers as keys, got the key {short_repr(key)} in {name or 'model'}"
                )
            yield from _leaves(child, join(name, without_wrappers(str(key))), owners, depth + 1)
    elif name and attribute(node, "dtype") is not None and _has_shape(node):
        reason = why_unfit(node)
        yield Leaf(name, Unfit(node, reason) if reason else node, owners)
    elif node is not None:
        raise TypeError(
            "model must be a mapping of names to arrays, perhaps nested, or have named_parameters() as a torch.nn.Module has, "
            f"got {short_repr(node)} of type {type_name(node)}" + (f" for {name}" if name else "")
        )


def _has_shape(node: Any) -> bool:
    try:
        return hasattr(node, "shape")
    except RuntimeError:  # of a lazy parameter, whose name the error about it tells
        return True
    except Exception:  # of any other object's own
        return False


def _group_ties(leaves: list[Leaf], tied: Ties) -> list[list[Leaf]]:
    """Return the leaves in groups of those that have all their memory in common.

    Those without elements, as a process may have of a sharded parameter, have nothing to compare: `tied` counts for them.
    """
    identities = {leaf.name: _identity(leaf.array) for leaf in leaves}
    same: dict[Any, Any] = {}  # what is tied by one of its names is by all
    for names in tied.items():
        (key, memory), (other, of_other) = (identities.get(name, (name, [])) for name in names)
        if not memory and not of_other:
            same[key] = other
    groups: dict[Any, list[Leaf]] = {}
    memories: list[tuple[Memory, str]] = []
    for leaf in leaves:
        key, memory = identities[leaf.name]
        group = groups.setdefault(same.get(key, key) if same else key, [])
        if not group:
            memories += [(one, leaf.name) for one in memory]
        group.append(leaf)
    check_apart(memories)
    return list(groups.values())


def _identity(array: Any) -> tuple[Any, list[Memory]]:
    """Return what tied arrays have in common, and the memory that is written when one is filled."""
    if isinstance(array, Unfit):
        return id(array.tensor), []
    if isinstance(array, Parametrized):
        return id(array.parts), [memory for original in array.originals if (memory := memory_of(original))]
    memory = memory_of(array)
    return (memory, [memory]) if memory else (id(array), [])
