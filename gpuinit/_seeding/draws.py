"""torch's random operations, done with gpuinit's values: what each draws, and how its values come from a generator.

Operations are those of ATen, to which all of torch's interfaces come. Where nothing else is said, values are exact.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from gpuinit._backends.operations import Fill
from gpuinit._backends.targets import Asked, target, write
from gpuinit._contract.arguments import short_repr
from gpuinit._contract.distributions import erfinv_of_uniform
from gpuinit._contract.generator import Generator
from gpuinit._initializers.basic import normal_, take_blocks, uniform_
from gpuinit._rules.calls import Call

_MOST_INTEGERS = 2**53  # that a float64 draws from
LEAST_ERFINV = 2.0**-31  # of the length of an interval whose inverse error function is drawn by the inverse CDF


class Drawn(NamedTuple):
    """What was drawn: by what, what it asked for if that is known, and whether all machines get the same bits.

    Draws that are alike may be one object. `bounds` are those of a uniform variable, which the inverse error function may follow.
    """

    by: Call | str
    asked: Asked | None = None
    exact: bool = True
    bounds: tuple[float, float] | None = None


# What draws into a tensor: a call of an initializer, or a function that fills the tensor from a generator.
Source = Call | Callable[[Any, Generator], Drawn]
Fills = Callable[..., Drawn]


def _random(x: Any, generator: Generator, *bounds: int | None) -> Drawn:
    """Integers: below one bound, or from the first and below the second; without, all of them that the dtype has in a row."""
    low, high = bounds if len(bounds) == 2 else (0, *(bounds or (None,)))
    low, high = int(low or 0), int(_integers_of(x.dtype) if high is None else high)
    count = high - low
    if not 0 < count <= _MOST_INTEGERS:
        raise ValueError(f"random_ must draw from 1 to 2**53 integers, got those from {low} below {high}")
    least, most = _range_of(x.dtype)
    if low < least or high - 1 > most:
        raise ValueError(f"random_ must draw integers that {x.dtype} holds exactly, got those from {low} below {high}")
    numbers = _uniform_numbers(x, generator).mul_(count).floor_()
    if x.dtype.is_floating_point or most == 1:
        x.copy_(numbers.add_(low))
    else:
        x.copy_(numbers)
        x.add_(low)  # which float64 may not hold
    return Drawn(f"random_({low}, {high})")


def _integers_of(dtype: Any) -> int:
    """Return how many integers from 0 on a dtype has in a row; of 64-bit ones, as many as can be drawn."""
    return min(_range_of(dtype)[1] + 1, _MOST_INTEGERS)


def _range_of(dtype: Any) -> tuple[int, int]:
    """Return the least and the greatest of the integers that a dtype has in a row."""
    torch = sys.modules["torch"]
    if dtype.is_floating_point:
        most = int(2 / torch.finfo(dtype).eps)
        return -most, most
    return (0, 1) if dtype is torch.bool else (int(torch.iinfo(dtype).min), int(torch.iinfo(dtype).max))


def _bernoulli(x: Any, generator: Generator, p: Any = 0.5) -> Drawn:
    is_chance = 0 <= p <= 1 if isinstance(p, (int, float)) else bool(((p >= 0) & (p <= 1)).all())
    _require(is_chance and not x.dtype.is_complex, "bernoulli_", "p in [0, 1] and a real dtype", p)
    x.copy_(_uniform_numbers(x, generator) < p)
    return Drawn(f"bernoulli_({short_repr(p)})")


def _exponential(x: Any, generator: Generator, rate: float = 1.0) -> Drawn:
    """To rounding, like all that follow: each device has a logarithm of its own."""
    _require(rate > 0 and x.dtype.is_floating_point, "exponential_", "a rate above 0 and a floating dtype", rate)
    x.copy_(_uniform_numbers(x, generator).neg_().log1p_().div_(-rate))
    return Drawn(f"exponential_({rate})", exact=False)


def _geometric(x: Any, generator: Generator, p: float) -> Drawn:
    _require(0 < p < 1, "geometric_", "p in (0, 1)", p)
    x.copy_(_uniform_numbers(x, generator).neg_().log1p_().div_(math.log1p(-p)).ceil_().clamp_(min=1))
    return Drawn(f"geometric_({p})", exact=False)


def _log_normal(x: Any, generator: Generator, mean: float = 1.0, std: float = 2.0) -> Drawn:
    _require(std > 0 and x.dtype.is_floating_point, "log_normal_", "a std above 0 and a floating dtype", std)
    x.copy_(normal_(_doubles(x), mean, std, generator).exp_())
    return Drawn(f"log_normal_({mean}, {std})", exact=False)


def _cauchy(x: Any, generator: Generator, median: float = 0.0, sigma: float = 1.0) -> Drawn:
    _require(sigma > 0 and x.dtype.is_floating_point, "cauchy_", "a sigma above 0 and a floating dtype", sigma)
    x.copy_(_uniform_numbers(x, generator).sub_(0.5).mul_(math.pi).tan_().mul_(sigma).add_(median))
    return Drawn(f"cauchy_({median}, {sigma})", exact=False)


def _require(condition: bool, name: str, what: str, value: Any) -> None:
    if not condition:
        raise ValueError(f"{name} must have {what}, got {short_repr(value)}")


_IN_PLACE: dict[str, Fills] = {
    "random_": _random,
    "bernoulli_": _bernoulli,
    "exponential_": _exponential,
    "geometric_": _geometric,
    "log_normal_": _log_normal,
    "cauchy_": _cauchy,
}
_CALLS: dict[str, tuple[Callable[..., Any], tuple[str, str]]] = {
    "normal_": (normal_, ("mean", "std")),
    "uniform_": (uniform_, ("a", "b")),
}


def in_place(name: str, *values: Any, **keywords: Any) -> Source | None:
    """Return what an operation of this name draws into its tensor, from its other arguments; None if it is not known."""
    if name in _CALLS:
        if keywords or any(type(value) not in (float, int) for value in values):
            return _make_call.__wrapped__(name, *values, **keywords)
        return _make_call(name, *values)
    if name in _IN_PLACE:
        return lambda x, generator: _IN_PLACE[name](x, generator, *values, **keywords)
    return None


@functools.lru_cache(maxsize=4096, typed=True)
def _make_call(name: str, /, *values: Any, **keywords: Any) -> Call:
    """Return the same call for the same numbers."""
    function, names = _CALLS[name]
    return Call(function, {**dict(zip(names, values)), **keywords})


def erfinv_of(low: float, high: float) -> Source:
    """Return what draws as `uniform_` and then `erfinv_` do, by the inverse CDF instead.

    The rest of a truncated normal is arithmetic, which has the same result everywhere.
    """

    def fill(x: Any, generator: Generator) -> Drawn:
        to = target(x)
        write(to, Fill(erfinv_of_uniform(to.dtype, low, high), take_blocks(to, generator)))
        return Drawn(f"erfinv(uniform_(a={low}, b={high}))")

    return fill


def _doubles(x: Any) -> Any:
    torch = sys.modules["torch"]
    return torch.empty_like(x, dtype=torch.float64, memory_format=torch.contiguous_format)


def _uniform_numbers(x: Any, generator: Generator) -> Any:
    """Return float64 numbers on [0, 1), as many as `x` has elements."""
    return uniform_(_doubles(x), generator=generator)


class New(NamedTuple):
    """A new tensor without values, and what draws them."""

    tensor: Any
    source: Source


def _of_size(name: str) -> Callable[..., New]:
    def make(*given: Any, **options: Any) -> New:
        *values, size = given
        return New(sys.modules["torch"].empty(size, **options), _known(name, *values))

    return make


def _like(name: str) -> Callable[..., New]:
    def make(other: Any, *values: Any, **options: Any) -> New:
        return New(sys.modules["torch"].empty_like(other, **options), _known(name, *values))

    return make


def _known(name: str, *values: Any) -> Source:
    source = in_place(name, *values)
    assert source is not None
    return source


def _randint(*given: Any, dtype: Any = None, **options: Any) -> New:
    return _of_size("random_")(*given, dtype=dtype or sys.modules["torch"].int64, **options)


def _make_bernoulli(p: Any, *values: Any, **options: Any) -> New:
    return _like("bernoulli_")(p, *(values or (p,)), **options)


def _make_normal(mean: Any, std: Any = 1.0, size: Any = None, **options: Any) -> New:
    torch = sys.modules["torch"]
    if size is not None:
        return _of_size("normal_")(mean, std, size, **options)
    means, deviations = (torch.as_tensor(value) for value in (mean, std))
    given = mean if isinstance(mean, torch.Tensor) else std
    x = torch.empty_like(given).expand(torch.broadcast_shapes(means.shape, deviations.shape)).clone()

    def fill(x: Any, generator: Generator) -> Drawn:
        _require(bool((deviations >= 0).all()), "normal", "deviations of at least 0", std)
        normal_(x, generator=generator).mul_(std).add_(mean)
        return Drawn("normal_")

    return New(x, fill)


def _make_permutation(n: int, dtype: Any = None, **options: Any) -> New:
    torch = sys.modules["torch"]
    x = torch.empty(n, dtype=dtype or torch.int64, **options)
    _require(n - 1 <= _range_of(x.dtype)[1], "randperm", f"n within the range of {x.dtype}", n)

    def fill(x: Any, generator: Generator) -> Drawn:
        x.copy_(torch.argsort(_uniform_numbers(x, generator), stable=True))
        return Drawn("randperm")

    return New(x, fill)


def _make_choices(weights: Any, count: int, replacement: bool = False) -> New:
    """Return numbers of rows' weights; of the same ones at most once by a race of exponential variables, to rounding."""
    torch = sys.modules["torch"]
    x = torch.empty((*weights.shape[:-1], count), dtype=torch.int64, device=weights.device)

    def fill(x: Any, generator: Generator) -> Drawn:
        chances = weights.double()
        are_weights = bool((chances.isfinite() & (chances >= 0)).all()) and bool((chances.sum(-1) > 0).all())
        _require(are_weights, "multinomial", "finite weights, not negative, and a sum above 0", weights)
        if replacement:
            ends = chances.cumsum(-1)
            found = torch.searchsorted(ends, _uniform_numbers(x, generator).mul_(ends[..., -1:]), right=True)
            x.copy_(found.clamp_(max=weights.shape[-1] - 1))
        else:
            if bool((chances.count_nonzero(-1) < count).any()):
                raise ValueError(f"multinomial must have {count} weights above 0 to draw from without replacement")
            times = _uniform_numbers(weights, generator).neg_().log1p_().neg_().div_(chances)
            x.copy_(times.topk(count, largest=False).indices)
        return Drawn("multinomial", exact=False)

    return New(x, fill)


NEW: dict[str, Callable[..., New]] = {
    "rand": _of_size("uniform_"),
    "randn": _of_size("normal_"),
    "randint": _randint,
    "randperm": _make_permutation,
    "normal": _make_normal,
    "bernoulli": _make_bernoulli,
    "multinomial": _make_choices,
    "rand_like": _like("uniform_"),
    "randn_like": _like("normal_"),
    "randint_like": _like("random_"),
}
