"""Views of other libraries' arrays as NumPy or CuPy arrays on the same memory: one table, a function a library.

Libraries are found in `sys.modules`, never imported: who holds an array has imported its library.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np

from gpuinit.backends import dtensor
from gpuinit.shards import Shard


def _nothing() -> None:
    """What most arrays' owners want to know."""


class View(NamedTuple):
    """Memory to fill: a backend's name, its array on that memory, where to launch, whom to tell afterwards, and what part of a
    larger array it is, if its owner knows."""

    backend: str
    array: Any
    scope: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext
    written: Callable[[], None] = _nothing
    shard: Shard | None = None


def view_of(x: Any) -> View:
    """The view of any array that can be filled in place; the errors are those of `target`."""
    for library, (class_name, view) in _LIBRARIES.items():
        kind = getattr(sys.modules.get(library), class_name, None)
        if isinstance(kind, type) and isinstance(x, kind):
            return view(x)
    if not isinstance(x, type):  # a class has its instances' methods
        if hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__"):
            return _dlpack(x)
        if hasattr(x, "__cuda_array_interface__"):
            return _cuda_array_interface(x)
    raise TypeError(
        "x must be an array that can be filled in place: a numpy.ndarray, cupy.ndarray, torch.Tensor, or an object with "
        f"__dlpack__ or __cuda_array_interface__; got {_name(x)}"
    )


def _numpy(x: Any) -> View:
    if isinstance(x, (np.matrix, np.ma.MaskedArray)):
        raise TypeError(f"x must be a plain array, got {type(x).__name__}; give its data, as in numpy.asarray(x)")
    if not x.flags.writeable:
        raise _read_only(x)
    return View("host", np.asarray(x))


def _cupy(x: Any) -> View:
    _usable_cupy()
    return View("cuda", x)


def _immutable(x: Any) -> View:
    raise _read_only(x)


def _torch(x: Any) -> View:
    torch = sys.modules["torch"]
    if reason := _why_not_torch(torch, x):
        raise TypeError(f"x must be a plain, dense tensor with memory of its own, got {reason}")

    def written() -> None:
        if not x.is_inference():  # these have no version counter
            torch.autograd.graph.increment_version(x)

    # An ordinary tensor stays one inside a fake mode or a transform, which would see the view taken of it.
    with torch._C._DisableTorchDispatch(), torch._C._DisableFuncTorch():
        data = x.detach()
        if x.device.type == "cpu":
            if x.dtype == torch.bfloat16:
                return View("host", data.view(torch.uint16).numpy().view(bfloat16()), written=written)
            return View("host", data.numpy(), written=written)

    cupy = _usable_cupy()

    @contextlib.contextmanager
    def scope() -> Any:
        # torch's own stream of that device, so that the fill is ordered with torch's work.
        stream = torch.cuda.current_stream(x.device)
        with torch.cuda.device(x.device), cupy.cuda.Device(x.device.index), cupy.cuda.Stream.from_external(stream):
            yield

    with scope():
        return View("cuda", cupy.from_dlpack(data), scope, written)


def _dtensor(x: Any) -> View:
    tensor, shard = dtensor.local(x)
    view = _torch(tensor)

    def written() -> None:
        view.written()
        if not x.is_inference():  # the wrapper, which autograd saves, has a counter of its own
            sys.modules["torch"].autograd.graph.increment_version(x)

    return view._replace(written=written, shard=shard)


def _why_not_torch(torch: Any, x: Any) -> str:
    """What keeps a tensor from being filled through its memory, with the remedy; empty if nothing does."""
    if torch.compiler.is_compiling():
        return "one traced by torch.compile; fill it outside, or in a function under torch.compiler.disable"
    if torch._C._functorch.is_functorch_wrapped_tensor(x):
        return "one inside a torch.func transform (vmap, grad); fill it outside"
    if torch.nn.parameter.is_lazy(x):
        return "an uninitialized lazy parameter; run the module once, then fill it"
    if type(x).__torch_dispatch__ is not torch._C._disabled_torch_dispatch_impl:
        return f"the wrapper {type(x).__name__}; fill the tensor inside it, or a real one made from it"
    if x.is_nested:
        return "a nested tensor; fill the tensors in it"
    if x.is_meta:
        return "a meta tensor, which has no memory; materialize it first, as by module.to_empty(device=...)"
    if x.layout != torch.strided or x.is_quantized:
        return f"a {'quantized' if x.is_quantized else x.layout} tensor; fill a dense one and convert it"
    if x.is_conj() or x.is_neg() or x._is_zerotensor():
        return "a lazily conjugated, negated or zero tensor; fill the tensor that it is a view of, or x.clone()"
    if torch._is_functional_tensor(x):
        return "a functional tensor of a trace; fill it outside"
    if x.numel() and not x.untyped_storage().nbytes():
        return "one whose memory was freed; gather or materialize it first"
    if x.device.type not in ("cpu", "cuda"):
        return f"one on the device {x.device}; fill a CPU tensor and move it"
    if not (x.dtype == torch.bfloat16 or hasattr(np, str(x.dtype).removeprefix("torch."))):
        return f"one of {x.dtype}; fill a float32 tensor and convert it"
    return ""


# Library -> the name of its array class, and its view.
_LIBRARIES: dict[str, tuple[str, Callable[[Any], View]]] = {
    "numpy": ("ndarray", _numpy),
    "cupy": ("ndarray", _cupy),
    "torch.distributed.tensor": ("DTensor", _dtensor),
    "torch": ("Tensor", _torch),
    "jax": ("Array", _immutable),  # on CUDA, its DLPack capsules do not say that they are read-only
}
# DLPack's device types, from its header's DLDeviceType.
_CPU, _CUDA_DEVICES = 1, (2, 13)


def _dlpack(x: Any) -> View:
    with _foreign(x, "__dlpack__"):
        device, number = map(int, x.__dlpack_device__())
    if device == _CPU:
        with _foreign(x, "__dlpack__"):
            array = np.from_dlpack(_OwnMemory(x, versioned=True))
        if not array.flags.writeable:
            raise _read_only(x)
        return View("host", array)
    if device not in _CUDA_DEVICES:
        raise TypeError(f"x must lie on the CPU or a CUDA device, got {_name(x)} on DLPack's device type {device}")
    cupy = _usable_cupy()
    # Without a version, DLPack has no flag for read-only memory, and its producer refuses; CuPy looks at no flags.
    with _foreign(x, "__dlpack__"), cupy.cuda.Device(number):
        return View("cuda", cupy.from_dlpack(_OwnMemory(x, versioned=False)))


class _OwnMemory:
    """A DLPack producer that is asked for its own memory and no copy, which NumPy 2.0 and CuPy do not ask for."""

    def __init__(self, x: Any, versioned: bool) -> None:
        self._x, self._versioned = x, versioned

    def __dlpack_device__(self) -> Any:
        return self._x.__dlpack_device__()

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None) -> Any:
        options = {} if stream is None else {"stream": stream}
        version = {"max_version": max_version} if self._versioned else {}
        try:
            return self._x.__dlpack__(**options, **version, copy=False)
        except TypeError:  # a producer from before the keyword, of the array API standard 2023.12
            return self._x.__dlpack__(**options)


def _cuda_array_interface(x: Any) -> View:
    with _foreign(x, "__cuda_array_interface__"):
        _, read_only = x.__cuda_array_interface__["data"]
    if read_only:
        raise _read_only(x)
    cupy = _usable_cupy()
    with _foreign(x, "__cuda_array_interface__"):
        return View("cuda", cupy.asarray(x))


@contextlib.contextmanager
def _foreign(x: Any, protocol: str) -> Iterator[None]:
    """Whatever another library's method raises, in words that name the argument."""
    try:
        yield
    except Exception as error:
        raise TypeError(f"x must give its own memory through {protocol}, but {_name(x)} does not: {error}") from error


def _usable_cupy() -> Any:
    """CuPy, where its kernels can run; an array on a CUDA device may be another library's, so it is imported here if need be."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise RuntimeError("x lies on a CUDA device, which needs CuPy: install gpuinit[cuda12] or gpuinit[cuda13]") from error
    if cupy.cuda.runtime.is_hip:
        raise RuntimeError("gpuinit's kernels are CUDA code, but this CuPy is built for ROCm; use arrays on the CPU")
    if not cupy.is_available():
        raise RuntimeError("CuPy finds no CUDA device that can be used; `python -m gpuinit info` tells more")
    return cupy


def bfloat16() -> Any:
    """ml_dtypes' bfloat16, in which NumPy can see a bfloat16 tensor."""
    try:
        return importlib.import_module("ml_dtypes").bfloat16
    except ImportError as error:
        raise TypeError("x of bfloat16 on the CPU needs the package ml_dtypes: install gpuinit[bfloat16]") from error


def _read_only(x: Any) -> TypeError:
    return TypeError(
        f"x must be writeable, got a read-only {_name(x)}; fill a writeable copy, x.copy(), or a new NumPy array, and convert it "
        "(jax.numpy.asarray(filled))"
    )


def _name(x: Any) -> str:
    return f"{type(x).__module__}.{type(x).__qualname__}".removeprefix("builtins.")
