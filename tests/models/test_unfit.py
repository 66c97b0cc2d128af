"""Parameters that are not what they look like: placeholders, parts, computed and packed ones; filled rightly, or refused."""

from __future__ import annotations

import importlib
import re

import numpy as np
import pytest

import gpuinit as gi
from gpuinit import rules
from tests.support.groups import fake_group

torch = pytest.importorskip("torch")
nn = torch.nn

pytestmark = pytest.mark.torch

NORMAL = [("*", "normal_(std=0.01)")]


def partitioned():
    """As ZeRO-3 leaves a parameter: empty, or a part, with the shape of the whole beside it."""
    layer = nn.Linear(4, 4)
    layer.weight.data = torch.empty(0)
    layer.weight.ds_shape = torch.Size((4, 4))
    return nn.Sequential(layer)


def partitioned_in_part():
    layer = nn.Linear(4, 4)
    layer.weight.ds_shape = torch.Size((8, 4))
    return nn.Sequential(layer)


def packed():
    """As bitsandbytes does: a class of parameter of its own, of integers."""

    class Params4bit(nn.Parameter):
        pass

    layer = nn.Linear(4, 4)
    layer.weight = Params4bit(torch.ones(8, 1, dtype=torch.uint8), requires_grad=False)
    return nn.Sequential(layer)


class Subclass(torch.Tensor):
    """As torchao does: a tensor that answers torch's operations itself."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=torch.float32)

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), keywords=None):
        if function.overloadpacket.__name__ == "detach":
            return cls(arguments[0].inner)
        raise NotImplementedError(function)

    def __repr__(self):
        return "Subclass()"


def wrapped():
    layer = nn.Linear(4, 4)
    layer.weight = nn.Parameter(Subclass(torch.ones(4, 4, dtype=torch.int8)), requires_grad=False)
    return nn.Sequential(layer)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
def old_weight_norm():
    return nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 4)))


def pruned():
    layer = nn.Linear(4, 4)
    importlib.import_module("torch.nn.utils.prune").random_unstructured(layer, "weight", amount=0.5)
    return nn.Sequential(layer)


REFUSED = {
    "ZeRO-3": (partitioned, "0.weight", r"partitioned by DeepSpeed's ZeRO-3.*GatheredParameters"),
    "ZeRO-3, a part": (partitioned_in_part, "0.weight", r"partitioned by DeepSpeed's ZeRO-3.*GatheredParameters"),
    "packed": (packed, "0.weight", r"a Params4bit of torch\.uint8, packed by a quantization; initialize the model before"),
    "quantized subclass": (wrapped, "0.weight", r"the wrapper Subclass; fill the tensor inside it"),
    "weight_norm": (old_weight_norm, "0.weight_g", r"only what weight is computed from .*initialize the module before"),
    "spectral_norm": (
        lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 4))),
        "0.weight_orig",
        r"only what weight is computed from .*initialize the module before",
    ),
    "pruned": (pruned, "0.weight_orig", r"only what weight is computed from .*initialize the module before"),
    "meta": (lambda: nn.Sequential(nn.Linear(4, 4, device="meta")), "0.weight", r"a meta tensor.*to_empty"),
}


def state(model):
    tensors = {name: x for name, x in model.state_dict().items() if type(x) is torch.Tensor and not x.is_meta}
    return {name: x.tolist() for name, x in tensors.items()}


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize(("make", "name", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("initializer", ["normal_", "zeros_", lambda x, generator, param: gi.zeros_(x)])
def test_what_cannot_be_filled_is_refused(make, name, message, initializer):
    model = make()
    before = state(model)
    with pytest.raises(TypeError, match=message) as caught:
        gi.initialize(model, [("*bias", "keep"), ("*", initializer)], seed=0, frozen=True)
    assert name in "".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    if isinstance(initializer, str):
        assert state(model) == before


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize(("make", "name"), [case[:2] for case in REFUSED.values()], ids=REFUSED)
def test_what_cannot_be_filled_can_be_kept(make, name):
    model = make()
    report = gi.initialize(model, [("*", "keep")], seed=0, frozen=True)
    assert name in report.apart


@pytest.mark.parametrize("name", ["0.weight", "weight"])
def test_placeholders_in_a_mapping(name):
    with pytest.raises(TypeError, match=f"{name} is partitioned by DeepSpeed's ZeRO-3"):
        gi.initialize({name: partitioned()[0].weight}, NORMAL, seed=0)


def test_rules_see_the_whole_of_what_is_partitioned():
    shapes = []
    gi.initialize(partitioned(), [("*", rules.by_param(lambda param: shapes.append(param.shape) or "keep"))], seed=0)
    assert shapes == [(4, 4), (4,)]


def test_what_was_gathered_is_filled():
    model, plain = nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4))
    model[0].weight.ds_shape = torch.Size((4, 4))
    assert gi.initialize(model, seed=0).digest == gi.initialize(plain, seed=0).digest


LAZY = {
    "linear": (lambda: nn.Sequential(nn.LazyLinear(4)), "0.weight"),
    "convolution": (lambda: nn.Sequential(nn.ReLU(), nn.LazyConv2d(4, 3)), "1.weight"),
    "norm": (lambda: nn.LazyBatchNorm1d(), "weight"),
    "below a mapping": (lambda: {"a": nn.LazyLinear(4)}, "a.weight"),
    "in a mapping": (lambda: {"a": nn.LazyLinear(4).weight}, "a"),
}


@pytest.mark.parametrize(("make", "name"), LAZY.values(), ids=LAZY)
@pytest.mark.parametrize("of_rules", [None, NORMAL, [("*", "keep")]])
def test_lazy_parameters(make, name, of_rules):
    with pytest.raises(TypeError, match=f"{name} must have a shape, got .*; if it is a lazy parameter, run the module once"):
        gi.initialize(make(), of_rules, seed=0)


# FSDP1.


@pytest.fixture
def group_of_two():
    with fake_group(2):
        yield


def small():
    return nn.Sequential(nn.Linear(4, 4), nn.ModuleDict({"inner": nn.Linear(4, 3)}))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.usefixtures("group_of_two")
@pytest.mark.parametrize("original", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_fsdp1(original, nested):
    """Refused when its parameters are flat, and right where they are whole."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    def wrap(module):
        return FullyShardedDataParallel(module, use_orig_params=original, device_id=torch.device("cpu"))

    model = small()
    if nested:
        model[1]["inner"] = wrap(model[1]["inner"])
    model = wrap(model)
    for given in (model, dict(model.named_parameters())):
        with pytest.raises(TypeError, match=r"is a piece of FSDP1's flattened parameter.*summon_full_params, or shard with"):
            gi.initialize(given, NORMAL, seed=0)
    with FullyShardedDataParallel.summon_full_params(model):
        report = gi.initialize(model, NORMAL, seed=0)
        assert report.digest == gi.initialize(small(), NORMAL, seed=0).digest


# Parametrizations.


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x

    def right_inverse(self, x):
        return x / 2


class Symmetric(nn.Module):
    """Has no inverse."""

    def forward(self, x):
        return x.triu() + x.triu(1).T


class Wrong(Doubled):
    def right_inverse(self, x):
        return x


def parametrized(*parts, module=None):
    module = module or nn.Linear(4, 4)
    for part in parts:
        nn.utils.parametrize.register_parametrization(module, "weight", part)
    return module


def weight_norm(module):
    return nn.utils.parametrizations.weight_norm(module)


GIVEN = {
    "weight_norm": (lambda: weight_norm(nn.Linear(4, 4)), "normal_(std=0.01)"),
    "of a convolution": (lambda: weight_norm(nn.Conv1d(4, 8, 3)), "normal_(std=0.01)"),
    "of a bfloat16 layer": (lambda: weight_norm(nn.Linear(4, 4, dtype=torch.bfloat16)), "normal_"),
    "of a float64 layer": (lambda: weight_norm(nn.Linear(4, 4, dtype=torch.float64)), "kaiming_uniform_"),
    "of no elements": (lambda: parametrized(Doubled(), module=nn.Linear(0, 4)), "normal_"),
    "doubled": (lambda: parametrized(Doubled()), "kaiming_normal_"),
    "twice": (lambda: parametrized(Doubled(), Doubled()), "xavier_uniform_"),
    "orthogonal": (lambda: nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)), "orthogonal_"),
    "by a callable": (lambda: parametrized(Doubled()), lambda x, generator, param: gi.normal_(x, generator=generator)),
}


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize(("make", "initializer"), GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("training", [True, False])
def test_the_layer_computes_with_the_weight_of_the_rule(make, initializer, training):
    model = nn.Sequential(make()).train(training)
    name = type(model[0]).__mro__[1].__name__
    report = gi.initialize(model, [(f"{name}.weight", initializer), ("*.bias", "zeros_")], seed=5)
    computed = model[0].weight.detach()
    plain = {"0.weight": torch.empty(computed.shape, dtype=computed.dtype)}
    gi.initialize(plain, [("*", initializer)], seed=5)
    tolerance = {torch.bfloat16: 0.02, torch.float32: 1e-6, torch.float64: 1e-14}[computed.dtype]
    torch.testing.assert_close(computed, plain["0.weight"], rtol=tolerance, atol=tolerance)
    row = next(row for row in report.rows if row.name == "0.weight")
    assert (row.shape, report.apart) == (tuple(computed.shape), ["0.weight"])
    assert {row.name for row in report.rows} == {"0.weight", "0.bias"}
    if computed.numel() and computed.dtype != torch.bfloat16:
        assert row.std == pytest.approx(float(computed.std(correction=0)), rel=1e-4)


NOT_GIVEN = {
    "no inverse": (lambda: parametrized(Symmetric()), "normal_", "got Symmetric: .*Symmetric does not implement right_inverse"),
    "one of two has none": (lambda: parametrized(Doubled(), Symmetric()), "normal_", "Symmetric does not implement"),
    "another value": (lambda: parametrized(Wrong()), "normal_", "got Wrong: it computes other values than those that it"),
    "spectral_norm": (
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)),
        "normal_(std=3)",
        "got _SpectralNorm: it computes other values",
    ),
    "not orthogonal": (
        lambda: nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)),
        "normal_",
        "got _Orthogonal: it computes other values",
    ),
    "zero": (lambda: weight_norm(nn.Linear(4, 4)), "zeros_", "got _WeightNorm: it computes other values"),
}


@pytest.mark.parametrize(("make", "initializer", "message"), NOT_GIVEN.values(), ids=NOT_GIVEN)
@pytest.mark.parametrize("training", [True, False])
def test_weights_that_a_parametrization_cannot_give(make, initializer, message, training):
    """Refused before anything is written, buffers among it; and they can be kept."""
    model = nn.Sequential(make(), nn.Linear(4, 4)).train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given = rf"0\.weight, {re.escape(initializer.split('(')[0])}"
    with pytest.raises(TypeError, match=f"{given}.*{message}.*; initialize the module before"):
        gi.initialize(model, [("1.*", "zeros_"), ("*.bias", "zeros_"), ("*", initializer)], seed=0)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    report = gi.initialize(model, [("0.weight", "keep"), ("*", "zeros_")], seed=0)
    assert report.apart == ["0.weight"]


def test_a_callable_that_gives_what_cannot_be_given():
    with pytest.raises(TypeError, match=r"0\.weight, <lambda>: .*got Wrong: it computes other values"):
        gi.initialize(nn.Sequential(parametrized(Wrong())), [("*", lambda x, generator, param: gi.ones_(x))], seed=0)


def test_torch_defaults_on_a_parametrized_layer():
    model, plain = nn.Sequential(weight_norm(nn.Linear(4, 3))), nn.Sequential(nn.Linear(4, 3))
    reports = [gi.initialize(x, seed=5) for x in (model, plain)]
    torch.testing.assert_close(model[0].weight, plain[0].weight)
    assert torch.equal(model[0].bias, plain[0].bias)
    assert [row.initializer for row in reports[0].rows] == [row.initializer for row in reports[1].rows][::-1]


def test_parameters_of_a_parametrization_itself():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.full((), 2.0))

        def forward(self, x):
            return x * self.scale

        def right_inverse(self, x):
            return x / self.scale

    model = parametrized(Scaled())
    report = gi.initialize(model, [("*.scale", "constant_(val=4)"), ("*", "constant_(val=3)")], seed=0)
    assert {row.name for row in report.rows} == {"weight", "bias", "parametrizations.weight.0.scale"}
    assert (model.weight == 3).all()


def test_drawn_in_another_dtype():
    model = nn.Sequential(weight_norm(nn.Linear(4, 3, dtype=torch.float64)))
    gi.initialize(model, [("*", "normal_")], seed=5, dtype="float32")
    expected = gi.normal_(np.empty((3, 4), np.float32), generator=gi.Generator(5).spawn("0.weight"))
    torch.testing.assert_close(model[0].weight.detach(), torch.from_numpy(expected).double())


def test_one_parametrized_module_by_two_names():
    layer = weight_norm(nn.Linear(4, 4))
    model = nn.ModuleDict({"b": layer, "a": layer})
    report = gi.initialize(model, [("*", "normal_")], seed=0)
    assert sorted(row.name for row in report.rows) == ["a.bias", "a.weight"]


def test_an_original_that_another_layer_has():
    model = nn.ModuleDict({"a": parametrized(Doubled()), "b": nn.Linear(4, 4)})
    model["b"].weight = model["a"].parametrizations.weight.original
    with pytest.raises(ValueError, match=r"got [ab]\.weight and [ab]\.weight, which overlap"):
        gi.initialize(model, [("*", "normal_")], seed=0)
