"""GPT-2 and ResNet as torch modules, with the names of Hugging Face's and torchvision's, initialized as their code does; and what
an initialization in torch asks for, read off the operations that it comes to."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
python_dispatch = pytest.importorskip("torch.utils._python_dispatch")
nn = torch.nn


class Conv1D(nn.Module):
    """A linear layer whose weight is (in, out)."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.ModuleDict({"c_attn": Conv1D(width, 3 * width), "c_proj": Conv1D(width, width)})
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": Conv1D(width, 4 * width), "c_proj": Conv1D(4 * width, width)})


class GPT2(nn.Module):
    """Radford et al. (2019); the weights as `GPT2PreTrainedModel._init_weights` has them, the head tied to the embedding."""

    def __init__(self, n_layer=12, width=768, vocabulary=50257, positions=1024):
        super().__init__()
        parts = {"wte": nn.Embedding(vocabulary, width), "wpe": nn.Embedding(positions, width)}
        blocks = nn.ModuleList(Block(width) for _ in range(n_layer))
        self.transformer = nn.ModuleDict({**parts, "h": blocks, "ln_f": nn.LayerNorm(width)})
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.transformer.wte.weight
        for name, module in self.named_modules():
            if isinstance(module, (nn.Linear, nn.Embedding, Conv1D)):
                factor = 1 / math.sqrt(2 * n_layer) if name.endswith("c_proj") else 1
                nn.init.normal_(module.weight, std=0.02 * factor)


class Bottleneck(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        outputs = 4 * width
        sizes = [(width, inputs, 1), (width, width, 3), (outputs, width, 1)]
        for number, (out, into, side) in enumerate(sizes, start=1):
            setattr(self, f"conv{number}", nn.Conv2d(into, out, side, bias=False))
            setattr(self, f"bn{number}", nn.BatchNorm2d(out))
        if inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """He et al. (2016), of bottlenecks; the weights as `ResNet.__init__` of torchvision has them."""

    def __init__(self, blocks=(3, 4, 6, 3), width=64, classes=1000, zero_init_residual=False):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for number, count in enumerate(blocks, start=1):
            layer = [Bottleneck(inputs if i == 0 else 4 * width, width) for i in range(count)]
            setattr(self, f"layer{number}", nn.Sequential(*layer))
            inputs, width = 4 * width, 2 * width
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, Bottleneck) and zero_init_residual:
                nn.init.zeros_(module.bn3.weight)


class Asked(python_dispatch.TorchDispatchMode):
    """Within it, the last fill of each tensor is taken down: ("uniform", a, b), ("normal", mean, std) or ("constant", value)."""

    def __init__(self):
        super().__init__()
        self._fills = {}

    def of(self, model):
        """What each parameter was filled with, by name; a tied one by the first in order."""
        found: dict = {}
        for name, parameter in sorted(model.named_parameters(remove_duplicate=False)):
            found.setdefault(_place(parameter), name)
        return {name: self._fills[place] for place, name in found.items()}

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        name = function.overloadpacket.__name__
        if name in ("uniform_", "normal_"):
            defaults = (0.0, 1.0)
            self._fills[_place(result)] = (name.removesuffix("_"), *arguments[1:], *defaults[len(arguments) - 1 :])
        elif name in ("fill_", "zero_", "zeros", "ones"):
            value = {"zero_": 0.0, "zeros": 0.0, "ones": 1.0}.get(name, arguments[-1])
            self._fills[_place(result)] = ("constant", float(value))
        elif name in ("clone", "copy_", "detach"):
            source = arguments[1 if name == "copy_" else 0]
            self._fills[_place(result)] = self._fills.get(_place(source))
        return result


def _place(tensor):
    return tensor.data_ptr(), tensor.numel()
