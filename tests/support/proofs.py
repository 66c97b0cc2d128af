"""What is shown of each model of the zoo: its moments are those of the untouched model, and its values are the same on any mesh.

A group of processes runs this file as a program: `python -m tests.support.proofs RANK LAYOUT STORE NAME ...` prints digests.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import gpuinit as gi
from tests.support.groups import leave
from tests.support.zoo import ZOO, Model

SEEDS = (0, 1, 2)
# Of a difference between two samples, in standard errors. Some thousand moments are compared.
LIMIT = 6.0
LEAST = 256  # elements of a sample whose moments are compared
# Name -> the shape of the mesh (data parallel, tensor parallel).
LAYOUTS = {"FSDP2 on 2": (2, 1), "FSDP2 on 3": (3, 1), "TP on 2": (1, 2), "FSDP2 x TP on 4": (2, 2)}


def moments_that_differ(name: str) -> list[str]:
    """Return what differs between a model by `construct` and the untouched one, over three seeds each."""
    make = ZOO[name].make
    ours = [_values(gi.construct(make, seed=seed)) for seed in SEEDS]
    theirs = []
    for seed in SEEDS:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            theirs.append(_values(make()))
    return [
        problem for own in ours[0] for problem in _differences(own, *([model[own] for model in side] for side in (ours, theirs)))
    ]


def _values(model: torch.nn.Module) -> dict[str, np.ndarray]:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: x.detach().double().flatten().numpy() for name, x in tensors.items() if not x.is_complex()}


def _differences(name: str, ours: list[np.ndarray], theirs: list[np.ndarray]) -> list[str]:
    if all(np.array_equal(theirs[0], other) for other in theirs[1:]):  # nothing random
        return [] if all(np.array_equal(theirs[0], own) for own in ours) else [f"{name}: other constants"]
    a, b = np.concatenate(ours), np.concatenate(theirs)
    if abs((a == 0).mean() - (b == 0).mean()) > 1e-3:  # a row of padding, not the zero that may be drawn
        return [f"{name}: other zeros"]
    if len(a) < LEAST:
        return []
    center, problems = b.mean(), []
    for power in (1, 2, 4):
        first, second = (a - center) ** power, (b - center) ** power
        error = math.sqrt((first.var() + second.var()) / len(a))
        if not abs(first.mean() - second.mean()) <= LIMIT * error:
            problems.append(f"{name}: moment {power} is {first.mean():.4g}, not {second.mean():.4g} +- {error:.2g}")
    return problems


def digest_alone(name: str) -> str:
    """Return the digest of a model that one process has as a whole."""
    return digest(_initialized(ZOO[name]))


def differs_backward(name: str) -> list[str]:
    """Return the parameters with other values where modules are visited in the opposite order. Tied ones are left out: of them,
    the module that comes last has the last word."""
    forward, backward = _initialized(ZOO[name]), _initialized(ZOO[name], backwards)
    tied = Counter(id(x) for _, x in forward.named_parameters(remove_duplicate=False))
    others = dict(backward.named_parameters())
    return [own for own, x in forward.named_parameters() if tied[id(x)] == 1 and not torch.equal(x, others[own])]


def _initialized(
    model: Model, order: Callable[[], Any] = contextlib.nullcontext, cut: Callable[[Any], Any] = lambda model: None
) -> Any:
    """Return a model that its own code initialized; by the constructors if there is no other, and then cut."""
    if model.initialize is None:
        made = gi.construct(model.make, seed=42)
        cut(made)
        return made
    with torch.device("meta"):
        made = model.make()
    cut(made)
    made.to_empty(device="cpu")
    with order(), gi.seeded(made, seed=42) as report:
        model.initialize(made)
    _zero(made, report.untouched)
    return made


def _zero(model: torch.nn.Module, names: list[str]) -> None:
    """Write zeros to what the authors' code leaves as it was: memory that nobody wrote to differs from run to run."""
    with torch.no_grad():
        for name in names:
            model.get_parameter(name).zero_()


@contextlib.contextmanager
def backwards() -> Any:
    """Within, modules have their children in the opposite order."""
    forwards = torch.nn.Module.named_children
    with mock.patch.object(torch.nn.Module, "named_children", lambda module: reversed(list(forwards(module)))):
        yield


def digest(model: torch.nn.Module) -> str:
    """Return the digest of all parameters, each gathered from all processes."""
    whole = {
        name: (x.full_tensor() if hasattr(x, "full_tensor") else x).detach().contiguous() for name, x in model.named_parameters()
    }
    return gi.digest(dict(sorted(whole.items())))


def digests(layout: str, names: list[str], folder: Path) -> dict[str, str]:
    """Return the digests of models that are cut as the layout says, each process having a part; an error in the place of one."""
    processes = math.prod(LAYOUTS[layout])
    store = f"file://{folder}/{layout.replace(' ', '')}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_ADDR2LINE": "1"}
    members = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.proofs", str(rank), layout, store, *names],
            cwd=Path(__file__).parents[2],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    outputs = [member.communicate() for member in members]
    if any(member.returncode for member in members):
        raise RuntimeError("\n".join(errors[-3000:] for _, errors in outputs))
    first, *others = (json.loads(output.splitlines()[-1]) for output, _ in outputs)
    return {
        name: one if all(other[name] == one for other in others) else "not the same in all processes"
        for name, one in first.items()
    }


def member(rank: int, layout: str, store: str, names: list[str]) -> None:
    """Print the digests, as one of a group of processes."""
    from torch.distributed import barrier, destroy_process_group, init_device_mesh, init_process_group

    shape = LAYOUTS[layout]
    init_process_group("gloo", init_method=store, rank=rank, world_size=math.prod(shape))
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=("data", "tensor"))
    found = {}
    for name in names:
        try:
            found[name] = digest(_initialized(ZOO[name], cut=lambda model: _cut(model, mesh)))
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    barrier()  # no process leaves while another still talks to it
    destroy_process_group()
    print(json.dumps(found))
    leave()


def _cut(model: torch.nn.Module, mesh: Any) -> None:
    """Cut linear layers and embeddings for tensor parallelism, by rows and columns in turns, and then all by FSDP2."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    if mesh["tensor"].size() > 1:
        layers = [own for own, module in model.named_modules() if type(module) in (torch.nn.Linear, torch.nn.Embedding)]
        plan = {own: (ColwiseParallel, RowwiseParallel)[number % 2]() for number, own in enumerate(layers)}
        parallelize_module(model, mesh["tensor"], plan)
    if mesh["data"].size() > 1:
        scalars = {x for x in model.parameters() if not x.ndim}
        for module in reversed(list(model.modules())):
            if isinstance(module, torch.nn.ModuleList):
                for block in module:
                    fully_shard(block, mesh=mesh["data"], ignored_params=scalars)
        fully_shard(model, mesh=mesh["data"], ignored_params=scalars)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # those of torch and the models' libraries
    member(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
