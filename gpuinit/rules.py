"""Rules that tell `gpuinit.initialize` what to do to which parameter: how they are written, and ready-made sets.

A rule is a pair (pattern, initializer), and a set of rules a list of them, so that sets are joined by `+`; the first rule that
matches a parameter counts.
"""

from gpuinit._rules.calls import by_param, keep
from gpuinit._rules.files import load
from gpuinit._rules.language import llama, transformers
from gpuinit._rules.max_update import mup
from gpuinit._rules.padding import zero_padding_row
from gpuinit._rules.published import gpt2, resnet
from gpuinit._rules.state_space import mamba
from gpuinit._rules.torch_layers import torch_defaults
from gpuinit._rules.vision import convnext, swin, vit

__all__ = [
    "by_param",
    "convnext",
    "gpt2",
    "keep",
    "llama",
    "load",
    "mamba",
    "mup",
    "resnet",
    "swin",
    "torch_defaults",
    "transformers",
    "vit",
    "zero_padding_row",
]
