"""The CUDA kernels as CuPy objects, each made when first asked for. Their device code is in `kernels/*.cuh`."""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

import cupy
import numpy as np

from gpuinit.kernel_sources import source


class Declaration(NamedTuple):
    """What CuPy makes a kernel of: headers, parameters, the array written, and the body for loop index i.

    The other body is that for shards, which has a `region` (`kernels/shard.cuh`).
    """

    headers: tuple[str, ...]
    parameters: str
    output: str
    body: str
    shard_body: str = ""


def _fill(header: str, parameters: str, transform: str) -> Declaration:
    """A fill of raw array x; its loop index is a thread of BLOCKS Philox blocks, in a shard one block of a run. T is the array's
    type, W the working one."""
    stream = "const gpuinit::Stream stream = {{key_low, key_high}, first};"
    return Declaration(
        ("fill.cuh", header),
        f"uint64 key_low, uint64 key_high, uint64 first, {parameters}",
        "raw T x",
        f"{stream}\ngpuinit::fill_blocks<T>(x, i, _ind.size(), stream, gpuinit::{transform});",
        f"{stream}\ngpuinit::fill_shard<T>(x, i, region, stream, gpuinit::{transform});",
    )


_KERNELS = {
    "uniform": _fill(
        "uniform.cuh",
        "W scale, W low, W least, W greatest",
        "Uniform<W>{scale, low, least, greatest}",
    ),
    "normal": _fill(
        "normal.cuh",
        "raw W table, W mean, W odd_mean, W std",
        "Normal<W>{&table[0], mean, odd_mean, std}",
    ),
    "truncated": _fill(
        "normal.cuh",
        "raw W table, uint64 start, uint64 factor, int32 shift, W mean, W std, W least, W greatest",
        "Truncated<W>{&table[0], start, factor, shift, mean, std, least, greatest}",
    ),
    "sparse": _fill(
        "sparse.cuh",
        "raw W table, W mean, W odd_mean, W std, uint64 rows, uint64 columns, uint64 zeros, int32 bits, int32 parts",
        "Sparse<W>{{&table[0], mean, odd_mean, std}, stream, rows, columns, zeros, bits, parts}",
    ),
    # These three write an array of any type; their loop index is 16 bytes of it.
    "constant": Declaration(
        ("store.cuh",),
        "T value",
        "raw T x",
        "gpuinit::write<T>(x, i, [&] { return value; });",
    ),
    "eye": Declaration(
        ("identity.cuh",),
        "uint64 columns",
        "raw T x",
        "using Number = gpuinit::Number<decltype(x)>;\n"
        "gpuinit::Eye<Number> ones(i * (16 / sizeof(T)), columns);\n"
        "gpuinit::write<T>(x, i, [&] { return T(ones.next() ? 1.0f : 0.0f); });",
        "x[i] = T(gpuinit::Eye<gpuinit::u64>(region.number(i), columns).next() ? 1.0f : 0.0f)",
    ),
    "dirac": Declaration(
        ("identity.cuh",),
        "uint64 inputs, uint64 field, uint64 centre, uint64 group",
        "raw T x",
        "using Number = gpuinit::Number<decltype(x)>;\n"
        "gpuinit::Dirac<Number> ones(i * (16 / sizeof(T)), inputs, field, centre, group);\n"
        "gpuinit::write<T>(x, i, [&] { return T(ones.next() ? 1.0f : 0.0f); });",
        "x[i] = T(gpuinit::Dirac<gpuinit::u64>(region.number(i), inputs, field, centre, group).next() ? 1.0f : 0.0f)",
    ),
    "trunc": Declaration(("trunc.cuh",), "", "T x", "gpuinit::truncate(x)"),
    # The three that turn a (count, length) matrix of normals into the reflectors of orthogonal_, and Q into the array.
    # Loop index i is element k of row j; `parts` is 2 for complex matrices, which the raw arrays hold as pairs of reals, else 1.
    "upper": Declaration(
        ("orthogonal.cuh",),
        "int64 length, int32 parts",
        "raw W x, raw W heads",
        "const ptrdiff_t j = i / length, k = i % length;\n"
        "for (int p = 0; p < parts; ++p) {\n"
        "    if (k == j) heads[parts * j + p] = x[parts * i + p];\n"
        "    if (k < j) x[parts * i + p] = W(0);\n"
        "}",
    ),
    "reflectors": Declaration(
        ("orthogonal.cuh",),
        "int64 length, int32 parts, raw W heads, raw W squares",
        "raw W x, raw W taus, raw W phases",
        "using gpuinit::load;\n"
        "using gpuinit::store;\n"
        "const ptrdiff_t j = i / length, k = i % length;\n"
        "const gpuinit::Reflector<W> r(load<W>(heads, j, parts), squares[j], j == length - 1);\n"
        "if (k == j) { store(taus, j, parts, r.tau()); store(phases, j, parts, r.phase()); }\n"
        "store(x, i, parts, r.scaled(load<W>(x, i, parts)));",
    ),
    "orthogonal": Declaration(
        ("orthogonal.cuh",),
        "raw W q, raw W phases, W gain, int64 length, int64 columns, bool tall, int32 parts",
        "T x",
        "const ptrdiff_t row = i / columns, column = i % columns;\n"
        "const ptrdiff_t j = tall ? column : row, k = tall ? row : column;\n"
        "const auto phase = gpuinit::scale(gpuinit::load<W>(phases, j, parts), gain);\n"
        "gpuinit::write(x, gpuinit::product(gpuinit::load<W>(q, j * length + k, parts), phase));",
    ),
}
# Of those that have a form for many arrays: `kernels/batch.cuh`.
_BATCH_BODIES = {
    "uniform": "gpuinit::fill_batch<T, gpuinit::Uniform<W>>(&table[0], records, owners, i)",
    "normal": "gpuinit::fill_batch<T, gpuinit::Normal<W>>(&table[0], records, owners, i)",
    "truncated": "gpuinit::fill_batch<T, gpuinit::Truncated<W>>(&table[0], records, owners, i)",
    "constant": "gpuinit::constant_batch(&table[0], records, owners, i)",
}
_OPTIONS = ("--fmad=false",)
_WORKING = re.compile(r"\bW\b")
_C_TYPES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


@functools.cache
def kernel(name: str, real: np.dtype[Any] | None = None) -> Any:
    """The elementwise kernel `gpuinit_<name>`, if it has one for a working precision W, which CuPy cannot tell from scalars."""
    return _made(name, _KERNELS[name], real)


@functools.cache
def shard_kernel(name: str, axes: int, real: np.dtype[Any] | None = None) -> Any:
    """The same for shards whose runs lie on a grid of so many axes; the region's numbers are its last parameters."""
    declared = _KERNELS[name]
    counts, steps = ([f"{word}{axis}" for axis in range(axes)] for word in ("count", "step"))
    numbers = "".join(f", uint64 {number}" for number in ("offset", "length", *counts, *steps))
    region = f"const gpuinit::Region<{axes}> region = {{offset, length, {{{', '.join(counts)}}}, {{{', '.join(steps)}}}}};\n"
    sharded = declared._replace(
        headers=("shard.cuh", *declared.headers),
        parameters=declared.parameters + numbers,
        body=region + declared.shard_body,
    )
    return _made(f"{name}_shard", sharded, real)


@functools.cache
def batch_kernel(name: str, real: np.dtype[Any] | None = None) -> Any:
    """The same for many arrays, whose records are in a table; its output only tells the type T."""
    headers = ("batch.cuh", *_KERNELS[name].headers)
    declared = Declaration(headers, "raw uint64 table, uint64 records, uint64 owners", "raw T x", _BATCH_BODIES[name])
    return _made(f"{name}_batch", declared, real)


@functools.cache
def record(name: str, real: np.dtype[Any] | None = None) -> np.dtype[Any]:
    """An array's record in the table: its address, size and first warp, and the kernel's parameters, where C++ has them."""
    types = {"raw W": "uint64", "W": real, "T": "V16"}
    fields: list[tuple[str, Any]] = [("x", "uint64"), ("size", "uint64"), ("warp", "uint64")]
    for parameter in _KERNELS[name].parameters.split(", "):
        kind, _, field = parameter.rpartition(" ")
        fields.append((field, types.get(kind, kind)))
    return np.dtype(fields, align=True)


def _made(name: str, declaration: Declaration, real: np.dtype[Any] | None) -> Any:
    headers, parameters, output, body, _ = declaration
    working = f"typedef {_C_TYPES[real]} W;\n" if real else ""
    return cupy.ElementwiseKernel(
        _WORKING.sub(str(real), parameters),
        _WORKING.sub(str(real), output),
        body,
        f"gpuinit_{name}",
        preamble=source(*headers) + working,
        options=_OPTIONS,
        no_return=True,
    )


@functools.cache
def sum_of_squares() -> Any:
    """The reduction that gives the squared length of each row."""
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
