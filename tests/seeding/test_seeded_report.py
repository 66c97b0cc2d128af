"""`seeded`: what its report says of the parameters, and which values it counts as exact."""

from __future__ import annotations

import json

import pytest

import gpuinit as gi
from tests.support.seeding import drawn

torch = pytest.importorskip("torch")
nn = torch.nn
init = torch.nn.init

pytestmark = pytest.mark.torch


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


# Code -> whether the report can draw the values again.
REPEATED = {
    "a function": (init.xavier_uniform_, True),
    "orthogonal_": (init.orthogonal_, True),
    "a method": (lambda w: w.data.normal_(), True),
    "the second draw": (lambda w: (init.normal_(w), init.trunc_normal_(w)), True),
    "a draw after others": (lambda w: (init.normal_(w), w[1].normal_(), w.add_(1), init.uniform_(w)), True),
    "transposed": (lambda w: w.data.t().normal_(), False),
    "transposed after another draw": (lambda w: (init.normal_(w), w.data.t().normal_()), False),
    "in another shape": (lambda w: w.data.view(-1).normal_(), False),
    "in parts": (lambda w: (init.normal_(w), w[1].normal_()), False),
    "arithmetic": (lambda w: (init.normal_(w), w.mul_(2)), False),
    "other numbers": (lambda w: w.data.exponential_(), False),
    "constants": (lambda w: w.data.zero_(), False),
}


@pytest.mark.parametrize("name", REPEATED)
def test_what_can_be_verified(name):
    code, repeated = REPEATED[name]
    found, report = drawn(code)
    assert (report.verify(), report.unverified) == ([], [] if repeated else ["weight"])
    found[0, 0] += 1
    assert report.verify() == (["weight"] if repeated else [])


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


def test_strict():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    with pytest.raises(RuntimeError, match=r"2 untouched: 1\.weight, 1\.bias"), gi.seeded(model, seed=1, strict=True):
        model[0].reset_parameters()
    with gi.seeded(model, seed=1, strict=True) as report:
        model.apply(lambda module: getattr(module, "reset_parameters", lambda: None)())
    assert report.untouched == []


def test_the_model_under_peft_keeps_its_weights():
    """What only some modules' code initializes leaves all others as they were."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    before = model[0].weight.detach().clone()
    with gi.seeded(model, seed=1) as report:
        model[1].reset_parameters()
    assert torch.equal(model[0].weight.detach(), before)
    assert report.untouched == ["0.weight", "0.bias"]
