"""Fans, modes and gains: pure functions of shapes and names."""

from __future__ import annotations

import math
from enum import StrEnum
from numbers import Real
from typing import Any, TypeVar

from gpuinit._contract.arguments import finite, is_a, short_repr, type_name
from gpuinit._contract.arithmetic import exact


class Mode(StrEnum):
    """Which fan a scaled initializer keeps the variance for; plain strings are accepted in its place."""

    FAN_IN = "fan_in"
    FAN_OUT = "fan_out"
    FAN_AVG = "fan_avg"
    FAN_GEO_AVG = "fan_geo_avg"


class NonLinearity(StrEnum):
    """The layers and activations that `calculate_gain` knows; plain strings are accepted in their place."""

    LINEAR = "linear"
    CONV1D = "conv1d"
    CONV2D = "conv2d"
    CONV3D = "conv3d"
    CONV_TRANSPOSE1D = "conv_transpose1d"
    CONV_TRANSPOSE2D = "conv_transpose2d"
    CONV_TRANSPOSE3D = "conv_transpose3d"
    SIGMOID = "sigmoid"
    TANH = "tanh"
    RELU = "relu"
    LEAKY_RELU = "leaky_relu"
    SELU = "selu"


class Family(StrEnum):
    """The families of distributions that `variance_scaling_` draws from; "untruncated_normal" is JAX's name for "normal"."""

    TRUNCATED_NORMAL = "truncated_normal"
    NORMAL = "normal"
    UNTRUNCATED_NORMAL = "untruncated_normal"
    UNIFORM = "uniform"


_DEFAULT_SLOPE = 0.01  # torch.nn.LeakyReLU's negative_slope
_GAINS = {NonLinearity.TANH: 5 / 3, NonLinearity.RELU: math.sqrt(2), NonLinearity.SELU: 3 / 4}

Choice = TypeVar("Choice", bound=StrEnum)


def choose(name: str, kinds: type[Choice], value: Any, *, without: tuple[Choice, ...] = ()) -> Choice:
    """Return the member of an enum that a string names, in any case of letters.

    Raises
    ------
    TypeError, ValueError
        If `value` is no string, or names none of the members accepted.
    """
    if type(value) is not str and not is_a(value, str):
        raise TypeError(f"{name} must be a string, got {short_repr(value)} of type {type_name(value)}")
    try:
        kind = kinds(str.lower(value))
    except ValueError:
        kind = None
    if kind is None or kind in without:
        accepted = ", ".join(kind for kind in kinds if kind not in without)
        raise ValueError(f"{name} must be one of {accepted}, got {name}={short_repr(str.__str__(value))}") from None
    return kind


def fan_in_and_fan_out(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return fan_in and fan_out of a weight of torch's axes (out, in, *kernel).

    Raises
    ------
    ValueError
        If the shape has fewer than two axes.
    """
    if len(shape) < 2:
        raise ValueError(
            f"fan_in and fan_out need at least 2 axes (out, in, ...), got shape {shape}; for a bias use uniform_ or zeros_"
        )
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def fan(fan_in: float, fan_out: float, mode: Mode) -> float:
    """Return the fan that `mode` names."""
    match mode:
        case Mode.FAN_IN:
            return fan_in
        case Mode.FAN_OUT:
            return fan_out
        case Mode.FAN_AVG:
            return (fan_in + fan_out) / 2
    return math.sqrt(fan_in) * math.sqrt(fan_out)


def calculate_gain(nonlinearity: str | NonLinearity, param: float | None = None) -> float:
    """The factor on the standard deviation that keeps a signal's variance through a nonlinearity.

    Parameters
    ----------
    nonlinearity : str or NonLinearity
        1 for "linear", the convolutions and "sigmoid", 5/3 for "tanh", sqrt(2) for "relu",
        sqrt(2 / (1 + param**2)) for "leaky_relu", 3/4 for "selu".
    param : float, optional
        The negative slope of "leaky_relu", 0.01 if None; not read for the others.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If `nonlinearity` is no such name, or the slope no finite number.

    References
    ----------
    The values of torch.nn.init.calculate_gain; for the rectifiers, He et al. (2015), "Delving deep into rectifiers".

    Examples
    --------
    >>> import gpuinit as gi
    >>> gi.calculate_gain("relu")
    1.4142135623730951
    """
    kind = choose("nonlinearity", NonLinearity, nonlinearity)
    if kind is not NonLinearity.LEAKY_RELU or param is None:
        return _exact_gain(kind, _DEFAULT_SLOPE)
    if type(param) is bool or not is_a(param, Real):
        raise ValueError(f"param, the slope of leaky_relu, must be a finite number, got param={short_repr(param)}")
    return _exact_gain(kind, finite("param", param))


def gain_of(kind: NonLinearity, slope: float) -> float:
    """Return the gain of a nonlinearity; `slope` is that of a leaky_relu."""
    return math.sqrt(2 / (1 + slope * slope)) if kind is NonLinearity.LEAKY_RELU else _GAINS.get(kind, 1.0)


_exact_gain = exact(gain_of)
