"""Everything of torch's that is not its public interface, one function each: what a new torch may break is here."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any


def outside_modes() -> AbstractContextManager[None]:
    """Within, an ordinary tensor stays one though a fake mode or a transform is active, which would see a view taken of it."""
    internals = sys.modules["torch"]._C
    if internals._len_torch_dispatch_stack() or internals._functorch.peek_interpreter_stack() is not None:
        return _without(internals)
    return nullcontext()  # in a tenth of the time


@contextmanager
def _without(internals: Any) -> Iterator[None]:
    with internals._DisableTorchDispatch(), internals._DisableFuncTorch():
        yield


def tensor_types() -> tuple[Any, ...]:
    """Return torch's own classes of tensors; none before it is imported."""
    global _tensor_types
    if not _tensor_types:
        torch = sys.modules.get("torch")  # perhaps while another thread imports it
        parameter = getattr(getattr(torch, "nn", None), "Parameter", None)
        _tensor_types = () if parameter is None else (getattr(torch, "Tensor", None), parameter)
    return _tensor_types


_tensor_types: tuple[Any, ...] = ()


def is_plain(x: Any) -> bool:
    """Check at one look for a dense CPU tensor of torch's own classes that is no lazy view and no part of a trace or transform.

    The set of keys by which torch dispatches operations on it is then that of any such tensor. One that is not plain may be as
    good: an inference tensor, a subclass.
    """
    return type(x) in tensor_types() and sys.modules["torch"]._C._dispatch_keys(x).raw_repr() == _plain_keys()


@functools.cache
def _plain_keys() -> int:
    torch = sys.modules["torch"]
    with _without(torch._C), torch._C.DisableTorchFunction(), torch.inference_mode(False):
        return int(torch._C._dispatch_keys(torch.empty(0, device="cpu")).raw_repr())


def raise_version(x: Any) -> None:
    """Do what `torch.autograd.graph.increment_version` does, in a third of the time."""
    sys.modules["torch"]._C._increment_version([x])


def is_in_transform(x: Any) -> bool:
    """Check for a tensor inside a torch.func transform."""
    return bool(sys.modules["torch"]._C._functorch.is_functorch_wrapped_tensor(x))


def is_wrapper(x: Any) -> bool:
    """Check for a subclass that answers torch's operations itself, and may not have the memory it shows."""
    return type(x).__torch_dispatch__ is not sys.modules["torch"]._C._disabled_torch_dispatch_impl


def base(x: Any) -> Any:
    """Return the tensor that a view is a view of; None of one that is no view."""
    return x._base


def history(x: Any) -> Any:
    """Return the node of autograd's graph that computed the memory of a tensor; None of a leaf and of views of one.

    That of the base is asked for where there is one: a view's own raises if the base was written since.
    """
    whole = x._base
    if whole is None:
        return x.grad_fn
    if whole.requires_grad or not x.requires_grad:
        return whole.grad_fn
    try:  # a view that a custom function took of a tensor of its own
        return x.grad_fn
    except RuntimeError:
        return None


def storage(x: Any) -> Any:
    """Return what two tensors have in common that share memory; of a DTensor, that of its part in this process.

    None of a tensor without such memory, as a sparse one, or an uninitialized lazy parameter.
    """
    local = getattr(x, "_local_tensor", x)
    try:
        return getattr(local, "elem", local).untyped_storage()._cdata  # `elem`: of one that is still on its way
    except (NotImplementedError, ValueError):
        return None


def span(x: Any) -> tuple[int, int]:
    """Return the bytes of its storage from a tensor's first to its last; of a DTensor, those of its part in this process."""
    local = getattr(x, "_local_tensor", x)
    local = getattr(local, "elem", local)
    size = local.element_size()
    start = local.storage_offset() * size
    if local.is_contiguous():
        return start, start + local.nbytes
    return start, start + (1 + sum((length - 1) * step for length, step in zip(local.shape, local.stride()))) * size


def storage_number(x: Any) -> Any:
    """Return what keeps the number of a tensor's storage, as `storage` gives it, from being given to another, but no memory."""
    local = getattr(x, "_local_tensor", x)
    return _weak_reference()(getattr(local, "elem", local).untyped_storage())


@functools.cache
def _weak_reference() -> Any:
    return importlib.import_module("torch.multiprocessing.reductions").StorageWeakRef


def own_parameters(module: Any) -> Any:
    """Return the parameters of a module itself by their names; some are None. What wrappers override does not come in between."""
    return module._parameters.items()


def own_buffers(module: Any) -> Any:
    """Return the buffers of a module itself by their names; some are None."""
    return module._buffers.items()


def is_zero_tensor(x: Any) -> bool:
    """Check for a zero that exists as a flag alone."""
    return bool(x._is_zerotensor())


def is_functional(x: Any) -> bool:
    """Check for a tensor of a functionalizing trace."""
    return bool(sys.modules["torch"]._is_functional_tensor(x))


def local_tensor(x: Any) -> Any:
    """Return a DTensor's part in this process; `to_local()` would record a gradient, or mark the part as a Parameter."""
    return x._local_tensor


def shard_order(x: Any) -> Any:
    """Return a DTensor's pairs (axis, mesh axes in the order in which they cut it).

    Where torch has no such order, the placements alone say in what order the mesh's axes cut, and there are no pairs.
    """
    return getattr(x._spec, "shard_order", None) or ()


def split_factor(placement: Any) -> int:
    """Return into how many pieces other mesh axes cut an axis before the one of this placement does; 0 if it is no Shard."""
    return getattr(placement, "split_factor", 1) if type(placement).__name__ in ("Shard", "_StridedShard") else 0


def is_of_fsdp1(x: Any) -> bool:
    """Check for a parameter that FSDP1 manages, flattened except within `summon_full_params`."""
    return bool(getattr(x, "_fsdp_flattened", False))


def has_forward_pre_hooks(module: Any) -> bool:
    """Check for hooks that run before each call of a module; None has none."""
    return bool(getattr(module, "_forward_pre_hooks", None))
