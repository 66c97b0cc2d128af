"""What the axes of a weight are for: inputs, outputs, stacks and parts. Fans and orthogonality go by them.

Without keywords they are torch's, (out, in, *kernel), and the weight is one matrix.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np

from gpuinit._backends.operations import Matrices
from gpuinit._contract.arguments import attribute, integer, is_a, is_integer, positive, short_repr, type_name


class AxisKeywords(TypedDict, total=False):
    """The keywords by which an initializer is told of a weight's axes."""

    in_axis: int | Sequence[int]
    out_axis: int | Sequence[int]
    batch_axis: int | Sequence[int]
    groups: int
    parts: int | Sequence[int]
    parts_axis: int | None


class FanKeywords(AxisKeywords, total=False):
    """The same, and fans that are given by number."""

    fan_in: float | None
    fan_out: float | None


AXES = ("in_axis", "out_axis", "batch_axis")
_DEFAULTS: dict[str, Any] = {"in_axis": 1, "out_axis": 0, "batch_axis": (), "groups": 1, "parts": 1, "parts_axis": None}
_FANS = ("fan_in", "fan_out")
_MOST_PARTS = 10**6  # whose lengths are listed
_OF_FANS: dict[str, Any] = {**_DEFAULTS, **dict.fromkeys(_FANS)}


def parameters_of(annotation: str) -> list[inspect.Parameter]:
    """Return the parameters that `**axes: Unpack[...]` stands for in a signature."""
    hints = FanKeywords.__annotations__
    defaults = _OF_FANS if "FanKeywords" in annotation else _DEFAULTS
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(name, kind, default=value, annotation=hints[name].__forward_arg__) for name, value in defaults.items()
    ]


class Layout(NamedTuple):
    """A weight's axes, and the lengths of its parts along one of them; no lengths if the weight is one part."""

    shape: tuple[int, ...]
    in_axes: tuple[int, ...] = (1,)
    out_axes: tuple[int, ...] = (0,)
    batch_axes: tuple[int, ...] = ()
    parts_axis: int = 0
    lengths: tuple[int, ...] = ()
    fan_in: float | None = None
    fan_out: float | None = None

    def fans(self) -> dict[int, tuple[float, float]]:
        """Return fan_in and fan_out of the parts by their lengths; those of an uncut weight by that of `parts_axis`."""
        whole = self.shape[self.parts_axis] if self.shape else 1
        return {length: self._fans_of(length) for length in dict.fromkeys(self.lengths or [whole])}

    def _fans_of(self, length: int) -> tuple[float, float]:
        shape = (*self.shape[: self.parts_axis], length, *self.shape[self.parts_axis + 1 :])
        others = {*range(len(shape))} - {*self.in_axes, *self.out_axes, *self.batch_axes}
        field = math.prod(shape[axis] for axis in others)
        inputs, outputs = (math.prod(shape[axis] for axis in axes) for axes in (self.in_axes, self.out_axes))
        return (
            inputs * field if self.fan_in is None else self.fan_in,
            outputs * field if self.fan_out is None else self.fan_out,
        )

    @property
    def matrices(self) -> Matrices:
        """The matrices that the weight is made of."""
        order = (*self.out_axes, *(axis for axis in range(len(self.shape)) if axis not in self.out_axes))
        place = tuple(slice(0, length) for length in self.shape)
        return Matrices(place, order, len(self.out_axes), self.batch_axes, self.parts_axis, self.lengths)


def read_layout(shape: tuple[int, ...], given: Mapping[str, Any], known: Mapping[str, Any] = _DEFAULTS) -> Layout:
    """Return the layout of a weight by the keywords that an initializer was given.

    Raises
    ------
    TypeError, ValueError
        If they do not fit the shape or each other.
    """
    for name in given:
        if name not in known:
            raise TypeError(f"got an unexpected keyword argument {name!r}")
    if not shape or (len(shape) < 2 and not _tells_of_axes(given)):
        raise ValueError(
            f"fan_in and fan_out need at least 2 axes (out, in, ...), got shape {shape}; for a bias use uniform_ or zeros_"
        )
    axes = {name: _axes(name, given.get(name, known[name]), shape) for name in AXES}
    _check_apart(axes, shape)
    layout = Layout(shape, axes["in_axis"], axes["out_axis"], axes["batch_axis"])
    groups, parts = integer("groups", given.get("groups", 1), least=1), given.get("parts", 1)
    if groups > 1:
        if not (is_integer(parts) and parts == 1) or given.get("parts_axis") is not None:
            raise ValueError(
                f"groups must be given without parts and parts_axis, got groups={groups}, parts={short_repr(parts)} and "
                f"parts_axis={short_repr(given.get('parts_axis'))}; give parts and parts_axis alone"
            )
        layout = _with_groups(layout, groups)
    else:
        layout = _with_parts(layout, parts, given.get("parts_axis"))
    fan_in, fan_out = (None if given.get(name) is None else positive(name, given[name], np.dtype(float)) for name in _FANS)
    return layout._replace(fan_in=fan_in, fan_out=fan_out)


def read_fans(shape: tuple[int, ...], given: FanKeywords) -> Layout:
    """Return the same where fans may be given by number."""
    return read_layout(shape, given, _OF_FANS)


def _tells_of_axes(given: Mapping[str, Any]) -> bool:
    """Check for axes other than those by default."""
    return any(name in given and not (is_integer(given[name]) and given[name] == _DEFAULTS[name]) for name in AXES[:2])


def _axes(name: str, given: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    numbers = [given] if is_integer(given) else given
    if not is_a(numbers, (tuple, list)) or not all(map(is_integer, numbers)):
        raise TypeError(f"{name} must be an int or a tuple of ints, got {short_repr(given)} of type {type_name(given)}")
    found = []
    for number in map(int, numbers):
        if not -len(shape) <= number < len(shape):
            raise ValueError(f"{name} must be an axis of shape {shape}, got {name}={short_repr(given)}")
        found.append(number % len(shape))
    return tuple(found)


def single_axis(name: str, given: Any, shape: tuple[int, ...]) -> int:
    """Return the number, from 0 on, of one axis of a shape."""
    (axis,) = _axes(name, integer(name, given, least=-(2**31)), shape)
    return axis


def _check_apart(axes: dict[str, tuple[int, ...]], shape: tuple[int, ...]) -> None:
    taken = [axis for own in axes.values() for axis in own]
    if len({*taken}) < len(taken):
        listed = ", ".join(f"{name}={own if len(own) != 1 else own[0]}" for name, own in axes.items() if own)
        raise ValueError(f"in_axis, out_axis and batch_axis must be different axes of shape {shape}, got {listed}; give each")


def _with_groups(layout: Layout, groups: int) -> Layout:
    """Return the layout of a grouped convolution: the axis that has all groups is torch's first, or else that of the outputs."""
    if len(layout.shape) < 3:
        raise ValueError(f"groups must be those of a convolution, of 3 axes or more, got shape {layout.shape}; use parts")
    first = 0 in (*layout.in_axes, *layout.out_axes)
    if not first and (0 in layout.batch_axes or len(layout.out_axes) != 1):
        raise ValueError(
            f"groups must lie along axis 0 or a single out_axis, got out_axis={layout.out_axes} and "
            f"batch_axis={layout.batch_axes}; give parts={groups} and parts_axis"
        )
    return _with_parts(layout, groups, 0 if first else None, "groups")


def _with_parts(layout: Layout, parts: Any, given_axis: Any, name: str = "parts") -> Layout:
    if is_integer(parts) and int(parts) == 1 and given_axis is None:
        return layout
    if given_axis is None and len(layout.out_axes) != 1:
        raise ValueError(f"parts_axis must be given where out_axis is not a single axis, got out_axis={layout.out_axes}")
    axis = layout.out_axes[0] if given_axis is None else single_axis("parts_axis", given_axis, layout.shape)
    length = layout.shape[axis]
    if axis in layout.batch_axes:
        raise ValueError(f"parts_axis must not be one of batch_axis={layout.batch_axes}, got parts_axis={axis}")
    if is_integer(parts):
        count = integer(name, parts, least=1)
        if count > _MOST_PARTS:
            raise ValueError(f"{name} must be at most {_MOST_PARTS:,}, got {name}={count}; a batch axis has no such limit")
        if length % count:
            raise ValueError(f"{name} must divide the length of axis {axis}, got {name}={count} and shape {layout.shape}")
        return layout._replace(parts_axis=axis, lengths=(length // count,) * count if length else ())
    if not is_a(parts, (tuple, list)):
        raise TypeError(f"parts must be an int, or a tuple of their lengths, got {short_repr(parts)} of type {type_name(parts)}")
    lengths = [integer(f"parts[{number}]", own) for number, own in enumerate(parts)]
    if sum(lengths) != length:
        raise ValueError(
            f"parts must have lengths that add up to that of axis {axis}, got parts={short_repr(parts)} and shape {layout.shape}"
        )
    return layout._replace(parts_axis=axis, lengths=tuple(own for own in lengths if own))  # those without elements do not count


def fans(x: Any, **axes: Unpack[AxisKeywords]) -> tuple[int, int]:
    """The numbers of inputs and outputs of a weight that initializers are scaled by.

    Parameters
    ----------
    x : array, or tuple of int
        A weight of at least 2 axes (out, in, ...), or its shape.
    **axes
        `in_axis`, `out_axis`, `batch_axis`, `groups`, `parts` and `parts_axis`, as for `xavier_uniform_`; parts must be equal.

    Returns
    -------
    tuple of (int, int)
        fan_in and fan_out.

    Raises
    ------
    TypeError, ValueError
        If `x` has no shape, or fewer than 2 axes, or the axes do not fit it.

    Examples
    --------
    >>> import gpuinit as gi
    >>> gi.fans((64, 3, 7, 7))
    (147, 3136)
    >>> gi.fans((3, 3, 16, 32), in_axis=-2, out_axis=-1)
    (144, 288)
    """
    shape = attribute(x, "shape", x)
    if not is_a(shape, (tuple, list)) or not all(map(is_integer, shape)):
        raise TypeError(f"x must be an array or a shape, got {short_repr(x)} of type {type_name(x)}")
    lengths = tuple(integer(f"x.shape[{axis}]", length) for axis, length in enumerate(shape))
    found = read_layout(lengths, axes).fans()
    if len({*found.values()}) > 1:
        raise ValueError(f"parts must be alike for one pair of fans, got {short_repr(found)}; give the shape of one part")
    fan_in, fan_out = next(iter(found.values()))
    return int(fan_in), int(fan_out)
