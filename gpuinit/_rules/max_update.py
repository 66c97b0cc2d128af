"""`mup`: the initialization of the maximal update parametrization, on top of any rules."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gpuinit._backends.operations import Constant, Fill, Parts
from gpuinit._backends.targets import Write, planned
from gpuinit._contract.arguments import is_a, is_integer, short_repr, shorten
from gpuinit._contract.distributions import Distribution, Normal, Point, Uniform
from gpuinit._contract.generator import Generator
from gpuinit._initializers.axes import AXES, AxisKeywords, read_layout
from gpuinit._initializers.basic import constant_, normal_, trunc_normal_, uniform_
from gpuinit._rules.calls import Call, Initializer, Keep, by_param
from gpuinit._rules.matching import Pattern, Rule, check_pattern, first_match, matches, read_rules, ready_made
from gpuinit._rules.parameters import Param, Shapes, find_parameters
from gpuinit._rules.torch_layers import torch_defaults

# Weights whose first axis is the one that they sum over: embeddings are products with one-hot rows.
IN_FIRST = ("Embedding", "EmbeddingBag", "Conv1D", "_ConvTransposeNd", "*emb*", "*wte.weight", "*wpe.weight")


@ready_made
def mup(
    base_shapes: Any,
    rules: Any = None,
    *,
    in_first: Sequence[str | type] = IN_FIRST,
    axes: Sequence[tuple[str | type, AxisKeywords]] = (),
) -> list[Rule]:
    """The initialization of μP, the maximal update parametrization: one that keeps a narrow model's best settings for wide ones.

    All is as `rules` would have it in a base model, a narrow one that the settings were found with, but for weights that sum over
    an axis that grew:

    ==================  ===================================  ==========================================
    parameter           axes that differ from the base's     standard deviation, in the base's
    ==================  ===================================  ==========================================
    input, bias, norm   none, or none that is summed over    1
    hidden              both                                 √(base fan_in / fan_in)
    output              that which is summed over alone      base fan_in / fan_in
    ==================  ===================================  ==========================================

    Variances are then Θ(1), Θ(1 / fan_in) and Θ(1 / fan_in²), and a model of the base's shapes gets what `rules` gives it.

    **This is the initialization alone.** Learning rates are the optimizer's part: for Adam, those of hidden and output weights
    are to be divided by fan_in / base fan_in as well; and attention is to be scaled by 1 / d instead of 1 / √d. An output weight
    that is tied to an embedding counts as the embedding, and then the model must divide its outputs by fan_in / base fan_in.

    Parameters
    ----------
    base_shapes : mapping of str to tuple of int, or a model
        The shape of every parameter in the base model, by name; or the base model itself, as `gpuinit.initialize` takes it, which
        may lie on torch's meta device.
    rules : list of (pattern, initializer), optional
        How the base model is initialized; `torch_defaults()` if None.
    in_first : list or tuple of str or class
        Patterns of the weights whose axes are (in, out) instead of (out, in), as an embedding's (entries, width) are.
    axes : list of (pattern, dict), optional
        The axes of other weights, by the keywords `in_axis`, `out_axis` and `batch_axis` of the scaled initializers:
        ``[("*.experts.up", {"batch_axis": 0, "out_axis": 1, "in_axis": 2})]``. An initializer in `rules` that has such
        keywords needs no entry here.

    Returns
    -------
    list of (pattern, initializer)

    Raises
    ------
    TypeError, ValueError
        At once, if `base_shapes`, `rules`, `in_first` or `axes` is none;
        in `gpuinit.initialize`, before anything is written, if the base lacks
        parameters (ten are named) or has them with other numbers of axes, if an input's axis and a kernel's grew, as stacked
        experts' seem to, or if what `rules` has for a hidden or output weight cannot be scaled: `orthogonal_`, `sparse_` and
        plain callables.

    References
    ----------
    Yang et al. (2022), "Tensor Programs V: Tuning large neural networks via zero-shot hyperparameter transfer", Table 3; base
    shapes as in the authors' package mup.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> base = {"embed": (100, 64), "hidden": (64, 64), "head": (100, 64)}
    >>> wide = {"embed": np.empty((100, 256)), "hidden": np.empty((256, 256)), "head": np.empty((100, 256))}
    >>> for row in gi.initialize(wide, gi.rules.mup(base, [("*", "normal_(std=0.02)")]), seed=42).rows:
    ...     print(row.name, row.expected_std)
    embed 0.02
    hidden 0.01
    head 0.005
    """
    if not is_a(in_first, (list, tuple)):
        raise TypeError(f"in_first must be a list or tuple of patterns, got {short_repr(in_first)}")
    for number, pattern in enumerate(in_first):
        check_pattern(f"in_first[{number}]", pattern)
    told = _read_axes(axes)
    base, read = _shapes(base_shapes), read_rules(torch_defaults() if rules is None else rules)

    def scale(param: Param) -> Any:
        there = replace(param, shape=_base_shape(base, param), shapes=base)
        choice = first_match(read, there)
        if choice is None:
            return None
        factor = _factor(param, there.shape, _axes_of(param, choice, told, in_first))
        return _scale_initializer(choice, factor, there, param.shape == there.shape)

    return [("*", by_param(scale))]


def _shapes(base: Any) -> Shapes:
    if is_a(base, Mapping) and all(is_a(shape, tuple) and all(map(is_integer, shape)) for shape in base.values()):
        return Shapes(base)
    try:
        found = find_parameters(base)
    except (TypeError, ValueError) as error:
        raise type(error)(f"base_shapes: {error}") from error
    if not found:
        raise ValueError(f"base_shapes must have parameters, got {short_repr(base)}")
    return found[0][0].shapes


def _base_shape(base: Shapes, param: Param) -> tuple[int, ...]:
    known = [name for name in (param.name, *param.names) if name in base]
    if not known:
        missing = [name for name in param.shapes if name not in base]
        raise ValueError(f"base_shapes must have every parameter of the model, but lacks {', '.join(shorten(missing))}")
    shape = base[known[0]]
    if len(shape) != len(param.shape) or 0 in shape:
        raise ValueError(f"base_shapes[{param.name!r}] must have {len(param.shape)} axes and elements, got {shape}")
    return shape


def _read_axes(given: Any) -> list[tuple[Pattern, Mapping[str, Any]]]:
    if not is_a(given, (list, tuple)) or not all(is_a(pair, (list, tuple)) and len(pair) == 2 for pair in given):
        raise TypeError(f"axes must be a list of pairs (pattern, dict), got {short_repr(given)}")
    for number, (pattern, keywords) in enumerate(given):
        check_pattern(f"axes[{number}]", pattern)
        if not is_a(keywords, Mapping) or not set(keywords) <= set(AXES):
            raise TypeError(f"axes[{number}] must have a dict of {', '.join(AXES)}, got {short_repr(keywords)}")
    return [(pattern, keywords) for pattern, keywords in given]


def _axes_of(
    param: Param, choice: Initializer, told: list[tuple[Pattern, Mapping[str, Any]]], in_first: Sequence[Pattern]
) -> Mapping[str, Any]:
    """Return the keywords that say what a weight's axes are: told to `mup`, or to the initializer; none if torch's are meant."""

    def fits(pattern: Pattern) -> bool:
        return any(matches(pattern, face) for face in param.by_names)

    for pattern, keywords in told:
        if fits(pattern):
            return keywords
    own = {name: value for name, value in choice.keywords.items() if name in AXES} if type(choice) is Call else {}
    return own or ({"in_axis": 0, "out_axis": 1} if any(map(fits, in_first)) else {})


def _factor(param: Param, base: tuple[int, ...], axes: Mapping[str, Any]) -> float:
    """What the base's standard deviation is multiplied by."""
    shape = param.shape
    grown = {axis for axis in range(len(shape)) if shape[axis] != base[axis]}
    if len(shape) < 2 or not grown or 0 in shape:
        return 1.0
    try:
        layout = read_layout(shape, axes)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{param.name}: {error}") from error
    known = {*layout.in_axes, *layout.out_axes, *layout.batch_axes}
    grown_inputs, unknown = grown & {*layout.in_axes}, grown - known
    if grown_inputs and unknown:
        raise ValueError(
            f"axes must tell of {param.name}, whose axis {min(unknown)} grew from {base[min(unknown)]} to "
            f"{shape[min(unknown)]} and would count as a kernel's: give in_axis, out_axis and batch_axis"
        )
    ratio = math.prod(base[axis] / shape[axis] for axis in sorted(grown_inputs))
    return math.sqrt(ratio) if grown & {*layout.out_axes} else ratio


def _scale_initializer(choice: Initializer, factor: float, there: Param, is_same: bool) -> Any:
    """What `choice` is to the base's parameter, times a factor, for one of any shape; `is_same` if that is the base's."""
    if type(choice) is Keep or is_same:
        return choice
    operation = _plan(choice, there).operation if type(choice) is Call else None
    if isinstance(operation, Constant):
        return choice
    if isinstance(operation, Fill) and not there.dtype.startswith("complex"):
        return _scale_distribution(operation.distribution, factor)
    if factor == 1 and not isinstance(operation, (Fill, Parts)):  # these would go by the fans of the wider one
        return choice
    shown = choice if type(choice) is Call else short_repr(choice)
    raise ValueError(
        f"rules must have a constant, or a fill of real numbers that is the same for all parts, for {there.name}, whose shape "
        f"differs from the base's, got {shown}"
    )


def _plan(call: Call, there: Param) -> Write:
    """Return what an initializer would write to the base's parameter."""
    try:
        with planned() as writes:
            call(np.empty(there.shape), generator=Generator(0))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{there.name} of the base, {call}: {error}") from error
    return writes[-1]


def _scale_distribution(distribution: Distribution, factor: float) -> Any:
    """Return the initializer that draws from a distribution times a factor."""
    match distribution:
        case Point(value=value):
            return functools.partial(constant_, val=float(value))
        case Uniform(scale=scale, low=low):
            return functools.partial(uniform_, a=float(low) * factor, b=float(low + scale) * factor)
        case Normal(mean=mean, std=std):
            return functools.partial(normal_, mean=float(mean) * factor, std=float(std) * factor)
    mean, std, a, b = (factor * number for number in distribution.parameters)
    return functools.partial(trunc_normal_, mean=mean, std=std, a=a, b=b)
