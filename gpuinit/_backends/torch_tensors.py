"""Views of torch's tensors, and of what this process holds of a DTensor; torch is never imported here."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from typing import Any, NamedTuple

import numpy as np

from gpuinit._backends import torch_private
from gpuinit._backends.dtensor import local_part
from gpuinit._backends.gpu import usable_cupy
from gpuinit._backends.torch_memory import why_not_its_own
from gpuinit._backends.view import View
from gpuinit._contract.dtypes import EIGHT_BITS, EVERY, as_dtype


def view_of_tensor(x: Any) -> View:
    """Return the view of a torch tensor on the CPU or a CUDA device."""
    torch = sys.modules["torch"]
    if reason := _why_not(torch, x):
        raise TypeError(f"x must be a plain, dense tensor with memory of its own, got {reason}")

    def notify_owner() -> None:
        _raise_version(x)

    if x.is_cpu:
        return View("host", _array_on(x), notify_owner=notify_owner)

    cupy = usable_cupy()
    with torch_private.outside_modes():
        data = x.detach()

    @contextlib.contextmanager
    def scope() -> Any:
        # torch's own stream of that device, so that the fill is ordered with torch's work.
        stream = _Stream(torch.cuda.current_stream(x.device).cuda_stream)
        with torch.cuda.device(x.device), cupy.cuda.Device(x.device.index), cupy.cuda.Stream.from_external(stream):
            yield

    with scope():
        return View("cuda", cupy.from_dlpack(data), scope, notify_owner)


def _array_on(x: Any) -> np.ndarray:
    """Return an array on a CPU tensor's memory, by its address: `x.numpy()` would forbid for ever to resize the storage."""
    dtype = _dtype(x.dtype)
    size, strides = int(x.nbytes), None
    if not x.is_contiguous():
        size = _end(x) - x.storage_offset() * dtype.itemsize
        strides = tuple(step * dtype.itemsize for step in x.stride())
    buffer = _buffer_of(size).from_address(x.data_ptr())
    buffer.owner = x  # the array holds the buffer, so the tensor lives as long
    return np.ndarray(x.shape, dtype, buffer, 0, strides)


@functools.lru_cache(1024)
def _buffer_of(size: int) -> Any:
    """Return ctypes's class of so many bytes; to make one takes longer than the fill of a small tensor."""
    return ctypes.c_char * size


def _end(x: Any) -> int:
    """Return how many bytes of its storage a tensor with elements needs."""
    if x.is_contiguous():
        return int(x.storage_offset() * x.element_size() + x.nbytes)
    last = x.storage_offset() + sum((int(length) - 1) * int(step) for length, step in zip(x.shape, x.stride()))
    return int((last + 1) * x.element_size())


@functools.cache
def _dtype_name(dtype: Any) -> str:
    """Return NumPy's name of torch's dtype; empty if no array of it can be filled."""
    name = str(dtype).removeprefix("torch.")
    return name if name in EVERY else ""


@functools.cache
def _dtype(dtype: Any) -> np.dtype[Any]:
    """Return NumPy's dtype for torch's."""
    return as_dtype(_dtype_name(dtype))


@functools.cache
def _dtype_or_none(dtype: Any) -> np.dtype[Any] | None:
    return _dtype(dtype) if _dtype_name(dtype) else None


class _Stream(NamedTuple):
    """A stream by the CUDA stream protocol, which torch's own streams follow from some version of torch on."""

    address: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.address


class SmallTensor(NamedTuple):
    """A plain tensor of consecutive elements on the CPU, so small that making an array on its memory would take the most time.

    It is a target like `targets.Target`, which makes that array only if something asks for it.
    """

    tensor: Any
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    size: int

    @property
    def shard(self) -> None:
        return None

    @property
    def view(self) -> View:
        return view_of_tensor(self.tensor)


_MOST_BYTES = 2**18  # of a small tensor: that the threads have nothing to share


def small_tensor(x: Any) -> SmallTensor | None:
    """Return a tensor as a small one; None if it is large, or not plain, or needs more checks."""
    if sys.modules["torch"].compiler.is_compiling() or not has_simple_memory(x):
        return None
    dtype = _dtype_or_none(x.dtype)
    return SmallTensor(x, dtype, tuple(x.shape), x.numel()) if dtype and 0 < x.nbytes <= _MOST_BYTES else None


def has_simple_memory(x: Any) -> bool:
    """Check at a few looks for a plain tensor on the CPU whose memory is its own, consecutive and there."""
    return (
        torch_private.is_plain(x)
        and x.is_contiguous()
        and not x.__dict__
        and torch_private.base(x) is None
        and x.grad_fn is None
        and x.untyped_storage().nbytes() >= x.storage_offset() * x.element_size() + x.nbytes
    )


def view_of_dtensor(x: Any) -> View:
    """Return the view of this process's part of a DTensor, and its place in the whole."""
    tensor, shard = local_part(x)
    view = view_of_tensor(tensor)

    def notify_owner() -> None:
        view.notify_owner()
        _raise_version(x)  # the wrapper, which autograd saves, has a counter of its own

    return view._replace(notify_owner=notify_owner, shard=shard)


def _raise_version(x: Any) -> None:
    """Let autograd know of a write that it did not see: a later backward pass would use the new values in silence."""
    if not x.is_inference():  # these have no version counter
        torch_private.raise_version(x)


def _why_not(torch: Any, x: Any) -> str:
    """Say what keeps a tensor from being filled through its memory, with the remedy; empty if nothing does."""
    if torch.compiler.is_compiling():
        return "one traced by torch.compile; fill it outside, or in a function under torch.compiler.disable"
    if not torch_private.is_plain(x) and (reason := _why_unusual(torch, x)):
        return reason
    if x.untyped_storage().nbytes() < _end(x) and x.numel():
        return "one whose memory was freed, or shrunk below its size; gather or materialize it first"
    if reason := why_not_its_own(x):
        return reason
    if not _dtype_name(x.dtype):
        return f"one of {x.dtype}; fill a float32 tensor and convert it"
    if _dtype_name(x.dtype) in EIGHT_BITS and not x.is_cpu:
        return f"one of {x.dtype} on a GPU, for which CuPy has no such dtype; fill a float32 or bfloat16 tensor and convert it"
    return ""


def _why_unusual(torch: Any, x: Any) -> str:
    """Say why a tensor that is not plain cannot be filled; empty if it can, or if no memory of its own is all that it lacks."""
    if torch_private.is_in_transform(x):
        return "one inside a torch.func transform (vmap, grad); fill it outside"
    if torch.nn.parameter.is_lazy(x):
        return "an uninitialized lazy parameter; run the module once, then fill it"
    if torch_private.is_wrapper(x):
        return f"the wrapper {type(x).__name__}; fill the tensor inside it, or a real one made from it"
    if x.is_nested:
        return "a nested tensor; fill the tensors in it"
    if x.is_meta:
        return "a meta tensor, which has no memory; materialize it first, as by module.to_empty(device=...)"
    if x.layout != torch.strided or x.is_quantized:
        return f"a {'quantized' if x.is_quantized else x.layout} tensor; fill a dense one and convert it"
    if x.is_conj() or x.is_neg() or torch_private.is_zero_tensor(x):
        return "a lazily conjugated, negated or zero tensor; fill the tensor that it is a view of, or x.clone()"
    if torch_private.is_functional(x):
        return "a functional tensor of a trace; fill it outside"
    if x.device.type not in ("cpu", "cuda"):
        return f"one on the device {x.device}; fill a CPU tensor and move it"
    return ""
