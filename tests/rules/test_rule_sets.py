"""The ready-made rules on mappings of arrays: what each gives to which name, on both backends."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import gpuinit as gi
from gpuinit import rules
from gpuinit._cli.demo_models import gpt2, resnet50
from tests.support.arrays import to_host

SMALL = {
    "gpt2": (gpt2(n_layer=2, width=16, vocabulary=60, positions=8), rules.gpt2(2)),
    "resnet": (resnet50(blocks=(1, 2), width=4, classes=10), rules.resnet()),
}


def arrays_of(shapes, xp=np):
    return {name: xp.full(shape, 7, np.float32) for name, shape in shapes.items()}


def initializers(shapes, of_rules):
    return {row.name: row.initializer for row in gi.initialize(arrays_of(shapes), of_rules, seed=0).rows}


@pytest.mark.parametrize(("shapes", "of_rules"), SMALL.values(), ids=SMALL)
def test_one_digest_on_every_backend(shapes, of_rules, xp):
    host = gi.initialize(arrays_of(shapes), of_rules, seed=42)
    assert gi.initialize(arrays_of(dict(reversed(shapes.items())), xp), of_rules, seed=42).digest == host.digest
    assert host.apart == []


FAN_OUT = "kaiming_normal_(mode='fan_out', nonlinearity='relu')"
TIMM, TORCH = "trunc_normal_(std=0.02)", f"kaiming_uniform_(a={5**0.5!r})"
TV = "encoder.layers.encoder_layer_0."
SWIN = "swin.encoder.layers.0.blocks.0.attention."
MIXER = "backbone.layers.0.mixer."


def of_type(model_type, **numbers):
    return rules.transformers(model_type=model_type, initializer_range=0.1, **numbers)


NAMES = [
    (rules.gpt2(50), "transformer.h.3.attn.c_proj.weight", (8, 8), "normal_(std=0.002)"),
    (rules.gpt2(50), "transformer.h.3.mlp.c_fc.weight", (8, 32), "normal_(std=0.02)"),
    (rules.gpt2(50), "h.0.crossattention.c_attn.bias", (16,), "zeros_()"),
    (rules.gpt2(50), "h.0.ln_cross_attn.weight", (8,), "ones_()"),
    (rules.gpt2(50), "h.0.attn.bias", (1, 1, 8, 8), "keep"),
    (rules.gpt2(50), "h.0.attn.masked_bias", (), "keep"),
    (rules.gpt2(50), "ln_f.weight", (8,), "ones_()"),
    (rules.gpt2(50), "lm_head.weight", (60, 8), "normal_(std=0.02)"),
    (rules.resnet(), "conv1.weight", (8, 3, 7, 7), FAN_OUT),
    (rules.resnet(), "layer1.0.downsample.0.weight", (8, 8, 1, 1), FAN_OUT),
    (rules.vit(), "pos_embed", (1, 17, 8), "trunc_normal_(std=0.02)"),
    (rules.vit(), "cls_token", (1, 1, 8), "normal_(std=1e-06)"),
    (rules.vit(), "patch_embed.proj.weight", (8, 3, 4, 4), "lecun_normal_()"),
    (rules.vit(), "patch_embed.proj.bias", (8,), "zeros_()"),
    (rules.vit(), "blocks.0.norm1.weight", (8,), "ones_()"),
    (rules.vit(), "blocks.0.attn.q_norm.weight", (4,), "ones_()"),
    (rules.vit(), "blocks.0.attn.qkv.weight", (24, 8), "xavier_uniform_()"),
    (rules.vit(), "blocks.0.attn.proj.bias", (8,), "zeros_()"),
    (rules.vit(), "blocks.0.mlp.fc1.weight", (32, 8), "xavier_uniform_()"),
    (rules.vit(), "blocks.0.mlp.fc2.bias", (8,), "normal_(std=1e-06)"),
    (rules.vit(), "encoder.norm.bias", (8,), "zeros_()"),
    (rules.vit(), "head.weight", (10, 8), "zeros_()"),
    (rules.vit(), "head_dist.bias", (10,), "zeros_()"),
    (rules.vit(layer_scale=1e-5), "blocks.0.ls2.gamma", (8,), "constant_(val=1e-05)"),
    (rules.vit("timm"), "pos_embed", (1, 17, 8), TIMM),
    (rules.vit("timm"), "reg_token", (1, 4, 8), "normal_(std=1e-06)"),
    (rules.vit("timm"), "blocks.0.attn.qkv.weight", (24, 8), TIMM),
    (rules.vit("timm"), "blocks.0.mlp.fc1.bias", (32,), "zeros_()"),
    (rules.vit("timm"), "patch_embed.proj.weight", (8, 3, 4, 4), TORCH),
    (rules.vit("timm"), "head.weight", (10, 8), TIMM),
    (rules.vit("torchvision"), "class_token", (1, 1, 8), "zeros_()"),
    (rules.vit("torchvision"), "encoder.pos_embedding", (1, 17, 8), "normal_(std=0.02)"),
    (rules.vit("torchvision"), "conv_proj.weight", (8, 4, 2, 2), "trunc_normal_(std=0.25)"),
    (rules.vit("torchvision"), f"{TV}ln_1.weight", (8,), "ones_()"),
    (rules.vit("torchvision"), f"{TV}self_attention.in_proj_weight", (24, 8), "xavier_uniform_()"),
    (rules.vit("torchvision"), f"{TV}self_attention.out_proj.weight", (8, 8), TORCH),
    (rules.vit("torchvision"), f"{TV}self_attention.out_proj.bias", (8,), "zeros_()"),
    (rules.vit("torchvision"), f"{TV}mlp.3.bias", (8,), "normal_(std=1e-06)"),
    (rules.vit("torchvision"), "heads.pre_logits.weight", (8, 16), "trunc_normal_(std=0.25)"),
    (rules.vit("torchvision"), "heads.head.weight", (10, 8), "zeros_()"),
    (rules.vit("transformers"), "vit.embeddings.cls_token", (1, 1, 8), TIMM),
    (rules.vit("transformers"), "vit.embeddings.mask_token", (1, 1, 8), "zeros_()"),
    (rules.vit("transformers"), "vit.layers.0.attention.q_proj.weight", (8, 8), "normal_(std=0.02)"),
    (rules.vit("transformers", initializer_range=0.1), "classifier.weight", (10, 8), "normal_(std=0.1)"),
    (rules.vit("transformers"), "vit.layers.0.layernorm_after.weight", (8,), "ones_()"),
    (rules.convnext(), "stem.0.weight", (8, 3, 4, 4), TIMM),
    (rules.convnext(), "stem.1.weight", (8,), "ones_()"),
    (rules.convnext(), "stages.1.downsample.0.bias", (8,), "zeros_()"),
    (rules.convnext(), "stages.1.downsample.1.weight", (8, 8, 2, 2), TIMM),
    (rules.convnext(), "stages.0.blocks.0.mlp.fc1.bias", (32,), "zeros_()"),
    (rules.convnext(), "stages.0.blocks.0.mlp.grn.weight", (32,), "zeros_()"),
    (rules.convnext(), "stages.0.blocks.0.gamma", (8,), "constant_(val=1e-06)"),
    (rules.convnext(), "head.fc.weight", (10, 8), TIMM),
    (rules.convnext("transformers"), "encoder.stages.0.layers.0.layer_scale_parameter", (8,), "constant_(val=1e-06)"),
    (rules.convnext("transformers"), "encoder.stages.0.layers.0.grn.bias", (1, 1, 1, 8), "zeros_()"),
    (rules.convnext("transformers"), "encoder.stages.1.downsampling_layer.1.weight", (8, 8, 2, 2), "normal_(std=0.02)"),
    (rules.convnext("transformers"), "encoder.stages.1.downsampling_layer.0.weight", (8,), "ones_()"),
    (rules.swin(), "layers.0.blocks.0.attn.relative_position_bias_table", (49, 2), TIMM),
    (rules.swin(), "patch_embed.proj.weight", (8, 3, 4, 4), TORCH),
    (rules.swin(), "layers.1.downsample.reduction.weight", (16, 32), TIMM),
    (rules.swin(), "layers.1.downsample.norm.weight", (32,), "ones_()"),
    (rules.swin(), "head.fc.bias", (10,), "zeros_()"),
    (rules.swin("transformers"), f"{SWIN}relative_position_bias.relative_position_bias_table", (49, 2), "zeros_()"),
    (rules.swin("transformers"), f"{SWIN}q_proj.weight", (8, 8), "normal_(std=0.02)"),
    (rules.swin("transformers"), "swin.embeddings.position_embeddings", (1, 16, 8), "zeros_()"),
    (rules.llama(), "tok_embeddings.weight", (60, 16), "normal_(std=1.0)"),
    (rules.llama(), "layers.0.attention.qkv_linear.wqkv.weight", (48, 16), TIMM),
    (rules.llama(), "layers.3.attention.wq.weight", (16, 16), TIMM),
    (rules.llama(), "layers.7.attention.wo.weight", (16, 16), "trunc_normal_(std=0.005)"),
    (rules.llama(), "layers.31.feed_forward.w3.weight", (32, 16), "trunc_normal_(std=0.0025)"),
    (rules.llama(), "layers.31.feed_forward.w1.weight", (32, 16), TIMM),
    (rules.llama(), "layers.0.ffn_norm.weight", (16,), "ones_()"),
    (rules.llama(), "output.weight", (60, 16), "trunc_normal_(std=0.25, a=-0.75, b=0.75)"),
    (rules.mamba(), "backbone.embeddings.weight", (60, 8), "normal_(std=0.1)"),
    (rules.mamba(), f"{MIXER}conv1d.weight", (16, 1, 4), TORCH),
    (rules.mamba(), f"{MIXER}out_proj.weight", (8, 16), "uniform_(a=-0.25, b=0.25)"),
    (rules.mamba(rescaled_layers=4), f"{MIXER}out_proj.weight", (8, 16), "uniform_(a=-0.125, b=0.125)"),
    (rules.mamba(), f"{MIXER}dt_proj.bias", (16,), "time_steps(logs=(-6.90776, -2.30259), floor=-9.21034)"),
    (rules.mamba(), f"{MIXER}dt_bias", (16,), "time_steps(logs=(-6.90776, -2.30259), floor=-9.21034)"),
    (rules.mamba(), f"{MIXER}A_log", (16, 4), "log_of_counts"),
    (rules.mamba(), f"{MIXER}D", (16,), "ones_()"),
    (of_type("bert"), "cls.predictions.bias", (60,), "zeros_()"),
    (of_type("bert", pad_token_id=0), "bert.embeddings.word_embeddings.weight", (60, 8), "embedding_(std=0.1, padding_idx=0)"),
    (of_type("bert", pad_token_id=0), "bert.embeddings.position_embeddings.weight", (60, 8), "normal_(std=0.1)"),
    (of_type("roberta", pad_token_id=1), "embeddings.position_embeddings.weight", (60, 8), "embedding_(std=0.1, padding_idx=1)"),
    (of_type("gpt2", num_hidden_layers=50), "h.3.attn.c_proj.weight", (8, 8), "normal_(std=0.01)"),
    (of_type("gpt_neox"), "gpt_neox.embed_in.weight", (60, 8), "normal_(std=0.1)"),
    (of_type("llama"), "model.embed_tokens.weight", (60, 8), "normal_(std=0.1)"),
    (of_type("llama"), "lm_head.weight", (60, 8), "normal_(std=0.1)"),
    (of_type("mistral"), "model.layers.0.mlp.down_proj.weight", (8, 32), "normal_(std=0.1)"),
    (of_type("mixtral"), "model.layers.0.mlp.experts.gate_up_proj", (4, 64, 8), "normal_(std=0.1)"),
    (of_type("opt"), "model.decoder.layers.0.fc1.bias", (32,), "zeros_()"),
    (of_type("qwen2"), "model.layers.0.self_attn.q_proj.bias", (8,), "zeros_()"),
    (of_type("qwen3"), "model.layers.0.self_attn.q_norm.weight", (4,), "ones_()"),
]


@pytest.mark.parametrize(("of_rules", "name", "shape", "initializer"), NAMES)
def test_initializer_of_a_name(of_rules, name, shape, initializer):
    assert initializers({name: shape}, of_rules) == {name: initializer}


# Some names of other models' parameters, as Hugging Face and torchvision have them.
OTHERS = {
    "llama": ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "model.layers.0.input_layernorm.weight"],
    "qwen3": ["model.layers.0.self_attn.q_norm.weight", "model.layers.0.mlp.gate_proj.weight"],
    "gemma": ["model.layers.0.pre_feedforward_layernorm.weight"],
    "mixtral": ["model.layers.0.block_sparse_moe.experts.0.w1.weight", "model.layers.0.block_sparse_moe.gate.weight"],
    "gpt-neox": ["gpt_neox.embed_in.weight", "gpt_neox.layers.0.attention.query_key_value.bias", "embed_out.weight"],
    "gpt-neo": ["transformer.h.0.attn.attention.k_proj.weight", "transformer.h.0.attn.attention.out_proj.bias"],
    "gpt-j": ["transformer.h.0.attn.q_proj.weight", "transformer.h.0.mlp.fc_in.bias"],
    "opt": ["model.decoder.embed_positions.weight", "model.decoder.layers.0.fc1.bias"],
    "bert": ["bert.embeddings.LayerNorm.weight", "bert.encoder.layer.0.attention.self.query.weight", "cls.predictions.bias"],
    "t5": ["shared.weight", "encoder.block.0.layer.0.SelfAttention.q.weight", "decoder.final_layer_norm.weight"],
    "clip": ["visual.ln_pre.weight", "text_projection", "visual.class_embedding"],
    "vgg": ["features.0.weight", "features.0.bias", "classifier.0.weight"],
    "convnext": ["stages.0.blocks.0.conv_dw.weight", "stages.0.blocks.0.gamma"],
    "densenet": ["features.conv0.weight", "features.denseblock1.denselayer1.norm1.running_mean"],
    "swin": ["layers.0.blocks.0.attn.relative_position_bias_table", "layers.0.downsample.reduction.weight"],
}


ANYWHERE = {
    "gpt2": rules.gpt2(2),
    "resnet": rules.resnet(),
    "llama": rules.llama(),
    "mamba": rules.mamba(),
    **{f"vit of {code}": rules.vit(code) for code in ("jax", "timm", "torchvision", "transformers")},
}


@pytest.mark.parametrize("of_rules", ANYWHERE.values(), ids=ANYWHERE)
@pytest.mark.parametrize("names", OTHERS.values(), ids=OTHERS)
def test_sets_name_what_they_do_not_know(of_rules, names):
    arrays = arrays_of(dict.fromkeys(names, (2, 2, 2, 2)))
    with pytest.raises(ValueError, match=f"got {len(names)} without a rule") as caught:
        gi.initialize(arrays, of_rules, seed=0)
    assert all(f"\n    {name} " in str(caught.value) for name in names)
    assert all((array == 7).all() for array in arrays.values())


@pytest.mark.parametrize("value", ["False", 0, None, 1])
def test_whether_residuals_begin_at_zero_is_a_bool(value):
    with pytest.raises(TypeError, match=f"zero_init_residual must be True or False, got {value!r} of type"):
        rules.resnet(zero_init_residual=value)


def test_last_normalization_of_a_block():
    basic = {f"layer1.0.{own}": (4,) for own in ("bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias")}
    bottleneck = resnet50(blocks=(1,), width=4)
    for shapes, last in ((basic, "layer1.0.bn2.weight"), (bottleneck, "layer1.0.bn3.weight")):
        with_zeros = initializers(shapes, rules.resnet(zero_init_residual=True))
        assert with_zeros == initializers(shapes, rules.resnet()) | {last: "zeros_()"}


def within(n):
    return f"uniform_(a={-1 / n**0.5!r}, b={1 / n**0.5!r})"


CLASSIFIED = {
    "fc.weight": ((5, 9), TORCH),
    "fc.bias": ((5,), within(9)),
    "conv.weight": ((8, 3, 2, 2), TORCH),
    "conv.bias": ((8,), within(12)),
    "upsample.weight": ((8, 4, 5), TORCH),
    "upsample.bias": ((4,), within(20)),
    "grouped.weight": ((8, 1, 3, 3), TORCH),
    "patches.weight": ((8, 3, 16, 16), TORCH),
    "volume.weight": ((8, 3, 2, 3, 4), TORCH),
    "long.weight": ((8, 3, 1, 31), TORCH),
    "long.bias": ((8,), within(93)),
    "norm.weight": ((5,), "ones_()"),
    "norm.bias": ((5,), "zeros_()"),
    "image_norm.weight": ((3, 4, 4), "ones_()"),
    "image_norm.bias": ((3, 4, 4), "zeros_()"),
    "bn.weight": ((5,), "ones_()"),
    "bn.running_mean": ((5,), "zeros_()"),
    "bn.running_var": ((5,), "ones_()"),
    "bn.num_batches_tracked": ((), "zeros_()"),
    "lstm.weight_ih_l0": ((16, 9), within(4)),
    "lstm.weight_hh_l0": ((16, 4), within(4)),
    "lstm.bias_ih_l0": ((16,), within(4)),
    "lstm.weight_hh_l1_reverse": ((36, 4), within(9)),
    "lstm.weight_hr_l1_reverse": ((4, 9), within(9)),
    "cell.weight_hh": ((16, 16), within(16)),
    "cell.bias_hh": ((16,), within(16)),
    "attn.in_proj_weight": ((24, 8), "xavier_uniform_()"),
    "attn.in_proj_bias": ((24,), "zeros_()"),
    "attn.out_proj.weight": ((8, 8), TORCH),
    "attn.out_proj.bias": ((8,), "zeros_()"),
    "attn.bias_k": ((1, 1, 8), "xavier_normal_()"),
    "other.k_proj_weight": ((8, 5), "xavier_uniform_()"),
    "other.out_proj.weight": ((8, 8), TORCH),
    "other.out_proj.bias": ((8,), within(8)),
    "empty.weight": ((3, 0), TORCH),
    "empty.bias": ((3,), "uniform_(a=-0.0, b=0.0)"),
}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_names_and_shapes_that_torch_defaults_knows():
    found = initializers({name: shape for name, (shape, _) in CLASSIFIED.items()}, rules.torch_defaults())
    assert found == {name: initializer for name, (_, initializer) in CLASSIFIED.items()}


@pytest.mark.parametrize(
    ("name", "shape", "beside"),
    [
        ("weight", (9, 5), {}),  # of Embedding, or of Linear without a bias
        ("c_attn.weight", (9, 5), {"c_attn.bias": (5,)}),
        ("norm.weight", (5,), {}),  # of RMSNorm or PReLU
        ("bias", (5,), {"bn.weight": (5,), "bn.bias": (5,)}),
        ("moe.experts.weight", (8, 64, 32), {}),  # stacked matrices
        ("moe.experts.weight", (8, 6, 4), {"moe.experts.bias": (8, 6)}),
        ("moe.experts.bias", (8, 6), {"moe.experts.weight": (8, 6, 4)}),
        ("stack.weight", (2, 8, 64, 32), {}),
        ("stack.weight", (2, 8, 16, 17), {"stack.bias": (2, 8)}),
        ("conv.weight", (8, 3, 1), {}),  # of Conv1d, or three matrices of 3 x 1
        ("deep.weight", (2, 2, 2, 2, 2, 2), {"deep.bias": (2,)}),
        ("token", (1, 1, 5), {"weight": (5,), "bias": (5,)}),
        ("lstm.weight_ih_l0", (9, 5), {}),
    ],
)
def test_names_that_torch_defaults_cannot_classify(name, shape, beside):
    with pytest.raises(ValueError, match=rf"(?s)without a rule.*\n    {name} "):
        gi.initialize(arrays_of({**beside, name: shape}), rules.torch_defaults(), seed=0)


WIDTHS = ["embed.weight", "body.0.weight", "body.0.bias", "norm.weight", "head.weight", "pos_embed"]


def mlp(width):
    shapes = [(50, width), (3 * width, width), (3 * width,), (width,), (10, width), (1, 6, width)]
    return dict(zip(WIDTHS, shapes, strict=True))


MUP_RULES = {
    "fixed": ("normal_(std=0.1)", 0.1),
    "uniform": ("uniform_(a=-0.3, b=0.3)", 0.3 / 3**0.5),
    "by fans": ("kaiming_uniform_(nonlinearity='linear')", None),
    "cut": ("lecun_normal_", None),
    "cut on a side": ("trunc_normal_(mean=0.2, std=0.1, a=0.25, b=inf)", None),
}


@pytest.mark.parametrize(("initializer", "std"), MUP_RULES.values(), ids=MUP_RULES)
def test_mup_scales_by_the_width(initializer, std):
    of_base = [("norm.weight", "ones_"), ("*.bias", "normal_(std=0.5)"), ("*", initializer)]
    base = {row.name: row.expected_std for row in gi.initialize(arrays_of(mlp(16)), of_base, seed=0).rows}
    wide = {row.name: row.expected_std for row in gi.initialize(arrays_of(mlp(64)), rules.mup(mlp(16), of_base), seed=0).rows}
    factors = {name: wide[name] / base[name] for name in WIDTHS if base[name]}
    expected = dict(zip(WIDTHS, [1, 0.5, 1, None, 0.25, 1], strict=True))
    assert factors == pytest.approx({name: expected[name] for name in factors})
    assert wide["norm.weight"] == base["norm.weight"] == 0
    assert std is None or wide["embed.weight"] == pytest.approx(std)


@pytest.mark.parametrize(("shapes", "of_rules"), SMALL.values(), ids=SMALL)
def test_mup_of_the_base_is_what_the_rules_give(shapes, of_rules):
    there = gi.initialize(arrays_of(shapes), rules.mup(shapes, of_rules), seed=42)
    assert there.digest == gi.initialize(arrays_of(shapes), of_rules, seed=42).digest


def test_mup_takes_the_base_as_a_model_and_torch_defaults():
    wide, base = ({"fc.weight": (20 * n, 10 * n), "fc.bias": (20 * n,)} for n in (4, 1))
    rows = gi.initialize(arrays_of(wide), rules.mup(arrays_of(base)), seed=0).rows
    assert [row.expected_std for row in rows] == pytest.approx([(1 / 3 / 40) ** 0.5, (1 / 3 / 10) ** 0.5])


def test_mup_names_ten_of_the_parameters_that_the_base_lacks():
    names = [f"layers.{number}" for number in range(12)]
    with pytest.raises(ValueError, match=f"but lacks {', '.join(names[:10])}, and 2 more$"):
        gi.initialize(arrays_of(dict.fromkeys(names, (4, 4))), rules.mup({"other": (2, 2)}, [("*", "normal_")]), seed=0)


def test_mup_with_axes_in_first():
    base, wide = {"readout": (16, 10), "hidden": (16, 16)}, {"readout": (64, 10), "hidden": (64, 64)}
    normal = [("*", "normal_")]
    assert [row.expected_std for row in gi.initialize(arrays_of(wide), rules.mup(base, normal), seed=0).rows] == [1, 0.5]
    in_first = rules.mup(base, normal, in_first=["readout"])
    assert [row.expected_std for row in gi.initialize(arrays_of(wide), in_first, seed=0).rows] == [0.25, 0.5]


@pytest.mark.parametrize(
    ("base", "wide", "initializer", "dtype"),
    [
        ((8, 8), (800, 8), "xavier_uniform_(parts=(5, 3), parts_axis=1)", "float32"),
        ((8, 8), (800, 8), "xavier_uniform_", "complex64"),
    ],
)
def test_mup_refuses_what_would_go_by_the_wider_fans(base, wide, initializer, dtype):
    of_rules = [("*", initializer)]
    model = {"w": np.empty(wide, dtype)}
    with pytest.raises(
        ValueError, match=r"rules must have a constant, or a fill of real numbers .* for w, .*got xavier_uniform_\("
    ):
        gi.initialize(
            model,
            rules.mup({"w": base}, of_rules) if dtype == "float32" else rules.mup({"w": np.empty(base, dtype)}, of_rules),
            seed=1,
        )


EXPERTS = {"up": (4, 3, 2), "down": (4, 2, 3), "router": (4, 2)}  # (experts, out, in)
UP_AND_DOWN = {"batch_axis": 0, "out_axis": 1, "in_axis": 2}
FACTORS = {"up": 0.5, "down": 0.5, "router": 0.25}  # the router has as many outputs as experts


@pytest.mark.parametrize(
    ("of_rules", "axes"),
    [
        ([("*", "normal_")], [("up", UP_AND_DOWN), ("down", UP_AND_DOWN)]),
        ([("router", "normal_"), ("*", "kaiming_normal_(in_axis=2, out_axis=1, batch_axis=0)")], ()),
    ],
)
def test_mup_of_stacked_experts(of_rules, axes):
    wide = {"up": (4, 12, 8), "down": (4, 8, 12), "router": (4, 8)}
    base = {row.name: row.expected_std for row in gi.initialize(arrays_of(EXPERTS), of_rules, seed=0).rows}
    there = rules.mup(EXPERTS, of_rules, axes=axes)
    rows = gi.initialize(arrays_of(wide), there, seed=0).rows
    assert {row.name: row.expected_std / base[row.name] for row in rows} == pytest.approx(FACTORS)
    with pytest.raises(ValueError, match=r"axes must tell of up, whose axis 2 grew from 2 to 8 .*: give in_axis"):
        gi.initialize(arrays_of(wide), rules.mup(EXPERTS, [("*", "normal_")]), seed=0)


UNSHARED = ["model.embed_tokens.weight", "lm_head.weight"]


@pytest.mark.parametrize(
    ("of_rules", "names", "initializer"),
    [
        (of_type("llama", pad_token_id=2), UNSHARED, "embedding_(std=0.1, padding_idx=2)"),
        (rules.llama(), ["tok_embeddings.weight", "lm_head.weight"], "trunc_normal_(std=0.25, a=-0.75, b=0.75)"),
    ],
)
def test_embeddings_that_are_output_layers_too(of_rules, names, initializer):
    shared = np.empty((60, 16), np.float32)
    assert [row.initializer for row in gi.initialize(dict.fromkeys(names, shared), of_rules, seed=0).rows] == [initializer]


def test_settings_of_a_configuration():
    """A dict as of config.json, an object, and what is given beside them."""
    config = {"model_type": "gpt2", "n_layer": 50, "initializer_range": 0.1}
    expected = of_type("gpt2", num_hidden_layers=50)
    assert rules.transformers(config) == rules.transformers(SimpleNamespace(**config)) == expected
    assert rules.transformers({**config, "initializer_range": 3}, initializer_range=0.1) == expected
    assert rules.transformers({"model_type": "opt", "init_std": 0.1})[0] == of_type("opt")[0]
    assert rules.transformers(model_type="opt")[0][1] == "normal_(std=0.02)"


@pytest.mark.parametrize("array", [np.full((), 7.0), np.full(3, 7, np.int32)], ids=["no axis", "integers"])
@pytest.mark.parametrize("name", ["A_log", "dt_bias"])
def test_mamba_checks_before_it_writes(name, array):
    model = {"layers.0.norm.weight": np.full(3, 7.0), f"layers.0.mixer.{name}": array}
    with pytest.raises(TypeError, match=rf"layers.0.mixer.{name} must be of floats, with an axis, got {array.dtype} of shape"):
        gi.initialize(model, rules.mamba(), seed=0)
    assert all((x == 7).all() for x in model.values())


def test_time_steps_and_counts_of_mamba(xp):
    shapes = {f"{MIXER}dt_proj.bias": (20000,), f"{MIXER}A_log": (5, 4)}
    arrays = arrays_of(shapes, xp)
    gi.initialize(arrays, rules.mamba(time_step_floor=0.002), seed=1)
    bias, counts = (to_host(array).astype(float) for array in arrays.values())
    steps = np.log1p(np.exp(bias))
    assert steps.min() == pytest.approx(0.002)
    assert steps.max() == pytest.approx(0.1, rel=1e-3)
    assert (steps < 0.0021).mean() == pytest.approx(np.log(2.1) / np.log(100), abs=0.02)
    assert np.exp(counts) == pytest.approx(np.broadcast_to([1, 2, 3, 4], (5, 4)))
    host = arrays_of(shapes)
    gi.initialize(host, rules.mamba(time_step_floor=0.002), seed=1)
    assert all(to_host(arrays[name]).tobytes() == host[name].tobytes() for name in shapes)


ERRORS = [
    (lambda: rules.mup(EXPERTS, axes="up"), TypeError, r"axes must be a list of pairs .*got 'up'"),
    (lambda: rules.mup(EXPERTS, axes=[("up", {"axis": 1})]), TypeError, r"axes\[0\] must have a dict of in_axis, .*'axis': 1"),
    (lambda: rules.transformers(), ValueError, r"model_type must be one of bert, gpt2, .*, got None; run the code"),
    (lambda: rules.transformers({"model_type": "gemma"}), ValueError, r"model_type must be one of .*, got 'gemma'"),
    (lambda: rules.transformers(model_type="gpt2"), TypeError, r"num_hidden_layers must be an int, got None"),
    (lambda: of_type("llama", pad_token_id="0"), TypeError, r"pad_token_id must be an int, got '0'"),
    (lambda: rules.transformers(model_type="opt", initializer_range=-1), ValueError, r"initializer_range must not be negative"),
    (lambda: rules.vit("flax"), ValueError, r"code must be one of 'jax', 'timm', 'torchvision', 'transformers', got 'flax'"),
    (lambda: rules.convnext("jax"), ValueError, r"code must be one of 'timm', 'transformers', got 'jax'"),
    (lambda: rules.swin(None), ValueError, r"code must be one of .*got None"),
    (lambda: rules.vit(layer_scale="1"), TypeError, r"layer_scale must be a real number, got '1'"),
    (lambda: rules.mamba(time_step_min=0.2), ValueError, r"time_step_min must not exceed .*time_step_min=0\.2, .*max=0\.1"),
    (lambda: rules.mamba(time_step_max=2), ValueError, r"no time step may exceed 1, got .*time_step_max=2\.0"),
    (lambda: rules.mamba(rescaled_layers=0), ValueError, r"rescaled_layers must be at least 1"),
    (lambda: rules.gpt2(0), ValueError, r"n_layer must be at least 1, got n_layer=0"),
    (lambda: rules.gpt2("12"), TypeError, r"n_layer must be an int, got '12'"),
    (lambda: rules.mup(3), TypeError, r"must be a mapping .*got 3"),
    (lambda: rules.mup({}, "*"), TypeError, r"rules must be a list of pairs"),
    (lambda: rules.mup([]), ValueError, r"base_shapes must have parameters, got \[\]"),
    (lambda: rules.mup({"head.weight": (10, 16)}), ValueError, r"lacks embed\.weight, body\.0\.weight, .*pos_embed$"),
    (lambda: rules.mup(mlp(16) | {"pos_embed": (6, 16)}), ValueError, r"base_shapes\['pos_embed'\] must have 3 axes.*\(6, 16\)"),
    (
        lambda: rules.mup(mlp(16), [("*ht", "eye_"), ("*", "zeros_")]),
        ValueError,
        r"rules must have a constant, .* for body\.0\.weight, .*got eye_",
    ),
    (lambda: rules.mup(mlp(16), [("*", lambda x, g, p: None)]), ValueError, r"for body\.0\.weight, whose shape differs"),
    (
        lambda: rules.mup(mlp(16), [("*.bias", "zeros_"), ("*.weight", "ones_"), ("*", "keep")], axes=[("*", {"in_axis": "x"})]),
        TypeError,
        r"in_axis must be an int or a tuple of ints, got 'x'",
    ),
    (
        lambda: rules.mup(mlp(16), [("*", "kaiming_normal_")]),
        ValueError,
        r"body\.0\.bias of the base, kaiming_normal_\(\): .*2 axes",
    ),
    (lambda: rules.mup(mlp(16), [("*.weight", "normal_")]), ValueError, r"2 without a rule.*body\.0\.bias"),
]


@pytest.mark.parametrize(("make", "error", "message"), ERRORS)
def test_errors(make, error, message):
    arrays = arrays_of(mlp(64))
    with pytest.raises(error, match=f"(?s){message}"):
        gi.initialize(arrays, make(), seed=0)
    assert all((array == 7).all() for array in arrays.values())
