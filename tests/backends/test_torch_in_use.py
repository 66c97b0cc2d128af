"""Modules that are filled: `apply`, training, the meta device, and torch.compile."""

from __future__ import annotations

import numpy as np
import pytest

import gpuinit as gi
from tests.support.tensors import bits, init, network

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch


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
