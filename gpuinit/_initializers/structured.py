"""Fills with a structure of their own: identity, Dirac, embeddings, orthogonal, sparse."""

from __future__ import annotations

import math
from typing import Any, Unpack

from gpuinit._backends.operations import Dirac, Eye, Fill, Matrices, Orthogonal, Padded, Sparse
from gpuinit._backends.targets import Target, target, write
from gpuinit._contract import distributions
from gpuinit._contract.arguments import finite, finite_in, fraction, integer, short_repr
from gpuinit._contract.arithmetic import exact
from gpuinit._contract.dtypes import EVERY, working
from gpuinit._contract.permutation import MOST_ROWS
from gpuinit._contract.shards import Shard
from gpuinit._initializers.axes import AxisKeywords, read_layout, single_axis
from gpuinit._initializers.basic import Array, RandomSource, fill_from, take_blocks
from gpuinit._initializers.calling import initializer


@initializer
def eye_(x: Array, *, shard: Shard | None = None) -> Array:
    """Fill a matrix with the identity: ones on the diagonal, zeros elsewhere.

    Parameters
    ----------
    x : array of any integer, bool, real or complex dtype, with 2 axes of any lengths
        Filled in place.
    shard : Shard, optional
        What part of a larger array `x` is; see `Shard`.

    Returns
    -------
    array
        `x` itself.

    Raises
    ------
    TypeError, ValueError
        As for `constant_`; also if `x` has not 2 axes.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> gi.eye_(np.empty((2, 3), int))
    array([[1, 0, 0],
           [0, 1, 0]])
    """
    to = target(x, EVERY, shard)
    _need_axes(to, 2, 2)
    write(to, Eye())
    return x


@initializer
def dirac_(x: Array, groups: int = 1, *, shard: Shard | None = None) -> Array:
    """Fill a convolution's weight so that it hands its input channels on unchanged, as many as it has outputs for.

    Parameters
    ----------
    x : array of any integer, bool, real or complex dtype, with 3, 4 or 5 axes (out, in, ...)
        Filled in place: 1 at kernel index `length // 2` of each axis, where the output channel's number in its group
        is the input channel's number, else 0.
    groups : int
        Divides the number of output channels.
    shard : Shard, optional
        What part of a larger array `x` is; see `Shard`.

    Returns
    -------
    array
        `x` itself.

    Raises
    ------
    TypeError, ValueError
        As for `constant_`; also if `x` has other numbers of axes, or `groups` is no positive int that divides `x.shape[0]`.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> gi.dirac_(np.empty((2, 2, 3), int))
    array([[[0, 1, 0],
            [0, 0, 0]],
    <BLANKLINE>
           [[0, 0, 0],
            [0, 1, 0]]])
    """
    to = target(x, EVERY, shard)
    _need_axes(to, 3, 5)
    count = integer("groups", groups, least=1)
    if to.shape[0] % count:
        raise ValueError(f"groups must divide x.shape[0], got groups={short_repr(count)} and shape {to.shape}")
    write(to, Dirac(count))
    return x


@initializer
def embedding_(
    x: Array, std: float = 1.0, padding_idx: int | None = None, generator: RandomSource = None, *, shard: Shard | None = None
) -> Array:
    """Fill an embedding from N(0, std**2), with zeros in the row that stands for padding, as `torch.nn.Embedding` does.

    Parameters
    ----------
    x : array of float8, float16, bfloat16, float32, float64, complex64 or complex128 with 2 axes (entries, width)
        Filled in place.
    std : float
        Finite, >= 0.
    padding_idx : int, optional
        The row of zeros, in the whole of a shard; a negative one counts from the end. None leaves no such row.
    generator : Generator, int seed or None
        The source of random bits; None means `gpuinit.default_generator`.
    shard : Shard, optional
        What part of a larger array `x` is; see `Shard`.

    Returns
    -------
    array
        `x` itself.

    Raises
    ------
    TypeError, ValueError
        As for `normal_`; also if `x` does not have 2 axes, or no row `padding_idx`.

    Notes
    -----
    The other elements are those of `normal_`.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> gi.embedding_(np.empty((3, 2)), std=0.02, padding_idx=1, generator=42)
    array([[-0.02986038,  0.00951078],
           [ 0.        ,  0.        ],
           [ 0.02588881,  0.01604821]])
    """
    to = target(x, shard=shard)
    _need_axes(to, 2, 2)
    row = None if padding_idx is None else _row(padding_idx, to.shape[0])
    values = distributions.normal(to.dtype, 0.0, std)
    if row is None:
        fill_from(to, values, generator)
    else:
        write(to, Padded(Fill(values, take_blocks(to, generator)), row))
    return x


def _row(padding_idx: Any, rows: int) -> int:
    index = integer("padding_idx", padding_idx, least=-(2**63))
    if not -rows <= index < rows:
        raise ValueError(f"padding_idx must be a row of x, x.shape[0] being {rows}, got padding_idx={short_repr(index)}")
    return index % rows


@initializer
def orthogonal_(
    x: Array,
    gain: float = 1.0,
    generator: RandomSource = None,
    *,
    shard: Shard | None = None,
    **axes: Unpack[AxisKeywords],
) -> Array:
    """Fill with a (semi-)orthogonal matrix, Haar-distributed: no orthogonal matrix is likelier than another.

    Parameters
    ----------
    x : array of float8, float16, bfloat16, float32, float64, complex64 or complex128 with at least 2 axes
        Filled in place; seen as a matrix whose rows are along `out_axis`, the other axes flattened. Its columns (with more
        columns than rows: its rows) are orthonormal, times `gain`; in a complex array, unitary. Smaller types are computed in
        float32.
    gain : float
        Finite; see `calculate_gain`.
    generator : Generator, int seed or None
        The source of random bits; None means `gpuinit.default_generator`.
    shard : Shard, optional
        What part of a larger array `x` is; see `Shard`.
    out_axis, batch_axis : int or tuple of int
        The axes of rows (0 by default) and of stacks of matrices (none). `in_axis` is taken too, but all axes that are neither
        are those of columns.
    groups, parts, parts_axis
        As for `xavier_uniform_`: each part is a matrix of its own.

    Returns
    -------
    array
        `x` itself.

    Raises
    ------
    TypeError, ValueError
        As for `normal_`; also if `x` has fewer than 2 axes, or the axes do not fit it.

    Notes
    -----
    The Householder reflectors of a Gaussian matrix's QR are drawn directly, and multiplied out. The numbers drawn are the
    same to the bit everywhere; the product agrees to rounding (about 1e-6 in float32), as BLAS sums in an order of its own.
    Of a shard, each matrix that it has a part of is formed in memory of its own, and the part copied from it.

    References
    ----------
    Stewart (1980), "The efficient generation of random orthogonal matrices". For its use as an initialization,
    Saxe, McClelland and Ganguli (2014), "Exact solutions to the nonlinear dynamics of learning in deep linear networks".

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> q = gi.orthogonal_(np.empty((5, 3)), generator=42)
    >>> bool(np.allclose(q.T @ q, np.eye(3)))
    True
    >>> heads = gi.orthogonal_(np.empty((8, 16, 64)), batch_axis=0, out_axis=1, in_axis=2, generator=42)
    >>> bool(np.allclose(heads[7] @ heads[7].T, np.eye(16)))
    True
    """
    to = target(x, shard=shard)
    if not axes:
        _need_axes(to, 2, math.inf)
    layout = read_layout(to.shape, axes)
    factor = finite_in("gain", gain, working(to.dtype))
    stream = take_blocks(to, generator)
    write(to, Orthogonal(factor, stream, layout.matrices))
    return x


@initializer
def delta_orthogonal_(
    x: Array,
    gain: float = 1.0,
    generator: RandomSource = None,
    *,
    shard: Shard | None = None,
    in_axis: int = 1,
    out_axis: int = 0,
) -> Array:
    """Fill a convolution's weight with an orthogonal matrix at the kernel's centre and zeros elsewhere.

    With padding, the convolution then keeps the norm of each pixel's channels, times `gain`.

    Parameters
    ----------
    x : array of float8, float16, bfloat16, float32, float64, complex64 or complex128 with 3, 4 or 5 axes
        Filled in place; its axes are (out, in, ...) by default, with at least as many outputs as inputs. The centre is
        index (length - 1) // 2 of each axis of the kernel.
    gain : float
        Finite; see `calculate_gain`.
    generator : Generator, int seed or None
        The source of random bits; None means `gpuinit.default_generator`.
    shard : Shard, optional
        What part of a larger array `x` is; see `Shard`.
    in_axis, out_axis : int
        The axes of inputs and outputs.

    Returns
    -------
    array
        `x` itself.

    Raises
    ------
    TypeError, ValueError
        As for `orthogonal_`; also if `x` has other numbers of axes, or more inputs than outputs.

    References
    ----------
    Xiao et al. (2018), "Dynamical isometry and a mean field theory of CNNs", Algorithm 1; JAX's `delta_orthogonal`.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> w = gi.delta_orthogonal_(np.empty((6, 4, 3, 3)), generator=42)
    >>> bool(np.allclose(w[:, :, 1, 1].T @ w[:, :, 1, 1], np.eye(4))), int((w != 0).sum())
    (True, 24)
    """
    to = target(x, shard=shard)
    _need_axes(to, 3, 5)
    inputs, outputs = (single_axis(name, axis, to.shape) for name, axis in (("in_axis", in_axis), ("out_axis", out_axis)))
    if inputs == outputs:
        raise ValueError(f"in_axis and out_axis must be different axes of shape {to.shape}, got in_axis={in_axis}")
    if to.shape[inputs] > to.shape[outputs]:
        raise ValueError(f"x must have at least as many outputs as inputs, got shape {to.shape} with {in_axis=}, {out_axis=}")
    factor = finite_in("gain", gain, working(to.dtype))
    stream = take_blocks(to, generator)
    centre = tuple(
        slice(0, length) if axis in (inputs, outputs) else slice((length - 1) // 2, (length - 1) // 2 + 1)
        for axis, length in enumerate(to.shape)
    )
    order = (outputs, *(axis for axis in range(len(to.shape)) if axis != outputs))
    write(to, Orthogonal(factor, stream, Matrices(centre, order, 1)))
    return x


@initializer
def sparse_(
    x: Array,
    sparsity: float,
    std: float = 0.01,
    generator: RandomSource = None,
    *,
    shard: Shard | None = None,
    mean: float = 0.0,
    axis: int = 0,
) -> Array:
    """Fill from N(mean, std**2), then set a share of each column to zero, at random rows.

    Parameters
    ----------
    x : array of float8, float16, bfloat16, float32, float64, complex64 or complex128 with 2 axes, at most 2**32 rows
        Filled in place.
    sparsity : float
        In [0, 1]: exactly ceil(sparsity * rows) rows of each column become 0.
    std, mean : float
        Of the others before that; finite, and `std` >= 0.
    axis : int
        The axis along which each share is taken: 0 for that of each column, 1 for that of each row. With 1, the array is filled
        as its transpose is with 0.
    generator : Generator, int seed or None
        The source of random bits; None means `gpuinit.default_generator`.
    shard : Shard, optional
        What part of a larger array `x` is; see `Shard`.

    Returns
    -------
    array
        `x` itself.

    Raises
    ------
    TypeError, ValueError
        As for `normal_`; also if `x` has not 2 axes or too many rows, or `sparsity` lies outside [0, 1].

    Notes
    -----
    The other elements are those of `normal_`. The rows come from a permutation keyed by the column, evaluated element
    by element, so there is no sort and no scratch memory.

    References
    ----------
    Martens (2010), "Deep learning via Hessian-free optimization". For permutations evaluated by the element,
    Mitchell et al. (2021), "Bandwidth-optimal random shuffling for GPUs".

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> w = gi.sparse_(np.empty((10, 4)), 0.3, generator=42)
    >>> (w == 0).sum(axis=0)
    array([3, 3, 3, 3])
    >>> (gi.sparse_(np.empty((4, 10)), 0.3, mean=1.0, axis=1, generator=42) == 0).sum(axis=1)
    array([3, 3, 3, 3])
    """
    to = target(x, shard=shard)
    _need_axes(to, 2, 2)
    along = single_axis("axis", axis, to.shape)
    if to.shape[along] > MOST_ROWS:
        raise ValueError(f"x must have at most 2**32 {('rows', 'columns')[along]}, got shape {to.shape}")
    zeros = _zeros(sparsity, to.shape[along])
    values = distributions.normal(to.dtype, finite("mean", mean), std)
    stream = take_blocks(to, generator)
    write(to, Sparse(zeros, values, stream, by_rows=along == 1))
    return x


@exact
def _zeros(sparsity: Any, rows: int) -> int:
    return math.ceil(fraction("sparsity", sparsity) * rows)


def _need_axes(to: Target, least: int, most: float) -> None:
    axes = len(to.shape)
    if not least <= axes <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}" if most < math.inf else f"at least {least}"
        raise ValueError(f"x must have {wanted} axes, got {axes}: shape {to.shape}")
