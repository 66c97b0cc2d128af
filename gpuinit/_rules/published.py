"""Rules of published models, as their own code initializes them."""

from __future__ import annotations

import re
from typing import Any

from gpuinit._contract.arguments import boolean, integer
from gpuinit._rules.calls import by_param
from gpuinit._rules.matching import Rule, first_match, read_rules, ready_made
from gpuinit._rules.parameters import Param
from gpuinit._rules.torch_layers import torch_defaults


def named(names: str) -> re.Pattern[str]:
    """A pattern for a model's own names, given as a regular expression, below any prefix: no set fills what it does not know."""
    return re.compile(rf"(?:.*\.)?(?:{names})")


@ready_made
def gpt2(n_layer: int) -> list[Rule]:
    """GPT-2, by the names of Hugging Face's model, which nanoGPT has too.

    ========================================  ===========================================================
    parameters                                values
    ========================================  ===========================================================
    c_proj.weight of attention and MLP        N(0, (0.02 / √(2 n_layer))²): two residuals a layer add up
    its other weights, wte, wpe and heads     N(0, 0.02²)
    ln_1, ln_2, ln_cross_attn, ln_f           weight 1, bias 0
    its other biases                          0
    ========================================  ===========================================================

    Parameters of other names match nothing.

    The causal masks `attn.bias` that older checkpoints hold are kept. OpenAI's own code has 0.01 for `wpe` (put
    ``("*wpe.weight", "normal_(std=0.01)")`` first for it) and leaves out the factor of the residuals, which the paper has.

    Parameters
    ----------
    n_layer : int
        The number of blocks, at least 1; 12 in GPT-2 small.

    Returns
    -------
    list of (pattern, initializer)

    Raises
    ------
    TypeError, ValueError
        If `n_layer` is no such number.

    References
    ----------
    Radford et al. (2019), "Language models are unsupervised multitask learners", section 2.3; `_init_weights` of
    `GPT2PreTrainedModel` in Hugging Face's transformers, models/gpt2/modeling_gpt2.py; OpenAI's gpt-2, src/model.py.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> model = {"h.0.mlp.c_fc.weight": np.empty((8, 32)), "h.0.mlp.c_proj.weight": np.empty((32, 8))}
    >>> [row.initializer for row in gi.initialize(model, gi.rules.gpt2(n_layer=2), seed=42).rows]
    ['normal_(std=0.02)', 'normal_(std=0.01)']
    """
    return gpt2_rules(0.02, integer("n_layer", n_layer, least=1))


def gpt2_rules(std: float, layers: int) -> list[Rule]:
    """The rules of `gpt2` for a checked standard deviation and number of blocks."""
    attention, norms = r"h\.\d+\.(?:attn|crossattention)", r"h\.\d+\.ln_(?:1|2|cross_attn)|ln_f"
    heads = r"lm_head|score|classifier|qa_outputs|multiple_choice_head\.summary"
    dense = rf"wte|wpe|{heads}|{attention}\.(?:c_attn|q_attn)|h\.\d+\.mlp\.c_fc"
    residual = rf"(?:{attention}|h\.\d+\.mlp)\.c_proj"
    return [
        (named(rf"{attention}\.(?:masked_)?bias"), "keep"),
        (named(rf"(?:{norms})\.weight"), "ones_"),
        (named(rf"(?:{norms}|{dense}|{residual})\.bias"), "zeros_"),
        (named(rf"{residual}\.weight"), f"normal_(std={std!r}/sqrt({2 * layers}))"),
        (named(rf"(?:{dense})\.weight"), f"normal_(std={std!r})"),
    ]


@ready_made
def resnet(*, zero_init_residual: bool = False) -> list[Rule]:
    """ResNet of any depth, also wide and ResNeXt, by the names of torchvision's model.

    ========================================  ================================================================
    parameters                                values
    ========================================  ================================================================
    convolutions                              kaiming_normal_(mode="fan_out", nonlinearity="relu")
    normalizations                            weight 1, bias 0
    fc                                        as torch's Linear does: uniform on ±1/√fan_in
    ========================================  ================================================================

    Parameters of other names match nothing.

    Parameters
    ----------
    zero_init_residual : bool
        Whether the weight of the last normalization of each block is 0 instead, so that the block is the identity at first
        (Goyal et al. 2017, "Accurate, large minibatch SGD", section 5.1).

    Returns
    -------
    list of (pattern, initializer)

    Raises
    ------
    TypeError
        If `zero_init_residual` is not a bool.

    References
    ----------
    He et al. (2015), "Delving deep into rectifiers", for the convolutions; `ResNet.__init__` in torchvision/models/resnet.py.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> model = {"conv1.weight": np.empty((64, 3, 7, 7)), "fc.weight": np.empty((10, 64)), "fc.bias": np.empty(10)}
    >>> [row.initializer for row in gi.initialize(model, gi.rules.resnet(), seed=42).rows][:2]
    ["kaiming_normal_(mode='fan_out', nonlinearity='relu')", 'kaiming_uniform_(a=2.23606797749979)']
    """
    block = r"layer\d+\.\d+\."
    norms = rf"bn1|{block}(?:bn\d|downsample\.1)"
    last: list[Rule] = [(named(rf"{block}bn[23]\.weight"), by_param(_zeros_if_last))]
    return [
        *(last if boolean("zero_init_residual", zero_init_residual) else []),
        (
            named(rf"(?:conv1|{block}(?:conv\d|downsample\.0))\.weight"),
            "kaiming_normal_(mode='fan_out', nonlinearity='relu')",
        ),
        (named(rf"(?:{norms}|fc)\.\w+"), by_param(as_torch)),
    ]


def as_torch(param: Param) -> Any:
    return first_match(read_rules(torch_defaults()), param)


def _zeros_if_last(param: Param) -> Any:
    """bn2 is the last of a basic block, bn3 of a bottleneck."""
    return None if param.name.replace("bn2", "bn3") in param.shapes and "bn2" in param.name else "zeros_"
