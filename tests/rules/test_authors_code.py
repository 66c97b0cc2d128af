"""The ready-made rules beside the authors' own code, parameter by parameter, on small models of their libraries.

`construct` runs the library's code with gpuinit's values from the streams of the parameters' names, so rules of the same
distributions give the same bits. Truncated normals that a library scales itself agree to rounding.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import gpuinit as gi
from gpuinit import rules

torch = pytest.importorskip("torch")

LIBRARIES = ("transformers", "timm", "torchvision", "diffusers", "torchtitan", "triton")
if missing := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
    pytest.skip(f"{' and '.join(missing)} not installed", allow_module_level=True)
zoo = importlib.import_module("tests.support.zoo")

pytestmark = [pytest.mark.zoo, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # those of these libraries

KEYS = {**zoo._KEYS, "initializer_range": 0.05}
BERT = {**zoo._WIDTHS, "max_position_embeddings": 64, "pad_token_id": 1, "initializer_range": 0.05}
OPT = {
    "hidden_size": 32,
    "ffn_dim": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 128,
    "word_embed_proj_dim": 16,
    "max_position_embeddings": 64,
    "init_std": 0.05,
}
SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4}
CONVNEXT = {"hidden_sizes": [8, 16], "depths": [1, 2], "num_stages": 2}
MAMBA = {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "vocab_size": 128}
MAMBA2 = {**MAMBA, "num_heads": 8, "head_dim": 8, "n_groups": 2}


class Case(NamedTuple):
    """A model, its rules, and the endings of names of parameters that have the distribution alone in common with the code."""

    make: Callable[[], torch.nn.Module]
    rules: Callable[[Any], list[Any]]
    apart: tuple[str, ...] = ()


def hugging(class_name: str, **settings: Any) -> Callable[[], torch.nn.Module]:
    return zoo._transformer(class_name, **settings).make


def by_config(class_name: str, **settings: Any) -> Case:
    return Case(hugging(class_name, **settings), lambda model: rules.transformers(model.config))


def timm(name: str, **settings: Any) -> Callable[[], torch.nn.Module]:
    return zoo._timm(name, **settings).make


def torchvision(representation_size: int | None = None) -> torch.nn.Module:
    module = importlib.import_module("torchvision.models.vision_transformer")
    return module.VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=16, representation_size=representation_size)


def torchtitan(tied: bool = False) -> torch.nn.Module:
    """Initialized on the CPU, for which `build` alone leaves the memory as it is."""
    llama = importlib.import_module("torchtitan.models.llama3")
    config = llama.llama3_configs["debugmodel"](attn_backend="flex")
    if tied:
        config.enable_weight_tying = True
        config.tok_embeddings.param_init = llama._EMBEDDING_SKIP_INIT
    model = config.build()
    model.init_states(buffer_device=torch.device("cpu"))
    return model


WIDTHS = {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}
VIT = {"num_classes": 16, "depth": 2, "embed_dim": 64, "num_heads": 4}
MIXER_DRAWS = ("dt_proj.bias", "dt_bias")  # of a tensor that the code makes first
CASES = {
    "bert": by_config("BertForMaskedLM", **BERT),
    "bert, two heads": by_config("BertForPreTraining", **BERT),
    "bert, classifier": by_config("BertForSequenceClassification", **BERT),
    "gpt2": by_config("GPT2LMHeadModel", **zoo._DENSE_WIDTHS, n_positions=64, initializer_range=0.05),
    "gpt2, classifier": by_config("GPT2ForSequenceClassification", **zoo._DENSE_WIDTHS, n_positions=64),
    "gpt_neox": by_config("GPTNeoXForCausalLM", **zoo._WIDTHS),
    "llama": by_config("LlamaForCausalLM", **KEYS),
    "llama, biases": by_config("LlamaForSequenceClassification", **KEYS, attention_bias=True, mlp_bias=True),
    "llama, tied": by_config("LlamaForCausalLM", **KEYS, tie_word_embeddings=True),
    "llama, no padding": by_config("LlamaForCausalLM", **(KEYS | {"pad_token_id": None})),
    "mistral": by_config("MistralForCausalLM", **KEYS),
    "mixtral": by_config("MixtralForCausalLM", **KEYS, num_local_experts=4),
    "opt": by_config("OPTForCausalLM", **OPT),
    "qwen2": by_config("Qwen2ForCausalLM", **KEYS),
    "qwen3": by_config("Qwen3ForCausalLM", **KEYS, head_dim=8),
    "roberta": by_config("RobertaForMaskedLM", **BERT),
    "roberta, classifier": by_config("RobertaForSequenceClassification", **BERT),
    "llama 3 of torchtitan": Case(torchtitan, lambda model: rules.llama(), ("wqkv.weight",)),
    "llama 3 of torchtitan, tied": Case(lambda: torchtitan(tied=True), lambda model: rules.llama(), ("wqkv.weight",)),
    "vit of timm": Case(timm("vit_tiny_patch16_224", **VIT, init_values=1e-5), lambda model: rules.vit("timm", layer_scale=1e-5)),
    "vit of timm, jax": Case(timm("vit_tiny_patch16_224", **VIT, weight_init="jax"), lambda model: rules.vit()),
    "vit of timm, registers": Case(
        timm("vit_tiny_patch16_224", **VIT, reg_tokens=2, qk_norm=True, class_token=False, global_pool="avg"),
        lambda model: rules.vit("timm"),
    ),
    "vit of torchvision": Case(torchvision, lambda model: rules.vit("torchvision")),
    "vit of torchvision, pre_logits": Case(lambda: torchvision(24), lambda model: rules.vit("torchvision")),
    "vit of transformers": Case(
        hugging("ViTForImageClassification", **zoo._IMAGES, initializer_range=0.05),
        lambda model: rules.vit("transformers", initializer_range=0.05),
    ),
    "vit of transformers, pooled": Case(hugging("ViTModel", **zoo._IMAGES), lambda model: rules.vit("transformers")),
    "convnext of timm": Case(timm("convnext_atto", num_classes=16, **WIDTHS), lambda model: rules.convnext()),
    "convnext v2 of timm": Case(timm("convnextv2_atto", num_classes=16, **WIDTHS), lambda model: rules.convnext()),
    "convnext of transformers": Case(
        hugging("ConvNextForImageClassification", **CONVNEXT, layer_scale_init_value=0.1),
        lambda model: rules.convnext("transformers", layer_scale=0.1),
    ),
    "convnext v2 of transformers": Case(
        hugging("ConvNextV2ForImageClassification", **CONVNEXT), lambda model: rules.convnext("transformers")
    ),
    "swin of timm": Case(
        timm("swin_tiny_patch4_window7_224", num_classes=16, depths=(1, 1, 1, 1), embed_dim=32), lambda model: rules.swin()
    ),
    "swin of transformers": Case(
        hugging("SwinForImageClassification", **SWIN, use_absolute_embeddings=True, initializer_range=0.05),
        lambda model: rules.swin("transformers", initializer_range=0.05),
    ),
    "mamba": Case(hugging("MambaForCausalLM", **MAMBA), lambda model: rules.mamba(), MIXER_DRAWS),
    "mamba, rescaled": Case(
        hugging("MambaForCausalLM", **MAMBA, rescale_prenorm_residual=True, use_bias=True, initializer_range=0.02),
        lambda model: rules.mamba(rescaled_layers=2, initializer_range=0.02),
        MIXER_DRAWS,
    ),
    "mamba2": Case(hugging("Mamba2ForCausalLM", **MAMBA2), lambda model: rules.mamba(), MIXER_DRAWS),
}


def parameters(case: Case, seed: int = 5) -> list[tuple[str, Any, Any]]:
    """Each parameter's name, its values by the authors' code, and those by the rules."""
    code = gi.construct(case.make, seed=seed)
    model = case.make()
    gi.initialize(model, case.rules(model), seed=seed)
    named = dict(code.named_parameters())
    return [(name, named[name].detach(), x.detach()) for name, x in model.named_parameters()]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_values_of_the_same_streams(case):
    compared = [row for row in parameters(case) if not row[0].endswith(case.apart or ("\0",))]
    assert [name for name, theirs, ours in compared if not are_close(theirs, ours)] == []


def are_close(theirs: Any, ours: Any) -> bool:
    return torch.equal(theirs, ours) or torch.allclose(theirs, ours, rtol=1e-6, atol=1e-6 * float(theirs.abs().max()))


@pytest.mark.parametrize("name", ["llama 3 of torchtitan", "mamba", "mamba2"])
def test_distributions_of_other_streams(name):
    """Of parameters that the code draws elsewhere and copies: Kolmogorov and Smirnov's distance, over some seeds."""
    case = CASES[name]
    pairs = [row[1:] for seed in range(3) for row in parameters(case, seed) if row[0].endswith(case.apart)]
    theirs, ours = (torch.cat([pair[side].ravel() for pair in pairs]).sort().values for side in (0, 1))
    ranks = torch.arange(len(theirs)) / len(theirs)
    distance = abs(torch.searchsorted(theirs, ours) / len(theirs) - ranks).max()
    assert distance < 2.7 * (2 / len(theirs)) ** 0.5  # exceeded once in a million


UNKNOWN = {
    "gemma": (
        hugging("GemmaForCausalLM", **zoo._KEYS, head_dim=8),
        rules.transformers,
        "model_type must be one of .* got 'gemma'",
    ),
    "t5": (
        hugging("T5ForConditionalGeneration", d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, vocab_size=128),
        rules.transformers,
        "model_type must be one of .* got 't5'",
    ),
}


@pytest.mark.parametrize(("make", "of_rules", "message"), UNKNOWN.values(), ids=UNKNOWN)
def test_models_of_other_code_are_refused(make, of_rules, message):
    with pytest.raises(ValueError, match=message):
        of_rules(make().config)
