"""Tensors: their bytes, their layouts, a network, and the modes under which they are filled."""

from __future__ import annotations

import numpy as np
import pytest

import gpuinit as gi
from tests.support.fills import dtype_of
from tests.support.layouts import LAYOUTS

torch = pytest.importorskip("torch")

TENSOR_LAYOUTS = {
    # torch has no negative strides
    **{name: layout for name, layout in LAYOUTS.items() if name != "reversed"},
    "channels last": (
        LAYOUTS["C"][0],
        lambda buffer, shape: (
            np.moveaxis(buffer.reshape((shape[0], *shape[2:], shape[1])), -1, 1) if len(shape) > 2 else buffer.reshape(shape)
        ),
    ),
}


def name_of(dtype) -> str:
    return str(dtype).removeprefix("torch.")


def numpy_dtype(dtype) -> np.dtype:
    """NumPy's dtype with the same bits; bfloat16 is that of ml_dtypes."""
    return dtype_of(name_of(dtype))


def bits(tensor) -> bytes:
    """The elements' bytes, in C order of the logical index."""
    # A clone: where an axis has length 1, a tensor is contiguous with any stride, but not to be viewed as bytes
    return tensor.detach().cpu().reshape(-1).clone(memory_format=torch.contiguous_format).view(torch.uint8).numpy().tobytes()


class TensorWindow:
    """A window of one layout, `tensor`, in a buffer of a byte pattern."""

    def __init__(self, layout, shape, dtype, device="cpu"):
        elements, view = TENSOR_LAYOUTS[layout]
        size = elements(shape)
        indices = view(np.arange(size), shape)
        strides = [stride // indices.itemsize for stride in indices.strides]
        self.itemsize = dtype.itemsize
        self.buffer = torch.full((size * dtype.itemsize,), 0x5A, dtype=torch.uint8, device=device)
        self.tensor = self.buffer.view(dtype).as_strided(shape, strides, int(indices.min(initial=size)) if indices.size else 0)
        self.inside = np.zeros(size, bool)
        self.inside[indices] = True

    def outside_untouched(self) -> bool:
        elements = self.buffer.cpu().numpy().reshape(self.inside.size, self.itemsize)
        return bool((elements[~self.inside] == 0x5A).all())


def init(generator):
    """A function for `Module.apply`."""

    def fill(module):
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            gi.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            gi.zeros_(module.bias)

    return fill


def network():
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))


# Modes under which torch's own in-place fills go on; each is a context.
MODES = {
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference_mode": torch.inference_mode,
    "default device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "saved tensors hooks": lambda: torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x),
}
