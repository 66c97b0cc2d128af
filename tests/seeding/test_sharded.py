"""`seeded` on DTensors: code that knows nothing of them does what it does to the whole, in each process's part."""

from __future__ import annotations

import importlib
import itertools

import pytest

import gpuinit as gi
from tests.support.groups import run_group

torch = pytest.importorskip("torch")
distributed = pytest.importorskip("torch.distributed")
if not (distributed.is_available() and distributed.is_gloo_available()):
    pytest.skip("torch is built without gloo", allow_module_level=True)
tensors = pytest.importorskip("torch.distributed.tensor")
init = torch.nn.init

pytestmark = pytest.mark.torch

MESHES = {2: [(2,)], 4: [(4,), (2, 2)]}


@pytest.mark.parametrize("processes", MESHES)
def test_groups(processes, tmp_path):
    run_group("tests.seeding.test_sharded", processes, tmp_path)


def member(processes):
    for shape in MESHES[processes]:
        mesh = distributed.init_device_mesh("cpu", shape, mesh_dim_names=("data", "tensor")[: len(shape)])
        check_code(mesh)
        check_refused(mesh)
    check_models(processes)


def each_row(w):
    for number in range(len(w)):
        init.normal_(w[number], std=2)


def stale_views(w):
    first, *_ = w.chunk(2)
    w.fill_(2)
    first.mul_(3)  # of what w is by now
    w[0].add_(first.sum())


def new_tensors(w):
    w.copy_(torch.randn(w.shape))
    w[1].copy_(torch.rand(w.shape[1]))


# Name -> what code does to a weight of (6, 4).
CODE = {
    "the whole": lambda w: init.kaiming_normal_(w),
    "the data": lambda w: w.data.uniform_(-1, 1),
    "orthogonal": lambda w: init.orthogonal_(w),
    "a row of padding": lambda w: (init.normal_(w), w[3].zero_()),
    "by torch.nn.init": lambda w: (init.normal_(w), init.zeros_(w[3])),
    "rows": each_row,
    "chunks": lambda w: [init.normal_(chunk, std=number) for number, chunk in enumerate(w.chunk(3), 1)],
    "chunks of columns": lambda w: [init.normal_(chunk, std=number) for number, chunk in enumerate(w.chunk(2, dim=1), 1)],
    "a transpose": lambda w: init.xavier_normal_(w.T[1:]),
    "assigned rows": lambda w: (w.fill_(1), w.__setitem__(slice(2, 4), 5.0)),
    "the inverse error function": lambda w: (w.uniform_(-0.9, 0.9), w.erfinv_(), w.mul_(0.1), w.clamp_(-0.05, 0.05)),
    "of a row": lambda w: (w.zero_(), w[2].uniform_(-0.9, 0.9).erfinv_()),
    "arithmetic": lambda w: (init.normal_(w), w[1:3].mul_(2).add_(1)),
    "stale views": stale_views,
    "new tensors": new_tensors,
    "like it": lambda w: w.copy_(torch.randn_like(w) * 2 + torch.empty_like(w).exponential_()),
    "the part of this process": lambda w: getattr(w, "_local_tensor", w).normal_(),
}


def seeded_weight(code, x):
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(x)
    with torch.no_grad(), gi.seeded(module, seed=9):
        code(module.weight)
    return module.weight.detach()


def check_code(mesh):
    for (name, code), placements in itertools.product(CODE.items(), layouts(mesh)):
        expected = seeded_weight(code, torch.full((6, 4), 77.0))
        found = seeded_weight(code, tensors.distribute_tensor(torch.full((6, 4), 77.0), mesh, placements))
        case = f"{name}, {placements}"
        if name in ("orthogonal", "like it"):
            assert torch.allclose(found.full_tensor(), expected, atol=1e-6), case
        else:
            assert torch.equal(found.full_tensor(), expected), case


def layouts(mesh):
    return itertools.product([tensors.Replicate(), tensors.Shard(0), tensors.Shard(1)], repeat=mesh.ndim)


def check_refused(mesh):
    """A view of this process's part alone has no place in the whole."""
    whole = tensors.distribute_tensor(torch.full((6, 4), 77.0), mesh, [tensors.Shard(0)] * mesh.ndim)
    with pytest.raises(TypeError, match="weight is cut between processes"):
        seeded_weight(lambda w: w._local_tensor[:, :1].normal_(), whole)


class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.qkv, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)

    def initialize(self):
        for chunk in self.qkv.weight.data.chunk(3):
            init.xavier_uniform_(chunk)
        init.zeros_(self.qkv.bias)
        init.trunc_normal_(self.out.weight, std=0.02)
        self.out.bias.data.copy_(torch.rand(self.out.bias.shape).log())


class Model(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embedding = torch.nn.Embedding(11, width, padding_idx=5)
        self.blocks = torch.nn.ModuleList(Block(width) for _ in range(2))

    def initialize(self):
        init.normal_(self.embedding.weight)
        with torch.no_grad():
            self.embedding.weight[self.embedding.padding_idx].zero_()
        for block in self.blocks:
            block.initialize()


def check_models(processes):
    """One digest for one process, FSDP2, tensor parallelism, and both."""
    fsdp = importlib.import_module("torch.distributed.fsdp")
    parallel = importlib.import_module("torch.distributed.tensor.parallel")
    for width in (4, 5):
        alone = Model(width)
        with gi.seeded(alone, seed=4, strict=True):
            alone.initialize()
        for data in (size for size in (1, 2, processes) if processes % size == 0):
            mesh = distributed.init_device_mesh("cpu", (data, processes // data), mesh_dim_names=("data", "tensor"))
            with torch.device("meta"):
                model = Model(width)
            plan = {"blocks.*.qkv": parallel.ColwiseParallel(), "blocks.*.out": parallel.RowwiseParallel()}
            if data < processes:
                parallel.parallelize_module(model, mesh["tensor"], plan)
            if data > 1:
                for block in model.blocks:
                    fsdp.fully_shard(block, mesh=mesh["data"])
                fsdp.fully_shard(model, mesh=mesh["data"])
            model.to_empty(device="cpu")
            with gi.seeded(model, seed=4, strict=True) as report:
                model.initialize()
            assert len(report.rows) == 9
            for (name, x), expected in zip(model.named_parameters(), alone.parameters(), strict=True):
                whole = x.full_tensor() if isinstance(x, tensors.DTensor) else x
                assert torch.equal(whole, expected), (name, mesh)
