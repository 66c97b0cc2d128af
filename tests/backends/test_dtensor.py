"""Every process fills its part of a DTensor with the values of the whole, for every mesh and placement, under FSDP2 too.

The checks run in processes of a group that talks through gloo; what fails or hangs there fails here.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import math
import subprocess
import sys
import unittest.mock
import warnings

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._backends import redrawing
from tests.support.fills import TOLERANCES
from tests.support.groups import fake_group, run_group
from tests.support.shards import CUTS, called

torch = pytest.importorskip("torch", reason="torch is not installed")
distributed = pytest.importorskip("torch.distributed")
if not (distributed.is_available() and distributed.is_gloo_available()):
    pytest.skip("torch is built without gloo", allow_module_level=True)
tensors = pytest.importorskip("torch.distributed.tensor")

pytestmark = pytest.mark.torch

# Number of processes -> the shapes of meshes of all of them.
MESHES = {2: [(2,), (1, 2)], 4: [(4,), (2, 2)], 8: [(2, 4), (2, 2, 2)]}
# Dtype -> a fill of it.
DTYPES = {"float16": "normal_", "bfloat16": "uniform_", "float64": "trunc_normal_", "complex64": "kaiming_normal_"}


@pytest.mark.parametrize("processes", [2, 4, pytest.param(8, marks=pytest.mark.slow)])
def test_groups(processes, tmp_path):
    run_group("tests.backends.test_dtensor", processes, tmp_path)


def member(processes):
    """All checks, in a process of the group."""
    for check in ALL if processes < 8 else (check_dtypes, check_patches):
        check(processes)


def meshes(processes):
    return [
        distributed.init_device_mesh("cpu", shape, mesh_dim_names=("groups", "replicas", "shards")[-len(shape) :])
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
    if name.endswith("orthogonal_"):
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
    whole = empty((8, 7), mesh, [tensors.Shard(0)])
    short = tensors.DTensor.from_local(torch.zeros(3, 7), mesh, [tensors.Shard(0)], shape=(40, 7), stride=(7, 1))
    refused = [
        (
            tensors.DTensor.from_local(torch.zeros(3), mesh, [tensors.Partial()]),
            {},
            r"Partial.*; fill x\.redistribute\(placements=",
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


# Name -> (the axis that is sharded, what is made of a DTensor of (5, 6)): torch gathers the whole and cuts the copy, or computes.
COPIES = {
    "rows": (0, lambda w: w[:2]),
    "row": (0, lambda w: w[0]),
    "chunk": (0, lambda w: w.chunk(3)[0]),
    "split": (0, lambda w: w.split(2)[1]),
    "narrow": (0, lambda w: w.narrow(0, 1, 3)),
    "diagonal": (0, lambda w: w.diagonal()),
    "column": (1, lambda w: w[:, :1]),
    "columns of the transpose": (0, lambda w: w.T[:, :2]),
    "row of what is detached": (0, lambda w: w.detach()[0]),
    "row of the data": (0, lambda w: w.data[0]),
}
RESULTS = {
    "product": (0, lambda w: w * 2),
    "whole": (0, lambda w: w.full_tensor()),
    "redistributed": (0, lambda w: w.redistribute(placements=[tensors.Replicate()])),
    "clone": (1, lambda w: w.clone()),
}


def check_copies(processes):
    """Not even a process whose part is empty goes on; without a gradient, nothing tells a result from a new DTensor."""
    mesh, *_ = meshes(processes)
    for (name, (axis, make)), recorded in itertools.product([*COPIES.items(), *RESULTS.items()], [True, False]):
        w = torch.nn.Parameter(empty((5, 6), mesh, [tensors.Shard(axis)]), requires_grad=recorded)
        if not recorded and name in RESULTS:
            continue
        x, generator = make(w), gi.Generator(5)
        remedy = r"result of an operation .* x\.detach\(\)" if name in RESULTS else r"cut from a copy .* to_local\(\)"
        with pytest.raises(TypeError, match=remedy):
            gi.normal_(x, generator=generator)
        assert generator.position == 0
        assert (w.to_local() == 77).all()


# Name -> (the axis that is sharded, a view of the same memory).
SAME_MEMORY = {
    "transpose": (0, lambda w: w.T),
    "columns": (0, lambda w: w[:, 1:3]),
    "rows": (1, lambda w: w[:2]),
    "chunk": (1, lambda w: w.chunk(2)[1]),
    "all rows": (0, lambda w: w[:]),
    "one more axis": (0, lambda w: w[None]),
    "detached": (0, lambda w: w.detach()),
    "data": (1, lambda w: w.data),
    "columns of what is detached": (0, lambda w: w.detach()[:, :2]),
    "redistributed to the same": (0, lambda w: w.redistribute(placements=w.placements)),
    "replicated": (None, lambda w: w[1:3]),
}


def check_views(processes):
    mesh, *_ = meshes(processes)
    for (axis, make), recorded in itertools.product(SAME_MEMORY.values(), [True, False]):
        placement = tensors.Replicate() if axis is None else tensors.Shard(axis)
        w = torch.nn.Parameter(empty((5, 6), mesh, [placement]), requires_grad=recorded)
        x = make(w)
        check_whole("normal_", {}, tuple(x.shape), x)
        assert (w.detach().full_tensor() != 77).sum() == x.numel()
        gi.zeros_(w.to_local())
        assert not w.detach().full_tensor().any()
    local = torch.ones(2, 3, requires_grad=True)
    gi.zeros_(tensors.DTensor.from_local(local, mesh, [tensors.Shard(0)]))
    assert not local.any()


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


def check_fsdp_over_tensor_parallelism(processes):
    """FSDP cuts what tensor parallelism left, though its axis of the mesh comes first."""
    fsdp = importlib.import_module("torch.distributed.fsdp")
    parallel = importlib.import_module("torch.distributed.tensor.parallel")
    mesh = meshes(processes)[1]
    strided = tensors.placement_types._StridedShard
    for width in (2, 5, 7, 8):  # some parts are empty, and some shorter than others
        model = torch.nn.Sequential(torch.nn.Linear(6, width), torch.nn.Linear(width, 6))
        plan = {"0": parallel.ColwiseParallel(), "1": parallel.RowwiseParallel()}
        parallel.parallelize_module(model, mesh["shards"], plan)
        fsdp.fully_shard(model, mesh=mesh["replicas"])
        assert isinstance(model[0].weight.placements[0], strided)
        for parameter in model.parameters():
            check_whole("normal_", {}, tuple(parameter.shape), parameter)


# A function, its arguments, and shapes whose parts are even, uneven and empty.
PATCHES = [
    ("normal_", {}, [(16, 3), (13, 3), (5, 2)]),
    ("sparse_", {"sparsity": 0.5}, [(16, 12)]),
    ("embedding_", {"padding_idx": 9}, [(16, 3), (13, 3)]),
    ("orthogonal_", {}, [(12, 8)]),
    ("eye_", {}, [(9, 16)]),
    ("kaiming_uniform_", {}, [(7, 5, 3)]),
]


def strided_layouts(mesh):
    """Placements of which at least one cuts what others have cut before, and leaves several runs of rows or columns."""
    strided = tensors.placement_types._StridedShard
    simple = [tensors.Replicate(), tensors.Shard(0), tensors.Shard(1)]
    taking_turns = [strided(axis, split_factor=factor) for axis in (0, 1) for factor in (2, 3, 4)]
    for placements in itertools.product([*simple, *taking_turns], repeat=mesh.ndim):
        if any(type(placement) is strided for placement in placements):
            yield placements


def check_patches(processes):
    """Each process fills all runs of rows that it holds: the numbers that torch's own cutting leaves in it say which."""
    tried = 0
    for mesh in meshes(processes):
        for (name, arguments, shapes), placements in itertools.product(PATCHES, strided_layouts(mesh)):
            for shape in shapes if mesh.ndim < 3 else shapes[1:2]:
                numbers = torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape)
                x = tensors.distribute_tensor(numbers, mesh, placements, src_data_rank=None)
                here = x.to_local().numpy().astype(int)
                expected = np.empty(shape, np.float32)
                assert called(name, x, arguments) == called(name, expected, arguments)
                tolerance = 2 * TOLERANCES["float32"] if name.endswith("orthogonal_") else 0
                case = f"{name}, {shape}, {placements}"
                np.testing.assert_allclose(x.to_local().numpy(), expected.ravel()[here], rtol=0, atol=tolerance, err_msg=case)
                tried += 1
    assert tried > 50


def check_flattened(processes):
    """FSDP1's parts do not know their whole. Once gathered, weights are filled, and biases if they are detached."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        fsdp = importlib.import_module("torch.distributed.fsdp").FullyShardedDataParallel
        for original in (True, False):
            module = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 3))
            model = fsdp(module, use_orig_params=original, device_id=torch.device("cpu"))
            for parameter in model.parameters():
                with pytest.raises(TypeError, match="FSDP1"):
                    gi.zeros_(parameter)
            with fsdp.summon_full_params(model):
                for number, parameter in enumerate(model.parameters()):
                    gi.normal_(parameter if parameter.ndim > 1 else parameter.detach(), generator=number)
            with fsdp.summon_full_params(model):
                for number, parameter in enumerate(model.parameters()):
                    expected = gi.normal_(np.empty(tuple(parameter.shape), np.float32), generator=number)
                    np.testing.assert_array_equal(parameter.detach().clone().numpy(), expected)  # a clone: FSDP resizes


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


def test_scalars_outside_the_mesh_are_not_tied():
    with fake_group(2):
        mesh = distributed.DeviceMesh("cpu", [1])
        scalars = {str(number): empty((), mesh, [tensors.Replicate()]) for number in range(500)}
        assert len(gi.initialize(scalars, [("1*", "normal_"), ("*", "zeros_")], seed=7).rows) == 500


def test_a_simulation_of_several_processes_is_refused():
    pytest.importorskip("torch.distributed._local_tensor", reason="this torch has no LocalTensor mode")
    code = """
import torch, gpuinit
from torch.distributed import init_device_mesh, init_process_group, tensor
from torch.distributed._local_tensor import LocalTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore
init_process_group("fake", rank=0, world_size=2, store=FakeStore())
whole = torch.zeros(4, 3)
with LocalTensorMode(2):
    mesh = init_device_mesh("cpu", (2,))
    x = tensor.distribute_tensor(whole, mesh, [tensor.Shard(0)])
    try: gpuinit.normal_(x)
    except TypeError as error: assert "LocalTensor mode, which simulates several" in str(error), error
    else: raise AssertionError("filled")
    gpuinit.ones_(whole)
    assert tensor.distribute_tensor(whole, mesh, [tensor.Shard(0)]).full_tensor().reconcile().eq(1).all()
assert gpuinit.default_generator.position == 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
        assert [math.isnan(row.std) for row in report.rows] == [True, True, False, False, False]
        alone = {"cut": torch.nn.Linear(3, 1), "whole": torch.nn.Linear(3, 2), "same": torch.empty(4, 2)}
        assert report.recipe == gi.initialize(alone, normal, seed=7).recipe


def check_verification(processes):
    """Each process draws its part again, also one that is cut to several runs, and finds a bit that changed in it."""
    for mesh, (name, arguments, shapes) in itertools.product(meshes(processes), PATCHES):
        shape = shapes[-1]
        for placements in itertools.chain(layouts(mesh, len(shape)), strided_layouts(mesh)):
            x = tensors.distribute_tensor(torch.empty(shape), mesh, placements, src_data_rank=None)
            report = gi.initialize({"w": x}, [("*", functools.partial(getattr(gi, name), **arguments))], seed=7)
            bits = x.to_local().view(-1)[-1:].view(torch.int32)
            with unittest.mock.patch.dict(redrawing.PIECE, host=7):
                assert (report.verify(), report.unverified) == ([], []), (name, placements)
                bits ^= -(2**31) if name == "orthogonal_" else 1
                assert report.verify() == (["w"] if len(bits) else []), (name, placements)


ALL = (
    check_layouts,
    check_dtypes,
    check_outside_the_mesh,
    check_what_is_told,
    check_refused,
    check_copies,
    check_views,
    check_fsdp,
    check_fsdp_over_tensor_parallelism,
    check_patches,
    check_flattened,
    check_torch_defaults,
    check_reports,
    check_verification,
)


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
