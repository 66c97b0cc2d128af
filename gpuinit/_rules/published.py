"""Rules of published models, as their own code initializes them."""

from __future__ import annotations

import re
from typing import Any

from gpuinit._contract.arguments import boolean, integer
from gpuinit._rules.calls import by_param
from gpuinit._rules.matching import Rule, first_match, read_rules, ready_made
from gpuinit._rules.parameters import Param
from gpuinit._rules.torch_layers import torch_defaults


def _named(names: str) -> re.Pattern[str]:
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
    layers = integer("n_layer", n_layer, least=1)
    attention, norms = r"h\.\d+\.(?:attn|crossattention)", r"h\.\d+\.ln_(?:1|2|cross_attn)|ln_f"
    heads = r"lm_head|score|classifier|qa_outputs|multiple_choice_head\.summary"
    dense = rf"wte|wpe|{heads}|{attention}\.(?:c_attn|q_attn)|h\.\d+\.mlp\.c_fc"
    residual = rf"(?:{attention}|h\.\d+\.mlp)\.c_proj"
    return [
        (_named(rf"{attention}\.(?:masked_)?bias"), "keep"),
        (_named(rf"(?:{norms})\.weight"), "ones_"),
        (_named(rf"(?:{norms}|{dense}|{residual})\.bias"), "zeros_"),
        (_named(rf"{residual}\.weight"), f"normal_(std=0.02/sqrt({2 * layers}))"),
        (_named(rf"(?:{dense})\.weight"), "normal_(std=0.02)"),
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
    last: list[Rule] = [(_named(rf"{block}bn[23]\.weight"), by_param(_zeros_if_last))]
    return [
        *(last if boolean("zero_init_residual", zero_init_residual) else []),
        (
            _named(rf"(?:conv1|{block}(?:conv\d|downsample\.0))\.weight"),
            "kaiming_normal_(mode='fan_out', nonlinearity='relu')",
        ),
        (_named(rf"(?:{norms}|fc)\.\w+"), by_param(_as_torch)),
    ]


def _as_torch(param: Param) -> Any:
    return first_match(read_rules(torch_defaults()), param)


def _zeros_if_last(param: Param) -> Any:
    """bn2 is the last of a basic block, bn3 of a bottleneck."""
    return None if param.name.replace("bn2", "bn3") in param.shapes and "bn2" in param.name else "zeros_"


@ready_made
def vit() -> list[Rule]:
    """The Vision Transformer, by the names of timm's model, as its paper's own code initializes it.

    ==========================================  ==============================================================
    parameters                                  values
    ==========================================  ==============================================================
    patch_embed.proj.weight                     `lecun_normal_`
    weights of attention and MLP                `xavier_uniform_` (qkv as the one matrix that it is there)
    biases of the MLP, cls_token, reg_token     N(0, 1e-6²)
    pos_embed                                   N(0, 0.02²), cut at ±2
    normalizations                              weight 1, bias 0
    head, and its other biases                  0
    ==========================================  ==============================================================

    Parameters of other names match nothing. This is what timm does for ``weight_init="jax"``; what it does by default differs.

    Returns
    -------
    list of (pattern, initializer)

    References
    ----------
    Dosovitskiy et al. (2021), "An image is worth 16x16 words"; google-research/vision_transformer, vit_jax/models_vit.py;
    `VisionTransformer.init_weights` and `init_weights_vit_jax` in timm/models/vision_transformer.py.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> model = {"blocks.0.attn.qkv.weight": np.empty((192, 64)), "blocks.0.mlp.fc1.bias": np.empty(256)}
    >>> [row.initializer for row in gi.initialize(model, gi.rules.vit(), seed=42).rows]
    ['xavier_uniform_()', 'normal_(std=1e-06)']
    """
    norms = r"blocks\.\d+\.(?:norm[12]|(?:attn|mlp)\.norm|attn\.[qk]_norm)|norm|norm_pre|fc_norm|patch_embed\.norm"
    attention, dense = r"blocks\.\d+\.attn\.(?:qkv|proj)", r"blocks\.\d+\.mlp\.fc[12]"
    return [
        (_named("pos_embed"), "trunc_normal_(std=0.02)"),
        (_named("cls_token|reg_token"), "normal_(std=1e-6)"),
        (_named(r"head(?:_dist)?\.(?:weight|bias)"), "zeros_"),
        (_named(rf"(?:{norms})\.weight"), "ones_"),
        (_named(rf"(?:{dense})\.bias"), "normal_(std=1e-6)"),
        (_named(rf"(?:{norms}|{attention}|patch_embed\.proj)\.bias"), "zeros_"),
        (_named(r"patch_embed\.proj\.weight"), "lecun_normal_"),
        (_named(rf"(?:{attention}|{dense})\.weight"), "xavier_uniform_"),
    ]
