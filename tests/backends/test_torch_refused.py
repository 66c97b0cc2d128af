"""Tensors that cannot be filled in place are refused, by an error that names their kind, and stay as they are."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import gpuinit as gi
from tests.support.fills import COMPLEX, EXACT, NAMES, RANDOM
from tests.support.refusals import refused
from tests.support.tensors import bits

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch

# Refused tensors: how a dense one is turned into them, and the words that the error must have.


class Wrapper(torch.Tensor):
    """A tensor without memory of its own, as DTensor and the like are."""

    @staticmethod
    def __new__(cls, dense):
        return torch.Tensor._make_wrapper_subclass(cls, dense.shape, dtype=dense.dtype)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise AssertionError(f"{func} is called on it")


def fake(x):
    from torch._subclasses import FakeTensorMode

    return FakeTensorMode().from_tensor(x)


def freed(x):
    """The shape and dtype of x on a storage that was given back, as sharded training does between uses."""
    y = x.clone()
    y.untyped_storage().resize_(0)
    return y


def complex_of(x):
    return torch.view_as_complex(x.view(4, 3, 2))


# Name -> (the call, given the fill and a dense tensor; what the message has)
REFUSED = {
    "meta": (lambda fill, x: fill(x.to("meta")), "meta"),
    "sparse COO": (lambda fill, x: fill(x.to_sparse()), "sparse"),
    "sparse CSR": (lambda fill, x: fill(x.to_sparse_csr()), "sparse"),
    "sparse BSC": (lambda fill, x: fill(x.to_sparse_bsc((2, 2))), "sparse"),
    "MKL-DNN": (lambda fill, x: fill(x.to_mkldnn()), "mkldnn"),
    "quantized": (lambda fill, x: fill(torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)), "quantized"),
    "nested": (lambda fill, x: fill(torch.nested.nested_tensor([x, x[:2]], layout=torch.jagged)), "NestedTensor|jagged"),
    "nested, strided": (lambda fill, x: fill(torch.nested.nested_tensor([x, x[:2]])), "nested"),
    "fake": (lambda fill, x: fill(fake(x)), "FakeTensor"),
    "wrapper": (lambda fill, x: fill(Wrapper(x)), "Wrapper"),
    "functional": (lambda fill, x: fill(torch._to_functional_tensor(x)), "functional"),
    "zero tensor": (lambda fill, x: fill(torch._efficientzerotensor(4, 6)), r"(?i)zero ?tensor"),
    "freed": (lambda fill, x: fill(freed(x)), "storage|memory"),
    "lazy parameter": (lambda fill, x: fill(torch.nn.LazyLinear(3).weight), "uninitialized"),
    "vmap": (lambda fill, x: torch.func.vmap(fill)(x), "vmap"),
    "grad": (lambda fill, x: torch.func.grad(lambda y: fill(y).sum())(x), "torch.func"),
    "jvp": (lambda fill, x: torch.func.jvp(fill, (x,), (x.clone(),)), "torch.func"),
    "vmap of grad": (lambda fill, x: torch.func.vmap(torch.func.grad(lambda y: fill(y).sum()))(x), "torch.func"),
    "conjugated": (lambda fill, x: fill(complex_of(x).conj()), "conj"),
    "adjoint": (lambda fill, x: fill(complex_of(x).mH), "conj"),
    "negated": (lambda fill, x: fill(torch._neg_view(x)), "neg"),
    "imaginary part of a conjugate": (lambda fill, x: fill(complex_of(x).conj().imag), "neg"),
    "float8": (lambda fill, x: fill(x.view(torch.uint8).view(torch.float8_e4m3fnuz)), "float8_e4m3fnuz"),
    "float4": (lambda fill, x: fill(x.view(torch.uint8).view(torch.float4_e2m1fn_x2)), "float4"),
    "complex32": (lambda fill, x: fill(x.view(torch.int32).view(torch.complex32)), "complex32|ComplexHalf"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", NAMES)
def test_refused(monkeypatch, name, kind):
    call, match = REFUSED[kind]
    memory = np.full((4, 6), 77, np.float32)

    def given(x, **arguments):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, on making some of these
            call(lambda tensor: fill(tensor, **arguments), torch.from_numpy(x))

    fill = getattr(gi, name)
    monkeypatch.setattr(gi, name, given)
    refused(name, memory, TypeError, match)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_eight_bits_on_a_gpu(monkeypatch, name, dtype):
    """By a CPU tensor that says it is elsewhere, so that no GPU is needed; large, since a small one is known by other signs."""
    monkeypatch.setattr(torch.Tensor, "is_cpu", False, raising=False)
    memory = np.full((512, 1024, 1) if name == "dirac_" else (512, 1024), 77, np.uint8)
    x = torch.from_numpy(memory).view(dtype)
    match = f"{dtype} on a GPU, for which CuPy has no such dtype; fill a float32 or bfloat16 tensor and convert it$"
    refused(name, x, TypeError, match, memory=memory)


OUTSIDE = {
    # The tensor is an ordinary one, but operations on it make tensors of the mode.
    "fake mode": lambda fill, x: in_fake_mode(lambda: fill(x)),
    "grad": lambda fill, x: torch.func.grad(lambda y: (fill(x), y.sum())[1])(torch.ones(3)),
    "vmap": lambda fill, x: torch.func.vmap(lambda y: (fill(x), y)[1])(torch.ones(3)),
    "functionalize": lambda fill, x: torch.func.functionalize(lambda y: (fill(x), y + 1)[1])(torch.ones(3)),
}


def in_fake_mode(call):
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        return call()


@pytest.mark.parametrize("mode", OUTSIDE)
def test_an_ordinary_tensor_within_a_transform(mode):
    """The transform does not see the tensor, which is filled as ever."""
    x, generator = torch.full((4, 6), 77.0), gi.Generator(1)
    OUTSIDE[mode](lambda tensor: gi.normal_(tensor, generator=generator), x)
    assert bits(x) == gi.normal_(np.empty((4, 6), np.float32), generator=1).tobytes()
    assert generator.position == 6


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("name", RANDOM)
def test_dtypes_of_random_fills(name, dtype):
    x = torch.ones(4, 6, dtype=torch.uint8).to(getattr(torch, dtype))
    refused(name, x, TypeError, f"^x must be an array of one of the dtypes .*bfloat16.*; got {dtype}; fill an array of")


@pytest.mark.parametrize("dtype", COMPLEX)
@pytest.mark.parametrize("name", ["trunc_normal_", "lecun_normal_", "variance_scaling_"])
def test_truncated_forms_are_real(name, dtype):
    refused(name, torch.ones(4, 6, dtype=getattr(torch, dtype)), TypeError, 'distribution="normal"')


EXPANDED = {
    "rows": lambda memory: memory[:6].expand(4, 6),
    "columns": lambda memory: memory[:4, None].expand(4, 6),
    "one element": lambda memory: memory[0].expand(4, 6),
    "windows": lambda memory: memory.unfold(0, 6, 1)[:4],
}


@pytest.mark.parametrize("kind", EXPANDED)
@pytest.mark.parametrize("name", NAMES)
def test_expanded(name, kind):
    memory = np.full(24, 77, np.float32)
    x = EXPANDED[kind](torch.from_numpy(memory))
    x = x[..., None] if name == "dirac_" else x
    refused(name, x, ValueError, r"^x must not overlap itself, got shape \(4, 6", memory=memory)
