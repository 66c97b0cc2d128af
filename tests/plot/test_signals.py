"""Mean squares through depth: what each initializer keeps, and a module beside the same stack."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._plot.signals import ACTIVATIONS, activation, signal_variances

SQUARE = [(300, 300)] * 30
WIDENING = [(800, 200)]
# Shapes, initializer, nonlinearity -> by what factor a layer changes activations forward, and gradients backward
FACTORS = [
    (SQUARE, "kaiming_normal_(nonlinearity='relu')", "relu", 1, 1),
    (SQUARE, "kaiming_uniform_(nonlinearity='leaky_relu', a=0.01)", "leaky_relu", 1, 1),
    (SQUARE, "xavier_normal_", "relu", 0.5, 0.5),
    (SQUARE, "xavier_uniform_", "linear", 1, 1),
    (SQUARE, "normal_(std=2/sqrt(300))", "linear", 4, 4),
    (SQUARE, "orthogonal_", "linear", 1, 1),
    (SQUARE, "lecun_normal_", "selu", 1, None),
    (WIDENING, "kaiming_normal_(mode='fan_in')", "relu", 1, 4),
    (WIDENING, "kaiming_normal_(mode='fan_out')", "relu", 0.25, 1),
    (WIDENING, "xavier_uniform_", "linear", 0.4, 1.6),
]


@pytest.mark.parametrize(("shapes", "init", "nonlinearity", "forward", "backward"), FACTORS)
def test_factor_of_a_layer(shapes, init, nonlinearity, forward, backward):
    found = signal_variances(shapes, init, nonlinearity)
    # Of one input, a layer of 300 strays by sqrt(5 / 300): 5 is the variance of 2 relu(z)**2. Thrice that, over 30 layers:
    close = functools.partial(pytest.approx, rel=0.07)
    if forward is not None:
        assert (found.activations[-1] / found.activations[0]) ** (1 / len(shapes)) == close(forward)
    if backward is not None:
        assert (found.gradients[0] / found.gradients[-1]) ** (1 / len(shapes)) == close(backward)
    assert found.activations[0] == pytest.approx(1, rel=0.05)
    assert found.gradients[-1] == pytest.approx(1, rel=0.05)


def test_places():
    found = signal_variances([(20, 10), (5, 20)], gi.xavier_normal_)
    assert found.names == ("0", "1", "2")
    assert found.activations.shape == found.gradients.shape == (3,)


def test_by_hand():
    """Two layers, tanh, with the weights, input and gradient that the docstring promises."""
    root = gi.Generator(5)
    shapes = [(4, 3), (2, 4)]
    first, second = (gi.xavier_normal_(np.empty(shape), generator=root.spawn(str(i))) for i, shape in enumerate(shapes))
    x = gi.normal_(np.empty((7, 3)), generator=root.spawn("input"))
    g = gi.normal_(np.empty((7, 2)), generator=root.spawn("gradient"))
    hidden = np.tanh(x @ first.T)
    output = np.tanh(hidden @ second.T)
    at_hidden = (g * (1 - output**2)) @ second
    at_input = (at_hidden * (1 - hidden**2)) @ first
    found = signal_variances(shapes, "xavier_normal_", "tanh", seed=5, batch=7)
    np.testing.assert_allclose(found.activations, [np.mean(a**2) for a in (x, hidden, output)], rtol=1e-12)
    np.testing.assert_allclose(found.gradients, [np.mean(a**2) for a in (at_input, at_hidden, g)], rtol=1e-12)


def test_seed_and_initializer_count():
    calls = [("xavier_normal_", 0), ("xavier_normal_", 1), ("xavier_uniform_", 0), (functools.partial(gi.xavier_normal_), 0)]
    last = [signal_variances([(9, 9)] * 3, init, seed=seed).activations[-1] for init, seed in calls]
    assert len(set(last)) == 3
    assert last[0] == last[3]


def test_overflow_is_no_error():
    found = signal_variances([(30, 30)] * 200, "normal_(std=1000)", "relu", batch=4)
    assert np.isinf(found.activations).any()
    assert not np.isfinite(found.activations[-1])
    assert not np.isfinite(found.gradients[0])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_of_an_activation(name):
    x = np.linspace(-4, 4, 100)
    values, slopes = activation(name)(x)
    nearby, _ = activation(name)(x + 1e-6)
    np.testing.assert_allclose((nearby - values) / 1e-6, slopes, atol=1e-5)


def test_activations_are_torchs(torch):
    x = np.linspace(-800, 800, 1001)
    for name in ACTIVATIONS:
        expected = x if name == "linear" else getattr(torch.nn.functional, name)(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(activation(name)(x)[0], expected, rtol=1e-12, atol=1e-15)


def stacked(torch, shapes, nonlinearity, seed):
    """A module of the weights that `signal_variances` draws."""
    layers = []
    for i, (out, taken) in enumerate(shapes):
        linear = torch.nn.Linear(taken, out, bias=False, dtype=torch.float64)
        gi.kaiming_normal_(linear.weight, generator=gi.Generator(seed).spawn(str(i)))
        layers += [linear, nonlinearity]
    return torch.nn.Sequential(*layers)


@pytest.mark.parametrize("name", ["ReLU", "Tanh", "SELU"])
def test_a_module_and_the_same_stack(torch, name):
    shapes = [(30, 20), (30, 30), (10, 30)]
    ours = signal_variances(shapes, "kaiming_normal_", name.lower(), seed=3, batch=50)
    model = stacked(torch, shapes, getattr(torch.nn, name)(), seed=3)
    theirs = signal_variances(model, inputs=(20,), seed=3, batch=50)
    assert theirs.names == ("0", "2", "4", "output")
    np.testing.assert_allclose(theirs.activations, ours.activations, rtol=1e-12)
    np.testing.assert_allclose(theirs.gradients, ours.gradients, rtol=1e-12)


def test_a_module_stays_as_it_is(torch):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(inplace=True),
        torch.nn.Flatten(),
        torch.nn.Linear(144, 2),
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = signal_variances(model, inputs=(3, 8, 8), batch=16)
    assert found.names == ("0", "1", "4", "output")
    assert np.all(found.gradients > 0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_module_of_token_numbers(torch):
    """The embedding gets no floating-point tensor; a layer off the path has no gradient; inputs keep their own."""

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(50, 8)
            self.unused, self.head = torch.nn.Linear(8, 8), torch.nn.Linear(8, 3)

        def forward(self, tokens):
            x = self.embedding(tokens)
            self.unused(x.detach().requires_grad_())
            return self.head(input=x)

    found = signal_variances(Model(), inputs=torch.arange(20).reshape(4, 5))
    assert found.names == ("unused", "head", "output")
    assert np.isnan(found.gradients).tolist() == [True, False, False]


BAD = [
    (([],), {}, TypeError, "model must be a torch.nn.Module or a sequence of shapes"),
    ((5,), {}, TypeError, "got 5"),
    (([(3, 3, 3)],), {}, TypeError, r"model must hold pairs \(out, in\).+ got \(3, 3, 3\)"),
    (([(3, 0)],), {}, TypeError, r"positive integers, got \(3, 0\)"),
    (([(4, 3), (4, 5)],), {}, ValueError, "got 4 values for 5"),
    (([(3, 3)], None), {}, TypeError, "an initializer must be"),
    (([(3, 3)], "keep"), {}, TypeError, "init must be a function of gpuinit"),
    (([(3, 3)], "ones_", "conv1d"), {}, ValueError, "nonlinearity must be one of linear, sigmoid"),
    (([(3, 3)], "ones_"), {"seed": None}, TypeError, "seed must be an int"),
    (([(3, 3)], "ones_"), {"batch": 0}, ValueError, "batch must be at least 1"),
    (([(3, 3)], "ones_"), {"inputs": (3,)}, TypeError, "inputs must be None for a stack"),
]


@pytest.mark.parametrize(("arguments", "keywords", "error", "message"), BAD)
def test_bad_argument(arguments, keywords, error, message):
    with pytest.raises(error, match=message):
        signal_variances(*arguments, **keywords)


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        (("ones_",), {"inputs": (3,)}, "init must be None for a module"),
        ((), {}, "inputs must be the shape of one input .+ got inputs=None"),
        ((), {"inputs": (0,)}, r"got inputs=\(0,\)"),
    ],
)
def test_bad_argument_beside_a_module(torch, arguments, keywords, message):
    with pytest.raises(TypeError, match=message):
        signal_variances(torch.nn.Linear(3, 3), *arguments, **keywords)


def test_a_module_that_returns_no_tensor(torch):
    with pytest.raises(TypeError, match="model must return one tensor"):
        signal_variances(torch.nn.LSTM(3, 3), inputs=(5, 3))
