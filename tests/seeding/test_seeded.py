"""`seeded`: the values that a model's own code draws, what the report says of them, and what is refused."""

from __future__ import annotations

import functools
import json
import random
import subprocess
import sys
import threading

import numpy as np
import pytest

import gpuinit as gi

torch = pytest.importorskip("torch")
nn = torch.nn
init = torch.nn.init
bound_early = functools.partial(init.trunc_normal_, std=0.02)  # as other libraries bind such functions when they are imported

pytestmark = pytest.mark.torch


class Layer(nn.Module):
    """One weight, and code that initializes it."""

    def __init__(self, code=None, shape=(6, 4), dtype=torch.float32):
        super().__init__()
        self.weight = nn.Parameter(torch.full(shape, 77, dtype=dtype))
        self.code = code

    def initialize(self):
        with torch.no_grad():
            self.code(self.weight)


def drawn(code, seed=42, name="weight", **settings):
    """The weight after its code, and the report."""
    layer = Layer(code, **settings)
    before = torch.get_rng_state()
    with gi.seeded(layer, seed=seed, prefix=name.rpartition(".")[0]) as report:
        layer.initialize()
    assert torch.equal(torch.get_rng_state(), before)
    return layer.weight.detach(), report


def stream(name="weight", number=0, seed=42):
    """The stream of a parameter's draw, by the numbers of docs/values.md alone."""
    child = gi.Generator(seed).spawn(name)
    return child if number == 0 else child.spawn(number)[number - 1]


def values(function, *arguments, shape=(6, 4), dtype=torch.float32, number=0, **keywords):
    return getattr(gi, function)(torch.empty(shape, dtype=dtype), *arguments, generator=stream(number=number), **keywords)


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


# Code -> whether the values are the same on all machines, whatever was there before.
EXACT = {
    "chunks": (lambda w: [init.normal_(chunk) for chunk in w.chunk(3)], True),
    "chunks of columns": (lambda w: [init.normal_(chunk) for chunk in w.chunk(2, dim=1)], False),
    "one row": (lambda w: init.normal_(w[1]), False),
    "a row of zeros": (lambda w: (init.normal_(w), w[1].zero_()), True),
    "rows of zeros": (lambda w: (w[:3].zero_(), w[3:].fill_(1)), True),
    "arithmetic on what was there": (lambda w: w.mul_(2), False),
    "arithmetic": (lambda w: (init.normal_(w), w.mul_(2).add_(1)), True),
    "a quotient": (lambda w: (init.normal_(w), w.div_(3)), False),
    "a sum with a factor": (lambda w: (init.normal_(w), w.add_(1, alpha=0.3)), False),
    "other memory": (lambda w: (init.normal_(w), setattr(w, "data", w.data.exp())), False),
    "nothing": (lambda w: (init.normal_(w), w[:0].exp_()), True),
    "again": (lambda w: (init.normal_(w), w.exp_(), init.normal_(w)), True),
}


@pytest.mark.parametrize("name", EXACT)
def test_what_is_exact(name):
    code, exact = EXACT[name]
    _, report = drawn(code)
    assert report.apart == ([] if exact else ["weight"])
    assert ("written" in report.rows[0].initializer) == (
        name not in ("chunks", "chunks of columns", "one row", "nothing", "again")
    )


def test_half_of_a_complex_weight_is_not_all_of_it():
    found, report = drawn(lambda w: w.data.real.normal_(), dtype=torch.complex64)
    assert torch.equal(found.imag, torch.zeros(6, 4))
    assert report.rows[0].initializer == "normal_(), in parts"
    assert report.apart == ["weight"]


def test_memory_of_several_parameters_is_refused():
    model, flat = nn.Module(), torch.zeros(12)
    model.a, model.b = nn.Parameter(flat[:6].view(2, 3)), nn.Parameter(flat[6:])
    with (
        pytest.raises(RuntimeError, match="one parameter at a time, got a tensor that reaches beyond 'a'"),
        gi.seeded(model, seed=1),
    ):
        flat.normal_()
    with gi.seeded(model, seed=1, strict=True) as report:
        init.normal_(model.a)
        flat[6:].normal_()
    assert torch.equal(flat[6:], gi.normal_(torch.empty(6), generator=gi.Generator(1).spawn("b")))
    assert report.apart == []


def test_memory_that_nobody_wrote_to_is_untouched():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with gi.seeded(model, seed=1) as report:
        model.to_empty(device="cpu")
        model[0].reset_parameters()
    assert report.untouched == ["1.weight", "1.bias"]


def test_a_patched_function_is_refused_or_goes_on(monkeypatch):
    """Its code stays what it is, and torch's own runs where it calls that."""
    original = init.normal_
    monkeypatch.setattr(init, "normal_", lambda x, **keywords: original(x, std=3, **keywords))
    patched = init.normal_.__code__
    assert torch.equal(drawn(lambda w: init.normal_(w))[0], values("normal_", std=3))
    assert init.normal_.__code__ is patched
    monkeypatch.undo()
    assert init.normal_(torch.empty(3)).isfinite().all()


def test_modes_of_torch_come_first():
    """As one that leaves out all initialization."""

    class Empty(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), keywords=None):
            if getattr(function, "__module__", "") == "torch.nn.init":
                return arguments[0]
            return function(*arguments, **(keywords or {}))

    def code(w):
        w.fill_(5)
        with Empty():
            init.normal_(w)

    assert (drawn(code)[0] == 5).all()

    def on_a_device(w):
        with torch.device("cpu"):
            init.normal_(w)

    assert torch.equal(drawn(on_a_device)[0], values("normal_"))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
def test_tensors_without_memory_of_their_own():
    model = nn.ModuleList([nn.LazyLinear(3), nn.Linear(2, 2)])
    model.register_buffer("sparse", torch.eye(3).to_sparse())
    model.register_buffer("other", torch.eye(4).to_sparse())
    model.register_buffer("rows", torch.eye(3).to_sparse_csr())
    with gi.seeded(model, seed=1) as report:
        model[1].reset_parameters()
    assert report.untouched == ["0.weight", "0.bias"]
    assert report.buffers == ["sparse", "other", "rows"]


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


class Declared(nn.Module):
    """A model that says which of its weights are one, as those of transformers do."""

    all_tied_weights_keys = {"head.weight": "embedding.weight"}  # noqa: RUF012

    def __init__(self, ties):
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        if ties:
            self.tie_weights = self.tie

    def tie(self):
        self.head.weight = self.embedding.weight


@pytest.mark.parametrize("ties", [True, False])
def test_broken_ties_are_mended(ties):
    model = Declared(ties)
    with gi.seeded(model, seed=2) as report:
        init.normal_(model.head.weight)
    assert model.head.weight is model.embedding.weight
    assert report.mended == ["head.weight"]
    assert "tied again: head.weight" in report.summary()
    with gi.seeded(model, seed=2) as report:
        init.normal_(model.head.weight)
    assert report.mended == []


def test_the_report():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    model[2].weight.requires_grad_(False)
    with gi.seeded(model, seed=7) as report:
        assert report.rows == []
        init.normal_(model[0].weight)
        init.zeros_(model[0].weight[1])
        init.constant_(model[1].weight, 3)
        model[1].running_mean.fill_(1)
        model[1].bias.data = torch.log(torch.arange(1, 4).float())
        model[0].bias = nn.Parameter(torch.ones(3))
    assert [(row.name, row.initializer) for row in report.rows] == [
        ("0.weight", "normal_(), written"),
        ("0.bias", "written"),
        ("1.weight", "written"),
        ("1.bias", "written"),
        ("1.running_mean", "written"),
        ("2.weight", "untouched"),
        ("2.bias", "untouched"),
    ]
    assert report.untouched == ["2.weight", "2.bias"]
    assert report.frozen == ["2.weight"]
    assert report.written == ["0.bias", "1.weight", "1.bias", "1.running_mean"]
    assert report.buffers == ["1.running_var", "1.num_batches_tracked"]
    assert report.apart == ["0.bias", "1.bias", "2.weight", "2.bias"]  # not all logarithms are the same
    assert json.loads(report.to_json())["untouched"] == report.untouched
    assert "untouched: 2.weight, 2.bias" in str(report)


def in_thread(work):
    errors = []

    def run():
        try:
            work()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


# What code does -> what the error says.
REFUSED = {
    "nothing": (lambda w: None, "wrote to no parameter"),
    "an unknown operation": (
        lambda w: torch.nn.functional.rrelu(w, training=True),
        r"rrelu\S* draws random numbers .* the module ''",
    ),
    "NumPy's generator": (lambda w: w.copy_(torch.tensor(np.random.rand(6, 4))), "a draw from numpy.random"),
    "Python's generator": (lambda w: w.fill_(random.random()), "a draw from random"),
    "a seed": (lambda w: (torch.manual_seed(3), w.normal_()), "torch.manual_seed"),
    "another thread": (lambda w: in_thread(lambda: init.normal_(w)), "some in another one"),
    "another thread, by a method": (lambda w: in_thread(lambda: w.data.normal_()), "a draw from torch's generator of the CPU"),
    "itself": (lambda w: gi.seeded(Layer(), seed=1).__enter__(), "cannot be nested"),
    "out= of another shape": (lambda w: torch.rand(3, out=torch.empty(4)), r"aten\.rand\.out draws"),
    "too many integers": (lambda w: w.random_(2**60), "from 1 to 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    code, match = REFUSED[name]
    state, threads_state = torch.get_rng_state(), (random.getstate(), np.random.get_state())
    with pytest.raises((RuntimeError, ValueError), match=match):
        drawn(code)
    torch.set_rng_state(state)
    random.setstate(threads_state[0])
    np.random.set_state(threads_state[1])
    found, _ = drawn(init.normal_)
    assert torch.equal(found, values("normal_"))


def test_a_fork_is_refused():
    """In a program of its own: other libraries warn of forks."""
    code = """
import os, torch, gpuinit
model = torch.nn.Linear(2, 2)
with gpuinit.seeded(model, seed=1):
    model.reset_parameters()
    child = os.fork()
    if child == 0:
        for draw in (lambda: torch.empty(3).normal_(), lambda: torch.nn.init.normal_(model.weight)):
            try: draw()
            except RuntimeError as error: assert "must not be left by a fork" in str(error)
            else: os._exit(1)
        os._exit(17)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_compiled_code_runs_uncompiled():
    """torch itself does not compile while operations are intercepted."""
    code = torch.compile(lambda w: w.normal_(), backend="eager")
    found, _ = drawn(lambda w: code(w.data))
    assert torch.equal(found, values("normal_"))


def test_a_compiled_context_is_refused():
    layer = Layer(init.normal_)

    @torch.compile(backend="eager")
    def code():
        with gi.seeded(layer, seed=1):
            layer.initialize()

    try:
        code()
    except Exception:
        assert (layer.weight == 77).all()
    else:
        expected = gi.normal_(torch.empty(6, 4), generator=stream(seed=1))
        assert torch.equal(layer.weight.detach(), expected)


def test_meta_tensors_are_refused():
    with torch.device("meta"):
        model = nn.Linear(3, 2)
    with pytest.raises(TypeError, match="to_empty"), gi.seeded(model, seed=1):
        model.reset_parameters()


def test_strict():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    with pytest.raises(RuntimeError, match=r"2 untouched: 1\.weight, 1\.bias"), gi.seeded(model, seed=1, strict=True):
        model[0].reset_parameters()
    with gi.seeded(model, seed=1, strict=True) as report:
        model.apply(lambda module: getattr(module, "reset_parameters", lambda: None)())
    assert report.untouched == []


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"model": {"w": 1}}, "model must be a torch.nn.Module, got"),
        ({"seed": "a"}, "seed must be an int"),
        ({"strict": 1}, "strict must be True or False"),
        ({"prefix": 3}, "prefix must be the name"),
    ],
)
def test_arguments(arguments, match):
    with pytest.raises(TypeError, match=match), gi.seeded(**{"model": nn.Linear(2, 2), "seed": 1, **arguments}):
        pass


def test_torchs_functions_are_themselves_again():
    names = [name for name in dir(init) if name.endswith("_") and not name.startswith("_")]
    before = {name: getattr(init, name).__code__ for name in names}
    context = gi.seeded(nn.Linear(2, 2), seed=1)
    context.__enter__()
    assert init.normal_.__code__ is not before["normal_"]
    assert init.zeros_.__code__ is before["zeros_"]
    assert not context.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert {name: getattr(init, name).__code__ for name in names} == before
    torch.manual_seed(1)
    x = init.normal_(torch.empty(3))
    torch.manual_seed(1)
    assert torch.equal(x, torch.empty(3).normal_())


def test_errors_about_arguments_are_torchs():
    with pytest.raises(TypeError, match=r"normal_\(\) got an unexpected keyword"):
        drawn(lambda w: init.normal_(w, deviation=3))


def test_other_threads_go_on_with_torchs_generator():
    """A thread that initializes something else is none of ours, but moves torch's generator, which is noticed."""
    other, done = torch.empty(5), []

    def code(w):
        init.normal_(w)
        state = torch.get_rng_state()
        in_thread(lambda: init.normal_(other))
        done.append(other.clone())
        torch.set_rng_state(state)

    torch.manual_seed(11)
    found, _ = drawn(code)
    torch.manual_seed(11)
    assert torch.equal(done[0], init.normal_(torch.empty(5)))
    assert torch.equal(found, values("normal_"))


def test_the_model_under_peft_keeps_its_weights():
    """What only some modules' code initializes leaves all others as they were."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    before = model[0].weight.detach().clone()
    with gi.seeded(model, seed=1) as report:
        model[1].reset_parameters()
    assert torch.equal(model[0].weight.detach(), before)
    assert report.untouched == ["0.weight", "0.bias"]
