"""`seeded`: the values that code draws, and the streams that they are from."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import gpuinit as gi
from tests.support.seeding import drawn, values

torch = pytest.importorskip("torch")
nn = torch.nn
init = torch.nn.init

pytestmark = pytest.mark.torch

bound_early = functools.partial(init.trunc_normal_, std=0.02)  # as other libraries bind such functions when they are imported

# What code does to a weight -> the function of gpuinit, and its arguments, that it comes to.
CODE = {
    "normal_": (lambda w: init.normal_(w, std=0.02), "normal_", {"std": 0.02}),
    "uniform_": (lambda w: init.uniform_(w, -1.5), "uniform_", {"a": -1.5}),
    "trunc_normal_": (
        lambda w: init.trunc_normal_(w, 0.5, 0.1, 0.45, 2),
        "trunc_normal_",
        {"mean": 0.5, "std": 0.1, "a": 0.45, "b": 2},
    ),
    "xavier_uniform_": (lambda w: init.xavier_uniform_(tensor=w, gain=2.0), "xavier_uniform_", {"gain": 2.0}),
    "xavier_normal_": (init.xavier_normal_, "xavier_normal_", {}),
    "kaiming_uniform_": (lambda w: init.kaiming_uniform_(w, a=5**0.5), "kaiming_uniform_", {"a": 5**0.5}),
    "kaiming_normal_": (
        lambda w: init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu", generator=torch.Generator()),
        "kaiming_normal_",
        {"mode": "fan_out", "nonlinearity": "relu"},
    ),
    "orthogonal_": (lambda w: init.orthogonal_(w, 3), "orthogonal_", {"gain": 3}),
    "sparse_": (lambda w: init.sparse_(w, 0.5), "sparse_", {"sparsity": 0.5}),
    "bound early": (bound_early, "trunc_normal_", {"std": 0.02}),
    "a method": (lambda w: w.normal_(1, 2), "normal_", {"mean": 1, "std": 2}),
    "of the data": (lambda w: w.data.uniform_(), "uniform_", {}),
    "by out=": (lambda w: torch.rand((6, 4), out=w.data), "uniform_", {}),
    "of what is detached": (lambda w: w.detach().normal_(), "normal_", {}),
    "after autograd": (lambda w: torch.enable_grad()(lambda: w.data.normal_())(), "normal_", {}),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", CODE)
def test_draws_become_those_of_the_function(name, dtype):
    if dtype == torch.bfloat16:
        pytest.importorskip("ml_dtypes")
    code, function, arguments = CODE[name]
    found, report = drawn(code, dtype=dtype)
    assert torch.equal(found, values(function, dtype=dtype, **arguments))
    assert report.rows[0].initializer.startswith(function)
    assert report.rows[0].std == pytest.approx(float(np.std(found.double().numpy())), rel=1e-5)
    assert (report.apart == ["weight"]) == (function == "orthogonal_")


def test_eye_and_dirac():
    assert torch.equal(drawn(init.eye_)[0], torch.eye(6, 4))
    assert torch.equal(drawn(init.dirac_, shape=(4, 4, 3))[0], init.dirac_(torch.empty(4, 4, 3)))


# Views of a weight of (6, 4), and their shapes.
VIEWS = {
    "rows": (lambda w: w[1:3], (2, 4)),
    "one row": (lambda w: w[5], (4,)),
    "columns": (lambda w: w[:, ::2], (6, 2)),
    "a transpose": (lambda w: w.T, (4, 6)),
    "a chunk": (lambda w: w.chunk(3)[2], (2, 4)),
    "a chunk of the data": (lambda w: w.data.chunk(2)[0], (3, 4)),
    "other axes": (lambda w: w.view(2, 3, 4)[1], (3, 4)),
}


@pytest.mark.parametrize("view", VIEWS)
def test_views_draw_from_their_parameters_stream(view):
    make, shape = VIEWS[view]
    found, report = drawn(lambda w: init.normal_(make(w)))
    expected = torch.full((6, 4), 77.0)
    make(expected).copy_(values("normal_", shape=shape))
    assert torch.equal(found, expected)
    assert report.rows[0].initializer.startswith("normal_")


def test_each_draw_into_a_parameter_has_a_stream_of_its_own():
    found, report = drawn(lambda w: [init.normal_(chunk, std=1 + number) for number, chunk in enumerate(w.chunk(3))])
    expected = torch.cat([values("normal_", std=1 + number, shape=(2, 4), number=number) for number in range(3)])
    assert torch.equal(found, expected)
    assert report.rows[0].initializer == "normal_(std=3), in parts"
    again, _ = drawn(lambda w: (init.normal_(w), init.uniform_(w)))
    assert torch.equal(again, values("uniform_", number=1))


def test_no_two_draws_share_a_word():
    words = []

    def code(w):
        for _ in range(5):
            words.append(w.uniform_().clone())
            words.append(torch.rand(6, 4))

    drawn(code)
    found = torch.cat([x.flatten() for x in words])
    assert len(found.unique()) >= len(found) - 1  # of 240 numbers of 24 bits, two may be equal


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("low", "high"), [(-1, 1), (-0.9545, 0.9545), (0.3, 0.9), (-1, -0.999)])
def test_truncated_normals_by_the_inverse_error_function(low, high, dtype):
    """torch's own erfinv gives infinities at the bounds, and other bits on other devices."""

    def code(w):
        w.uniform_(low, high)
        w.erfinv_()
        w.mul_(2**0.5)

    found, report = drawn(code, shape=(1000, 100), dtype=dtype)
    assert found.isfinite().all()
    back = torch.erf(found.double() / 2**0.5)
    assert low <= back.min() + 1e-6
    assert back.max() <= high + 1e-6
    assert (back.mean() - (low + high) / 2).abs() < 5 * (high - low) / (12 * back.numel()) ** 0.5
    assert report.digest  # exact
    copied, _ = drawn(lambda w: w.copy_(torch.erfinv(torch.empty_like(w).uniform_(low, high))), shape=(1000, 100), dtype=dtype)
    assert copied.isfinite().all()
    assert (torch.erf(copied.double()).mean() - (low + high) / 2).abs() < 5 * (high - low) / (12 * back.numel()) ** 0.5


def test_only_what_was_just_drawn_is_drawn_again_for_erfinv():
    def code(w):
        w.uniform_(-0.5, 0.5)
        w.mul_(0.5)
        w.erfinv_()

    found, report = drawn(code)
    assert torch.allclose(found, torch.erfinv(values("uniform_", -0.5, 0.5) * 0.5))
    assert report.apart == ["weight"]


def test_erfinv_with_out():
    def code(w):
        w.uniform_(-0.9, 0.9)
        torch.erfinv(w, out=w)

    found, report = drawn(code)
    assert torch.allclose(found, torch.erfinv(values("uniform_", -0.9, 0.9)))
    assert report.apart == ["weight"]


def test_a_tensor_in_the_place_of_a_number_counts_as_it_is():
    std = torch.tensor(1.0)

    def code(w):
        init.normal_(w, 0.0, std)
        std.fill_(100)
        init.normal_(w, 0.0, std)

    assert torch.equal(drawn(code)[0], values("normal_", std=100, number=1))


class Tree(nn.Module):
    """Modules within modules, of which each copies a new tensor to its weight."""

    def __init__(self, depth, log):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.children_ = nn.ModuleList(Tree(depth - 1, log) for _ in range(2 if depth else 0))

    def initialize(self, order):
        for child in order(list(self.children_)):
            child.initialize(order)
        with torch.no_grad():
            self.weight.copy_(torch.randn(3).mul(2))
            self.weight.add_(torch.rand(3))


def test_new_tensors_are_numbered_within_the_module_whose_code_runs():
    found = []
    for order in (list, lambda children: children[::-1]):
        tree = Tree(2, [])
        with gi.seeded(tree, seed=5) as report:
            tree.initialize(order)
        found.append({name: x.detach() for name, x in tree.named_parameters()})
        assert set(report.written) == set(found[0])
    assert all(torch.equal(x, found[1][name]) for name, x in found[0].items())
    streams = gi.Generator(5).spawn("children_.1.children_.0").spawn(2)
    expected = gi.normal_(torch.empty(3), generator=streams[0]) * 2 + gi.uniform_(torch.empty(3), generator=streams[1])
    assert torch.equal(found[0]["children_.1.children_.0.weight"], expected)
    assert len({tuple(x.tolist()) for x in found[0].values()}) == 7


def test_the_module_may_be_an_argument():
    """As where one method of the model initializes all modules."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 3))

    def code(module):
        if isinstance(module, nn.Linear):
            module.weight.data.copy_(torch.randn(module.weight.shape))

    with gi.seeded(model, seed=1):
        model.apply(code)
    expected = gi.normal_(torch.empty(3, 2), generator=gi.Generator(1).spawn("1").spawn(1)[0])
    assert torch.equal(model[1].weight.detach(), expected)


def test_values_depend_on_names_alone():
    """Not on other layers, on the order, on wrappers, or on the rest of a model of which this is a part."""
    whole = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    with gi.seeded(whole, seed=3) as report:
        for module in reversed(whole):
            module.reset_parameters()
    part = nn.Linear(3, 2)
    with gi.seeded(part, seed=3, prefix="2") as of_part:
        part.reset_parameters()
    assert torch.equal(part.weight, whole[2].weight)
    assert of_part.rows[1].digest == report.rows[5].digest
    parallel = nn.DataParallel(nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2)))
    with gi.seeded(parallel, seed=3) as wrapped:
        for module in parallel.module:
            module.reset_parameters()
    assert wrapped.digest == report.digest
    rules = [("0.weight", f"kaiming_uniform_(a={5**0.5})"), ("*", "keep")]
    assert gi.initialize(nn.Sequential(nn.Linear(4, 3)), rules, seed=3).rows[0].digest == report.rows[0].digest


def test_tied_parameters_have_one_name():
    model = nn.ModuleDict({"embedding": nn.Embedding(5, 3), "a_head": nn.Linear(3, 5, bias=False)})
    model["a_head"].weight = model["embedding"].weight
    with gi.seeded(model, seed=2) as report:
        init.normal_(model["embedding"].weight)
    assert [row.name for row in report.rows] == ["a_head.weight"]
    expected = gi.normal_(torch.empty(5, 3), generator=gi.Generator(2).spawn("a_head.weight"))
    assert torch.equal(model["embedding"].weight.detach(), expected)
    shared = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    shared[1].weight.data = shared[0].weight.data  # one memory, two parameters
    with gi.seeded(shared, seed=2) as report:
        init.normal_(shared[1].weight)
    assert report.rows[0].initializer == "normal_()"
    assert report.untouched == []
