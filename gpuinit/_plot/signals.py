"""How activations and gradients grow or shrink through depth: what an initializer's variance is chosen for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpuinit._contract.arguments import integer, is_integer, short_repr
from gpuinit._contract.generator import Generator
from gpuinit._initializers.basic import normal_
from gpuinit._initializers.fans import NonLinearity, choose
from gpuinit._plot import torch_signals
from gpuinit._rules.calls import Call, parse_initializer

Array = np.ndarray


class Signal(NamedTuple):
    """Mean squares through depth, from the input to the output.

    Attributes
    ----------
    names : tuple of str
        Of the places where the signal is measured: the numbers of layers passed, or the layers of a module about to be passed
        and "output".
    activations : float64 array
        The mean of x**2 over the activations x there, which is their variance where their mean is 0.
    gradients : float64 array
        The mean of (dL/dx)**2, where dL/dx is standard normal at the output; nan where L does not depend on x.
    """

    names: tuple[str, ...]
    activations: Array
    gradients: Array


def signal_variances(
    model: Any,
    init: Any = None,
    nonlinearity: str | NonLinearity = "relu",
    *,
    seed: int = 0,
    batch: int = 256,
    inputs: Any = None,
) -> Signal:
    """Run a stack of layers, or a module as it is, once forward and once backward, and measure the signal.

    Parameters
    ----------
    model : sequence of (out, in), or torch.nn.Module
        The shapes of dense weights in their order, for x <- f(W x), run by NumPy in float64; or a module that returns one tensor,
        as it is: its parameters, buffers and gradients stay what they are. Dropout draws from torch's own generator.
    init : function of gpuinit, functools.partial of one, or str
        What fills the weights, as in a rule of `initialize`; None for a module.
    nonlinearity : str or NonLinearity
        f, for a stack: "linear", "sigmoid", "tanh", "relu", "leaky_relu" (of slope 0.01) or "selu".
    seed : int
        The weight of layer i is drawn from ``Generator(seed).spawn(str(i))``, the input and the gradient at the output, standard
        normal, from the children "input" and "gradient".
    batch : int
        The number of inputs.
    inputs : tuple of int or torch.Tensor, optional
        For a module: the shape of one input, or a batch of inputs to use as it is (of token numbers, say).

    Returns
    -------
    Signal
        With one place more than a stack has layers; of a module, a place for each call of a layer that has parameters of its own
        and gets a floating-point tensor. Numbers that overflow are infinite or nan.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these, or a layer does not take what the one before gives.

    References
    ----------
    Glorot and Bengio (2010), figures 6 and 7; He, Zhang, Ren and Sun (2015), section 2.2.

    Examples
    --------
    >>> from gpuinit.plot import signal_variances
    >>> signal_variances([(500, 500)] * 4, "xavier_normal_").activations.round(2)  # relu halves it
    array([1.01, 0.51, 0.25, 0.12, 0.06])
    """
    root = Generator(integer("seed", seed))
    count = integer("batch", batch, least=1)
    if torch_signals.is_module(model):
        if init is not None:
            raise TypeError(f"init must be None for a module, which is run as it is, got init={short_repr(init)}")
        names, activations, gradients = torch_signals.through_module(
            model, torch_signals.input_batch(model, inputs, count, root), root
        )
        return Signal(tuple(names), np.array(activations), np.array(gradients))
    if inputs is not None:
        raise TypeError(f"inputs must be None for a stack of layers, got inputs={short_repr(inputs)}")
    shapes = _shapes(model)
    weights = [draw_weight(shape, init, root.spawn(str(i))) for i, shape in enumerate(shapes)]
    x, gradient = (
        normal_(np.empty((count, width)), generator=root.spawn(name))
        for width, name in ((shapes[0][1], "input"), (shapes[-1][0], "gradient"))
    )
    return _through_stack(weights, activation(nonlinearity), x, gradient)


Activation = Callable[[Array], tuple[Array, Array]]


def activation(nonlinearity: str | NonLinearity) -> Activation:
    """The function of an array that gives f and its derivative.

    Raises
    ------
    TypeError, ValueError
        If `nonlinearity` is no name of one.
    """
    layers = tuple(kind for kind in NonLinearity if kind not in ACTIVATIONS)
    return ACTIVATIONS[choose("nonlinearity", NonLinearity, nonlinearity, without=layers)]


def _through_stack(weights: list[Array], f: Activation, x: Array, gradient: Array) -> Signal:
    activations, gradients, slopes = [_mean_square(x)], [_mean_square(gradient)], []
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for weight in weights:
            x, slope = f(x @ weight.T)
            activations.append(_mean_square(x))
            slopes.append(slope)
        for weight, slope in zip(reversed(weights), reversed(slopes), strict=True):
            gradient = (gradient * slope) @ weight
            gradients.append(_mean_square(gradient))
    return Signal(tuple(map(str, range(len(activations)))), np.array(activations), np.array(gradients[::-1]))


def _mean_square(x: Array) -> float:
    return float(np.mean(x * x))


def _shapes(model: Any) -> list[tuple[int, int]]:
    """The checked shapes of a stack."""
    if not isinstance(model, Sequence) or isinstance(model, str) or not model:
        raise TypeError(f"model must be a torch.nn.Module or a sequence of shapes (out, in), got {short_repr(model)}")
    for shape in model:
        if not isinstance(shape, Sequence) or len(shape) != 2 or not all(is_integer(n) and n > 0 for n in shape):
            raise TypeError(f"model must hold pairs (out, in) of positive integers, got {short_repr(shape)}")
    for (out, _), (_, taken) in itertools.pairwise(model):
        if out != taken:
            raise ValueError(f"model must have layers that take what the one before gives, got {out} values for {taken}")
    return [(int(out), int(taken)) for out, taken in model]


def draw_weight(shape: tuple[int, int], init: Any, generator: Generator) -> Array:
    """A float64 array as an initializer fills it."""
    call = parse_initializer(init)
    if type(call) is not Call:
        raise TypeError(f"init must be a function of gpuinit, functools.partial of one, or a string, got init={short_repr(init)}")
    weight = np.zeros(shape)
    call(weight, generator=generator)
    return weight


def _linear(y: Array) -> tuple[Array, Array]:
    return y, np.ones_like(y)


def _sigmoid(y: Array) -> tuple[Array, Array]:
    s = (1 + np.tanh(y / 2)) / 2
    return s, s * (1 - s)


def _tanh(y: Array) -> tuple[Array, Array]:
    t = np.tanh(y)
    return t, 1 - t * t


def _rectifier(slope: float) -> Activation:
    def f(y: Array) -> tuple[Array, Array]:
        slopes = slope + (1 - slope) * np.heaviside(y, 0.0)  # nan for nan
        return y * slopes, slopes

    return f


def _selu(y: Array) -> tuple[Array, Array]:
    """Klambauer et al. (2017), "Self-normalizing neural networks", equation 2."""
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    negative = alpha * np.expm1(np.minimum(y, 0))
    return scale * np.where(y > 0, y, negative), scale * np.where(y > 0, 1.0, negative + alpha)


ACTIVATIONS: dict[NonLinearity, Activation] = {
    NonLinearity.LINEAR: _linear,
    NonLinearity.SIGMOID: _sigmoid,
    NonLinearity.TANH: _tanh,
    NonLinearity.RELU: _rectifier(0.0),
    NonLinearity.LEAKY_RELU: _rectifier(0.01),
    NonLinearity.SELU: _selu,
}
