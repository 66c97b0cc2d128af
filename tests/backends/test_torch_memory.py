"""Tensors whose memory is not that of the values they stand for are refused, where that can be seen; all others are filled."""

from __future__ import annotations

import importlib
import types
import warnings

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._backends.views import view_of
from tests.support.tensors import bits

torch = pytest.importorskip("torch")
nn = torch.nn
parametrize = nn.utils.parametrize

pytestmark = pytest.mark.torch

FILLS = {"normal_": {}, "zeros_": {}, "kaiming_uniform_": {}, "constant_": {"val": 5}, "orthogonal_": {}, "trunc_": {}}


def leaf(dtype=torch.float32):
    return nn.Parameter(torch.full((4, 6), 7.0, dtype=dtype))


def without_gradient(make):
    with torch.no_grad():
        return make()


def in_inference_mode(make):
    with torch.inference_mode():
        return make()


# Results of operations.


class LowRank(nn.Module):
    """What adapters add to a frozen weight."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(6, 2)), nn.Parameter(torch.ones(2, 4))

    def forward(self, weight):
        return weight + (self.a @ self.b).T


class InPlace(nn.Module):
    def forward(self, weight):
        return (weight * 2).clamp_(-1, 1)


def parametrized(parametrization, unsafe=False):
    layer = nn.Linear(6, 4)
    parametrize.register_parametrization(layer, "weight", parametrization, unsafe=unsafe)
    return layer.weight


def adapted():
    layer = nn.Linear(6, 4).requires_grad_(False)
    parametrize.register_parametrization(layer, "weight", LowRank())
    return layer.weight


def by_hook(wrap):
    """A weight that a hook computes, as before there were parametrizations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return wrap(nn.Linear(6, 4)).weight


def cached(layer):
    with parametrize.cached():
        return layer.weight


def written_by_an_operation():
    x = torch.zeros(4, 6)
    x += leaf()
    return x


def beside_a_written_view():
    x = torch.zeros(8, 6)
    x[4:] = leaf()
    return x[:4]


COMPUTED = {
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)).weight,
    "spectral_norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(6, 4)).weight,
    "orthogonal": lambda: nn.utils.parametrizations.orthogonal(nn.Linear(6, 4)).weight,
    "cached": lambda: cached(nn.utils.parametrizations.weight_norm(nn.Linear(6, 4))),
    "a row of weight_norm's": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)).weight[:2],
    "parametrization": lambda: parametrized(InPlace(), unsafe=True),
    "low rank": lambda: parametrized(LowRank()),
    "low rank, the rest frozen": adapted,
    "weight_norm by a hook": lambda: by_hook(nn.utils.weight_norm),
    "product": lambda: leaf() * 2,
    "to another dtype": lambda: leaf(torch.bfloat16).float(),
    "and back": lambda: leaf().double().float(),
    "clone": lambda: leaf().clone(),
    "contiguous copy": lambda: leaf().T.contiguous(),
    "rows by numbers": lambda: leaf()[[0, 2]],
    "rows by a mask": lambda: leaf()[torch.tensor([True, False, True, True])],
    "view of a result": lambda: (leaf() * 2).T,
    "chunk of a result": lambda: (leaf() * 2).chunk(2)[1],
    "detached, then part of a result": lambda: leaf().detach() * leaf(),
    "concatenation": lambda: torch.cat([leaf(), leaf()]),
    "stack of leaves": lambda: torch.stack([leaf(), leaf()])[0],
    "product with a sparse leaf": lambda: torch.sparse.mm(torch.eye(4).to_sparse().requires_grad_(), leaf()),
    "written by an operation": written_by_an_operation,
    "beside a view that an operation wrote": beside_a_written_view,
    "real part of a result": lambda: (torch.ones(4, 6, dtype=torch.complex64, requires_grad=True) * 2).real,
}


@pytest.mark.parametrize("kind", COMPUTED)
def test_results_of_operations_are_refused(kind):
    x = COMPUTED[kind]()
    before, version, given, default = bits(x), x._version, gi.Generator(5), gi.default_generator.state
    for name, arguments in FILLS.items():
        for source in ({}, {"generator": given}) if name in ("normal_", "orthogonal_") else ({},):
            with pytest.raises(TypeError, match=r"^x must .* result of an operation \(\w+\).*; fill .* x\.detach\(\)"):
                getattr(gi, name)(x, **arguments, **source)
    assert (bits(x), x._version) == (before, version)
    assert (given.position, gi.default_generator.state) == (0, default)
    assert gi.normal_(x.detach(), generator=1) is not x  # what the error advises
    assert bits(x) == gi.normal_(np.empty(tuple(x.shape), np.float32), generator=1).tobytes()


# What its owner can fill, though it looks much the same: name -> (what is written to, what is filled).


class Identity(torch.autograd.Function):
    """Hands on the memory that it is given."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def beside(make):
    """A leaf and what is made of it."""
    x = leaf()
    return x, make(x)


def of_a_buffer(make):
    layer = nn.BatchNorm1d(6)
    layer.register_buffer("mean", torch.full((4, 6), 7.0))
    return layer.mean, make(layer.mean)


def after_another_fill(make):
    """A view that was taken before its base was written."""
    x = leaf()
    view = make(x)
    gi.ones_(x)
    return x, view


def trained():
    layer = nn.Linear(6, 4)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 6)).sum().backward()
    optimizer.step()
    return layer.weight, layer.weight


def of_a_call(make):
    """A parameter as a module sees it in `functional_call`."""
    layer, seen = nn.Linear(6, 4), []
    layer.register_forward_pre_hook(lambda module, inputs: seen.append(make(module.weight)))
    x = leaf()
    torch.func.functional_call(layer, {"weight": x, "bias": torch.zeros(4)}, torch.ones(1, 6))
    return x, seen[0]


def of_a_flat_parameter():
    flat = nn.Parameter(torch.full((30,), 7.0))
    return flat, flat[3:27].view(4, 6)


def pruned():
    layer = nn.Linear(6, 4)
    importlib.import_module("torch.nn.utils.prune").identity(layer, "weight")
    return layer.weight_orig, layer.weight_orig


def with_a_gradient_of_its_own():
    x = torch.zeros(4, 6)
    view = x[1:].requires_grad_()
    x += 1
    return x, view


def same(x):
    return x, x


FILLED = {
    "parameter": lambda: beside(lambda x: x),
    "detached": lambda: beside(lambda x: x.detach()),
    "data": lambda: beside(lambda x: x.data),
    "row": lambda: beside(lambda x: x[2:3]),
    "transpose": lambda: beside(lambda x: x.T),
    "chunk": lambda: beside(lambda x: x.chunk(2)[1]),
    "split": lambda: beside(lambda x: x.split(3, dim=1)[0]),
    "unbind": lambda: beside(lambda x: x.unbind()[2][None]),
    "views of views": lambda: beside(lambda x: x.view(2, 2, 6).permute(2, 0, 1)[1:, :1].unsqueeze(0)[0].flatten(1)),
    "diagonal": lambda: beside(lambda x: x[:, 1:5].diagonal()[None]),
    "row without a gradient": lambda: beside(lambda x: without_gradient(lambda: x[2:3])),
    "chunk without a gradient": lambda: beside(lambda x: without_gradient(lambda: x.chunk(2)[1])),
    "row in inference mode": lambda: beside(lambda x: in_inference_mode(lambda: x[2:3])),
    "row after another fill": lambda: after_another_fill(lambda x: x[2:3]),
    "chunk after another fill": lambda: after_another_fill(lambda x: x.chunk(2)[1]),
    "row without a gradient after another fill": lambda: after_another_fill(lambda x: without_gradient(lambda: x[2:3])),
    "the same dtype": lambda: beside(lambda x: x.float()),
    "contiguous": lambda: beside(lambda x: x.contiguous()),
    "reshape": lambda: beside(lambda x: x.reshape(6, 4)),
    "custom function": lambda: beside(Identity.apply),
    "row of a custom function's": lambda: beside(lambda x: Identity.apply(x)[1:2]),
    "custom function after another fill": lambda: after_another_fill(Identity.apply),
    "alias": lambda: beside(lambda x: torch.ops.aten.alias(x)),
    "real part": lambda: (lambda x: (x, x.real))(torch.ones(4, 6, dtype=torch.complex64, requires_grad=True)),
    "buffer": lambda: of_a_buffer(lambda x: x),
    "row of a buffer": lambda: of_a_buffer(lambda x: x[1:2]),
    "view with a gradient of its own": with_a_gradient_of_its_own,
    "trained": trained,
    "in functional_call": lambda: of_a_call(lambda x: x),
    "row in functional_call": lambda: of_a_call(lambda x: x[1:2]),
    "part of a flat parameter": of_a_flat_parameter,
    "original of a pruned weight": pruned,
    "inference tensor": lambda: same(in_inference_mode(lambda: torch.zeros(4, 6))),
    "row of an inference tensor": lambda: in_inference_mode(lambda: (lambda x: (x, x[1:2]))(torch.zeros(4, 6))),
    "new by an operation": lambda: same(torch.empty(4, 6) * 2),
    "new by a fill of torch's": lambda: same(nn.init.ones_(torch.empty(4, 6, requires_grad=True))),
    "marked with something else": lambda: (lambda x: (setattr(x, "quant_state", None), same(x))[1])(leaf()),
}


@pytest.mark.parametrize("kind", FILLED)
def test_views_of_leaves_and_buffers_are_filled(kind):
    memory, x = FILLED[kind]()
    assert gi.uniform_(x, 100, 101, generator=1) is x
    with torch.no_grad():
        assert (torch.view_as_real(memory)[..., 0] if memory.is_complex() else memory).ge(100).sum() == x.numel()
    assert bits(x.detach()) == gi.uniform_(np.empty(tuple(x.shape), np.float32), 100, 101, generator=1).tobytes()


# Placeholders.


class Params4bit(nn.Parameter):
    """As bitsandbytes names its own."""


def marked(shape=(0,), dtype=torch.float32, kind=nn.Parameter, **marks):
    x = kind(torch.zeros(shape, dtype=dtype), requires_grad=False)
    for name, value in marks.items():
        setattr(x, name, value)
    return x


PLACEHOLDERS = {
    "ZeRO-3": (lambda: marked(ds_shape=torch.Size((4, 6))), r"ZeRO-3 for shape \(4, 6\); gather it first.*modifier_rank=0"),
    "part under FSDP1": (lambda: marked((7,), _fsdp_flattened=True), "FSDP1.*; fill it before FSDP wraps the module"),
    "no part under FSDP1": (lambda: marked(_fsdp_flattened=True), "FSDP1.*; fill it before FSDP wraps the module"),
    "4 bits": (
        lambda: marked((12, 1), torch.uint8, Params4bit, quant_state=types.SimpleNamespace()),
        "quantized values in a Params4bit; fill a float32 tensor",
    ),
    "4 bits kept as floats": (lambda: marked((12, 1), quant_state=types.SimpleNamespace()), "quantized values"),
    "8 bits": (lambda: marked((4, 6), torch.int8, SCB=torch.ones(4)), "quantized values"),
    "GGUF": (lambda: marked((4, 6), torch.uint8, quant_type=2), "quantized values"),
    "lazy": (lambda: nn.LazyLinear(4).weight, "uninitialized lazy parameter; run the module once"),
    "lazy buffer": (lambda: nn.LazyBatchNorm1d().running_mean, "uninitialized lazy parameter"),
}


@pytest.mark.parametrize("name", ["normal_", "zeros_"])
@pytest.mark.parametrize("kind", PLACEHOLDERS)
def test_placeholders_are_refused(kind, name):
    make, match = PLACEHOLDERS[kind]
    x, state = make(), gi.default_generator.state
    with pytest.raises(TypeError, match=match):
        getattr(gi, name)(x)
    assert gi.default_generator.state == state


@pytest.mark.parametrize(
    "marks",
    [{"ds_shape": torch.Size((4, 6))}, {"_fsdp_flattened": True}, {"SCB": None, "CB": None}, {"quant_type": "nf4"}],
    ids=lambda marks: next(iter(marks)),
)
def test_parameters_with_all_their_values_are_filled(marks):
    """Gathered, or not yet quantized."""
    assert (gi.ones_(marked((4, 6), **marks)) == 1).all()


# Storages.


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
@pytest.mark.parametrize("shape", [(), (3,), (4, 6), (0, 3)], ids=str)
def test_a_storage_stays_resizable(shape, dtype):
    x = gi.normal_(torch.empty(shape, dtype=getattr(torch, dtype)), generator=1)
    with pytest.raises(ValueError, match="std must not be negative"):
        gi.normal_(x, std=-1)
    x.resize_(100)
    assert bits(gi.normal_(x, generator=1)) == bits(gi.normal_(torch.empty(100, dtype=x.dtype), generator=1))


SHRUNK = {
    "empty": lambda x: x.untyped_storage().resize_(0),
    "by an element": lambda x: x.untyped_storage().resize_(24 * 4 - 4),
    "by a byte": lambda x: x.untyped_storage().resize_(24 * 4 - 1),
}
VIEWS = {
    "whole": lambda x: x,
    "transpose": lambda x: x.T,
    "last row": lambda x: x[3:],
    "last column": lambda x: x[:, 5:],
    "last element": lambda x: x[3, 5],
    "every third": lambda x: x[::3, 2::3],
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", SHRUNK)
def test_a_shrunk_storage_is_refused(kind, view):
    memory = torch.zeros(4, 6)
    x, state = VIEWS[view](memory), gi.default_generator.state
    SHRUNK[kind](memory)
    for name in ("normal_", "zeros_"):
        with pytest.raises(TypeError, match=r"memory was freed, or shrunk .*; gather or materialize it first"):
            getattr(gi, name)(x)
    assert gi.default_generator.state == state


def loaded(tmp_path):
    torch.save(torch.zeros(8, 6)[2:6], tmp_path / "weights")
    return torch.load(tmp_path / "weights", mmap=True)


SUFFICIENT = {
    "NumPy's": lambda path: torch.from_numpy(np.zeros((4, 6), np.float32)),
    "NumPy's columns": lambda path: torch.from_numpy(np.zeros((4, 12), np.float32)[:, 1::2]),
    "NumPy's transpose": lambda path: torch.from_numpy(np.zeros((6, 4), np.float32).T),
    "by DLPack": lambda path: torch.from_dlpack(np.zeros((4, 12), np.float32)[:, 1::2]),
    "of a buffer": lambda path: torch.frombuffer(bytearray(100), dtype=torch.float32, offset=4).view(4, 6),
    "mapped": loaded,
    "strided": lambda path: torch.empty_strided((4, 6), (1, 4)),
    "by strides of its own": lambda path: torch.zeros(64).as_strided((4, 6), (12, 2), 5),
    "in shared memory": lambda path: torch.zeros(4, 6).share_memory_(),
    "channels last": lambda path: torch.zeros(1, 4, 6, 1).to(memory_format=torch.channels_last),
    "of a larger storage": lambda path: torch.zeros(24 + 7)[7:].view(4, 6),
    "resized": lambda path: torch.zeros(2).resize_(4, 6),
}


@pytest.mark.parametrize("kind", SUFFICIENT)
def test_storages_that_are_large_enough(kind, tmp_path):
    x = SUFFICIENT[kind](tmp_path)
    assert bits(gi.normal_(x, generator=1)) == gi.normal_(np.empty(24, np.float32), generator=1).tobytes()


def test_what_is_left_of_a_shrunk_storage_is_filled():
    memory = torch.zeros(4, 6)
    rows = memory[:2]
    memory.untyped_storage().resize_(2 * 6 * 4)
    assert (gi.ones_(rows) == 1).all()


def test_an_array_keeps_its_tensor():
    """The view of a tensor's memory outlives the name of the tensor."""
    array = view_of(torch.full((1000, 1000), 3.0)).array
    others = [torch.zeros(1000, 1000) for _ in range(3)]
    assert (array == 3).all()
    assert all(not other.any() for other in others)
