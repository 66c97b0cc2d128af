"""`Shard`: which part of a larger array an array is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from gpuinit._contract.arguments import integer, is_a, short_repr, type_name

# The reals of a complex array, too, then have numbers that fit a signed 64-bit integer: backends count in these.
MOST_ELEMENTS = 2**62


@dataclass(frozen=True)
class Shard:
    """A part of a larger array, cut along any of its axes: `index` of an array of shape `global_shape`.

    An initializer that is given `shard=` fills an array of the part's shape with exactly the elements that a fill of the whole
    would put there; the whole need not exist. Fans come from the global shape, and the generator moves on by the global size,
    so processes that each fill a shard of their own agree on all values and stay in step, also where a shard is empty.

    A shard takes memory and time in proportion to its own size; where few of its elements are neighbours in the whole, some
    20 ns each on the CPU (100 without compiled kernels). Only `orthogonal_` forms whole matrices first.

    Parameters
    ----------
    global_shape : tuple of int
        The shape of the whole, at most 2**62 elements.
    index : tuple of slice
        One slice an axis, of step 1, as `jax.make_array_from_callback` and Dask give them: 0 <= start <= stop <= length; None
        stands for the ends.

    Raises
    ------
    TypeError, ValueError
        If `global_shape` is no such shape, or `index` no such tuple.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> whole = gi.normal_(np.empty((6, 8)), generator=42)
    >>> shard = gi.Shard((6, 8), (slice(2, 4), slice(5, None)))
    >>> part = gi.normal_(np.empty(shard.shape), generator=42, shard=shard)
    >>> bool((part == whole[shard.index]).all())
    True
    """

    global_shape: tuple[int, ...]
    index: tuple[slice, ...]

    def __post_init__(self) -> None:
        shape = _shape(self.global_shape)
        if not is_a(self.index, (tuple, list)):
            raise TypeError(f"index must be a tuple of slices, got {short_repr(self.index)} of type {type_name(self.index)}")
        if len(self.index) != len(shape):
            raise ValueError(
                f"index must have one slice for each axis of global_shape={shape}, got index={short_repr(self.index)}"
            )
        index = tuple(_bounds(axis, part, length) for axis, (part, length) in enumerate(zip(self.index, shape)))
        object.__setattr__(self, "global_shape", shape)
        object.__setattr__(self, "index", index)

    def __hash__(self) -> int:
        return hash((self.global_shape, self.start, self.shape))  # slices have no hash before Python 3.12

    @property
    def shape(self) -> tuple[int, ...]:
        """The part's own shape."""
        return tuple(part.stop - part.start for part in self.index)

    @property
    def start(self) -> tuple[int, ...]:
        """The part's first element's index in the whole."""
        return tuple(part.start for part in self.index)


class Patches(NamedTuple):
    """Several shards of one whole, each a part of one array: what a process holds where a mesh's axes cut in turns."""

    global_shape: tuple[int, ...]
    shape: tuple[int, ...]
    parts: tuple[tuple[tuple[slice, ...], Shard], ...]  # where in the array, and the shard


def parts_of(array: Any, shard: Shard | Patches | None) -> list[tuple[Any, Shard | None]]:
    """Return the parts of an array that are one shard each, or the array itself if it is one or the whole."""
    if isinstance(shard, Patches):
        return [(array[index], part) for index, part in shard.parts]
    return [(array, shard)]


def _shape(given: Any) -> tuple[int, ...]:
    if not is_a(given, (tuple, list)):
        raise TypeError(f"global_shape must be a tuple of ints, got {short_repr(given)} of type {type_name(given)}")
    shape = tuple(integer(f"global_shape[{axis}]", length) for axis, length in enumerate(given))
    if math.prod(shape) > MOST_ELEMENTS:
        raise ValueError(f"global_shape must have at most 2**62 elements, got global_shape={shape}")
    return shape


def _bounds(axis: int, part: Any, length: int) -> slice:
    """`part` with ints for its ends, and no step."""
    name = f"index[{axis}]"
    if not is_a(part, slice):
        raise TypeError(
            f"{name} must be a slice, got {short_repr(part)} of type {type_name(part)}; slice(i, i + 1) is one element"
        )
    if part.step is not None and integer(f"{name}.step", part.step) != 1:
        raise ValueError(
            f"{name} must have step 1, got {short_repr(part)}; fill the parts of a strided index from a shard that spans them"
        )
    start = 0 if part.start is None else integer(f"{name}.start", part.start)
    stop = length if part.stop is None else integer(f"{name}.stop", part.stop)
    if not start <= stop <= length:
        raise ValueError(f"{name} must have 0 <= start <= stop <= {length}, the axis's length in global_shape, got {part}")
    return slice(start, stop)
