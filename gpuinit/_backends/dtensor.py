"""What part of the whole this process holds of torch.distributed's `DTensor`: its local tensor, and that tensor's `Shard`."""

from __future__ import annotations

import sys
from typing import Any

from gpuinit._backends import torch_private
from gpuinit._contract.shards import Shard


def local_part(x: Any) -> tuple[Any, Shard]:
    """Return the tensor in this process's memory, and its place in the whole.

    Raises
    ------
    TypeError
        If the placements do not make it one contiguous part, or are not those of the memory that is there.
    """
    tensor = torch_private.local_tensor(x.detach())
    if hasattr(tensor, "wait"):
        tensor = tensor.wait()  # what is still on its way, from an asynchronous collective, would overwrite the fill
    coordinate = x.device_mesh.get_coordinate()
    if coordinate is None:  # this process is not of the mesh and holds nothing; its generator moves on like all others
        return tensor, Shard(tuple(x.shape), (slice(0, 0),) * x.ndim)
    shard = Shard(tuple(x.shape), _index(x, coordinate))
    if shard.shape != tuple(tensor.shape):
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
    _refuse_unfit(x)
    bounds = [(0, length) for length in x.shape]
    for place, placement, processes in zip(coordinate, x.placements, x.device_mesh.shape):
        if placement.is_shard():
            start, stop = bounds[placement.dim]
            chunk = -(-(stop - start) // processes)
            bounds[placement.dim] = min(start + place * chunk, stop), min(start + (place + 1) * chunk, stop)
    return tuple(slice(*ends) for ends in bounds)


def _refuse_unfit(x: Any) -> None:
    tensors = sys.modules["torch.distributed.tensor"]
    for placement in x.placements:
        if placement.is_partial():
            raise TypeError(
                f"x must hold values, not summands of values, got a DTensor with placements {x.placements}; "
                "fill x.redistribute(placements=[Replicate() or Shard(axis), ...])"
            )
        if type(placement) not in (tensors.Shard, tensors.Replicate):
            raise _not_contiguous(x)
    for _, mesh_axes in torch_private.shard_order(x):
        if list(mesh_axes) != sorted(mesh_axes):
            raise _not_contiguous(x)


def _not_contiguous(x: Any) -> TypeError:
    return TypeError(
        f"x must have the placements Shard(axis) and Replicate(), applied in the mesh's order, got a DTensor with placements "
        f"{x.placements}; fill one of other placements, as distribute_tensor makes it, and redistribute it"
    )
