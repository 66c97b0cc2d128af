"""What this process holds of torch.distributed's `DTensor`: its local tensor, and where that lies in the whole."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable
from typing import Any

from gpuinit._backends import torch_private
from gpuinit._backends.torch_memory import is_copied_view, why_not_its_own
from gpuinit._contract.shards import Patches, Shard


def local_part(x: Any) -> tuple[Any, Shard | Patches]:
    """Return the tensor in this process's memory, and its place in the whole.

    Raises
    ------
    TypeError
        If the memory is not the caller's, or holds no values of the whole, or is not what the placements say.
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
    shard = _place(x, coordinate)
    if shard.shape != tuple(tensor.shape) and (0 not in shard.shape or tensor.numel()):  # an empty part has any shape
        raise TypeError(
            f"x must have a local tensor of the shape {shard.shape} that its placements {x.placements} give for shape "
            f"{tuple(x.shape)}, got {tuple(tensor.shape)}; give DTensor.from_local the shape and stride of the whole"
        )
    return tensor, shard


def is_dtensor(x: Any) -> bool:
    """Check for a DTensor, where torch has that part of it loaded."""
    tensors = sys.modules.get("torch.distributed.tensor")
    return tensors is not None and isinstance(x, tensors.DTensor)


def is_cut(x: Any) -> bool:
    """Whether some process has less than all of a DTensor; the answer is the same in each."""
    if not is_dtensor(x):
        return False
    cuts = [not placement.is_replicate() for placement, n in zip(x.placements, x.device_mesh.shape) if n > 1]
    return any(cuts) or x.device_mesh.size() < sys.modules["torch.distributed"].get_world_size()


def _place(x: Any, coordinate: list[int]) -> Shard | Patches:
    """The part or parts that the placements leave to the process at `coordinate`."""
    _refuse_unfit(x, coordinate)
    axes: list[_Runs] = [[(0, length)] for length in x.shape]
    for axis, mesh_axis, factor in _cuts(x):
        size, number = x.device_mesh.shape[mesh_axis], coordinate[mesh_axis]
        axes[axis] = _joined(run for part in _chunks(axes[axis], factor) for run in _chunks(part, size)[number])
    whole = tuple(x.shape)
    if all(len(runs) == 1 for runs in axes):
        return Shard(whole, tuple(slice(*run) for [run] in axes))
    parts = []
    for chosen in itertools.product(*map(_placed, axes)):
        parts.append((tuple(within for within, _ in chosen), Shard(whole, tuple(of_whole for _, of_whole in chosen))))
    return Patches(whole, tuple(sum(stop - start for start, stop in runs) for runs in axes), tuple(parts))


# Along an axis: the stretches of the whole, (start, stop), that lie one after the other in a part.
_Runs = list[tuple[int, int]]


def _chunks(runs: _Runs, count: int) -> list[_Runs]:
    """Cut runs as `torch.chunk` cuts a tensor; the last chunks may be shorter, or empty."""
    length = -(-sum(stop - start for start, stop in runs) // count)
    chunks: list[_Runs] = []
    for number in range(count):
        chunk, before = [], 0
        for start, stop in runs:
            first = max(start, start + number * length - before)
            last = min(stop, start + (number + 1) * length - before)
            if first < last:
                chunk.append((first, last))
            before += stop - start
        chunks.append(chunk)
    return chunks


def _joined(runs: Iterable[tuple[int, int]]) -> _Runs:
    """Join runs that follow each other; if there are none, return an empty one."""
    joined: _Runs = []
    for start, stop in runs:
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], stop
        else:
            joined.append((start, stop))
    return joined or [(0, 0)]


def _placed(runs: _Runs) -> list[tuple[slice, slice]]:
    """Return where each run lies in the part, and in the whole."""
    ends = list(itertools.accumulate(stop - start for start, stop in runs))
    return [(slice(end - (stop - start), end), slice(start, stop)) for end, (start, stop) in zip(ends, runs)]


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
            raise TypeError(
                f"x must have the placements Shard(axis), _StridedShard(axis) and Replicate(), got a DTensor with placements "
                f"{x.placements}; fill one of other placements, as distribute_tensor makes it, and redistribute it"
            )


def _cuts(x: Any) -> list[tuple[int, int, int]]:
    """Return the cuts in order: the axis, the mesh axis that cuts it, and into how many pieces the axis counts as cut before.

    Of each such piece a process gets its share: so FSDP over tensor parallelism cuts what that left, though its axis of the mesh
    comes first.
    """
    if all(torch_private.split_factor(placement) <= 1 for placement in x.placements) and (order := torch_private.shard_order(x)):
        return [(axis, mesh_axis, 1) for axis, mesh_axes in order for mesh_axis in mesh_axes]
    factors = [(mesh_axis, torch_private.split_factor(placement)) for mesh_axis, placement in enumerate(x.placements)]
    return [(x.placements[mesh_axis].dim, mesh_axis, factor) for mesh_axis, factor in factors if factor]
