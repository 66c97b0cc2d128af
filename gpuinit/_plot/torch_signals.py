"""A torch module run once forward and once backward, with what enters its layers looked at; torch is never imported here."""

from __future__ import annotations

import contextlib
import math
import sys
from typing import Any

import numpy as np

from gpuinit._contract.arguments import is_integer, short_repr
from gpuinit._contract.generator import Generator
from gpuinit._initializers.basic import normal_


def is_module(model: Any) -> bool:
    """Whether it is a torch.nn.Module; who has one has imported torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def input_batch(model: Any, inputs: Any, batch: int, root: Generator) -> Any:
    """The batch that a module is run on: standard normal, in the dtype and on the device of its first parameter, or a tensor."""
    torch = sys.modules["torch"]
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    if isinstance(inputs, torch.Tensor):
        return inputs.detach().to(like.device)
    if not isinstance(inputs, (tuple, list)) or not all(is_integer(n) and n > 0 for n in inputs):
        raise TypeError(f"inputs must be the shape of one input of the module, or a tensor, got inputs={short_repr(inputs)}")
    return _normal((batch, *inputs), root.spawn("input")).to(like)


def through_module(model: Any, x: Any, root: Generator) -> tuple[list[str], list[float], list[float]]:
    """Names, and mean squares of what enters each layer that has parameters of its own, and of the gradients there; last, those
    of the output."""
    torch = sys.modules["torch"]
    names: list[str] = []
    activations: list[float] = []
    edges: list[Any] = []

    def note(name: str, x: Any) -> None:
        if isinstance(x, torch.Tensor) and x.is_floating_point():
            names.append(name)
            activations.append(_mean_square(x))
            edges.append(torch.autograd.graph.get_gradient_edge(x) if x.requires_grad else None)

    def look(name: str) -> Any:
        return lambda module, positional, keyword: note(name, next(iter((*positional, *keyword.values())), None))

    # Copies, which running may change: batch norm's statistics.
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with contextlib.ExitStack() as stack, torch.enable_grad():
        for name, module in model.named_modules():
            if next(module.parameters(recurse=False), None) is not None:
                stack.enter_context(module.register_forward_pre_hook(look(name), with_kwargs=True))
        start = x.requires_grad_().clone() if x.is_floating_point() else x  # no leaf, so that it may be changed in place
        output = torch.func.functional_call(model, buffers, (start,))
    if not isinstance(output, torch.Tensor) or not output.requires_grad:
        raise TypeError(f"model must return one tensor that its input has an influence on, got {short_repr(type(output))}")
    gradient = _normal(tuple(output.shape), root.spawn("gradient")).to(output)
    note("output", output)
    reached = [edge for edge in edges if edge is not None]
    found = iter(torch.autograd.grad(output, reached, gradient, allow_unused=True))
    return names, activations, [_mean_square(None if edge is None else next(found)) for edge in edges]


def _normal(shape: tuple[int, ...], generator: Generator) -> Any:
    return sys.modules["torch"].from_numpy(normal_(np.empty(shape), generator=generator))


def _mean_square(x: Any) -> float:
    return math.nan if x is None else float(x.detach().double().square().mean())
