"""Tensors are filled in place, as arrays are: the same bits, the same object, and what autograd has to know."""

from __future__ import annotations

import itertools
import subprocess
import sys
import types

import numpy as np
import pytest

import gpuinit as gi
from tests.support import fills
from tests.support.fills import NAMES
from tests.support.refusals import REQUIRED, shape_for
from tests.support.tensors import MODES, TENSOR_LAYOUTS, TensorWindow, bits, name_of, numpy_dtype

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch

REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
COMPLEX = (torch.complex64, torch.complex128)
ANY = [(), (0, 4), (1,), (33,), (3, 5), (2, 3, 4), (4, 3, 3, 2)]
SHAPES = {
    fills.DRAWN: ANY,
    fills.CONSTANT: ANY,
    fills.SCALED: [(6, 5), (4, 3, 3, 2)],
    fills.SPARSE: [(1, 1), (5, 3), (33, 17), (0, 3)],
    fills.STRUCTURED: [(4, 4), (3, 5), (0, 2), (4, 3, 3), (6, 4, 2, 3)],
}
FILLS = fills.select(*SHAPES)
DEVICES = ["cpu", "cuda"]


@pytest.fixture(params=DEVICES)
def device(request):
    """The CPU, then a CUDA device where torch and CuPy find one."""
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("torch finds no CUDA device")
        pytest.importorskip("cupy")
    return request.param


# Values and memory.


@pytest.mark.parametrize(("fill", "dtype"), fills.cases(FILLS))
def test_the_bits_of_the_numpy_fill(device, fill, dtype):
    for layout, shape in itertools.product(TENSOR_LAYOUTS, filter(fill.takes, SHAPES[fill.kind])):
        given, own = fills.generator_at(5), fills.generator_at(5)
        expected = fills.call(fill.name, np.empty(shape, fills.dtype_of(dtype)), fill.arguments, given)
        window = TensorWindow(layout, shape, getattr(torch, dtype), device)
        address = window.tensor.data_ptr()
        assert fills.call(fill.name, window.tensor, fill.arguments, own) is window.tensor
        assert window.tensor.data_ptr() == address
        assert bits(window.tensor) == expected.tobytes(), (layout, shape)
        assert window.outside_untouched(), (layout, shape)
        assert own.position == given.position


@pytest.mark.parametrize(("fill", "dtype"), fills.cases_of_eight_bits(FILLS))
def test_the_bits_of_the_numpy_fill_in_eight_bits(fill, dtype):
    """On the CPU alone; the digest is that of the array too, and torch reads the same numbers."""
    for layout, shape in itertools.product(TENSOR_LAYOUTS, filter(fill.takes, SHAPES[fill.kind])):
        expected = fills.call(fill.name, np.empty(shape, fills.dtype_of(dtype)), fill.arguments, fills.generator_at(5))
        window = TensorWindow(layout, shape, getattr(torch, dtype))
        version = window.tensor._version
        assert fills.call(fill.name, window.tensor, fill.arguments, fills.generator_at(5)) is window.tensor
        assert bits(window.tensor) == expected.tobytes(), (layout, shape)
        assert window.outside_untouched(), (layout, shape)
        assert window.tensor._version > version
        assert gi.digest(window.tensor) == gi.digest(expected)
        np.testing.assert_array_equal(window.tensor.float().numpy(), expected.astype(np.float32))


@pytest.mark.parametrize("dtype", REAL + COMPLEX, ids=name_of)
def test_orthogonal_to_rounding(device, dtype):
    tolerance = {torch.float16: 1e-3, torch.bfloat16: 1e-2, torch.float32: 2e-6, torch.complex64: 2e-6}.get(dtype, 1e-14)
    for layout, shape in itertools.product(TENSOR_LAYOUTS, ((1, 1), (9, 5), (5, 9), (4, 3, 3, 2), (70, 130))):
        expected = gi.orthogonal_(np.empty(shape, numpy_dtype(dtype)), 1.5, generator=3)
        window = TensorWindow(layout, shape, dtype, device)
        assert gi.orthogonal_(window.tensor, 1.5, generator=3) is window.tensor
        found = window.tensor.cpu().to(torch.complex128).numpy()
        np.testing.assert_allclose(found, expected.astype(np.complex128), rtol=0, atol=tolerance)
        assert window.outside_untouched(), (layout, shape)


@pytest.mark.parametrize("dtype", [*REAL, torch.int8, torch.int64, torch.uint8], ids=name_of)
def test_trunc(device, dtype):
    values = torch.tensor([[-2.7, -1.0, -0.5], [1.5, 0.3, 100.9]]).abs() if dtype == torch.uint8 else torch.tensor([[-2.7, 1.5]])
    x = values.to(dtype).to(device)
    expected = bits(x.clone().trunc())
    assert gi.trunc_(x) is x
    assert bits(x) == expected


def test_arguments_that_are_0d_tensors():
    x = gi.normal_(torch.empty(3, 5), torch.tensor(0.25), torch.tensor(0.5, requires_grad=True), generator=1)
    assert bits(x) == gi.normal_(np.empty((3, 5), np.float32), 0.25, 0.5, generator=1).tobytes()
    assert (gi.constant_(x, torch.tensor(2.5)) == 2.5).all()
    with pytest.raises(TypeError, match="generator must be"):
        gi.normal_(x, generator=torch.Generator())
    assert (x == 2.5).all()


class Named(torch.Tensor):
    """A subclass that changes nothing."""


# What else counts as an ordinary tensor: name -> a tensor of (4, 6).
ORDINARY = {
    "Parameter": lambda: torch.nn.Parameter(torch.empty(4, 6)),
    "frozen Parameter": lambda: torch.nn.Parameter(torch.empty(4, 6), requires_grad=False),
    "Buffer": lambda: torch.nn.Buffer(torch.empty(4, 6)),
    "subclass": lambda: torch.empty(4, 6).as_subclass(Named),
    "leaf": lambda: torch.empty(4, 6, requires_grad=True),
    "view of a leaf": lambda: torch.ones(6, 4, requires_grad=True).T,
    "shared with NumPy": lambda: torch.from_numpy(np.empty((4, 6), np.float32)),
    "shared between processes": lambda: torch.empty(4, 6).share_memory_(),
    "real part": lambda: torch.empty(4, 6, dtype=torch.complex64).real,
    "imaginary part": lambda: torch.empty(4, 6, dtype=torch.complex64).imag,
    "conjugated twice": lambda: torch.empty(4, 6, dtype=torch.complex64).conj().conj(),
    "resolved conjugate": lambda: torch.empty(4, 6, dtype=torch.complex64).conj().resolve_conj(),
    "inference tensor": lambda: in_inference_mode(lambda: torch.empty(4, 6)),
    # It shares the memory of another tensor until either is written.
    "copy on write": lambda: torch._lazy_clone(torch.empty(4, 6)),
}


def in_inference_mode(make):
    with torch.inference_mode():
        return make()


@pytest.mark.parametrize("kind", ORDINARY)
def test_ordinary_tensors(kind):
    x = ORDINARY[kind]()
    recorded = x.grad_fn is not None
    before = (type(x), x.requires_grad, x.is_leaf, x.stride())
    address = x.data_ptr()
    assert gi.normal_(x, generator=1) is x
    assert (type(x), x.requires_grad, x.is_leaf, x.stride()) == before
    assert (x.grad_fn is not None) == recorded
    assert x.data_ptr() == address
    expected = gi.normal_(np.empty((4, 6), numpy_dtype(x.dtype)), generator=1)
    assert bits(x) == expected.tobytes()


def test_a_lazy_clone_is_written_alone():
    original = torch.ones(4, 6)
    clone = torch._lazy_clone(original)
    gi.zeros_(clone)
    assert (original == 1).all()
    assert (clone == 0).all()
    again = torch._lazy_clone(original)
    gi.zeros_(original)
    assert (again == 1).all()


@pytest.mark.parametrize("mode", MODES)
def test_modes(mode):
    x = torch.empty(4, 6, requires_grad=True)
    with MODES[mode]():
        assert gi.normal_(x, generator=1) is x
    assert bits(x) == gi.normal_(np.empty((4, 6), np.float32), generator=1).tobytes()


# Autograd.


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_is_recorded(name):
    shape = shape_for(name)
    leaf = torch.full(shape, 1.5, requires_grad=True)
    for x in (leaf, leaf.view(shape)):
        is_leaf, version = x.is_leaf, x._version
        getattr(gi, name)(x, **REQUIRED[name])
        assert x.requires_grad
        assert x.is_leaf is is_leaf
        assert leaf.grad_fn is None
        assert x._version > version
    assert leaf.grad is None


@pytest.mark.parametrize("overwritten", ["itself", "a view of it", "what it is a view of", "a detached tensor"])
@pytest.mark.parametrize("name", NAMES)
def test_a_backward_pass_through_an_overwritten_tensor_raises(name, overwritten):
    """As after torch's own in-place operations; without the version counter the gradients would be wrong in silence."""
    shape = shape_for(name)
    base = torch.full((2, *shape), 1.5, requires_grad=True)
    weight = base[0] if overwritten == "what it is a view of" else torch.full(shape, 1.5, requires_grad=True)
    x = torch.ones(shape, requires_grad=True)
    loss = (weight * x).sum()
    with torch.no_grad():
        written = {
            "itself": weight,
            "a view of it": weight.view(shape),
            "what it is a view of": base.view(-1, *shape[1:]),
            "a detached tensor": weight.detach(),
        }[overwritten]
    getattr(gi, name)(written, **REQUIRED[name])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_refused_fill_leaves_the_version():
    x = torch.ones(4, 6)
    version = x._version
    with pytest.raises(ValueError, match="std must not be negative"):
        gi.normal_(x, std=-1)
    assert x._version == version


# CUDA


@pytest.mark.gpu
def test_a_fill_is_ordered_with_torchs_stream():
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    pytest.importorskip("cupy")
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        x = torch.empty(1 << 20, device="cuda")
        torch.cuda._sleep(10_000_000)
        x.fill_(77)  # waits for the sleep; a fill on another stream would be overwritten
        gi.normal_(x, generator=1)
        total = x.clone()
    stream.synchronize()
    assert bits(total) == gi.normal_(np.empty(1 << 20, np.float32), generator=1).tobytes()


# Imports.

IMPORTS = {
    "torch is not imported": """
        import sys, numpy, gpuinit as gi
        class Producer:
            def __init__(self, x): self.x = x
            def __dlpack__(self, **options): return self.x.__dlpack__(**options)
            def __dlpack_device__(self): return self.x.__dlpack_device__()
        x = numpy.empty(3, "f4")
        gi.normal_(x, generator=1), gi.normal_(Producer(x), generator=1)
        try: gi.normal_([1.0])
        except TypeError: pass
        assert "torch" not in sys.modules
    """,
    "torch comes first": """
        import torch, numpy, gpuinit as gi
        assert gi.normal_(torch.empty(3), generator=1).tolist() == gi.normal_(numpy.empty(3, "f4"), generator=1).tolist()
    """,
    "torch comes later": """
        import numpy, gpuinit as gi
        expected = gi.normal_(numpy.empty(3, "f4"), generator=1).tolist()
        import torch
        assert gi.normal_(torch.empty(3), generator=1).tolist() == expected
    """,
}


@pytest.mark.parametrize("order", IMPORTS)
def test_imports(order):
    code = "\n".join(line.removeprefix("        ") for line in IMPORTS[order].splitlines())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", [None, types.ModuleType("torch")], ids=["blocked", "half imported"])
def test_a_torch_without_tensors(monkeypatch, module):
    """`sys.modules` holds None where an import is blocked, and a module without its names while it is being imported."""
    monkeypatch.setitem(sys.modules, "torch", module)
    assert gi.normal_(np.empty(3), generator=1).tolist() == gi.normal_(np.empty(3), generator=1).tolist()
    with pytest.raises(TypeError, match=r"^x must be an array"):
        gi.normal_([1.0])
