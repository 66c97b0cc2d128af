"""The CUDA kernels as CuPy objects, each made when first asked for. Their device code is in `kernels/*.cuh`."""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

import cupy
import numpy as np

from gpuinit._backends.kernel_sources import source
from gpuinit._backends.structs import NORMAL, STRUCTS, Member, declare, layout


class Declaration(NamedTuple):
    """What CuPy makes a kernel of: headers, parameters, the array written, and a call for loop index i.

    T is the array's type, W the working precision. The other call is that for shards, which has a `{region}`.
    """

    headers: tuple[str, ...]
    parameters: tuple[Member, ...]
    output: str
    call: str
    shard_call: str = ""


_STREAM_MEMBERS = (Member("key_low", "uint32"), Member("key_high", "uint32"), Member("first", "uint64"))
_STREAM = "gpuinit::Stream{{key_low, key_high}, first}"


def _fill(header: str, parameters: tuple[Member, ...], struct: str) -> Declaration:
    """Declare a fill; its loop index is a thread of BLOCKS Philox blocks, in a shard one block of a run."""
    return Declaration(
        ("fill.cuh", header),
        (*_STREAM_MEMBERS, *parameters),
        "raw T x",
        f"gpuinit::fill_blocks<T>(x, i, _ind.size(), {_STREAM}, {struct})",
        f"gpuinit::fill_shard<T>(x, i, {{region}}, {_STREAM}, {struct})",
    )


def _ones(pattern: str, parameters: tuple[Member, ...]) -> Declaration:
    """Declare a pattern of ones in an array of any type; its loop index is 16 bytes of it, in a shard an element."""
    arguments = ", ".join(parameter.name for parameter in parameters)
    return Declaration(
        ("identity.cuh",),
        parameters,
        "raw T x",
        f"gpuinit::write_ones<gpuinit::{pattern}, T>(x, i, {arguments})",
        f"gpuinit::write_ones_shard<gpuinit::{pattern}, T>(x, i, {{region}}, {arguments})",
    )


def _members(declaration: str) -> tuple[Member, ...]:
    """Parse parameters as CuPy declares them."""
    pairs = (parameter.rpartition(" ") for parameter in declaration.split(", ") if parameter)
    return tuple(Member(name, kind) for kind, _, name in pairs)


_SPARSE = _members("uint32 column_low, uint32 column_high, uint64 rows, uint64 columns, uint64 zeros, int32 bits, int32 parts")
_KERNELS = {
    **{name: _fill(struct.header, struct.members, struct.expression) for name, struct in STRUCTS.items()},
    "sparse": _fill(
        "sparse.cuh",
        (*NORMAL.members, *_SPARSE),
        f"gpuinit::Sparse<W>{{{NORMAL.expression}, {', '.join(member.name for member in _SPARSE)}}}",
    ),
    "constant": Declaration(("store.cuh",), (Member("value", "T"),), "raw T x", "gpuinit::write<T>(x, i, [&] { return value; })"),
    "eye": _ones("Eye", _members("uint64 columns")),
    "dirac": _ones("Dirac", _members("uint64 inputs, uint64 field, uint64 centre, uint64 group")),
    "trunc": Declaration(("trunc.cuh",), (), "T x", "gpuinit::truncate(x)"),
    # The three that turn a (count, length) matrix of normals into the reflectors of orthogonal_, and Q into the array.
    # Loop index i is an element; `parts` is 2 for complex matrices, which the raw arrays hold as pairs of reals, else 1.
    "upper": Declaration(
        ("orthogonal.cuh",),
        _members("int64 length, int32 parts"),
        "raw W x, raw W heads",
        "gpuinit::cut_below_heads<W>(x, heads, i, length, parts)",
    ),
    "reflectors": Declaration(
        ("orthogonal.cuh",),
        _members("int64 length, int32 parts, raw W heads, raw W squares"),
        "raw W x, raw W taus, raw W phases",
        "gpuinit::make_reflectors<W>(x, taus, phases, i, length, parts, heads, squares)",
    ),
    "orthogonal": Declaration(
        ("orthogonal.cuh",),
        _members("raw W q, raw W phases, W gain, int64 length, int64 columns, bool tall, int32 parts"),
        "T x",
        "gpuinit::write(x, gpuinit::turned_back<W>(q, phases, gain, i, length, columns, tall, parts))",
    ),
}
_OPTIONS = ("--fmad=false",)
_WORKING = re.compile(r"\bW\b")
_C_TYPES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


@functools.cache
def kernel(name: str, real: np.dtype[Any] | None = None) -> Any:
    """Return the elementwise kernel `gpuinit_<name>`; W, the working precision, is one that CuPy cannot infer from scalars."""
    return _make(name, _KERNELS[name], real)


@functools.cache
def shard_kernel(name: str, axes: int, real: np.dtype[Any] | None = None) -> Any:
    """Return the same for shards whose runs lie on a grid of so many axes; the region's numbers are its last parameters."""
    declared = _KERNELS[name]
    counts, steps = ([f"{word}{axis}" for axis in range(axes)] for word in ("count", "step"))
    region = f"gpuinit::Region<{axes}>{{offset, length, {{{', '.join(counts)}}}, {{{', '.join(steps)}}}}}"
    numbers = tuple(Member(number, "uint64") for number in ("offset", "length", *counts, *steps))
    sharded = declared._replace(
        headers=("shard.cuh", *declared.headers),
        parameters=(*declared.parameters, *numbers),
        call=declared.shard_call.replace("{region}", region),
    )
    return _make(f"{name}_shard", sharded, real)


@functools.cache
def batch_kernel(name: str, real: np.dtype[Any] | None = None) -> Any:
    """Return the same for many arrays, whose records are in a table; its output only gives the type T."""
    members = _members("raw uint64 table, uint64 records, uint64 owners")
    headers = ("batch.cuh", *_KERNELS[name].headers)
    function = f"fill_batch<T, {STRUCTS[name].type}>" if name in STRUCTS else "constant_batch"
    call = f"gpuinit::{function}(&table[0], records, owners, i)"
    record_type = f"gpuinit::FillRecord<char, {STRUCTS[name].type}>" if name in STRUCTS else "gpuinit::ConstantRecord"
    check = f'static_assert(sizeof({record_type}) == {record(name, real).itemsize}, "records as in Python");\n'
    return _make(f"{name}_batch", Declaration(headers, members, "raw T x", call), real, check)


@functools.cache
def record(name: str, real: np.dtype[Any] | None = None) -> np.dtype[Any]:
    """Return an array's record in the table: its address, size and first warp, and the kernel's parameters."""
    place = _members("uint64 x, uint64 size, uint64 warp")
    parameters = _KERNELS[name].parameters if name in STRUCTS else (Member("value", "V16"),)
    return layout((*place, *parameters), real)


def _make(name: str, declaration: Declaration, real: np.dtype[Any] | None, check: str = "") -> Any:
    headers, parameters, output, call, _ = declaration
    working = f"typedef {_C_TYPES[real]} W;\n" if real else ""
    return cupy.ElementwiseKernel(
        _WORKING.sub(str(real), declare(parameters)),
        _WORKING.sub(str(real), output),
        call,
        f"gpuinit_{name}",
        preamble=source(*headers) + working + check,
        options=_OPTIONS,
        no_return=True,
    )


@functools.cache
def sum_of_squares() -> Any:
    """Return the reduction that gives the squared length of each row."""
    return cupy.ReductionKernel(
        "T x",
        "T squares",
        "gpuinit::multiply(x, x)",
        "gpuinit::add(a, b)",
        "squares = a",
        "0",
        "gpuinit_squares",
        preamble=source("ieee.cuh"),
        options=_OPTIONS,
    )
