"""Two models, as the shapes of their parameters by name: those of the models' published code, in its order.

GPT-2 small: Radford et al. (2019), "Language models are unsupervised multitask learners"; Hugging Face's `GPT2LMHeadModel`.
ResNet-50: He et al. (2016), "Deep residual learning for image recognition"; `torchvision.models.resnet50()`.
"""

from __future__ import annotations

from collections.abc import Callable

Shapes = dict[str, tuple[int, ...]]


def gpt2(n_layer: int = 12, width: int = 768, vocabulary: int = 50257, positions: int = 1024) -> Shapes:
    """GPT-2 small; the head is the token embedding's weight, so it is not listed.

    Examples
    --------
    >>> import math
    >>> from gpuinit._cli.demo_models import gpt2
    >>> f"{sum(map(math.prod, gpt2().values())):,}"
    '124,439,808'
    """
    shapes: Shapes = {"transformer.wte.weight": (vocabulary, width), "transformer.wpe.weight": (positions, width)}
    for i in range(n_layer):
        block = f"transformer.h.{i}"
        shapes |= _norm(f"{block}.ln_1", width)
        shapes |= _conv1d(f"{block}.attn.c_attn", width, 3 * width)
        shapes |= _conv1d(f"{block}.attn.c_proj", width, width)
        shapes |= _norm(f"{block}.ln_2", width)
        shapes |= _conv1d(f"{block}.mlp.c_fc", width, 4 * width)
        shapes |= _conv1d(f"{block}.mlp.c_proj", 4 * width, width)
    return shapes | _norm("transformer.ln_f", width)


def resnet50(blocks: tuple[int, ...] = (3, 4, 6, 3), width: int = 64, classes: int = 1000) -> Shapes:
    """ResNet-50 for ImageNet's 1000 classes.

    Examples
    --------
    >>> import math
    >>> from gpuinit._cli.demo_models import resnet50
    >>> f"{sum(map(math.prod, resnet50().values())):,}"
    '25,557,032'
    """
    shapes = {"conv1.weight": (width, 3, 7, 7)} | _norm("bn1", width)
    inputs = width
    for layer, count in enumerate(blocks, start=1):
        for i in range(count):
            block = f"layer{layer}.{i}"
            shapes |= _bottleneck(block, inputs, width)
            if i == 0:
                shapes |= _convolution(f"{block}.downsample.0", f"{block}.downsample.1", 4 * width, inputs, 1)
            inputs = 4 * width
        width *= 2
    return shapes | {"fc.weight": (classes, inputs), "fc.bias": (classes,)}


MODELS: dict[str, Callable[[], Shapes]] = {"gpt2": gpt2, "resnet50": resnet50}


def _norm(name: str, size: int) -> Shapes:
    """Of a layer or batch normalization."""
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def _conv1d(name: str, inputs: int, outputs: int) -> Shapes:
    """GPT-2's linear layer, whose weight is (in, out)."""
    return {f"{name}.weight": (inputs, outputs), f"{name}.bias": (outputs,)}


def _convolution(name: str, norm: str, outputs: int, inputs: int, side: int) -> Shapes:
    """Of a convolution and the batch normalization after it."""
    return {f"{name}.weight": (outputs, inputs, side, side)} | _norm(norm, outputs)


def _bottleneck(block: str, inputs: int, width: int) -> Shapes:
    return {
        **_convolution(f"{block}.conv1", f"{block}.bn1", width, inputs, 1),
        **_convolution(f"{block}.conv2", f"{block}.bn2", width, width, 3),
        **_convolution(f"{block}.conv3", f"{block}.bn3", 4 * width, width, 1),
    }
