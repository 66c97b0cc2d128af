"""Lazy Dask arrays with the values of gpuinit's fills: those of the whole array, whatever its chunks.

Each function is the initializer of its name, which has an underscore there, with a shape in the place of the array:

>>> import gpuinit.dask
>>> w = gpuinit.dask.kaiming_normal((6, 4), nonlinearity="relu", seed=42, chunks=(4, 2))
>>> import gpuinit as gi, numpy as np
>>> bool((w.compute() == gi.kaiming_normal_(np.empty((6, 4), np.float32), nonlinearity="relu", generator=42)).all())
True

`orthogonal` has values of its own, so that no process needs the whole matrix.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gpuinit._backends.operations import Matrix
from gpuinit._contract.arguments import attribute, integer, is_a, is_integer, short_repr, type_name, unwrap
from gpuinit._contract.digests import CONTRACT_VERSION
from gpuinit._contract.dtypes import EIGHT_BITS, as_dtype, highest, working
from gpuinit._contract.generator import Generator, default_generator
from gpuinit._contract.shards import MOST_ELEMENTS, Shard
from gpuinit._initializers import basic, scaled, structured
from gpuinit._initializers.axes import read_layout

try:
    import dask.array as da
    from dask.array.backends import array_creation_dispatch
    from dask.base import tokenize
except ImportError as error:
    raise ImportError(f"gpuinit.dask needs Dask: install gpuinit[dask] ({error})") from error

__all__ = [
    "constant",
    "delta_orthogonal",
    "dirac",
    "embedding",
    "eye",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "sparse",
    "trunc_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

_DOC = """A Dask array of the values of `gpuinit.{name}`{but}.

Parameters
----------
shape : int or tuple of int
    Of the whole.
{own}chunks : whatever Dask takes
    Of no influence on the values.
dtype : dtype
    One that `gpuinit.{name}` fills.
like : numpy.ndarray, cupy.ndarray or a Dask array of such chunks, optional
    What the chunks shall be; by default, what Dask's configuration `array.backend` says.

Returns
-------
dask.array.Array

Raises
------
TypeError, ValueError
    Those of `gpuinit.{name}`, in which x is the array to be made; or if `shape`, `chunks` or `like` do not fit. All at the
    call, none when the array is computed.
"""
_SEED = """seed : int, Generator or None
    The source of random bits; None means `gpuinit.default_generator`. A generator moves on at the call as by a fill of the whole;
    the array keeps its values however often and in what order its chunks are computed.
"""


@dataclass(frozen=True)
class _Fill:
    """A fill of a whole that need not exist. Dask calls it with the place of a chunk, and gets the chunk."""

    initializer: Callable[..., Any]
    parameters: dict[str, Any]
    generator: Generator | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    backend: str

    def __call__(self, *, block_info: Any) -> Any:
        shard = Shard(self.shape, tuple(slice(*ends) for ends in block_info[None]["array-location"]))
        x = self.empty(shard.shape)
        if x.size:
            self.write(x, shard, copy.copy(self.generator))
        return x

    def write(self, x: Any, shard: Shard, generator: Generator | None) -> None:
        source = {} if generator is None else {"generator": generator}
        self.initializer(x, **self.parameters, **source, shard=shard)

    def start(self, generator: Generator | None) -> _Fill:
        """Check the arguments, and return the same fill from blocks that `generator` gives to it alone."""
        nothing = Shard(self.shape, (slice(0, 0),) * len(self.shape))
        begin = copy.copy(generator)
        end = copy.copy(begin)
        self.write(np.empty(nothing.shape, self.dtype), nothing, end)
        for name, value in self.parameters.items():
            _check_repr(name, value)
        if generator and begin and end:
            begin.state |= {"position": generator.reserve(end.position - begin.position).block}
        return replace(self, generator=begin)

    def empty(self, shape: tuple[int, ...]) -> Any:
        return importlib.import_module(self.backend).empty(shape, self.dtype)

    @property
    def name(self) -> str:
        return self.initializer.__name__.removesuffix("_")

    def __dask_tokenize__(self) -> Any:
        stream = self.generator and self.generator.reserve(0)  # of a generator's state, what values depend on
        return CONTRACT_VERSION, self.name, self.parameters, stream, self.shape, self.dtype.name, self.backend


def _check_repr(name: str, value: Any) -> None:
    """Refuse a value whose `repr` raises, which the array's name is made from when a generator has moved."""
    try:
        repr(value)
    except Exception as error:
        raise TypeError(f"{name} must have a repr, got {short_repr(value)}: {error}") from error


def _array(fill: _Fill, chunks: tuple[tuple[int, ...], ...]) -> Any:
    name = f"gpuinit-{fill.name}-{tokenize(fill, chunks)}"
    return da.map_blocks(fill, name=name, chunks=chunks, dtype=fill.dtype, meta=fill.empty((0,) * len(fill.shape)))


def _orthogonal(fill: _Fill, chunks: tuple[tuple[int, ...], ...]) -> Any:
    """Each matrix from words of its own, one after the other."""
    if not math.prod(fill.shape):
        return _array(fill, chunks)
    layout = read_layout(fill.shape, {name: value for name, value in fill.parameters.items() if name != "gain"})
    matrices = list(layout.matrices.within(layout.matrices.place))
    if len(matrices) == 1 and matrices[0].order == tuple(range(len(fill.shape))) and matrices[0].row_axes == 1:
        kernel = math.prod(fill.shape[2:])
        tall = fill.shape[0] >= fill.shape[1] * kernel
        heights = [chunks[0] if tall else tuple(kernel * length for length in chunks[1])]
    else:
        heights = [_heights(matrix, fill.dtype) for matrix in matrices]
    lengths = [length * matrix.short_side for matrix, own in zip(matrices, heights) for length in own]
    drawn = np.result_type(working(fill.dtype), np.complex64) if fill.dtype.kind == "c" else working(fill.dtype)
    words = replace(fill, initializer=basic.normal_, parameters={}, shape=(sum(lengths),), dtype=drawn)
    normals = _array(words, (tuple(lengths),))
    found = {
        tuple(part.start for part in matrix.place): _matrix(
            normals[matrix.first : matrix.first + math.prod(matrix.shape)], matrix, own, fill
        )
        for matrix, own in zip(matrices, heights)
    }
    return _joined(found).astype(fill.dtype).rechunk(chunks)  # in its byte order, which is lost where arrays are joined


def _heights(matrix: Matrix, dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Return lengths of chunks along the longer side."""
    width = matrix.short_side
    heights: tuple[int, ...] = da.core.normalize_chunks(("auto", -1), (math.prod(matrix.shape) // width, width), dtype=dtype)[0]
    return heights


def _matrix(normals: Any, matrix: Matrix, heights: tuple[int, ...], fill: _Fill) -> Any:
    """By the QR factorisation of a tall matrix of normals, cut along its longer axis, R's diagonal being made positive."""
    width = matrix.short_side
    tall = normals.map_blocks(
        _as_rows, width, new_axis=1, chunks=(heights, (width,)), dtype=normals.dtype, meta=normals._meta.reshape(0, 0)
    )
    # In double precision: the chunks decide in what order sums are rounded, and a square Q may show a thousandfold of that
    q, r = da.linalg.qr(tall.astype(np.result_type(normals.dtype, np.float64)))
    diagonal = da.diagonal(r)
    q = q * (diagonal / abs(diagonal) * float(fill.parameters["gain"]))
    if (end := highest(fill.dtype)) < math.inf:
        q = q.clip(-end, end)
    q = q.astype(fill.dtype)
    rows = math.prod(matrix.shape[axis] for axis in matrix.order[: matrix.row_axes])
    q = q if rows >= math.prod(matrix.shape) // rows else q.T
    return q.reshape(tuple(matrix.shape[axis] for axis in matrix.order)).transpose(
        *map(matrix.order.index, range(len(matrix.order)))
    )


def _as_rows(normals: Any, width: int) -> Any:
    return normals.reshape(-1, width)


def _joined(found: dict[tuple[int, ...], Any]) -> Any:
    """Return the array of arrays that begin at these places."""
    for axis in reversed(range(len(next(iter(found))))):
        rows: dict[tuple[int, ...], list[Any]] = {}
        for place in sorted(found):
            rows.setdefault((*place[:axis], 0, *place[axis + 1 :]), []).append(found[place])
        found = {place: parts[0] if len(parts) == 1 else da.concatenate(parts, axis) for place, parts in rows.items()}
    (whole,) = found.values()
    return whole


def _lazy(initializer: Callable[..., Any], make: Callable[..., Any] = _array, but: str = "") -> Callable[..., Any]:
    """The function that makes Dask arrays of an initializer's values: it has a shape in the place of the array."""
    own = dict(inspect.signature(initializer).parameters)
    random = own.pop("generator", None) is not None
    del own["x"], own["shard"]
    options: dict[str, Any] = {"seed": None} if random else {}
    options |= {"chunks": "auto", "dtype": "float32", "like": None}
    keywords = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value) for name, value in options.items()]
    signature = inspect.Signature([inspect.Parameter("shape", inspect.Parameter.POSITIONAL_OR_KEYWORD), *own.values(), *keywords])

    def function(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        shape, kind = _lengths(given["shape"]), _dtype(given["dtype"])
        chunks = _chunks(given["chunks"], shape, kind)
        parameters = {name: _constant(unwrap(given[name])) for name in own}
        fill = _Fill(initializer, parameters, None, shape, kind, _backend(given["like"], kind))
        return make(fill.start(_generator(given["seed"]) if random else None), chunks)

    function.__name__ = function.__qualname__ = initializer.__name__.removesuffix("_")
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__doc__ = _documentation(initializer.__name__, own, random, but)
    return function


def _constant(value: Any) -> Any:
    """Return a list as a tuple, which nobody changes before the array is computed."""
    return tuple(value) if is_a(value, list) else value


def _documentation(name: str, own: Collection[str], random: bool, but: str) -> str:
    """The docstring of the function of an initializer that has parameters of its `own`."""
    names = f"{', '.join(own)}\n    Those of `gpuinit.{name}`.\n" if own else ""
    return _DOC.format(name=name, but=but, own=names + _SEED * random)


def _dtype(given: Any) -> np.dtype[Any]:
    try:
        return as_dtype(given)
    except Exception as error:  # of an object's own attributes too
        raise TypeError(f"dtype must be one that NumPy knows, got {short_repr(given)}: {error}") from error


def _lengths(shape: Any) -> tuple[int, ...]:
    lengths = (shape,) if is_integer(shape) else shape
    if not is_a(lengths, (tuple, list)):
        raise TypeError(f"shape must be an int or a tuple of ints, got {short_repr(shape)} of type {type_name(shape)}")
    lengths = tuple(integer(f"shape[{axis}]", length) for axis, length in enumerate(lengths))
    if math.prod(lengths) > MOST_ELEMENTS:  # before Dask begins to count chunks
        raise ValueError(f"shape must have at most 2**62 elements, got shape={lengths}")
    return lengths


def _chunks(given: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[tuple[int, ...], ...]:
    """All chunks' lengths along each axis. Dask itself only finds some of what does not fit, or fails of it."""
    try:
        chunks: tuple[tuple[int, ...], ...] = da.core.normalize_chunks(given, shape, dtype=dtype)
        wrong = "" if all(map(_cut, chunks, shape)) else "lengths must be ints >= 0"
    except Exception as error:  # of an object's own methods too
        wrong = str(error) or type_name(error)
    if wrong:
        raise ValueError(f"chunks must be chunks that Dask takes for shape {shape}, got chunks={short_repr(given)}: {wrong}")
    return chunks


def _cut(lengths: tuple[int, ...], whole: int) -> bool:
    return sum(lengths) == whole and all(is_integer(length) and length >= 0 for length in lengths)


def _generator(seed: Any) -> Generator:
    if seed is None:
        return default_generator
    return seed if is_a(seed, Generator) else Generator(seed)


def _backend(like: Any, dtype: np.dtype[Any]) -> str:
    """The name of the module whose arrays the chunks are, which has the dtype."""
    if like is None:
        name, kind = "Dask's configuration array.backend", array_creation_dispatch.backend
    else:
        name, kind = "like", type_name(attribute(like, "_meta", like)).partition(".")[0]
    if kind not in ("numpy", "cupy"):
        raise TypeError(f"{name} must stand for NumPy or CuPy arrays, got {kind if like is None else short_repr(like)}")
    if kind == "cupy" and dtype.name in EIGHT_BITS:
        raise TypeError(f"dtype must be one that CuPy has, got {dtype}; make a float32 or bfloat16 array and convert it")
    return str(kind)


constant = _lazy(basic.constant_)
delta_orthogonal = _lazy(structured.delta_orthogonal_)
dirac = _lazy(structured.dirac_)
embedding = _lazy(structured.embedding_)
eye = _lazy(structured.eye_)
kaiming_normal = _lazy(scaled.kaiming_normal_)
kaiming_uniform = _lazy(scaled.kaiming_uniform_)
lecun_normal = _lazy(scaled.lecun_normal_)
lecun_uniform = _lazy(scaled.lecun_uniform_)
normal = _lazy(basic.normal_)
ones = _lazy(basic.ones_)
orthogonal = _lazy(structured.orthogonal_, _orthogonal, "'s distribution, but not its values")
sparse = _lazy(structured.sparse_)
trunc_normal = _lazy(basic.trunc_normal_)
uniform = _lazy(basic.uniform_)
variance_scaling = _lazy(scaled.variance_scaling_)
xavier_normal = _lazy(scaled.xavier_normal_)
xavier_uniform = _lazy(scaled.xavier_uniform_)
zeros = _lazy(basic.zeros_)
