"""The parameters of two well-known models as data, with the initializers that their own code gives them.

GPT-2 small: Radford et al. (2019), "Language models are unsupervised multitask learners"; names and shapes of Hugging
Face's `GPT2LMHeadModel`, initializers of its `GPT2PreTrainedModel._init_weights`. ResNet-50: He et al. (2016), "Deep
residual learning for image recognition"; names, shapes and order of `torchvision.models.resnet50().named_parameters()`,
initializers of torchvision's `ResNet.__init__` and torch's `Linear.reset_parameters`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from gpuinit.fills import normal_, ones_, uniform_, zeros_
from gpuinit.generator import Generator
from gpuinit.scaled import kaiming_normal_, kaiming_uniform_


class Parameter(NamedTuple):
    """One parameter: the call that initializes it, as text and as a function, and the standard deviation it gives."""

    name: str
    shape: tuple[int, ...]
    initializer: str
    fill: Callable[[Any, Generator], Any]
    std: float

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def gpt2(n_layer: int = 12) -> list[Parameter]:
    """GPT-2 small; the head is the token embedding's weight, so it is not listed.

    Examples
    --------
    >>> from gpuinit.models import gpt2
    >>> f"{sum(p.size for p in gpt2()):,}"
    '124,439,808'
    """
    width = 768
    parameters = [
        _normal("transformer.wte.weight", (50257, width), 0.02, "0.02"),
        _normal("transformer.wpe.weight", (1024, width), 0.02, "0.02"),
    ]
    for i in range(n_layer):
        block = f"transformer.h.{i}"
        parameters += [
            *_norm(f"{block}.ln_1", width),
            *_conv1d(f"{block}.attn.c_attn", width, 3 * width),
            *_conv1d(f"{block}.attn.c_proj", width, width, residuals=2 * n_layer),
            *_norm(f"{block}.ln_2", width),
            *_conv1d(f"{block}.mlp.c_fc", width, 4 * width),
            *_conv1d(f"{block}.mlp.c_proj", 4 * width, width, residuals=2 * n_layer),
        ]
    return [*parameters, *_norm("transformer.ln_f", width)]


def resnet50() -> list[Parameter]:
    """ResNet-50 for ImageNet's 1000 classes.

    Examples
    --------
    >>> from gpuinit.models import resnet50
    >>> f"{sum(p.size for p in resnet50()):,}"
    '25,557,032'
    """
    parameters = [_conv("conv1", 64, 3, 7), *_norm("bn1", 64)]
    inputs = 64
    for layer, (width, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], start=1):
        outputs = 4 * width
        for i in range(blocks):
            block = f"layer{layer}.{i}"
            parameters += [
                *(_conv(f"{block}.conv1", width, inputs, 1), *_norm(f"{block}.bn1", width)),
                *(_conv(f"{block}.conv2", width, width, 3), *_norm(f"{block}.bn2", width)),
                *(_conv(f"{block}.conv3", outputs, width, 1), *_norm(f"{block}.bn3", outputs)),
            ]
            if i == 0:
                parameters += [_conv(f"{block}.downsample.0", outputs, inputs, 1), *_norm(f"{block}.downsample.1", outputs)]
            inputs = outputs
    return [*parameters, *_linear("fc", 1000, inputs)]


MODELS: dict[str, Callable[[], list[Parameter]]] = {"gpt2": gpt2, "resnet50": resnet50}


def _normal(name: str, shape: tuple[int, ...], std: float, text: str) -> Parameter:
    return Parameter(name, shape, f"normal_(std={text})", lambda x, g: normal_(x, std=std, generator=g), std)


def _norm(name: str, size: int) -> list[Parameter]:
    """Weight and bias of a layer or batch normalization."""
    return [Parameter(f"{name}.weight", (size,), "ones_()", lambda x, g: ones_(x), 0.0), _zeros(f"{name}.bias", size)]


def _zeros(name: str, size: int) -> Parameter:
    return Parameter(name, (size,), "zeros_()", lambda x, g: zeros_(x), 0.0)


def _conv1d(name: str, inputs: int, outputs: int, residuals: int = 1) -> list[Parameter]:
    """GPT-2's linear layer, its weight (in, out); one of a number of `residuals` that add up is scaled down for it."""
    text = "0.02" if residuals == 1 else f"0.02/sqrt({residuals})"
    return [_normal(f"{name}.weight", (inputs, outputs), 0.02 / math.sqrt(residuals), text), _zeros(f"{name}.bias", outputs)]


def _conv(name: str, outputs: int, inputs: int, side: int) -> Parameter:
    return Parameter(
        f"{name}.weight",
        (outputs, inputs, side, side),
        'kaiming_normal_(0, "fan_out", "relu")',
        lambda x, g: kaiming_normal_(x, mode="fan_out", nonlinearity="relu", generator=g),
        math.sqrt(2 / (outputs * side * side)),
    )


def _linear(name: str, outputs: int, inputs: int) -> list[Parameter]:
    """torch.nn.Linear: its weight and its bias are both uniform within 1 / sqrt(inputs)."""
    bound = 1 / math.sqrt(inputs)
    std = bound / math.sqrt(3)
    return [
        Parameter(
            f"{name}.weight",
            (outputs, inputs),
            "kaiming_uniform_(a=sqrt(5))",
            lambda x, g: kaiming_uniform_(x, a=math.sqrt(5), generator=g),
            std,
        ),
        Parameter(
            f"{name}.bias",
            (outputs,),
            f"uniform_(-1/sqrt({inputs}), 1/sqrt({inputs}))",
            lambda x, g: uniform_(x, -bound, bound, generator=g),
            std,
        ),
    ]
