"""torch's random operations within `seeded`: their distributions, and values that docs/values.md defines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import gpuinit as gi

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch

N = 20_000
LEAST_P = 1e-4  # of a test of a hundred


class Weight(torch.nn.Module):
    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(N, dtype=dtype), requires_grad=False)

    def draw(self, code):
        """The values that code draws into the weight; or a new tensor that it returns."""
        with gi.seeded(self, seed=8) as report:
            found = code(self.weight)
            self.weight.zero_() if found is not self.weight else None
        return found.double().numpy(), report


# In-place operations -> the distribution.
CONTINUOUS = {
    "exponential_": (lambda x: x.exponential_(2.0), stats.expon(scale=0.5)),
    "log_normal_": (lambda x: x.log_normal_(0.5, 0.3), stats.lognorm(0.3, scale=np.exp(0.5))),
    "cauchy_": (lambda x: x.cauchy_(1.0, 2.0), stats.cauchy(1.0, 2.0)),
    "uniform_": (lambda x: x.uniform_(-3, 1), stats.uniform(-3, 4)),
    "normal_": (lambda x: x.normal_(2, 3), stats.norm(2, 3)),
    "rand": (lambda x: torch.rand(N, dtype=torch.float64), stats.uniform()),
    "randn": (lambda x: torch.randn((N,)), stats.norm()),
    "rand_like": (lambda x: torch.rand_like(x), stats.uniform()),
    "randn_like": (lambda x: torch.randn_like(x, dtype=torch.float32), stats.norm()),
    "normal of numbers": (lambda x: torch.normal(1.0, 2.0, (N,)), stats.norm(1, 2)),
    "normal of means": (lambda x: torch.normal(torch.ones(N), 2.0), stats.norm(1, 2)),
    "normal of deviations": (lambda x: torch.normal(1.0, 2 * torch.ones(N)), stats.norm(1, 2)),
    "normal of both": (lambda x: torch.normal(torch.ones(N, 1), 2 * torch.ones(1))[:, 0], stats.norm(1, 2)),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous(name):
    code, distribution = CONTINUOUS[name]
    found, _ = Weight().draw(code)
    assert stats.kstest(found, distribution.cdf).pvalue > LEAST_P


# Operations -> the values and their probabilities.
DISCRETE = {
    "random_ below": (lambda x: x.random_(7), range(7), None),
    "random_ between": (lambda x: x.random_(-3, 5), range(-3, 5), None),
    "random_ of int8": (lambda x: torch.empty(N, dtype=torch.int8).random_(), range(128), None),
    "random_ of bool": (lambda x: torch.empty(N, dtype=torch.bool).random_(), range(2), None),
    "bernoulli_": (lambda x: x.bernoulli_(0.3), range(2), [0.7, 0.3]),
    "bernoulli_ of a tensor": (lambda x: x.bernoulli_(torch.full((N,), 0.3)), range(2), [0.7, 0.3]),
    "bernoulli": (lambda x: torch.bernoulli(torch.full((N,), 0.3)), range(2), [0.7, 0.3]),
    "bernoulli of a number": (lambda x: torch.bernoulli(x, 0.3), range(2), [0.7, 0.3]),
    "geometric_": (lambda x: x.geometric_(0.4), range(1, 8), [0.4 * 0.6**k for k in range(7)]),
    "randint": (lambda x: torch.randint(5, (N,)), range(5), None),
    "randint between": (lambda x: torch.randint(-2, 3, (N,), dtype=torch.int32), range(-2, 3), None),
    "randint_like": (lambda x: torch.randint_like(x, 2, 6), range(2, 6), None),
    "randperm": (lambda x: torch.stack([torch.randperm(5) for _ in range(1000)])[:, 2], range(5), None),
    "multinomial": (
        lambda x: torch.multinomial(torch.tensor([1.0, 0.0, 2.0, 3.0]), N, replacement=True),
        range(4),
        [1 / 6, 0, 2 / 6, 3 / 6],
    ),
    "multinomial, one of each row": (
        lambda x: torch.multinomial(torch.tensor([[1.0, 0.0, 2.0, 3.0]]).expand(N, 4), 1)[:, 0],
        range(4),
        [1 / 6, 0, 2 / 6, 3 / 6],
    ),
    "multinomial by out=": (
        lambda x: torch.multinomial(torch.tensor([1.0, 2.0]), N, True, out=torch.empty(N, dtype=torch.int64)),
        range(2),
        [1 / 3, 2 / 3],
    ),
    "dropout": (lambda x: torch.nn.functional.dropout(torch.ones(N), 0.25) * 0.75, range(2), [0.25, 0.75]),
}


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete(name):
    code, values, chances = DISCRETE[name]
    found, _ = Weight().draw(code)
    chances = np.full(len(values), 1 / len(values)) if chances is None else np.array(chances)
    counts = np.array([(np.round(found, 6) == value).sum() for value in values])
    assert counts[chances == 0].sum() == 0
    if name != "geometric_":  # the others' tail is infinite
        assert counts.sum() == len(found)
    possible = chances > 0
    expected = chances[possible] / chances.sum() * counts.sum()
    assert stats.chisquare(counts[possible], expected).pvalue > LEAST_P


def test_default_ranges():
    """Without bounds, all integers that a dtype has in a row; torch counts the last one of floats too."""
    for dtype, last in ((torch.float16, 2**11), (torch.float32, 2**24), (torch.float64, 2**53), (torch.int16, 2**15 - 1)):
        found, _ = Weight().draw(lambda x, dtype=dtype: torch.empty(N, dtype=dtype).random_())
        assert 0.99 * last < found.max() <= last
        assert found.min() < 0.01 * last


def test_choices_without_replacement_are_apart():
    found, _ = Weight().draw(lambda x: torch.multinomial(torch.arange(9.0).expand(500, 9), 5))
    assert all(len(set(row)) == 5 and 0 not in row for row in found)
    with pytest.raises(ValueError, match="9 weights above 0"):
        Weight().draw(lambda x: torch.multinomial(torch.arange(9.0), 9))


@pytest.mark.parametrize(
    "code",
    [
        lambda x: x.bernoulli_(1.5),
        lambda x: x.bernoulli_(float("nan")),
        lambda x: torch.bernoulli(torch.tensor([2.0, -1.0])),
        lambda x: x.exponential_(-1.0),
        lambda x: x.exponential_(0.0),
        lambda x: x.cauchy_(0, -1),
        lambda x: x.log_normal_(0, 0.0),
        lambda x: x.geometric_(1.5),
        lambda x: torch.empty(3, dtype=torch.int32).exponential_(),
        lambda x: torch.multinomial(torch.zeros(2), 2, True),
        lambda x: torch.multinomial(torch.tensor([1.0, -1.0]), 1),
        lambda x: torch.normal(torch.zeros(2), torch.tensor([1.0, -1.0])),
        lambda x: torch.empty(3, dtype=torch.int8).random_(0, 1000),
        lambda x: torch.randperm(300, dtype=torch.uint8),
        lambda x: torch.empty(3, dtype=torch.float16).random_(0, 10000),
    ],
)
def test_refused_arguments(code):
    """By gpuinit, or by torch before it comes to the draw."""
    with pytest.raises((ValueError, RuntimeError), match=r"must|expect|_?[a-z]+_? .*"):
        Weight().draw(code)


def test_large_integers():
    found, _ = Weight().draw(lambda x: torch.randint(2**60, 2**60 + 10, (N,)) - 2**60)
    assert set(found) == set(range(10))


def test_values_from_uniform_numbers():
    """As docs/values.md has them: from float64 numbers on [0, 1) of the draw's stream."""
    u = gi.uniform_(np.empty(N), generator=gi.Generator(8).spawn("weight"))
    found, report = Weight().draw(lambda x: x.bernoulli_(0.3))
    np.testing.assert_array_equal(found, u < 0.3)
    assert report.apart == ["weight"] or report.digest
    found, _ = Weight().draw(lambda x: x.random_(-5, 1000))
    np.testing.assert_array_equal(found, np.floor(u * 1005) - 5)
    found, _ = Weight().draw(lambda x: x.exponential_(3.0))
    np.testing.assert_allclose(found, -np.log1p(-u) / 3, rtol=1e-14)
    numbered = gi.uniform_(np.empty(9), generator=gi.Generator(8).spawn("").spawn(1)[0])
    found, _ = Weight().draw(lambda x: torch.randperm(9))
    np.testing.assert_array_equal(found, np.argsort(numbered, kind="stable"))


@pytest.mark.parametrize(
    ("code", "exact"),
    [
        (lambda x: x.bernoulli_(0.3), True),
        (lambda x: x.random_(9), True),
        (lambda x: x.exponential_(), False),
        (lambda x: x.cauchy_(), False),
    ],
)
def test_what_needs_a_logarithm_is_the_same_to_rounding(code, exact):
    _, report = Weight().draw(code)
    assert report.apart == ([] if exact else ["weight"])
    assert bool(report.digest) == exact
