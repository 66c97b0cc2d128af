"""Tensors are filled where they lie, as arrays are: the same bits, the same object, and what autograd has to know."""

from __future__ import annotations

import itertools
import subprocess
import sys
import types
import warnings

import numpy as np
import pytest

import gpuinit as gi
from tests.initializers.test_errors import PLAIN, RANDOM, REQUIRED, refused
from tests.support.layouts import LAYOUTS

torch = pytest.importorskip("torch")

REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
COMPLEX = (torch.complex64, torch.complex128)
SIGNED = (torch.int8, torch.int16, torch.int32, torch.int64)
INTEGERS = (*SIGNED, torch.uint8, torch.uint16, torch.uint32, torch.uint64)

# (function, parameters, dtypes, shapes)
ANY_SHAPE = [(), (0, 4), (1,), (33,), (3, 5), (2, 3, 4), (4, 3, 3, 2)]
WEIGHTS = [(6, 5), (4, 3, 3, 2)]
FILLS = [
    ("uniform_", {"a": -0.3, "b": 0.7}, REAL + COMPLEX, ANY_SHAPE),
    ("normal_", {"mean": 0.1, "std": 0.02}, REAL + COMPLEX, ANY_SHAPE),
    ("trunc_normal_", {"a": -1}, REAL, ANY_SHAPE),
    ("xavier_uniform_", {"gain": 5 / 3}, REAL + COMPLEX, WEIGHTS),
    ("xavier_normal_", {}, REAL + COMPLEX, WEIGHTS),
    ("kaiming_uniform_", {"a": 5**0.5}, REAL + COMPLEX, WEIGHTS),
    ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}, REAL + COMPLEX, WEIGHTS),
    ("lecun_uniform_", {}, REAL + COMPLEX, WEIGHTS),
    ("lecun_normal_", {}, REAL, WEIGHTS),
    ("variance_scaling_", {"scale": 2, "mode": "fan_avg", "distribution": "normal"}, REAL + COMPLEX, WEIGHTS),
    ("sparse_", {"sparsity": 0.3}, REAL + COMPLEX, [(1, 1), (5, 3), (33, 17), (0, 3)]),
    ("zeros_", {}, (*REAL, *COMPLEX, *INTEGERS, torch.bool), ANY_SHAPE),
    ("ones_", {}, (*REAL, *COMPLEX, *INTEGERS, torch.bool), ANY_SHAPE),
    ("constant_", {"val": -2}, (*REAL, *COMPLEX, *SIGNED), ANY_SHAPE),
    ("constant_", {"val": 0.1}, REAL + COMPLEX, ANY_SHAPE),
    ("constant_", {"val": 0.1 - 2j}, COMPLEX, ANY_SHAPE),
    ("eye_", {}, (*REAL, *COMPLEX, *INTEGERS, torch.bool), [(4, 4), (3, 5), (0, 2)]),
    ("dirac_", {"groups": 2}, (*REAL, *COMPLEX, *INTEGERS, torch.bool), [(4, 3, 3), (6, 4, 2, 3)]),
]
TENSOR_LAYOUTS = {
    # torch has no negative strides
    **{name: layout for name, layout in LAYOUTS.items() if name != "reversed"},
    "channels last": (
        LAYOUTS["C"][0],
        lambda buffer, shape: (
            np.moveaxis(buffer.reshape((shape[0], *shape[2:], shape[1])), -1, 1) if len(shape) > 2 else buffer.reshape(shape)
        ),
    ),
}
DEVICES = ["cpu", "cuda"]


@pytest.fixture(params=DEVICES)
def device(request):
    """The CPU, then a CUDA device where torch and CuPy find one."""
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("torch finds no CUDA device")
        pytest.importorskip("cupy")
    return request.param


def name_of(dtype) -> str:
    return str(dtype).removeprefix("torch.")


def numpy_dtype(dtype) -> np.dtype:
    """NumPy's dtype with the same bits; bfloat16 is that of ml_dtypes."""
    return np.dtype(pytest.importorskip("ml_dtypes").bfloat16 if dtype == torch.bfloat16 else name_of(dtype))


def bits(tensor) -> bytes:
    """The elements' bytes, in C order of the logical index."""
    # A clone: where an axis has length 1, a tensor is contiguous with any stride, but not to be viewed as bytes
    return tensor.detach().cpu().reshape(-1).clone(memory_format=torch.contiguous_format).view(torch.uint8).numpy().tobytes()


class TensorWindow:
    """A window of one layout, `tensor`, in a buffer of a byte pattern."""

    def __init__(self, layout, shape, dtype, device="cpu"):
        elements, view = TENSOR_LAYOUTS[layout]
        size = elements(shape)
        indices = view(np.arange(size), shape)
        strides = [stride // indices.itemsize for stride in indices.strides]
        self.itemsize = dtype.itemsize
        self.buffer = torch.full((size * dtype.itemsize,), 0x5A, dtype=torch.uint8, device=device)
        self.tensor = self.buffer.view(dtype).as_strided(shape, strides, int(indices.min(initial=size)) if indices.size else 0)
        self.inside = np.zeros(size, bool)
        self.inside[indices] = True

    def outside_untouched(self) -> bool:
        elements = self.buffer.cpu().numpy().reshape(self.inside.size, self.itemsize)
        return bool((elements[~self.inside] == 0x5A).all())


def seeded(name):
    """The options that give a random fill a generator of its own, at position 5."""
    if name not in RANDOM:
        return {}
    generator = gi.Generator(123)
    generator.reserve(5)
    return {"generator": generator}


def table(fills):
    return [
        pytest.param(name, parameters, dtype, shapes, id=f"{name}-{'-'.join(map(str, parameters.values()))}-{name_of(dtype)}")
        for name, parameters, dtypes, shapes in fills
        for dtype in dtypes
    ]


# Values and memory.


@pytest.mark.parametrize(("name", "parameters", "dtype", "shapes"), table(FILLS))
def test_the_bits_of_the_numpy_fill(device, name, parameters, dtype, shapes):
    fill = getattr(gi, name)
    for layout, shape in itertools.product(TENSOR_LAYOUTS, shapes):
        expected, given, own = np.empty(shape, numpy_dtype(dtype)), seeded(name), seeded(name)
        fill(expected, **parameters, **given)
        window = TensorWindow(layout, shape, dtype, device)
        address = window.tensor.data_ptr()
        assert fill(window.tensor, **parameters, **own) is window.tensor
        assert window.tensor.data_ptr() == address
        assert bits(window.tensor) == expected.tobytes(), (layout, shape)
        assert window.outside_untouched(), (layout, shape)
        assert not own or own["generator"].position == given["generator"].position


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
    "not a leaf": lambda: torch.ones(4, 6, requires_grad=True) * 2,
    "view of what is not a leaf": lambda: (torch.ones(6, 4, requires_grad=True) * 2).T,
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


# Modes under which torch's own in-place fills go on; each is a context.
MODES = {
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference_mode": torch.inference_mode,
    "default device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "saved tensors hooks": lambda: torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes(mode):
    x = torch.empty(4, 6, requires_grad=True)
    with MODES[mode]():
        assert gi.normal_(x, generator=1) is x
    assert bits(x) == gi.normal_(np.empty((4, 6), np.float32), generator=1).tobytes()


# Autograd.


AUTOGRAD = [(name, REQUIRED[name]) for name in (*RANDOM, *PLAIN)]


@pytest.mark.parametrize(("name", "parameters"), AUTOGRAD, ids=[name for name, _ in AUTOGRAD])
def test_no_gradient_is_recorded(name, parameters):
    shape = (4, 6, 1) if name == "dirac_" else (4, 6)
    leaf = torch.full(shape, 1.5, requires_grad=True)
    product = leaf * 1
    for x in (leaf, product):
        recorded, version = x.grad_fn, x._version
        getattr(gi, name)(x, **parameters)
        assert x.requires_grad
        assert x.grad_fn is recorded
        assert x.grad_fn is None or x is product
        assert x._version > version
    assert leaf.grad is None


@pytest.mark.parametrize("overwritten", ["itself", "a view of it", "what it is a view of", "a detached tensor"])
@pytest.mark.parametrize(("name", "parameters"), AUTOGRAD, ids=[name for name, _ in AUTOGRAD])
def test_a_backward_pass_through_an_overwritten_tensor_raises(name, parameters, overwritten):
    """As after torch's own in-place operations; without the version counter the gradients would be wrong in silence."""
    shape = (4, 6, 1) if name == "dirac_" else (4, 6)
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
    getattr(gi, name)(written, **parameters)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_refused_fill_leaves_the_version():
    x = torch.ones(4, 6)
    version = x._version
    with pytest.raises(ValueError, match="std must not be negative"):
        gi.normal_(x, std=-1)
    assert x._version == version


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
    "float8": (lambda fill, x: fill(x.view(torch.uint8).view(torch.float8_e4m3fn)), "float8_e4m3fn"),
    "float4": (lambda fill, x: fill(x.view(torch.uint8).view(torch.float4_e2m1fn_x2)), "float4"),
    "complex32": (lambda fill, x: fill(x.view(torch.int32).view(torch.complex32)), "complex32|ComplexHalf"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", REQUIRED)
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
    """It is either filled or refused, by a TypeError, and untouched then."""
    x, generator, refusal = torch.full((4, 6), 77.0), gi.Generator(1), None
    try:
        OUTSIDE[mode](lambda tensor: gi.normal_(tensor, generator=generator), x)
    except TypeError as error:
        refusal = str(error)
    if refusal is None:
        assert bits(x) == gi.normal_(np.empty((4, 6), np.float32), generator=1).tobytes()
    else:
        assert refusal.startswith("x must ")
        assert (x == 77).all()
        assert generator.position == 0


@pytest.mark.parametrize("dtype", [*INTEGERS, torch.bool], ids=name_of)
@pytest.mark.parametrize("name", RANDOM)
def test_dtypes_of_random_fills(name, dtype):
    x = torch.ones(4, 6, dtype=torch.uint8).to(dtype)
    refused(name, x, TypeError, f"^x must be an array of one of the dtypes .*bfloat16.*; got {name_of(dtype)}$")


@pytest.mark.parametrize("dtype", COMPLEX, ids=name_of)
@pytest.mark.parametrize("name", ["trunc_normal_", "lecun_normal_", "variance_scaling_"])
def test_truncated_forms_are_real(name, dtype):
    refused(name, torch.ones(4, 6, dtype=dtype), TypeError, 'distribution="normal"')


EXPANDED = {
    "rows": lambda memory: memory[:6].expand(4, 6),
    "columns": lambda memory: memory[:4, None].expand(4, 6),
    "one element": lambda memory: memory[0].expand(4, 6),
    "windows": lambda memory: memory.unfold(0, 6, 1)[:4],
}


@pytest.mark.parametrize("kind", EXPANDED)
@pytest.mark.parametrize("name", REQUIRED)
def test_expanded(name, kind):
    memory = np.full(24, 77, np.float32)
    x = EXPANDED[kind](torch.from_numpy(memory))
    x = x[..., None] if name == "dirac_" else x
    refused(name, x, ValueError, r"^x must not overlap itself, got shape \(4, 6", memory=memory)


# In use.


def init(generator):
    """A function for `Module.apply`."""

    def fill(module):
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            gi.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            gi.zeros_(module.bias)

    return fill


def network():
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))


def test_apply():
    model = network()
    assert model.apply(init(gi.Generator(5))) is model
    generator = gi.Generator(5)
    for layer in (model[0], model[2]):
        expected = gi.kaiming_normal_(np.empty(layer.weight.shape, np.float32), nonlinearity="relu", generator=generator)
        assert bits(layer.weight) == expected.tobytes()
        assert (layer.bias == 0).all()


def test_apply_on_a_channels_last_convolution():
    layer = torch.nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
    layer.apply(init(5))
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    assert (
        bits(layer.weight) == gi.kaiming_normal_(np.empty((8, 4, 3, 3), np.float32), nonlinearity="relu", generator=5).tobytes()
    )


def test_the_state_dict_keeps_its_identity():
    model = network()
    parameters, held = dict(model.named_parameters()), model.state_dict(keep_vars=True)
    addresses = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}
    model.apply(init(5))
    assert all(tensor is parameters[name] is held[name] for name, tensor in model.named_parameters())
    assert {name: tensor.data_ptr() for name, tensor in model.state_dict().items()} == addresses
    assert all(isinstance(tensor, torch.nn.Parameter) for tensor in model.parameters())


def test_training_after_an_init():
    """The optimizer was made before, and goes on with the same parameters."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    model.apply(init(5))
    inputs = gi.normal_(torch.empty(32, 8), generator=1)
    targets = inputs.sum(1, keepdim=True)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5


def test_a_graph_made_after_the_fill_is_differentiated():
    weight = gi.normal_(torch.empty(3, 5, requires_grad=True), generator=1)
    (weight**2).sum().backward()
    assert torch.equal(weight.grad, 2 * weight.detach())


def test_a_model_on_the_meta_device_is_filled_once_it_has_memory():
    with torch.device("meta"):
        model = network()
    with pytest.raises(TypeError, match="to_empty"):
        model.apply(init(5))
    model.to_empty(device="cpu").apply(init(5))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), network().apply(init(5)).parameters()))


# torch.compile


def filled(x):
    return gi.normal_(x, std=0.5, generator=3) * 2


def filled_by_the_default_generator(x):
    return gi.normal_(x, std=0.5) * 2


def filled_with_a_constant(x):
    return gi.constant_(x, 3) + 1


COMPILED = [filled, filled_by_the_default_generator, filled_with_a_constant]


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("fullgraph", [False, True])
@pytest.mark.parametrize("function", COMPILED)
def test_a_traced_fill_is_refused(fresh_compiler, function, fullgraph):
    """A trace would hold other arithmetic than gpuinit's. Where the whole graph is wanted, torch turns the error into its own."""
    x, state = torch.full((4, 6), 77.0), gi.default_generator.state
    error = RuntimeError if fullgraph else TypeError
    with pytest.raises(error, match=r"torch\.compile"):
        torch.compile(function, backend="eager", fullgraph=fullgraph)(x)
    assert (x == 77).all()
    assert gi.default_generator.state == state


@pytest.mark.parametrize("function", [filled, filled_with_a_constant])
def test_a_fill_in_a_function_that_is_not_traced(fresh_compiler, function):
    """What the error of a traced fill advises."""
    plain = torch.compiler.disable(function)
    compiled = torch.compile(lambda x: plain(x + 1) - 1, backend="eager")
    for _ in range(2):
        assert bits(compiled(torch.ones(4, 6))) == bits(function(torch.empty(4, 6)) - 1)


def test_a_compiled_model_is_filled(fresh_compiler):
    model = torch.compile(network(), backend="eager")
    model.apply(init(5))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), network().apply(init(5)).parameters()))


# CUDA


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
