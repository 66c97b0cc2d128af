"""`torch_defaults`: what torch's layers do to their own parameters, as rules."""

from __future__ import annotations

import functools
import math
import re
import warnings
from collections.abc import Iterable
from typing import Any

from gpuinit._contract.arguments import shorten
from gpuinit._initializers.basic import constant_, uniform_
from gpuinit._initializers.structured import embedding_
from gpuinit._rules.calls import Call, by_param
from gpuinit._rules.matching import Rule, ready_made
from gpuinit._rules.parameters import Param

_LONGEST_KERNEL = 16  # along an axis, as of a Vision Transformer's patches
_OWN_INITIALIZATIONS = (
    "init_weights",
    "_init_weights",
    "reset_parameters",
    "_reset_parameters",
    "initialize_weights",
    "_initialize_weights",
)
_RECURRENT = r"(?:weight|bias)_(?:ih|hh|hr)(_l\d+(?:_reverse)?)?"
_ATTENTION = "in_proj_(?:weight|bias)|[qkv]_proj_weight|bias_[kv]"
_KAIMING = "kaiming_uniform_(a=sqrt(5))"


@ready_made
def torch_defaults() -> list[Rule]:
    """What the layers of `torch.nn` do when they are constructed.

    ============================  ==========================================================================================
    layer                         parameters
    ============================  ==========================================================================================
    Linear, Conv, ConvTranspose   weight and bias uniform on ±1/√fan_in, the weight by kaiming_uniform_(a=√5)
    Bilinear                      uniform on ±1/√in1_features
    Embedding, EmbeddingBag       N(0, 1), the row of padding_idx 0
    normalizations                weight 1, bias 0 (BatchNorm, InstanceNorm, LayerNorm, GroupNorm, RMSNorm)
    RNN, LSTM, GRU, their cells   uniform on ±1/√hidden_size
    MultiheadAttention            in_proj_weight, or q, k and v_proj_weight: `xavier_uniform_`; bias_k and bias_v:
                                  `xavier_normal_`; in_proj_bias and out_proj.bias 0; out_proj.weight as Linear's
    PReLU                         its `init`, 0.25 unless given
    Transformer                   all with two axes or more: `xavier_uniform_`; the others as their layers do
    ============================  ==========================================================================================

    A module's parameters go by its class, or the base of it that is torch's. A weight that an embedding and an output layer share
    is the embedding's. Those that a module of another class holds itself,
    as a class token, match nothing, nor do those that a parametrization has of its own: add rules for them.

    In a mapping without modules they go by names and shapes, where these leave no doubt: a weight of three axes or more is a
    convolution's if it has a bias of one axis, or four or five axes and a kernel of at most 16 along each (unlike stacked
    experts), one of two beside a bias of its length Linear's unless it is tied, weight and bias of the same shape, or beside
    `running_mean`, are a normalization's, and the names of recurrent layers and of attention speak for themselves. A lone weight
    of two axes may be Embedding's or Linear's, and one of a single axis RMSNorm's or PReLU's, so these match nothing.

    Returns
    -------
    list of (pattern, initializer)

    References
    ----------
    `reset_parameters` of each class in torch/nn/modules/ of torch 2.13 (`_reset_parameters` of MultiheadAttention and
    Transformer).

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> shapes = {"fc.weight": (10, 16), "fc.bias": 10, "norm.weight": 10, "norm.bias": 10}
    >>> model = {name: np.empty(shape) for name, shape in shapes.items()}
    >>> for row in gi.initialize(model, gi.rules.torch_defaults(), seed=42).rows:
    ...     print(row.name, row.initializer)
    fc.weight kaiming_uniform_(a=2.23606797749979)
    fc.bias uniform_(a=-0.25, b=0.25)
    norm.weight ones_()
    norm.bias zeros_()
    """
    return [
        ("*", by_param(_of_outer_layer)),
        _rule("MultiheadAttention", _ATTENTION, by_param(_attention)),
        _rule("Linear|_ConvNd", "weight", by_param(_weight)),
        _rule("Linear|_ConvNd", "bias", by_param(_bias)),
        _rule("Bilinear", "weight|bias", by_param(_bilinear)),
        _rule("Embedding|EmbeddingBag", "weight", by_param(_embedding)),
        _rule("_NormBase|LayerNorm|GroupNorm|RMSNorm", "weight|running_var", "ones_"),
        _rule("_NormBase|LayerNorm|GroupNorm", "bias|running_mean|num_batches_tracked", "zeros_"),
        _rule("RNNBase|RNNCellBase", _RECURRENT, by_param(_recurrent)),
        _rule("PReLU", "weight", by_param(lambda param: functools.partial(constant_, val=param.owner.init))),
    ]


def warn_of_own_initializations(params: Iterable[Param], stacklevel: int) -> None:
    """Warn of modules that have an initialization that torch's defaults do not know."""
    classes = dict.fromkeys(type(owner) for param in params for owner in param.owners)
    methods = ((cls, next((name for name in _OWN_INITIALIZATIONS if _defines(cls, name)), None)) for cls in classes)
    if own := [f"{cls.__name__}.{name}" for cls, name in methods if name]:
        warnings.warn(
            f"model has an initialization of its own, which is not called ({', '.join(shorten(own))}): its layers get torch's "
            "defaults; give rules for it, or rules=gpuinit.rules.torch_defaults() if those are meant",
            UserWarning,
            stacklevel=stacklevel,
        )


def _defines(cls: type, method: str) -> bool:
    """Whether a class has a method that is not a class of torch's."""
    definer = next((base for base in cls.__mro__ if method in vars(base)), None)
    return definer is not None and definer.__module__.partition(".")[0] != "torch"


def _rule(layers: str, own_names: str, initializer: Any) -> Rule:
    """For parameters of one of torch's layers: their names there as a regular expression."""
    names = set(layers.split("|"))
    of_layer = by_param(lambda param: initializer if names & _layers(param) else None)
    return re.compile(rf"(?:.*\.)?(?:{own_names})"), of_layer


def _layers(param: Param) -> frozenset[str] | set[str]:
    """The names of the classes of torch that a parameter's owner is of; in a mapping, of the one that it must be of, if any."""
    return _guess_classes(param) if param.owner is None else _classes(param.owner)


def _classes(module: Any) -> frozenset[str]:
    return _classes_of(module.__class__)


@functools.cache
def _classes_of(kind: Any) -> frozenset[str]:
    return frozenset(cls.__name__ for cls in kind.__mro__ if cls.__module__.startswith("torch.nn.modules."))


def _guess_classes(param: Param) -> set[str]:
    weight, bias = _beside(param, "weight"), _beside(param, "bias")
    if re.fullmatch(_RECURRENT, param.own_name):
        return {"RNNBase"}
    if re.fullmatch(_ATTENTION, param.own_name):
        return {"MultiheadAttention"}
    if _beside(param, "running_mean") is not None or (weight is not None and weight == bias):
        return {"_NormBase"}
    if weight is not None and _is_convolution(weight, bias):
        return {"_ConvNd"}
    if weight is not None and len(weight) == 2 and bias == weight[:1] and (param.own_name != "weight" or not param.places):
        return {"Linear"}
    return set()


def _is_convolution(weight: tuple[int, ...], bias: tuple[int, ...] | None) -> bool:
    """Without a bias, three axes may be stacked matrices, and so may four or five if the last ones are long."""
    if bias is None:
        return len(weight) in (4, 5) and max(weight[2:]) <= _LONGEST_KERNEL
    return len(weight) in (3, 4, 5) and len(bias) == 1


def _beside(param: Param, own_name: str) -> tuple[int, ...] | None:
    """The shape of another parameter of the same module."""
    return param.shapes.get(param.name.removesuffix(param.own_name) + own_name)


@functools.lru_cache
def _within(n: int) -> Call:
    """Uniform on ±1/√n; 0 for n = 0, as torch does for layers without inputs."""
    bound = 1 / math.sqrt(n) if n else 0.0
    return Call(uniform_, {"a": -bound, "b": bound})


def _embedding(param: Param) -> Any:
    row = param.owner.padding_idx
    return "normal_" if row is None else functools.partial(embedding_, padding_idx=row)


def _weight(param: Param) -> Any:
    """What an embedding and its output layer share is the embedding's."""
    embeds = param.places and any({"Embedding", "EmbeddingBag"} & _classes(face.owner) for face in param.by_names)
    return None if embeds else _KAIMING


def _bias(param: Param) -> Any:
    weight = _beside(param, "weight")
    return None if weight is None else _within(math.prod(weight[1:]))


def _attention(param: Param) -> str:
    if param.own_name == "in_proj_bias":
        return "zeros_"
    return "xavier_normal_" if param.own_name.startswith("bias_") else "xavier_uniform_"


def _bilinear(param: Param) -> Any:
    weight = _beside(param, "weight")
    return None if weight is None else _within(weight[1])


def _recurrent(param: Param) -> Any:
    match = re.fullmatch(_RECURRENT, param.own_name)
    layer = (match and match[1]) or ""
    # weight_hr projects the hidden state, and then weight_hh reads what it gives.
    weight = _beside(param, f"weight_hr{layer}") or _beside(param, f"weight_hh{layer}")
    return None if weight is None else _within(weight[1])


def _of_outer_layer(param: Param) -> Any:
    """Transformer draws all matrices within it; MultiheadAttention sets the bias of its output layer, itself a module, to 0."""
    if len(param.shape) > 1:
        return "xavier_uniform_" if any("Transformer" in _classes(owner) for owner in param.owners) else None
    outer = param.name.removesuffix("out_proj.bias")
    if outer == param.name or f"{outer}in_proj_bias" not in param.shapes:
        return None
    known = not param.owners or any("MultiheadAttention" in _classes(owner) for owner in param.owners[-2:-1])
    return "zeros_" if known else None
