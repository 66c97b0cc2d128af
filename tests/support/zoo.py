"""Models of other libraries, small enough to make in a moment, with the initialization code of their authors.

Nothing is downloaded. Imported where these libraries are installed only.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

if not torch.backends.cuda.is_built():
    # PyPI's torchvision needs CUDA's libraries for its operators, whose names it looks up all the same when it is imported.
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


class Model(NamedTuple):
    """How to make a model, and what initializes one that lies there without values; None where only constructors do."""

    library: str
    make: Callable[[], torch.nn.Module]
    initialize: Callable[[torch.nn.Module], Any] | None = None


def _transformer(class_name: str, **settings: Any) -> Model:
    """One of Hugging Face's, by its class and what its configuration has other than the default."""

    def make() -> torch.nn.Module:
        cls = getattr(importlib.import_module("transformers"), class_name)
        return cls(cls.config_class(**settings))

    return Model("transformers", make, _init_weights)


def _init_weights(model: Any) -> None:
    # For transformers 5.24, the class that `fully_shard` gives a model is custom code, of which it leaves out some modules.
    model.is_custom_code = lambda: False
    model.init_weights()


def _timm(name: str, **settings: Any) -> Model:
    return Model("timm", lambda: importlib.import_module("timm").create_model(name, **settings))


def _torchvision(name: str) -> Model:
    return Model(
        "torchvision", lambda: importlib.import_module("torchvision.models").get_model(name, weights=None, num_classes=16)
    )


def _diffusers(class_name: str, **settings: Any) -> Model:
    return Model("diffusers", lambda: getattr(importlib.import_module("diffusers"), class_name)(**settings))


def _reset(module: torch.nn.Module) -> None:
    for child in module.children():
        _reset(child)
    for method in ("reset_parameters", "_reset_parameters"):
        if hasattr(module, method):
            getattr(module, method)()


def _torch(make: Callable[[], torch.nn.Module], initialize: Callable[[torch.nn.Module], Any] | None = _reset) -> Model:
    return Model("torch", make, initialize)


def _llama3_of_torchtitan() -> torch.nn.Module:
    llama = importlib.import_module("torchtitan.models.llama3")
    config = llama.llama3_configs["debugmodel"]
    config = config(attn_backend="flex") if callable(config) else config
    return config.build()


_WIDTHS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 128}
_KEYS = {**_WIDTHS, "num_key_value_heads": 2, "pad_token_id": 3}
_IMAGES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
_DENSE_WIDTHS = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 128}

ZOO: dict[str, Model] = {
    "Llama": _transformer("LlamaForCausalLM", **_KEYS),
    "Qwen3": _transformer("Qwen3ForCausalLM", **_KEYS, head_dim=8),
    "Mixtral": _transformer("MixtralForCausalLM", **_KEYS, num_local_experts=4),
    "DeepSeek-V3": _transformer(
        "DeepseekV3ForCausalLM",
        **_KEYS,
        moe_intermediate_size=16,
        n_routed_experts=4,
        n_group=2,
        topk_group=1,
        num_experts_per_tok=2,
        first_k_dense_replace=1,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=8,
    ),
    "Gemma": _transformer("GemmaForCausalLM", **_KEYS, head_dim=8),
    "GPT-2": _transformer("GPT2LMHeadModel", **_DENSE_WIDTHS, n_positions=64),
    "GPT-NeoX": _transformer("GPTNeoXForCausalLM", **_WIDTHS),
    "OPT": _transformer(
        "OPTForCausalLM",
        hidden_size=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=128,
        word_embed_proj_dim=32,
        max_position_embeddings=64,
    ),
    "BERT": _transformer("BertForMaskedLM", **_WIDTHS, max_position_embeddings=64),
    "T5": _transformer("T5ForConditionalGeneration", d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, vocab_size=128),
    "CLIP": _transformer(
        "CLIPModel",
        text_config={**_WIDTHS, "max_position_embeddings": 16},
        vision_config=_IMAGES,
        projection_dim=16,
    ),
    "ViT": _transformer("ViTForImageClassification", **_IMAGES),
    "Mamba": _transformer("MambaForCausalLM", hidden_size=32, state_size=8, num_hidden_layers=2, vocab_size=128),
    "Mamba2": _transformer(
        "Mamba2ForCausalLM",
        hidden_size=32,
        state_size=8,
        num_hidden_layers=2,
        vocab_size=128,
        num_heads=8,
        head_dim=8,
        n_groups=2,
    ),
    "Falcon": _transformer("FalconForCausalLM", **_WIDTHS),
    "Whisper": _transformer(
        "WhisperForConditionalGeneration",
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        vocab_size=128,
        num_mel_bins=16,
        max_source_positions=32,
        max_target_positions=32,
        pad_token_id=3,
    ),
    "Swin (transformers)": _transformer(
        "SwinForImageClassification", image_size=32, patch_size=2, embed_dim=16, depths=[1, 1], num_heads=[2, 4], window_size=4
    ),
    "DINOv2": _transformer("Dinov2ForImageClassification", **{k: v for k, v in _IMAGES.items() if k != "intermediate_size"}),
    "vit_tiny": _timm("vit_tiny_patch16_224", num_classes=16, depth=2),
    "deit3": _timm("deit3_small_patch16_224", num_classes=16, depth=2, embed_dim=64, num_heads=4),
    "convnext": _timm("convnext_atto", num_classes=16),
    "swin": _timm("swin_tiny_patch4_window7_224", num_classes=16, depths=(1, 1, 1, 1), embed_dim=32),
    "efficientnet": _timm("efficientnet_b0", num_classes=16),
    "regnet": _timm("regnetx_002", num_classes=16),
    "resnet50": _torchvision("resnet50"),
    "vit_b_16": Model(
        "torchvision",
        lambda: importlib.import_module("torchvision.models.vision_transformer").VisionTransformer(
            32, 8, 2, 4, 32, 64, num_classes=16
        ),
    ),
    "densenet": _torchvision("densenet121"),
    "mobilenet_v3": _torchvision("mobilenet_v3_small"),
    "UNet": _diffusers(
        "UNet2DModel",
        sample_size=16,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
    ),
    "DiT": _diffusers("DiTTransformer2DModel", num_attention_heads=4, attention_head_dim=8, num_layers=2, sample_size=8),
    "Llama 3 (torchtitan)": Model(
        "torchtitan", _llama3_of_torchtitan, lambda model: model.init_states(buffer_device=torch.device("cpu"))
    ),
    "Transformer": _torch(functools.partial(torch.nn.Transformer, 32, 4, 2, 2, 64, batch_first=True), None),
    "LSTM": _torch(functools.partial(torch.nn.LSTM, 16, 32, 2, proj_size=8)),
    "MultiheadAttention": _torch(functools.partial(torch.nn.MultiheadAttention, 32, 4, kdim=16, vdim=24, add_bias_kv=True)),
}
