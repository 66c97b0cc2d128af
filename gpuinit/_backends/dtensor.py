"""What part of the whole this process holds of torch.distributed's `DTensor`: its local tensor, and that tensor's `Shard`."""

from __future__ import annotations

import itertools
import operator
import sys
from collections import defaultdict
from typing import Any

from gpuinit._backends import torch_private
from gpuinit._backends.torch_memory import is_copied_view, why_not_its_own
from gpuinit._contract.shards import Shard


def local_part(x: Any) -> tuple[Any, Shard]:
    """Return the tensor in this process's memory, and its place in the whole.

    Raises
    ------
    TypeError
        If the memory is not the caller's, or the placements do not make it one contiguous part, or are not those of the memory
        that is there.
    """
    if reason := why_not_its_own(x):
        raise TypeError(f"x must be a DTensor with memory of its own, got {reason}")
    coordinate = x.device_mesh.get_coordinate()
    if coordinate is None:  # this process is not of the mesh and holds nothing; its generator moves on like all others
        shape = tuple(x.shape) or (1,)  # of a scalar, no part is empty; x.detach() would have memory of torch's making
        return torch_private.local_tensor(x), Shard(shape, (slice(0, 0),) * len(shape))
    tensor = torch_private.local_tensor(x.detach())
    if hasattr(tensor, "wait"):
        tensor = tensor.wait()  # what is still on its way, from an asynchronous collective, would overwrite the fill
    if is_copied_view(x):
        raise TypeError(
            f"x must share the memory of the DTensor that it is a view of, got shape {tuple(x.shape)} of one of shape "
            f"{tuple(torch_private.base(x).shape)}, cut from a copy that torch gathered; fill that DTensor as a whole, or what "
            "to_local() gives of it, with shard=gpuinit.Shard(...)"
        )
    shard = Shard(tuple(x.shape), _index(x, coordinate))
    if shard.shape != tuple(tensor.shape) and (0 not in shard.shape or tensor.numel()):  # an empty part has any shape
        raise TypeError(
            f"x must have a local tensor of the shape {shard.shape} that its placements {x.placements} give for shape "
            f"{tuple(x.shape)}, got {tuple(tensor.shape)}; give DTensor.from_local the shape and stride of the whole"
        )
    return tensor, shard


def is_cut(x: Any) -> bool:
    """Whether some process has less than all of a DTensor; the answer is the same in each."""
    tensors = sys.modules.get("torch.distributed.tensor")
    if tensors is None or not isinstance(x, tensors.DTensor):
        return False
    cuts = [not placement.is_replicate() for placement, n in zip(x.placements, x.device_mesh.shape) if n > 1]
    return any(cuts) or x.device_mesh.size() < sys.modules["torch.distributed"].get_world_size()


def _index(x: Any, coordinate: list[int]) -> tuple[slice, ...]:
    """The part that the placements leave to the process at `coordinate`: mesh axis after mesh axis, each cuts what the one
    before left as `torch.chunk` does."""
    _refuse_unfit(x, coordinate)
    bounds = [(0, length) for length in x.shape]
    for axis, mesh_axes in _cuts(x):
        for mesh_axis in mesh_axes:
            start, stop = bounds[axis]
            chunk = -(-(stop - start) // x.device_mesh.shape[mesh_axis])
            place = coordinate[mesh_axis]
            bounds[axis] = min(start + place * chunk, stop), min(start + (place + 1) * chunk, stop)
    return tuple(slice(*ends) for ends in bounds)


def _refuse_unfit(x: Any, coordinate: list[int]) -> None:
    if not all(isinstance(place, int) for place in coordinate):
        raise TypeError(
            "x must be a DTensor of one process, got one of torch's LocalTensor mode, which simulates several; fill a tensor of "
            "the whole outside the mode, and distribute that"
        )
    for placement in x.placements:
        if placement.is_partial():
            raise TypeError(
                f"x must hold values, not summands of values, got a DTensor with placements {x.placements}; "
                "fill x.redistribute(placements=[Replicate() or Shard(axis), ...])"
            )
        if not (torch_private.split_factor(placement) or placement.is_replicate()):
            raise _not_contiguous(x)


def _cuts(x: Any) -> Any:
    """Return the pairs (axis, mesh axes in the order in which they cut it).

    A mesh axis of FSDP over tensor parallelism cuts after those that come later in the mesh: where it does is found by the
    number of pieces that they leave.
    """
    factors = [torch_private.split_factor(placement) for placement in x.placements]
    if max(factors, default=0) <= 1 and (order := torch_private.shard_order(x)):
        return order
    sizes = x.device_mesh.shape
    cuts: dict[int, list[int]] = defaultdict(list)
    for mesh_axis in reversed(range(len(factors))):
        if factors[mesh_axis] and sizes[mesh_axis] > 1:
            later = cuts[x.placements[mesh_axis].dim]
            pieces = list(itertools.accumulate((sizes[other] for other in later), operator.mul, initial=1))
            if factors[mesh_axis] not in pieces:
                raise _not_contiguous(x)
            later.insert(pieces.index(factors[mesh_axis]), mesh_axis)
    return cuts.items()


def _not_contiguous(x: Any) -> TypeError:
    return TypeError(
        f"x must have the placements Shard(axis) and Replicate(), or others that leave one part to each process, got a DTensor "
        f"with placements {x.placements}; fill one of other placements, as distribute_tensor makes it, and redistribute it"
    )
