"""Who is measured: the table of libraries, each at its best setting, all on the same memory (JAX: on a buffer given back to it).

A library is asked for a `Runner`, which fills one array for one case, or raises `MissingError` with the reason why it cannot.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import math
import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import onemkl
from cases import (
    Case,
    Constant,
    Dirac,
    Eye,
    Job,
    Normal,
    Orthogonal,
    Shape,
    Sparse,
    Trunc,
    Truncated,
    Uniform,
    resolve,
)

import gpuinit as gi

# From here on, two threads fill faster than one in spite of the hand-over; and a block that fits the L2 cache.
SPLIT_FROM = 2**17
BLOCK = 2**16
# What the Generators draw; other types are drawn in float32 and converted.
DRAWN = (np.float32, np.float64)


class MissingError(Exception):
    """A library is not installed, has no device, or has no such function."""


def _nothing() -> None:
    pass


class Runner(NamedTuple):
    """`run` starts one fill, `wait` returns when all that were started are done."""

    run: Callable[[], Any]
    wait: Callable[[], Any] = _nothing


class Peer(NamedTuple):
    """A library on a device; `prepare(case, x, threads)` makes the runner that fills `x`.

    With `events`, CUDA events on the current stream time it; else the host's clock does.
    """

    library: str
    device: str
    prepare: Callable[[Case, Any, int], Runner]
    events: bool = False


def module(name: str) -> Any:
    """A library that may not be installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingError(f"{name.partition('.')[0]} is not installed") from error


def cupy_module() -> Any:
    """CuPy, where it finds a device."""
    cupy = module("cupy")
    if not cupy.is_available():
        raise MissingError("CuPy finds no CUDA device")
    return cupy


def dtype_of(name: str) -> np.dtype[Any]:
    """The NumPy dtype of a name in `cases.DTYPES`."""
    return np.dtype(module("ml_dtypes").bfloat16 if name == "bfloat16" else name)


def empty(device: str, shape: Shape, dtype: str) -> Any:
    """An array on the device, its pages touched so that no contestant pays for that.

    On the CPU these are pages of the usual size, as torch's tensors have them; NumPy asks for huge ones for large arrays.
    """
    real = dtype_of(dtype)
    if device == "cuda":
        return cupy_module().zeros(shape, real)
    x = np.frombuffer(mmap.mmap(-1, math.prod(shape) * real.itemsize), np.uint8)
    x.fill(0)
    return x.view(real).reshape(shape)


# gpuinit and torch: the same names and arguments.


def _gpuinit(case: Case, x: Any, threads: int) -> Runner:
    if gi.get_num_threads() != threads:
        gi.set_num_threads(threads)
    generator = {"generator": gi.Generator(1)} if case.is_random else {}
    return Runner(functools.partial(getattr(gi, case.function), x, **case.arguments, **generator))


def _gpuinit_on_tensors(case: Case, x: Any, threads: int) -> Runner:
    return _gpuinit(case, _tensor(module("torch"), x), threads)


def _torch(case: Case, x: Any, threads: int) -> Runner:
    torch = module("torch")
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    tensor = _tensor(torch, x)
    function = getattr(module("torch.nn.init"), case.function, None) or getattr(torch.Tensor, case.function, None)
    if function is None:
        raise MissingError(f"torch has no {case.function}")
    return Runner(functools.partial(function, tensor, **case.arguments))


def _tensor(torch: Any, x: Any) -> Any:
    """A tensor on the memory of `x`; 16-bit integers stand for bfloat16 on the way, which neither protocol knows everywhere."""
    if isinstance(x, np.ndarray):
        return torch.from_numpy(x.view(np.uint16)).view(torch.bfloat16) if x.dtype.name == "bfloat16" else torch.from_numpy(x)
    if not torch.cuda.is_available():
        raise MissingError("this torch finds no CUDA device")
    return torch.from_dlpack(x.view(np.uint16)).view(torch.bfloat16) if x.dtype.name == "bfloat16" else torch.from_dlpack(x)


# NumPy's Generator: one bit generator a thread, on consecutive parts of the array, drawn in place wherever `out=` can.


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def _numpy(bit_generator: str, case: Case, x: np.ndarray, threads: int) -> Runner:
    job = resolve(case.job, x.shape)
    if not case.is_random:
        raise MissingError(f"{case.function} draws no numbers: see NumPy")
    count = threads if x.size >= SPLIT_FROM else 1
    kind = getattr(np.random, bit_generator)
    generators = [np.random.Generator(kind(seed)) for seed in np.random.SeedSequence(1).spawn(count)]
    if isinstance(job, Orthogonal):
        return Runner(functools.partial(_numpy_orthogonal, generators, x))
    values = Normal(job.std) if isinstance(job, Sparse) else job
    parts = np.array_split(x.reshape(-1), count)
    steps = [lambda: _in_parallel(_numpy_fill, generators, parts, [values] * count)]
    if isinstance(job, Sparse):
        zeros = -int(-job.sparsity * len(x) // 1)
        columns = np.array_split(x, count, axis=1)
        steps.append(lambda: _in_parallel(_numpy_zero_rows, generators, columns, [zeros] * count))
    return Runner(lambda: [step() for step in steps])


def _in_parallel(function: Callable[..., None], *arguments: list[Any]) -> None:
    if len(arguments[0]) == 1:
        function(*(first for (first,) in arguments))
    else:
        list(_pool(len(arguments[0])).map(function, *arguments))


def _numpy_fill(generator: np.random.Generator, x: np.ndarray, job: Job) -> None:
    """Fill contiguous `x`: in one call if that is all it takes, else block by block, so that later passes read the cache."""
    if x.dtype in DRAWN and job in (Uniform(0, 1), Normal(1)):
        draw(generator, x, job)
        return
    for start in range(0, x.size, BLOCK):
        block = x[start : start + BLOCK]
        if x.dtype in DRAWN:
            draw(generator, block, job)
        else:
            drawn = np.empty(block.size, np.float32)
            draw(generator, drawn, job)
            block[:] = drawn


def draw(generator: Any, out: Any, job: Job) -> None:
    """Draw into a float32 or float64 array with a Generator of NumPy (or CuPy, but for truncated normals)."""
    if isinstance(job, Uniform):
        generator.random(out=out, dtype=out.dtype)
        _affine(out, job.high - job.low, job.low)
    elif isinstance(job, Normal):
        generator.standard_normal(out=out, dtype=out.dtype)
        _affine(out, job.std, 0)
    elif isinstance(job, Truncated):
        generator.standard_normal(out=out, dtype=out.dtype)
        outside = np.flatnonzero(np.abs(out) > job.cut)
        while len(outside):
            out[outside] = generator.standard_normal(len(outside), dtype=out.dtype)
            outside = outside[np.abs(out[outside]) > job.cut]
        _affine(out, job.std, 0)


def _affine(out: Any, scale: float, low: float) -> None:
    if scale != 1:
        out *= scale
    if low != 0:
        out += low


def _numpy_zero_rows(generator: np.random.Generator, x: np.ndarray, zeros: int) -> None:
    for column in x.T:
        column[generator.choice(len(column), zeros, replace=False, shuffle=False)] = 0


def _numpy_orthogonal(generators: list[np.random.Generator], x: np.ndarray) -> None:
    """torch's recipe: the Q of a normal matrix, each column times the sign of R's diagonal."""
    real = np.float64 if x.dtype == np.float64 else np.float32
    rows, columns = x.shape
    normals = np.empty((max(rows, columns), min(rows, columns)), real)
    parts = np.array_split(normals.reshape(-1), len(generators))
    _in_parallel(_numpy_fill, generators, parts, [Normal(1)] * len(parts))
    q, r = np.linalg.qr(normals)
    q *= np.sign(np.diagonal(r))
    x[...] = q if rows >= columns else q.T


def _onemkl(generator: str, case: Case, x: np.ndarray, threads: int) -> Runner:
    """One stream a thread on consecutive parts of the array, begun by skipping what lies before them."""
    job = resolve(case.job, x.shape)
    if not isinstance(job, (Uniform, Normal)) or x.dtype not in DRAWN:
        raise MissingError(f"oneMKL has no {case.function} of {x.dtype}")
    parts = np.array_split(x.reshape(-1), threads if x.size >= SPLIT_FROM else 1)
    starts = itertools.accumulate((part.size for part in parts[:-1]), initial=0)
    try:
        streams = [onemkl.Stream(generator, start) for start in starts]
    except OSError as error:
        raise MissingError(str(error)) from error

    def fill(stream: onemkl.Stream, part: np.ndarray) -> None:
        if isinstance(job, Uniform):
            stream.uniform(part, job.low, job.high)
        else:
            stream.normal(part, 0, job.std)

    return Runner(lambda: _in_parallel(fill, streams, parts))


def _numpy_plain(case: Case, x: np.ndarray, threads: int) -> Runner:
    """NumPy's own way to write what is not random, with the slow part, one value everywhere, on all threads."""
    if case.is_random:
        raise MissingError(f"{case.function} draws numbers: see the bit generators")
    job = case.job
    if isinstance(job, Trunc):
        flat = np.array_split(x.reshape(-1), threads if x.size >= SPLIT_FROM else 1)
        return Runner(lambda: _in_parallel(lambda part: np.trunc(part, out=part), flat))
    parts = np.array_split(x.reshape(-1), threads if x.size >= SPLIT_FROM else 1)
    value = job.value if isinstance(job, Constant) else 0
    diagonal = np.arange(min(x.shape[:2]))
    centre = tuple(length // 2 for length in x.shape[2:])

    def run() -> None:
        _in_parallel(lambda part: part.fill(value), parts)
        if isinstance(job, (Eye, Dirac)):
            x[(diagonal, diagonal, *centre)] = 1

    return Runner(run)


# JAX: arrays are immutable, so each fill donates the last one's buffer.


def _jax(key_kind: str, device: str, case: Case, x: Any, threads: int) -> Runner:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # or it takes most of a GPU's memory from the others
    jax = module("jax")
    jax.config.update("jax_enable_x64", True)
    try:
        where = jax.devices(device)[0]
    except RuntimeError as error:
        raise MissingError(f"this JAX finds no device for {device}") from error
    if not case.is_random and key_kind != _JAX_KEYS[0]:
        raise MissingError(f"{case.function} draws no numbers: see JAX {_JAX_KEYS[0]}")
    initializer = _jax_initializer(jax, case)
    fill = jax.jit(lambda key, old: initializer(key, x.shape, old.dtype), donate_argnums=1, keep_unused=True)
    key = jax.device_put(jax.random.key(1, impl=key_kind), where)
    last = [jax.device_put(jax.numpy.zeros(x.shape, x.dtype), where)]

    def run() -> None:
        last[0] = fill(key, last[0])

    return Runner(run, lambda: last[0].block_until_ready())


_JAX_KEYS = ("threefry2x32", "rbg")


def _jax_initializer(jax: Any, case: Case) -> Callable[..., Any]:
    named = jax.nn.initializers
    job: Any = case.job
    if isinstance(job, Uniform):  # its initializer `uniform` is on [0, scale) only
        return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, job.low, job.high)
    if isinstance(job, Eye):
        return lambda key, shape, dtype: jax.numpy.eye(*shape, dtype=dtype)
    made = {
        "normal_": lambda: named.normal(job.std),
        "trunc_normal_": lambda: named.truncated_normal(job.std, lower=-job.cut, upper=job.cut),
        "orthogonal_": lambda: named.orthogonal(),
        "zeros_": lambda: named.zeros,
        "constant_": lambda: named.constant(job.value),
        **dict.fromkeys(
            ("xavier_uniform_", "kaiming_normal_", "lecun_normal_", "variance_scaling_"),
            lambda: named.variance_scaling(job.scale, job.mode, job.distribution, in_axis=1, out_axis=0),
        ),
    }.get(case.function)
    if made is None:
        raise MissingError(f"JAX has no initializer like {case.function}")
    return made()


# CuPy's own random numbers, and the roof.


def _cupy_generator(bit_generator: str, case: Case, x: Any, threads: int) -> Runner:
    cupy = cupy_module()
    job = resolve(case.job, x.shape)
    if not isinstance(job, (Uniform, Normal, Truncated)):
        raise MissingError(f"cupy.random.Generator has no {case.function}")
    generator = cupy.random.Generator(getattr(cupy.random, bit_generator)(1))
    out = x if x.dtype in DRAWN else cupy.empty(x.shape, np.float32)

    def run() -> None:
        if isinstance(job, Truncated):
            _cupy_truncated(generator, out, job)
        else:
            draw(generator, out, job)
        if out is not x:
            x[...] = out

    return Runner(run)


def _cupy_truncated(generator: Any, out: Any, job: Truncated) -> None:
    """By the inverse CDF: rejection, as on the CPU, would wait for the device at each turn."""
    special = importlib.import_module("cupyx.scipy.special")
    below = special.ndtr(-job.cut)
    generator.random(out=out, dtype=out.dtype)
    _affine(out, 1 - 2 * below, below)
    special.ndtri(out, out)
    _affine(out, job.std, 0)


def _cupy_legacy(case: Case, x: Any, threads: int) -> Runner:
    """cupy.random's functions have no `out=`: what they return, from CuPy's memory pool, counts as the filled array."""
    cupy = cupy_module()
    job = resolve(case.job, x.shape)
    real = x.dtype if x.dtype in DRAWN else np.dtype(np.float32)
    if isinstance(job, Uniform):
        made = functools.partial(cupy.random.uniform, job.low, job.high, x.shape, real)
    elif isinstance(job, Normal):
        made = functools.partial(cupy.random.normal, 0, job.std, x.shape, real)
    else:
        raise MissingError(f"cupy.random has no {case.function}")
    return Runner(made if real == x.dtype else lambda: made().astype(x.dtype))


def _memset(case: Case, x: Any, threads: int) -> Runner:
    return Runner(lambda: x.data.memset_async(0, x.nbytes))


_BIT_GENERATORS = ("Philox", "PCG64DXSM", "SFC64")
OURS, TORCH, NUMPY, PHILOX, MKL, MEMSET = "gpuinit", "torch", "NumPy", "NumPy Philox", "oneMKL Philox", "memset"

PEERS = (
    Peer(OURS, "cpu", _gpuinit),
    Peer(TORCH, "cpu", _torch),
    *(Peer(f"NumPy {kind}", "cpu", functools.partial(_numpy, kind)) for kind in _BIT_GENERATORS),
    Peer(NUMPY, "cpu", _numpy_plain),
    *(Peer(f"oneMKL {name}", "cpu", functools.partial(_onemkl, name)) for name in onemkl.GENERATORS),
    *(Peer(f"JAX {kind}", "cpu", functools.partial(_jax, kind, "cpu")) for kind in _JAX_KEYS),
    Peer(OURS, "cuda", _gpuinit, events=True),
    Peer(TORCH, "cuda", _torch, events=True),
    *(
        Peer(f"CuPy Generator {kind}", "cuda", functools.partial(_cupy_generator, kind), events=True)
        for kind in ("XORWOW", "Philox4x3210")
    ),
    Peer("cupy.random", "cuda", _cupy_legacy, events=True),
    *(Peer(f"JAX {kind}", "cuda", functools.partial(_jax, kind, "cuda")) for kind in _JAX_KEYS),
    Peer(MEMSET, "cuda", _memset, events=True),
)


ON_TENSORS = Peer(OURS, "cpu", _gpuinit_on_tensors)


def select(device: str, libraries: list[str] | None = None) -> Iterator[Peer]:
    """The peers on a device, all or those whose library's name begins with one of `libraries`, in any case."""
    for peer in PEERS:
        name = peer.library.lower()
        if peer.device == device and (not libraries or any(name.startswith(wanted.lower()) for wanted in libraries)):
            yield peer
