"""Rules of language models by numbers from their configuration: Hugging Face's `initializer_range`, torchtitan's Llama."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from gpuinit._contract.arguments import attribute, integer, is_a, not_negative, short_repr
from gpuinit._rules.calls import by_param
from gpuinit._rules.matching import Rule, ready_made
from gpuinit._rules.parameters import Param
from gpuinit._rules.published import gpt2_rules, named


class _Names(NamedTuple):
    """The names of a family of models, as regular expressions; `padded` are embeddings with a row for padding."""

    padded: str
    dense: str
    norms: str
    weights: str = "(?!)"  # parameters that are weights themselves, of no layer
    biases: str = "(?!)"


_BLOCK = r"layers\.\d+\."
_HEADS = "lm_head|score|classifier|qa_outputs"
_LLAMA = _Names(
    padded="embed_tokens",
    dense=rf"{_BLOCK}(?:self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj)|{_HEADS}",
    norms=rf"{_BLOCK}(?:input_layernorm|post_attention_layernorm|self_attn\.[qk]_norm)|norm",
)
_MIXTRAL = _Names(
    padded=_LLAMA.padded,
    dense=rf"{_BLOCK}(?:self_attn\.[qkvo]_proj|mlp\.gate)|{_HEADS}",
    norms=_LLAMA.norms,
    weights=rf"{_BLOCK}mlp\.experts\.(?:gate_up|down)_proj",
)
_OPT = _Names(
    padded=r"decoder\.embed_tokens",
    dense=rf"decoder\.(?:embed_positions|project_(?:in|out)|{_BLOCK}(?:self_attn\.(?:[qkv]|out)_proj|fc[12]))|{_HEADS}",
    norms=rf"decoder\.(?:{_BLOCK}(?:self_attn_layer_norm|final_layer_norm)|final_layer_norm)",
)
_NEOX = _Names(
    padded="(?!)",
    dense=rf"embed_in|{_BLOCK}(?:attention\.(?:query_key_value|dense)|mlp\.dense_(?:h_to_4h|4h_to_h))|embed_out|{_HEADS}",
    norms=rf"{_BLOCK}(?:input_layernorm|post_attention_layernorm)|final_layer_norm",
)
_OF_BERT = r"encoder\.layer\.\d+\."
_BERT = _Names(
    padded=r"embeddings\.word_embeddings",
    dense=(
        rf"embeddings\.(?:position|token_type)_embeddings|{_OF_BERT}attention\.(?:self\.(?:query|key|value)|output\.dense)"
        rf"|{_OF_BERT}(?:intermediate|output)\.dense|pooler\.dense|cls\.predictions\.(?:transform\.dense|decoder)"
        rf"|cls\.seq_relationship|classifier|qa_outputs"
    ),
    norms=rf"(?:embeddings|{_OF_BERT}(?:attention\.)?output|cls\.predictions\.transform)\.LayerNorm",
    biases=r"cls\.predictions\.bias",
)
_ROBERTA = _Names(
    padded=r"embeddings\.(?:word|position)_embeddings",
    dense=(
        rf"embeddings\.token_type_embeddings|{_OF_BERT}attention\.(?:self\.(?:query|key|value)|output\.dense)"
        rf"|{_OF_BERT}(?:intermediate|output)\.dense|pooler\.dense|lm_head\.(?:dense|decoder)"
        rf"|classifier(?:\.(?:dense|out_proj))?|qa_outputs"
    ),
    norms=rf"(?:embeddings|{_OF_BERT}(?:attention\.)?output)\.LayerNorm|lm_head\.layer_norm",
    biases=r"lm_head\.bias",
)
_FAMILIES = {
    "bert": _BERT,
    "gpt_neox": _NEOX,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "mixtral": _MIXTRAL,
    "opt": _OPT,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "roberta": _ROBERTA,
}


@ready_made
def transformers(
    config: Any = None,
    *,
    model_type: str | None = None,
    initializer_range: float | None = None,
    num_hidden_layers: int | None = None,
    pad_token_id: int | None = None,
) -> list[Rule]:
    """Language models of Hugging Face's transformers that are initialized by `initializer_range`, by their names.

    ========================================  ==================================================================
    parameters                                values
    ========================================  ==================================================================
    linear layers, embeddings, experts        N(0, initializer_range²)
    of an embedding's row of `pad_token_id`   0
    biases                                    0
    normalizations                            weight 1, bias 0
    c_proj.weight of GPT-2                    N(0, (initializer_range / √(2 num_hidden_layers))²)
    ========================================  ==================================================================

    The model types are bert, gpt2, gpt_neox, llama, mistral, mixtral, opt, qwen2, qwen3 and roberta. Others have code that
    differs, as Gemma's, whose normalizations begin at 0, although its names are Llama's. Parameters of other names match nothing.
    `vit`, `convnext`, `swin` and `mamba` have Hugging Face's code of those models.

    Parameters
    ----------
    config : configuration of transformers, or a dict with the keys of its config.json, optional
        Where the numbers are from that are not given.
    model_type : str, optional
        One of those above.
    initializer_range : float, optional
        0.02 if neither this nor `config` has it.
    num_hidden_layers : int, optional
        The number of blocks, which GPT-2's rules need.
    pad_token_id : int, optional
        The embedding's row that is 0; there is none if neither this nor `config` has it.

    Returns
    -------
    list of (pattern, initializer)

    Raises
    ------
    TypeError, ValueError
        If the model type is none of these, or a number does not fit.

    References
    ----------
    `PreTrainedModel._init_weights` in transformers 5.24, modeling_utils.py, and the methods of that name of
    `GPT2PreTrainedModel`, `BertPreTrainedModel`, `RobertaPreTrainedModel` and `MixtralPreTrainedModel`.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> model = {"model.embed_tokens.weight": np.empty((50, 8)), "model.norm.weight": np.empty(8)}
    >>> config = {"model_type": "llama", "initializer_range": 0.01, "pad_token_id": 3}
    >>> [row.initializer for row in gi.initialize(model, gi.rules.transformers(config), seed=42).rows]
    ['embedding_(std=0.01, padding_idx=3)', 'ones_()']
    """
    kind = _setting(config, model_type, "model_type")
    if not is_a(kind, str) or kind not in ("gpt2", *_FAMILIES):
        raise ValueError(
            f"model_type must be one of {', '.join(sorted(('gpt2', *_FAMILIES)))}, got {short_repr(kind)}; run the code of "
            "another model within gpuinit.seeded, or write rules for it"
        )
    given = _setting(config, initializer_range, "initializer_range", "init_std")
    std = not_negative("initializer_range", 0.02 if given is None else given, np.dtype(np.float64))
    if kind == "gpt2":
        return gpt2_rules(
            std, integer("num_hidden_layers", _setting(config, num_hidden_layers, "num_hidden_layers", "n_layer"), 1)
        )
    return _family_rules(_FAMILIES[kind], std, _setting(config, pad_token_id, "pad_token_id"))


def _setting(config: Any, given: Any, *names: str) -> Any:
    """What is given, or else what the configuration has by the first of these names that it knows; None if there is none."""
    found = [given] + [dict.get(config, name) if is_a(config, dict) else attribute(config, name) for name in names]
    return next((value for value in found if value is not None), None)


def _family_rules(names: _Names, std: float, padding: Any) -> list[Rule]:
    normal = f"normal_(std={std!r})"
    padded = normal
    if padding is not None:
        padded = f"embedding_(std={std!r}, padding_idx={integer('pad_token_id', padding, least=-(2**62))})"
    embeddings = named(rf"(?:{names.padded})\.weight")

    def unless_embedding(param: Param) -> str | None:
        """What an embedding and an output layer share is the embedding's."""
        return None if any(embeddings.fullmatch(name) for name in param.names) else normal

    return [
        (embeddings, padded),
        (named(rf"(?:{names.dense})\.weight|{names.weights}"), by_param(unless_embedding)),
        (named(rf"(?:{names.norms})\.weight"), "ones_"),
        (named(rf"(?:{names.dense}|{names.norms})\.bias|{names.biases}"), "zeros_"),
    ]


@ready_made
def llama() -> list[Rule]:
    """Llama 3 as torchtitan initializes it, by the names of its model, which Meta's own code has too.

    ======================================================  =====================================================
    parameters                                              values
    ======================================================  =====================================================
    tok_embeddings                                          N(0, 1)
    wq, wk, wv or wqkv, and w1                              N(0, 0.02²), cut at ±2
    wo, w2 and w3 of block i, i from 0                      N(0, (0.02 / √(2 (i + 1)))²), cut at ±2
    lm_head, or output                                      N(0, 1 / width), cut at 3 standard deviations
    attention_norm, ffn_norm, norm                          1
    biases                                                  0
    ======================================================  =====================================================

    A weight that tok_embeddings and lm_head share is lm_head's. Parameters of other names match nothing.

    Returns
    -------
    list of (pattern, initializer)

    References
    ----------
    `_build_llama3_layers`, `_depth_init` and `_output_linear_init` in torchtitan 0.3.0, models/llama3/__init__.py, and
    `depth_scaled_std` in models/common/param_init.py.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> model = {"layers.7.attention.wo.weight": np.empty((16, 16)), "lm_head.weight": np.empty((50, 16))}
    >>> [row.initializer for row in gi.initialize(model, gi.rules.llama(), seed=42).rows]
    ['trunc_normal_(std=0.005)', 'trunc_normal_(std=0.25, a=-0.75, b=0.75)']
    """
    plain = rf"{_BLOCK}(?:attention\.(?:qkv_linear\.)?(?:w[qkv]|wqkv)|feed_forward\.w1)"
    deep = rf"{_BLOCK}(?:attention\.wo|feed_forward\.w[23])"
    heads = "lm_head|output"
    return [
        (named(rf"(?:{heads})\.weight"), by_param(_cut_by_width)),
        (named(r"tok_embeddings\.weight"), by_param(_unless_tied)),
        (named(rf"(?:{plain})\.weight"), "trunc_normal_(std=0.02)"),
        (named(rf"(?:{deep})\.weight"), by_param(_cut_by_depth)),
        (named(rf"{_BLOCK}(?:attention_norm|ffn_norm)\.weight|norm\.weight"), "ones_"),
        (named(rf"(?:{plain}|{deep}|{heads})\.bias"), "zeros_"),
    ]


def _cut_by_width(param: Param) -> str:
    std = f"sqrt(1/{param.shape[1]})"
    return f"trunc_normal_(std={std}, a=-3*{std}, b=3*{std})"


def _unless_tied(param: Param) -> str | None:
    return None if param.places else "normal_(std=1.0)"


def _cut_by_depth(param: Param) -> str:
    block = int(re.findall(r"layers\.(\d+)\.", param.name)[-1])
    return f"trunc_normal_(std=0.02/sqrt({2 * (block + 1)}))"
