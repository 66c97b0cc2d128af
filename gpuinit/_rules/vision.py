"""Rules of vision models whose layers lie in blocks: ViT, ConvNeXt, Swin."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuinit._contract.arguments import finite, is_a, not_negative, short_repr
from gpuinit._rules.calls import by_param
from gpuinit._rules.matching import Rule, ready_made
from gpuinit._rules.parameters import Param
from gpuinit._rules.published import as_torch, named

_TIMM_CUT = "trunc_normal_(std=0.02)"


@ready_made
def vit(code: str = "jax", *, layer_scale: float | None = None, initializer_range: float = 0.02) -> list[Rule]:
    """The Vision Transformer, by the names of timm's, torchvision's or Hugging Face's model.

    ==========================================  ==============================================================
    parameters, "jax"                           values
    ==========================================  ==============================================================
    patch_embed.proj.weight                     `lecun_normal_`
    weights of attention and MLP                `xavier_uniform_` (qkv as the one matrix that it is there)
    biases of the MLP, cls_token, reg_token     N(0, 1e-6²)
    pos_embed                                   N(0, 0.02²), cut at ±2
    normalizations                              weight 1, bias 0
    ls1.gamma, ls2.gamma                        `layer_scale`
    head, and its other biases                  0
    ==========================================  ==============================================================

    The others differ from it in this:

    ================  =====================  =================================================================
    code              names                  values
    ================  =====================  =================================================================
    "timm"            timm's                 weights of attention, MLP and head N(0, 0.02²), cut at ±2, and
                                             their biases 0; patch_embed.proj as torch's convolution does
    "torchvision"     torchvision's          conv_proj and pre_logits N(0, 1 / fan_in), cut at ±2; out_proj as
                                             torch's Linear does; pos_embedding N(0, 0.02²); class_token 0
    "transformers"    Hugging Face's         all weights N(0, initializer_range²), cls_token and
                                             position_embeddings cut at ±2; biases and mask_token 0
    ================  =====================  =================================================================

    Parameters of other names match nothing.

    Parameters
    ----------
    code : str
        Whose names and values: "jax" is the paper's own code by timm's names, which timm has for ``weight_init="jax"``; "timm"
        is timm's default.
    layer_scale : float, optional
        What LayerScale's parameters are, timm's `init_values`. Without it, they match nothing.
    initializer_range : float
        That of Hugging Face's configuration.

    Returns
    -------
    list of (pattern, initializer)

    Raises
    ------
    TypeError, ValueError
        If `code` is none of these, or a number does not fit.

    References
    ----------
    Dosovitskiy et al. (2021), "An image is worth 16x16 words"; google-research/vision_transformer, vit_jax/models_vit.py;
    `VisionTransformer.init_weights`, `init_weights_vit_jax` and `init_weights_vit_timm` in timm 1.0.31,
    models/vision_transformer.py; `VisionTransformer.__init__`, `Encoder` and `MLPBlock` in torchvision 0.28,
    models/vision_transformer.py; `ViTPreTrainedModel._init_weights` in transformers 5.24, models/vit/modeling_vit.py.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> model = {"blocks.0.attn.qkv.weight": np.empty((192, 64)), "blocks.0.mlp.fc1.bias": np.empty(256)}
    >>> [row.initializer for row in gi.initialize(model, gi.rules.vit(), seed=42).rows]
    ['xavier_uniform_()', 'normal_(std=1e-06)']
    >>> [row.initializer for row in gi.initialize(model, gi.rules.vit("timm"), seed=42).rows]
    ['trunc_normal_(std=0.02)', 'zeros_()']
    """
    std = not_negative("initializer_range", initializer_range, np.dtype(np.float64))
    common = _vit_of_timm(None if layer_scale is None else finite("layer_scale", layer_scale))
    sets = {
        "jax": common + _vit_jax(),
        "timm": common + _vit_timm(),
        "torchvision": _vit_torchvision(),
        "transformers": _vit_transformers(std),
    }
    return sets[_choice(code, sets)]


def _choice(code: Any, sets: dict[str, Any]) -> str:
    if not is_a(code, str) or code not in sets:
        raise ValueError(f"code must be one of {', '.join(map(repr, sets))}, got {short_repr(code)}")
    return code


_VIT_NORMS = r"blocks\.\d+\.(?:norm[12]|(?:attn|mlp)\.norm|attn\.[qk]_norm)|norm|norm_pre|fc_norm|patch_embed\.norm"
_VIT_ATTENTION, _VIT_DENSE = r"blocks\.\d+\.attn\.(?:qkv|proj)", r"blocks\.\d+\.mlp\.fc[12]"
_VIT_HEADS = r"head(?:_dist)?"


def _norms(names: str) -> list[Rule]:
    return [(named(rf"(?:{names})\.weight"), "ones_"), (named(rf"(?:{names})\.bias"), "zeros_")]


def _layers(names: str, initializer: Any) -> list[Rule]:
    """Layers whose biases are 0."""
    return [(named(rf"(?:{names})\.weight"), initializer), (named(rf"(?:{names})\.bias"), "zeros_")]


def _vit_of_timm(scale: float | None) -> list[Rule]:
    scales: list[Rule] = [] if scale is None else [(named(r"blocks\.\d+\.ls[12]\.gamma"), f"constant_({scale!r})")]
    return [
        *scales,
        (named("pos_embed"), _TIMM_CUT),
        (named("cls_token|reg_token"), "normal_(std=1e-6)"),
        *_norms(_VIT_NORMS),
    ]


def _vit_jax() -> list[Rule]:
    return [
        (named(rf"{_VIT_HEADS}\.(?:weight|bias)"), "zeros_"),
        (named(rf"(?:{_VIT_DENSE})\.bias"), "normal_(std=1e-6)"),
        *_layers(r"patch_embed\.proj", "lecun_normal_"),
        *_layers(rf"{_VIT_ATTENTION}|{_VIT_DENSE}", "xavier_uniform_"),
    ]


def _vit_timm() -> list[Rule]:
    return [
        (named(r"patch_embed\.proj\.\w+"), by_param(as_torch)),
        *_layers(rf"{_VIT_HEADS}|{_VIT_ATTENTION}|{_VIT_DENSE}", _TIMM_CUT),
    ]


def _vit_torchvision() -> list[Rule]:
    block = r"encoder\.layers\.encoder_layer_\d+\."
    dense = rf"{block}mlp\.[03]"
    return [
        (named("class_token"), "zeros_"),
        (named(r"encoder\.pos_embedding"), "normal_(std=0.02)"),
        *_norms(rf"{block}ln_[12]|encoder\.ln"),
        (named(rf"{block}self_attention\.in_proj_weight|{dense}\.weight"), "xavier_uniform_"),
        (named(rf"{block}self_attention\.in_proj_bias|heads\.head\.\w+"), "zeros_"),
        (named(rf"{dense}\.bias"), "normal_(std=1e-6)"),
        *_layers(rf"{block}self_attention\.out_proj", "kaiming_uniform_(a=sqrt(5))"),
        *_layers(r"conv_proj|heads\.pre_logits", by_param(_cut_by_fan_in)),
    ]


def _cut_by_fan_in(param: Param) -> str:
    return f"trunc_normal_(std=sqrt(1/{int(np.prod(param.shape[1:]))}))"


def _vit_transformers(std: float) -> list[Rule]:
    block = r"layers\.\d+\."
    return [
        (named(r"embeddings\.(?:cls_token|position_embeddings)"), f"trunc_normal_(std={std!r})"),
        (named(r"embeddings\.mask_token"), "zeros_"),
        *_norms(rf"{block}layernorm_(?:before|after)|layernorm"),
        *_layers(
            rf"embeddings\.patch_embeddings\.projection|{block}attention\.[qkvo]_proj|{block}mlp\.fc[12]|pooler\.dense|classifier",
            f"normal_(std={std!r})",
        ),
    ]


@ready_made
def convnext(code: str = "timm", *, layer_scale: float = 1e-6, initializer_range: float = 0.02) -> list[Rule]:
    """ConvNeXt and ConvNeXt V2, by the names of timm's or Hugging Face's model.

    ==========================================  ==============================================================
    parameters                                  values
    ==========================================  ==============================================================
    convolutions and linear layers              "timm": N(0, 0.02²), cut at ±2; "transformers":
                                                N(0, initializer_range²); their biases 0
    gamma, layer_scale_parameter                `layer_scale`
    global response normalizations (grn)        0
    other normalizations                        weight 1, bias 0
    ==========================================  ==============================================================

    Parameters of other names match nothing.

    Parameters
    ----------
    code : str
        Whose names and values: "timm" or "transformers".
    layer_scale : float
        timm's `ls_init_value`, Hugging Face's `layer_scale_init_value`.
    initializer_range : float
        That of Hugging Face's configuration.

    Returns
    -------
    list of (pattern, initializer)

    Raises
    ------
    TypeError, ValueError
        If `code` is none of these, or a number does not fit.

    References
    ----------
    Liu et al. (2022), "A ConvNet for the 2020s"; `_init_weights` and `ConvNeXtBlock` in timm 1.0.31, models/convnext.py, and
    `GlobalResponseNorm` in layers/grn.py; `_init_weights` of `ConvNextPreTrainedModel` and `ConvNextV2PreTrainedModel` in
    transformers 5.24, models/convnext/modeling_convnext.py and models/convnextv2/modeling_convnextv2.py.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> model = {"stages.0.blocks.0.conv_dw.weight": np.empty((8, 1, 7, 7)), "stages.0.blocks.0.gamma": np.empty(8)}
    >>> [row.initializer for row in gi.initialize(model, gi.rules.convnext(), seed=42).rows]
    ['trunc_normal_(std=0.02)', 'constant_(val=1e-06)']
    """
    std = not_negative("initializer_range", initializer_range, np.dtype(np.float64))
    scale = f"constant_({finite('layer_scale', layer_scale)!r})"
    sets = {"timm": _convnext_timm(scale), "transformers": _convnext_transformers(scale, std)}
    return sets[_choice(code, sets)]


def _convnext_timm(scale: str) -> list[Rule]:
    block = r"stages\.\d+\.blocks\.\d+\."
    return [
        (named(rf"{block}gamma"), scale),
        (named(rf"{block}mlp\.grn\.(?:weight|bias)"), "zeros_"),
        *_norms(rf"stem\.1|stages\.\d+\.downsample\.0|{block}norm|norm_pre|head\.norm"),
        *_layers(
            rf"stem\.0|stages\.\d+\.downsample\.1|{block}(?:conv_dw|mlp\.fc[12]|shortcut\.conv)|head\.(?:fc|pre_logits\.fc)",
            _TIMM_CUT,
        ),
    ]


def _convnext_transformers(scale: str, std: float) -> list[Rule]:
    stage = r"encoder\.stages\.\d+\."
    block = rf"{stage}layers\.\d+\."
    return [
        (named(rf"{block}layer_scale_parameter"), scale),
        (named(rf"{block}grn\.(?:weight|bias)"), "zeros_"),
        *_norms(rf"embeddings\.layernorm|{stage}downsampling_layer\.0|{block}layernorm|layernorm"),
        *_layers(
            rf"embeddings\.patch_embeddings|{stage}downsampling_layer\.1|{block}(?:dwconv|pwconv[12])|classifier",
            f"normal_(std={std!r})",
        ),
    ]


@ready_made
def swin(code: str = "timm", *, initializer_range: float = 0.02) -> list[Rule]:
    """Swin Transformer, by the names of timm's or Hugging Face's model.

    ==============================  ===============================================  ======================================
    parameters                      "timm"                                           "transformers"
    ==============================  ===============================================  ======================================
    weights of linear layers        N(0, 0.02²), cut at ±2                           N(0, initializer_range²)
    patch projection                as torch's convolution does                      N(0, initializer_range²), bias 0
    relative_position_bias_table    N(0, 0.02²), cut at ±2                           0
    normalizations                  weight 1, bias 0                                 the same
    other biases                    0                                                0, as mask_token, position_embeddings
    ==============================  ===============================================  ======================================

    Parameters of other names, as those of Swin V2, match nothing.

    Parameters
    ----------
    code : str
        Whose names and values: "timm" or "transformers".
    initializer_range : float
        That of Hugging Face's configuration.

    Returns
    -------
    list of (pattern, initializer)

    Raises
    ------
    TypeError, ValueError
        If `code` is none of these, or `initializer_range` is no such number.

    References
    ----------
    Liu et al. (2021), "Swin Transformer"; `SwinTransformer.init_weights` and `WindowAttention` in timm 1.0.31,
    models/swin_transformer.py, with `init_weights_vit_timm` in models/vision_transformer.py; `SwinPreTrainedModel._init_weights`
    in transformers 5.24, models/swin/modeling_swin.py.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> model = {"layers.0.blocks.0.attn.qkv.weight": np.empty((24, 8)), "layers.0.blocks.0.norm1.weight": np.empty(8)}
    >>> [row.initializer for row in gi.initialize(model, gi.rules.swin(), seed=42).rows]
    ['trunc_normal_(std=0.02)', 'ones_()']
    """
    std = not_negative("initializer_range", initializer_range, np.dtype(np.float64))
    sets = {"timm": _swin_timm(), "transformers": _swin_transformers(std)}
    return sets[_choice(code, sets)]


def _swin_timm() -> list[Rule]:
    block = r"layers\.\d+\.blocks\.\d+\."
    return [
        (named(rf"{block}attn\.relative_position_bias_table"), _TIMM_CUT),
        (named(r"patch_embed\.proj\.\w+"), by_param(as_torch)),
        *_norms(rf"patch_embed\.norm|layers\.\d+\.downsample\.norm|{block}norm[12]|norm"),
        *_layers(rf"layers\.\d+\.downsample\.reduction|{block}(?:attn\.(?:qkv|proj)|mlp\.fc[12])|head\.fc", _TIMM_CUT),
    ]


def _swin_transformers(std: float) -> list[Rule]:
    block = r"encoder\.layers\.\d+\.blocks\.\d+\."
    downsample = r"encoder\.layers\.\d+\.downsample\."
    table = rf"{block}attention\.relative_position_bias\.relative_position_bias_table"
    return [
        (named(rf"{table}|embeddings\.(?:mask_token|position_embeddings)"), "zeros_"),
        *_norms(rf"embeddings\.norm|{downsample}norm|{block}layernorm_(?:before|after)|layernorm"),
        *_layers(
            rf"embeddings\.patch_embeddings\.projection|{downsample}reduction|{block}(?:attention\.[qkvo]_proj|mlp\.fc[12])|classifier",
            f"normal_(std={std!r})",
        ),
    ]
