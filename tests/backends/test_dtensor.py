"""Every process fills its part of a DTensor with the values of the whole, for every mesh and placement, under FSDP2 too.

The checks run in processes of a group that talks through gloo; what fails or hangs there fails here.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpuinit as gi
from tests.support.fills import TOLERANCES
from tests.support.shards import CUTS, called

torch = pytest.importorskip("torch", reason="torch is not installed")
distributed = pytest.importorskip("torch.distributed")
if not (distributed.is_available() and distributed.is_gloo_available()):
    pytest.skip("torch is built without gloo", allow_module_level=True)
tensors = pytest.importorskip("torch.distributed.tensor")

pytestmark = pytest.mark.torch

LIMIT = 150  # seconds for a group; it takes about ten
# Number of processes -> the shapes of meshes of all of them.
MESHES = {2: [(2,), (1, 2)], 4: [(4,), (2, 2)]}
# Dtype -> a fill of it.
DTYPES = {"float16": "normal_", "bfloat16": "uniform_", "float64": "trunc_normal_", "complex64": "kaiming_normal_"}


@pytest.mark.parametrize("processes", MESHES)
def test_groups(processes, tmp_path):
    program = "import sys; from tests.backends.test_dtensor import member; member(*map(int, sys.argv[1:3]), sys.argv[3])"
    command = [sys.executable, "-W", "error", "-c", program]
    environment = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_ADDR2LINE": "1", **os.environ}
    members = [
        subprocess.Popen(
            [*command, str(rank), str(processes), f"file://{tmp_path}/store"],
            cwd=Path(__file__).parents[2],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for rank in range(processes)
    ]
    try:
        outputs = [member.communicate(timeout=LIMIT)[0] for member in members]
    finally:
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(member.pid, signal.SIGKILL)
            member.wait()
    # All together, as the failure of one ends the others'
    assert not any(member.returncode for member in members), "\n".join(outputs)


def member(rank, processes, store):
    """All checks, in a process of the group."""
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=processes)
    try:
        for check in (
            check_layouts,
            check_dtypes,
            check_outside_the_mesh,
            check_what_is_told,
            check_refused,
            check_fsdp,
            check_torch_defaults,
            check_reports,
        ):
            check(processes)
    finally:
        distributed.destroy_process_group()


def meshes(processes):
    return [
        distributed.init_device_mesh("cpu", shape, mesh_dim_names=("replicas", "shards")[-len(shape) :])
        for shape in MESHES[processes]
    ]


def layouts(mesh, axes):
    """Every tuple of placements of a tensor of so many axes."""
    return itertools.product([tensors.Replicate(), *map(tensors.Shard, range(axes))], repeat=mesh.ndim)


def empty(shape, mesh, placements, dtype=torch.float32):
    return tensors.full(shape, 77, dtype=dtype, device_mesh=mesh, placements=placements)


def check_whole(name, arguments, shape, x):
    """Fill; the values gathered from all processes against NumPy's, and the position."""
    dtype = str(x.dtype).removeprefix("torch.")
    expected = np.empty(shape, np.dtype("bfloat16" if dtype == "bfloat16" else dtype))
    assert called(name, x, arguments) == called(name, expected, arguments)
    found = x.detach().full_tensor()
    if name == "orthogonal_":
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=2 * TOLERANCES[dtype])
    else:
        assert found.reshape(-1).view(torch.uint8).numpy().tobytes() == expected.tobytes(), (name, shape, x.placements)


def check_layouts(processes):
    for mesh, (name, arguments, shapes) in itertools.product(meshes(processes), CUTS):
        for shape in shapes:
            if len(shape) <= 4:
                for placements in layouts(mesh, len(shape)):
                    check_whole(name, arguments, shape, empty(shape, mesh, placements))


def check_dtypes(processes):
    for mesh, (dtype, name) in itertools.product(meshes(processes), DTYPES.items()):
        for placements in layouts(mesh, 2):
            check_whole(name, {}, (5, 7), empty((5, 7), mesh, placements, getattr(torch, dtype)))


def check_outside_the_mesh(processes):
    """A process that holds nothing moves on by the whole all the same."""
    mesh = distributed.DeviceMesh("cpu", [0])
    for shape in ((), (5, 7)):
        x = empty(shape, mesh, [tensors.Replicate()])
        position = called("normal_", x, {})
        assert position == called("normal_", np.empty(shape, np.float32), {})
        assert distributed.get_rank() or (x.to_local() != 77).all()


def check_what_is_told(processes):
    """Autograd sees the write, a transfer under way is waited for, parameters stay what they are."""
    mesh, *_ = meshes(processes)
    x = torch.nn.Parameter(empty((5, 7), mesh, [tensors.Shard(0)]))
    y = (x * x).sum()
    assert gi.ones_(x) is x
    assert x.requires_grad
    assert x.is_leaf
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
    coming = empty((8, 7), mesh, [tensors.Shard(0)]).redistribute(placements=[tensors.Replicate()], async_op=True)
    check_whole("normal_", {}, (8, 7), coming)
    halves = gi.constant_(empty((5, 7), mesh, [tensors.Shard(1)]), -1.5)
    assert (gi.trunc_(halves).full_tensor() == -1).all()
    with torch.inference_mode():
        check_whole("normal_", {}, (5, 7), empty((5, 7), mesh, [tensors.Shard(0)]))


def check_refused(processes):
    mesh, *_ = meshes(processes)
    strided = tensors.placement_types._StridedShard(0, split_factor=2)
    whole = empty((8, 7), mesh, [tensors.Shard(0)])
    short = tensors.DTensor.from_local(torch.zeros(3, 7), mesh, [tensors.Shard(0)], shape=(40, 7), stride=(7, 1))
    refused = [
        (
            tensors.DTensor.from_local(torch.zeros(3), mesh, [tensors.Partial()]),
            {},
            r"Partial.*; fill x\.redistribute\(placements=",
        ),
        (
            tensors.distribute_tensor(torch.zeros(8, 7), mesh, [strided]),
            {},
            r"must have the placements Shard\(axis\) and Replicate",
        ),
        (whole, {"shard": gi.Shard((8, 7), (slice(None), slice(None)))}, r"shard must be None for a DTensor.*got shard=Shard"),
        (short, {}, r"local tensor of the shape \(\d+, 7\) .* got \(3, 7\); give DTensor\.from_local the shape"),
        (tensors.empty((8, 7), device_mesh=mesh, placements=[tensors.Shard(0)]).to("meta"), {}, r"a meta tensor.*to_empty"),
        (empty((8, 7), mesh, [tensors.Shard(0)], torch.int32), {}, r"x must be an array of one of the dtypes .*; got int32"),
    ]
    for x, arguments, match in refused:
        generator = gi.Generator(5)
        before = x.to_local().clone()
        with pytest.raises(TypeError, match=match):
            gi.normal_(x, generator=generator, **arguments)
        assert generator.position == 0
        assert x.to_local().is_meta or torch.equal(x.to_local(), before)


def check_fsdp(processes):
    """Parameters that are materialized from the meta device under FSDP2."""
    fsdp = importlib.import_module("torch.distributed.fsdp")
    for mesh in meshes(processes):
        with torch.device("meta"):
            model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 3, bias=False))
        fsdp.fully_shard(model, mesh=mesh)
        model.to_empty(device="cpu")
        ours, theirs = gi.Generator(7), gi.Generator(7)
        for name, parameter in model.named_parameters():
            assert isinstance(parameter, tensors.DTensor)
            fill = gi.zeros_ if name.endswith("bias") else gi.kaiming_normal_
            random = {} if name.endswith("bias") else {"generator": ours}
            assert fill(parameter, **random) is parameter
            expected = fill(np.empty(tuple(parameter.shape), np.float32), **(random and {"generator": theirs}))
            np.testing.assert_array_equal(parameter.detach().full_tensor().numpy(), expected)
        assert ours.position == theirs.position
        model(torch.ones(2, 6)).sum().backward()


def check_torch_defaults(processes):
    """A model under FSDP2 gets what it has alone; only one process holds the row of the padding."""
    fsdp = importlib.import_module("torch.distributed.fsdp")
    for mesh in meshes(processes):
        alone, sharded = (torch.nn.Sequential(torch.nn.Embedding(7, 4, padding_idx=5), torch.nn.Linear(4, 3)) for _ in range(2))
        fsdp.fully_shard(sharded, mesh=mesh)
        for model in (alone, sharded):
            gi.initialize(model, seed=7)
        for expected, parameter in zip(alone.parameters(), sharded.parameters(), strict=True):
            assert isinstance(parameter, tensors.DTensor)
            np.testing.assert_array_equal(parameter.detach().full_tensor().numpy(), expected.detach().numpy())
        assert not alone[0].weight[5].any()


def check_reports(processes):
    """All processes report one digest, of the parameters that each has as a whole."""
    fsdp = importlib.import_module("torch.distributed.fsdp")
    normal = [("*", "normal_")]
    for mesh in [*meshes(processes), distributed.DeviceMesh("cpu", [0])]:
        cut, whole = torch.nn.Linear(3, 1), torch.nn.Linear(3, 2)  # one process may have the only row
        if mesh.size() > 1:
            fsdp.fully_shard(cut, mesh=mesh)
        else:
            cut = {own: empty(tuple(x.shape), mesh, [tensors.Replicate()]) for own, x in cut.named_parameters()}
        same = empty((4, 2), meshes(processes)[0], [tensors.Replicate()] * meshes(processes)[0].ndim)
        report = gi.initialize({"cut": cut, "whole": whole, "same": same}, normal, seed=7)
        assert report.apart == ["cut.weight", "cut.bias"]
        assert [bool(row.digest) for row in report.rows] == [False, False, True, True, True]
        plain = {"whole": torch.nn.Linear(3, 2), "same": torch.empty(4, 2)}
        assert report.digest == gi.initialize(plain, normal, seed=7).digest


def test_filling_a_tensor_imports_nothing_distributed():
    code = """
import sys, torch
before = set(sys.modules)
import gpuinit
gpuinit.normal_(torch.empty(3))
print(*(name for name in set(sys.modules) - before if name.startswith("torch.distributed")))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not done.stdout.strip()
