"""What CUDA tensors need beyond the right values (`tests/backends/test_torch_tensors.py`): streams, graphs, autograd."""

from __future__ import annotations

import numpy as np
import pytest

import gpuinit as gi
from tests.support import fills
from tests.support.fills import NAMES
from tests.support.refusals import REQUIRED, shape_for
from tests.support.tensors import MODES, bits, network, numpy_dtype

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch

SIZE = 100_003  # elements: more than a block of threads, and some left over at the end
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Arrays with some elements left over at the end of what a thread or a block writes.
SHAPES = [(SIZE,), (33, 17, 3), (33, 17), (8, 4, 3)]
NAMED = ("uniform_", "normal_", "trunc_normal_", "kaiming_normal_", "sparse_", "constant_", "zeros_", "eye_", "dirac_")
CASES = [pytest.param(row.name, row.arguments, next(filter(row.takes, SHAPES)), id=row.name) for row in map(fills.first, NAMED)]


@pytest.fixture(autouse=True)
def _device(cupy):
    """torch, like CuPy, must find the device."""
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")


def called(name, x, arguments, seed=1):
    return fills.call(name, x, arguments, seed)


def expected(name, arguments, shape, dtype=torch.float32, seed=1):
    """The bytes of NumPy's fill."""
    return called(name, np.empty(shape, numpy_dtype(dtype)), arguments, seed).tobytes()


# Streams.


@pytest.mark.parametrize(("name", "arguments", "shape"), CASES)
def test_a_fill_waits_for_its_stream_and_the_stream_for_it(name, arguments, shape):
    """Written before the sleep is over, or read before the fill is done, the tensor would be another."""
    called(name, torch.empty(shape, device="cuda"), arguments)  # compiles
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        x = torch.empty(shape, device="cuda")
        torch.cuda._sleep(20_000_000)
        x.fill_(77)
        called(name, x, arguments)
        copied = x.clone()
    stream.synchronize()
    assert bits(copied) == expected(name, arguments, shape)


def test_two_streams_and_an_event():
    """The usual order between streams holds: a second one that waits for an event sees the fill."""
    x = torch.zeros(SIZE, device="cuda")
    first, second = torch.cuda.Stream(), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(first):
        torch.cuda._sleep(20_000_000)
        gi.normal_(x, generator=1)
        filled = first.record_event()
    with torch.cuda.stream(second):
        second.wait_event(filled)
        doubled = x * 2
    torch.cuda.synchronize()
    assert bits(doubled / 2) == expected("normal_", {}, (SIZE,))


def test_a_fill_leaves_the_current_stream_and_device(cupy):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        gi.normal_(torch.empty(SIZE, device="cuda"), generator=1)
        assert torch.cuda.current_stream() == stream
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert cupy.cuda.get_current_stream().ptr == 0


def test_a_fill_neither_allocates_nor_waits():
    x = torch.empty(SIZE, device="cuda")
    gi.normal_(x, generator=1)  # compiles, and uploads the table of normals
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    torch.cuda._sleep(200_000_000)  # some tenth of a second
    started = torch.cuda.Event()
    started.record()
    gi.normal_(x, generator=2)
    assert not started.query()  # the call came back while the device slept
    assert (torch.cuda.memory_allocated(), torch.cuda.memory_reserved()) == before
    assert bits(x) == expected("normal_", {}, (SIZE,), seed=2)


def test_the_tensors_device_counts():
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device only")
    x = torch.empty(SIZE, device="cuda:1")
    assert torch.cuda.current_device() == 0
    assert bits(gi.normal_(x, generator=1)) == expected("normal_", {}, (SIZE,))
    assert torch.cuda.current_device() == 0


# CUDA graphs.


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("name", "arguments", "shape"), CASES)
def test_a_fill_in_a_graph(name, arguments, shape, dtype):
    x = torch.empty(shape, dtype=dtype, device="cuda")
    called(name, x, arguments, seed=2)  # compiles
    x.fill_(77)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        called(name, x, arguments)
    assert (x == 77).all()  # recorded, not run
    for _ in range(2):
        x.fill_(77)
        graph.replay()
        assert bits(x) == expected(name, arguments, shape, dtype)


def test_a_graph_of_a_fill_between_torchs_own_operations():
    x = torch.empty(SIZE, device="cuda")
    y = torch.zeros(SIZE, device="cuda")
    gi.normal_(x, generator=1)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        x.fill_(77)
        gi.normal_(x, generator=1)
        y.add_(x)
    for count in (1, 2):
        graph.replay()
        assert torch.equal(y, x * count)
    assert bits(x) == expected("normal_", {}, (SIZE,))


# Autograd.


@pytest.mark.parametrize("name", NAMES)
def test_the_version_counts_and_no_gradient_is_recorded(name):
    shape = shape_for(name)
    leaf = torch.full(shape, 1.5, device="cuda", requires_grad=True)
    product = leaf * 1
    for x in (leaf, product):
        recorded, version = x.grad_fn, x._version
        assert getattr(gi, name)(x, **REQUIRED[name]) is x
        assert x.requires_grad
        assert x.grad_fn is recorded
        assert x._version > version
    assert leaf.grad is None


@pytest.mark.parametrize("name", NAMES)
def test_a_backward_pass_through_an_overwritten_tensor_raises(name):
    shape = shape_for(name)
    weight = torch.full(shape, 1.5, device="cuda", requires_grad=True)
    x = torch.ones(shape, device="cuda", requires_grad=True)
    loss = (weight * x).sum()
    getattr(gi, name)(weight, **REQUIRED[name])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("mode", MODES)
def test_modes(mode):
    x = torch.empty(4, 6, device="cuda", requires_grad=True)
    with MODES[mode]():
        assert gi.normal_(x, generator=1) is x
    assert bits(x) == expected("normal_", {}, (4, 6))


def test_a_refused_fill_leaves_the_version():
    x = torch.ones(4, 6, device="cuda")
    version = x._version
    with pytest.raises(ValueError, match="std must not be negative"):
        gi.normal_(x, std=-1)
    assert x._version == version
    assert (x == 1).all()


# Modules.


def test_a_model_has_the_values_of_the_cpu_and_can_be_differentiated():
    model, on_cpu = network().cuda(), network()
    for filled in (model, on_cpu):
        gi.initialize(filled, seed=5)
    assert all(bits(a) == bits(b) for a, b in zip(model.parameters(), on_cpu.parameters()))
    model(gi.normal_(torch.empty(32, 8, device="cuda"), generator=1)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_a_channels_last_weight():
    weight = torch.empty(8, 4, 3, 3, device="cuda").to(memory_format=torch.channels_last)
    gi.kaiming_normal_(weight, generator=1)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert bits(weight) == expected("kaiming_normal_", {}, (8, 4, 3, 3))
