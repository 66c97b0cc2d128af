"""The ready-made rules on torch's modules, beside what torch itself asks for."""

from __future__ import annotations

import functools
import inspect
import math

import numpy as np
import pytest

import gpuinit as gi
from gpuinit import rules
from gpuinit._backends.operations import Constant, Fill, Padded
from gpuinit._backends.targets import planned
from gpuinit._contract.distributions import Normal, Uniform
from gpuinit._rules.calls import Call
from gpuinit._rules.matching import choose_initializers
from gpuinit._rules.parameters import find_parameters
from tests.support.torch_models import GPT2, Asked, ResNet

torch = pytest.importorskip("torch")
nn = torch.nn

pytestmark = pytest.mark.torch


# The head's name is the first of the two otherwise.
TIED = {"lm_head.weight": "transformer.wte.weight"}


def planned_writes(model, of_rules):
    """What rules write to each parameter, as `Asked` gives what torch writes."""
    found = find_parameters(model)
    asked = {}
    for (param, array), choice in zip(
        found, choose_initializers(of_rules, [param for param, _ in found]).initializers, strict=True
    ):
        with planned() as writes:
            given = {"generator": gi.Generator(0)} if isinstance(choice, Call) else {"generator": gi.Generator(0), "param": param}
            choice(array, **given)
        match writes[-1].operation:
            case Fill(Uniform(scale=scale, low=low)):
                asked[param.name] = "uniform", low, low + scale
            case Fill(Normal(mean=mean, std=std)) | Padded(Fill(Normal(mean=mean, std=std))):
                asked[param.name] = "normal", mean, std
            case Constant(value):
                asked[param.name] = "constant", float(value)
    return asked


def assert_same(asked, given):
    assert {name: kind for name, (kind, *_) in asked.items()} == {name: kind for name, (kind, *_) in given.items()}
    for name, (_, *numbers) in asked.items():
        assert given[name][1:] == pytest.approx(numbers, rel=1e-6), name


encoder_layer = functools.partial(nn.TransformerEncoderLayer, 8, 2, 16, batch_first=True)
decoder_layer = functools.partial(nn.TransformerDecoderLayer, 8, 2, 16)
LAYERS = [
    functools.partial(layer, *sizes, **options)
    for layer, sizes, *several in [
        (nn.Linear, (6, 5), {}, {"bias": False}),
        (nn.modules.linear.NonDynamicallyQuantizableLinear, (6, 5), {}),
        (nn.Bilinear, (3, 4, 5), {}, {"bias": False}),
        *((layer, (6, 4, 3), {}, {"groups": 2, "bias": False}) for layer in (nn.Conv1d, nn.Conv2d, nn.Conv3d)),
        *((layer, (6, 4, 3), {}, {"groups": 2}) for layer in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)),
        *((layer, (9, 4), {}, {"padding_idx": 2}, {"padding_idx": -1}) for layer in (nn.Embedding, nn.EmbeddingBag)),
        *((layer, (4,), {}) for layer in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)),
        *((layer, (4,), {"affine": True}) for layer in (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)),
        (nn.LayerNorm, (4,), {}, {"bias": False}),
        (nn.LayerNorm, ((3, 4),), {}),
        (nn.GroupNorm, (2, 4), {}),
        (nn.RMSNorm, (4,), {}),
        (nn.PReLU, (), {}, {"num_parameters": 4, "init": 0.1}),
        *((layer, (3, 5), {}, {"num_layers": 2, "bidirectional": True}, {"bias": False}) for layer in (nn.RNN, nn.LSTM, nn.GRU)),
        (nn.LSTM, (3, 5), {"proj_size": 2, "num_layers": 2}),
        (nn.RNNBase, ("GRU", 3, 5), {}),
        *((layer, (3, 5), {}, {"bias": False}) for layer in (nn.RNNCell, nn.LSTMCell, nn.GRUCell)),
        (nn.RNNCellBase, (3, 5, True, 4), {}),
        (nn.MultiheadAttention, (8, 2), {}, {"bias": False}, {"kdim": 5, "vdim": 3}, {"add_bias_kv": True}),
        (nn.TransformerEncoderLayer, (8, 2, 16), {}),
        (nn.TransformerDecoderLayer, (8, 2, 16), {}),
        (nn.Transformer, (8, 2, 2, 2, 16), {"batch_first": True}),
        (nn.AdaptiveLogSoftmaxWithLoss, (16, 20, [5, 10]), {}, {"head_bias": True}),
        (nn.LinearCrossEntropyLoss, (6, 5), {"bias": True}),
    ]
    for options in several
] + [lambda: nn.TransformerEncoder(encoder_layer(), 2), lambda: nn.TransformerDecoder(decoder_layer(), 2)]


@pytest.mark.parametrize("make", LAYERS, ids=lambda make: str(getattr(make, "args", "")) + getattr(make, "func", make).__name__)
def test_torch_defaults_ask_for_what_torch_does(make):
    with Asked() as asked:
        layer = make()
    assert_same(asked.of(layer), planned_writes(layer, rules.torch_defaults()))
    inside = nn.ModuleDict({"deep": nn.ModuleList([layer])})
    assert_same(asked.of(inside), planned_writes(inside, rules.torch_defaults()))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of deprecated names
def test_no_layer_of_torch_is_left_out():
    """All in torch.nn that can be made with small numbers, or are in the table, and have parameters of their own or below."""
    tried = {type(make()) for make in LAYERS}
    sizes = {nn.FractionalMaxPool2d: (2, 4), nn.FractionalMaxPool3d: (2, 4), nn.Unflatten: (1, (2, 2))}
    for layer in {value for value in vars(nn).values() if inspect.isclass(value) and issubclass(value, nn.Module)} - tried:
        if not issubclass(layer, nn.modules.lazy.LazyModuleMixin):
            signature = inspect.signature(layer).parameters.values()
            required = [4 for p in signature if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
            assert not list(layer(*sizes.get(layer, required)).parameters()), layer


@pytest.mark.parametrize("layer", [nn.Embedding, nn.EmbeddingBag])
def test_row_of_the_padding(layer):
    model = nn.Sequential(layer(9, 4, padding_idx=-3))
    version = model[0].weight._version
    report = gi.initialize(model, seed=42)
    expected = gi.normal_(np.empty((9, 4), np.float32), generator=gi.Generator(42).spawn("0.weight"))
    expected[6] = 0
    assert model[0].weight.detach().numpy().tobytes() == expected.tobytes()
    assert model[0].weight._version > version
    assert report.rows[0].initializer == "embedding_(padding_idx=6)"


def filled_by_hand(x, generator, param):
    gi.uniform_(x, generator=generator)


@pytest.mark.parametrize(
    ("initializer", "shown", "fill"),
    [
        ("normal_(std=0.02)", "normal_(std=0.02)", functools.partial(gi.normal_, std=0.02)),
        (gi.ones_, "ones_()", lambda x, generator: gi.ones_(x)),
        (filled_by_hand, "filled_by_hand", gi.uniform_),
    ],
)
@pytest.mark.parametrize("padding_idx", [None, 2])
def test_any_initializer_but_the_padding(initializer, shown, fill, padding_idx):
    model = nn.Embedding(5, 4, padding_idx=padding_idx)
    report = gi.initialize(model, [("*", rules.zero_padding_row(initializer))], seed=3)
    expected = np.empty((5, 4), np.float32)
    fill(expected, generator=gi.Generator(3).spawn("weight"))
    if padding_idx is not None:
        expected[padding_idx] = 0
    assert model.weight.detach().numpy().tobytes() == expected.tobytes()
    assert report.rows[0].initializer == (shown if padding_idx is None else f"zero_padding_row({shown})")


@pytest.mark.parametrize("given", ["keep", rules.keep, rules.by_param(lambda param: "zeros_")])
def test_what_cannot_leave_out_the_padding(given):
    with pytest.raises(TypeError, match="initializer must fill the array, got"):
        rules.zero_padding_row(given)


class Linear(nn.Module):
    """Of torch's name, and no more."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 3))
        self.bias = nn.Parameter(torch.ones(4))


class Wider(nn.Linear):
    """Torch's, and a parameter more."""

    def __init__(self):
        super().__init__(3, 4)
        self.scale = nn.Parameter(torch.ones(4))


@pytest.mark.parametrize(
    ("model", "unknown"),
    [
        (Linear, ["weight", "bias"]),
        (lambda: nn.ModuleDict({"a": Wider(), "b": Linear()}), ["a.scale", "b.weight", "b.bias"]),
    ],
)
def test_what_is_not_of_torchs_layers_is_listed(model, unknown):
    with pytest.raises(ValueError, match=rf"(?s)without a rule.*{'.*'.join(unknown)}"):
        gi.initialize(model(), seed=0)


def arrays_of(model):
    return {param.name: np.empty(param.shape, np.float32) for param, _ in find_parameters(model)}


def bytes_of(model):
    return {param.name: array.detach().numpy().tobytes() for param, array in find_parameters(model)}


SMALL = {
    "gpt2": (functools.partial(GPT2, n_layer=2, width=16, vocabulary=60, positions=8), rules.gpt2(2)),
    "resnet": (functools.partial(ResNet, blocks=(1, 2), width=4, classes=10), rules.resnet()),
    "resnet from zero": (
        functools.partial(ResNet, blocks=(1, 2), width=4, zero_init_residual=True),
        rules.resnet(zero_init_residual=True),
    ),
    "lstm": (lambda: nn.Sequential(nn.LSTM(3, 5, num_layers=2), nn.LayerNorm(5), nn.Linear(5, 2)), rules.torch_defaults()),
}
MODELS = [pytest.param(*model, id=f"small {name}") for name, model in SMALL.items()]
MODELS += [
    pytest.param(ResNet, rules.resnet(), id="resnet"),
    pytest.param(GPT2, rules.gpt2(12), id="gpt2", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("make", "of_rules"), MODELS)
def test_models_get_what_their_code_asks_for(make, of_rules):
    with Asked() as asked:
        model = make()
    code = asked.of(model)
    assert_same(code, planned_writes(model, of_rules))
    report = gi.initialize(model, of_rules, seed=42)
    for row in report.rows:
        kind, *numbers = code[row.name]
        std, size = {"uniform": numbers[-1] / 3**0.5, "normal": numbers[-1], "constant": 0.0}[kind], math.prod(row.shape)
        error = std * (0.2 if kind == "uniform" else 0.5) ** 0.5 / size**0.5  # of a sample's std, from the kurtosis
        assert abs(row.std - std) <= 5 * error + 2 * std / size, row.name
    assert gi.initialize(arrays_of(model), of_rules, seed=42).digest == report.digest


@pytest.mark.parametrize(("few", "many"), [((1, 2), (2, 2)), ((1,), (1, 2))])
def test_another_block_changes_no_other_bytes(few, many):
    before, after = (bytes_of(filled(ResNet(blocks, width=4, classes=10), rules.resnet())) for blocks in (few, many))
    common = {name for name in before if name in after and not name.startswith("fc")}
    assert len(common) > 10
    assert {name: before[name] for name in common} == {name: after[name] for name in common}


def filled(model, of_rules):
    gi.initialize(model, of_rules, seed=42)
    return model


def test_the_tied_head_is_filled_once():
    model = GPT2(n_layer=1, width=16, vocabulary=60, positions=8)
    rows = gi.initialize(model, rules.gpt2(1), seed=42, tied=TIED).rows
    assert "lm_head.weight" not in {row.name for row in rows}
    wte = gi.normal_(np.empty((60, 16), np.float32), std=0.02, generator=gi.Generator(42).spawn("transformer.wte.weight"))
    assert model.lm_head.weight is model.transformer.wte.weight
    assert model.lm_head.weight.detach().numpy().tobytes() == wte.tobytes()


def test_mup_of_a_module_on_the_meta_device():
    def make(width, **options):
        return GPT2(n_layer=2, width=width, vocabulary=60, positions=8, **options)

    with torch.device("meta"):
        base = make(8)
    scaled = gi.initialize(make(32), rules.mup(base, rules.gpt2(2)), seed=0, tied=TIED)
    expected = {row.name: row.expected_std for row in scaled.rows}
    assert expected["transformer.wte.weight"] == pytest.approx(0.02)
    assert expected["transformer.h.0.attn.c_attn.weight"] == pytest.approx(0.01)
    assert expected["transformer.h.1.mlp.c_proj.weight"] == pytest.approx(0.005)


# Classes with an initialization of their own, and without one.


def module_with(*methods, base=nn.Module, of=lambda: nn.Linear(3, 4)):
    """A module of a class, not of torch's, that has these methods."""

    def construct(self):
        nn.Module.__init__(self)
        self.inner = of()

    members = dict.fromkeys(methods, lambda self: None) | ({} if base is nn.Linear else {"__init__": construct})
    made = type("Model", (base,), members)
    return made(3, 4) if base is nn.Linear else made()


OWN = {
    "init_weights": (lambda: module_with("init_weights"), "Model.init_weights"),
    "_init_weights": (lambda: module_with("_init_weights"), "Model._init_weights"),
    "reset_parameters": (lambda: module_with("reset_parameters"), "Model.reset_parameters"),
    "several": (lambda: module_with("reset_parameters", "init_weights"), "Model.init_weights"),
    "derived from torch's": (lambda: module_with("reset_parameters", base=nn.Linear), "Model.reset_parameters"),
    "inherited": (lambda: module_with(base=type("Base", (nn.Module,), {"init_weights": print})), "Model.init_weights"),
    "below": (lambda: nn.Sequential(nn.Linear(3, 4), module_with("init_weights")), "Model.init_weights"),
    "in a mapping": (lambda: {"a": module_with("init_weights")}, "Model.init_weights"),
    "twice": (
        lambda: module_with("init_weights", of=lambda: module_with("_init_weights")),
        "Model.init_weights, Model._init_weights",
    ),
}


@pytest.mark.parametrize(("make", "named"), OWN.values(), ids=OWN)
def test_a_model_with_an_initialization_of_its_own(make, named):
    with pytest.warns(UserWarning, match=rf"^model has an initialization of its own, .* called \({named}\): ") as caught:
        gi.initialize(make(), seed=0)
    assert [warning.filename for warning in caught] == [__file__]
    gi.initialize(make(), rules.torch_defaults(), seed=0)  # on purpose, without a warning


@pytest.mark.parametrize(
    "make", [lambda: module_with(), lambda: module_with(base=nn.Linear), lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True)]
)
def test_a_model_without_an_initialization_of_its_own(make):
    gi.initialize(make(), seed=0)


def test_the_warning_of_an_own_initialization_comes_before_anything_is_written():
    model = module_with("init_weights")
    before = model.inner.weight.detach().clone()
    with pytest.raises(UserWarning, match="initialization of its own"):
        gi.initialize(model, seed=0)
    assert torch.equal(model.inner.weight, before)
