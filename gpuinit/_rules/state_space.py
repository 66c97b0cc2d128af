"""Rules of Mamba, whose state space has parameters that no initializer fills: logarithms of counts and of random time steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any

import numpy as np

from gpuinit._backends.views import view_of
from gpuinit._contract.arguments import integer, not_negative, positive
from gpuinit._contract.dtypes import FLOATS
from gpuinit._contract.generator import Generator
from gpuinit._contract.shards import Shard, parts_of
from gpuinit._initializers.basic import uniform_
from gpuinit._rules.calls import ByParam, by_param
from gpuinit._rules.matching import Rule, ready_made
from gpuinit._rules.parameters import Param
from gpuinit._rules.published import named

_FLOAT64 = np.dtype(np.float64)
_DIGITS = Context(prec=40)


@ready_made
def mamba(
    *,
    initializer_range: float = 0.1,
    time_step_min: float = 0.001,
    time_step_max: float = 0.1,
    time_step_floor: float = 0.0001,
    rescaled_layers: int | None = None,
) -> list[Rule]:
    """Mamba and Mamba-2, by the names of Hugging Face's models.

    ==========================================  ==============================================================
    parameters                                  values
    ==========================================  ==============================================================
    embeddings, in_proj, x_proj, lm_head        N(0, initializer_range²)
    conv1d, out_proj                            uniform on ±1/√fan_in; out_proj's divided by √rescaled_layers
    dt_proj.weight                              uniform on ±1/√rank, the length of its last axis
    dt_proj.bias, dt_bias                       the inverse of softplus of a time step that is log-uniform on
                                                [time_step_min, time_step_max], but at least time_step_floor
    A_log                                       log(1 + i) at index i of the last axis
    D, normalizations                           1
    other biases                                0
    ==========================================  ==============================================================

    Parameters of other names match nothing. The authors' own code, state-spaces/mamba, has other distributions.

    Parameters
    ----------
    initializer_range, time_step_min, time_step_max, time_step_floor : float
        Those of Hugging Face's configuration; time steps are positive and at most 1.
    rescaled_layers : int, optional
        The number of blocks, if the configuration has ``rescale_prenorm_residual=True``.

    Returns
    -------
    list of (pattern, initializer)

    Raises
    ------
    TypeError, ValueError
        If a number does not fit.

    References
    ----------
    Gu and Dao (2023), "Mamba"; `_init_weights` of `MambaPreTrainedModel` and `Mamba2PreTrainedModel`, `init_mamba_weights` and
    `init_mamba2_weights` in transformers 5.24, models/mamba/modeling_mamba.py and models/mamba2/modeling_mamba2.py.

    Examples
    --------
    >>> import numpy as np, gpuinit as gi
    >>> model = {"layers.0.mixer.A_log": np.empty((2, 3)), "layers.0.mixer.dt_proj.weight": np.empty((16, 4))}
    >>> [row.initializer for row in gi.initialize(model, gi.rules.mamba(), seed=42).rows]
    ['log_of_counts', 'uniform_(a=-0.5, b=0.5)']
    >>> model["layers.0.mixer.A_log"].round(3)
    array([[0.   , 0.693, 1.099],
           [0.   , 0.693, 1.099]])
    """
    normal = f"normal_(std={not_negative('initializer_range', initializer_range, _FLOAT64)!r})"
    blocks = 1 if rescaled_layers is None else integer("rescaled_layers", rescaled_layers, least=1)
    steps = _time_steps(time_step_min, time_step_max, time_step_floor)
    mixer = r"layers\.\d+\.mixer\."
    return [
        (named(rf"embeddings\.weight|lm_head\.weight|{mixer}(?:in_proj|x_proj)\.weight"), normal),
        (named(rf"{mixer}conv1d\.weight"), "kaiming_uniform_(a=sqrt(5))"),
        (named(rf"{mixer}out_proj\.weight"), by_param(lambda param: _within(param, blocks))),
        (named(rf"{mixer}dt_proj\.weight"), by_param(lambda param: _within(param, 1))),
        (named(rf"{mixer}(?:dt_proj\.bias|dt_bias)"), _to_floats(steps)),
        (named(rf"{mixer}A_log"), _to_floats(log_of_counts)),
        (named(rf"{mixer}(?:D|norm\.weight)|layers\.\d+\.norm\.weight|norm_f\.weight"), "ones_"),
        (named(rf"{mixer}(?:conv1d|in_proj|out_proj)\.bias"), "zeros_"),
    ]


def _to_floats(fill: Callable[[Any, Generator, Param], None]) -> ByParam:
    """Return what fills in its own way, after a check that comes before anything is written."""

    def checked(param: Param) -> Any:
        if not param.shape or param.dtype not in FLOATS:
            raise TypeError(f"{param.name} must be of floats, with an axis, got {param.dtype} of shape {param.shape}")
        return fill

    return by_param(checked)


def _within(param: Param, blocks: int) -> str:
    bound = f"1/sqrt({param.shape[-1]})/sqrt({blocks})"
    return f"uniform_(a=-{bound}, b={bound})"


def _time_steps(least: Any, most: Any, floor: Any) -> _TimeSteps:
    given = {"time_step_min": least, "time_step_max": most, "time_step_floor": floor}
    low, high, lowest = (positive(name, value, _FLOAT64) for name, value in given.items())
    if not (low <= high <= 1 and lowest <= 1):
        raise ValueError(
            "time_step_min must not exceed time_step_max, and no time step may exceed 1, got "
            + ", ".join(f"{name}={value!r}" for name, value in zip(given, (low, high, lowest), strict=True))
        )
    return _TimeSteps(*map(_log, (low, high, lowest)))


def _log(number: float) -> float:
    """The logarithm, correctly rounded: that of C's library may differ from machine to machine."""
    return float(_DIGITS.ln(Decimal(number)))


def log_of_counts(x: Any, generator: Generator, param: Param) -> None:
    """Write log(1 + i) where i is the index along the last axis."""

    def values(shape: tuple[int, ...], shard: Shard | None) -> Any:
        start = shard.start[-1] if shard else 0
        return np.broadcast_to([_log(1 + start + i) for i in range(shape[-1])], shape)

    _write(x, values)


@dataclass(frozen=True)
class _TimeSteps:
    """Writes the inverse of softplus of log-uniform time steps; the members are logarithms."""

    low: float
    high: float
    floor: float

    def __call__(self, x: Any, generator: Generator, param: Param) -> None:
        def values(shape: tuple[int, ...], shard: Shard | None) -> Any:
            drawn = uniform_(np.empty(shape), generator=copy.copy(generator), shard=shard)
            return _inverse_softplus_of_exp(np.maximum(drawn * (self.high - self.low) + self.low, self.floor))

        _write(x, values)

    @property
    def __name__(self) -> str:  # in a report
        return f"time_steps(logs=({self.low:.6g}, {self.high:.6g}), floor={self.floor:.6g})"


# log((e^t - 1) / t) is t / 2 plus this series in t^2, of Bernoulli numbers: B_2k / (2k (2k)!), within 1e-10 for t up to 1.
_SERIES = (0.0, 1 / 24, -1 / 2880, 1 / 181440, -1 / 9676800, 1 / 479001600)
_SQUARINGS = 6
_TERMS = 14


def _inverse_softplus_of_exp(logs: np.ndarray) -> np.ndarray:
    """Return log(e^t - 1) for t = e^logs, by sums and products alone, which are the same on every machine."""
    t = _horner([1 / math.factorial(k) for k in range(_TERMS)], logs / 2**_SQUARINGS)
    for _ in range(_SQUARINGS):
        t = t * t
    values: np.ndarray = logs + (t / 2 + _horner(_SERIES, t * t))
    return values


def _horner(coefficients: Sequence[float], x: np.ndarray) -> np.ndarray:
    total: np.ndarray = np.zeros_like(x)
    for coefficient in reversed(coefficients):
        total = total * x + coefficient
    return total


def _on_device(values: np.ndarray) -> Any:
    import cupy

    return cupy.asarray(values)


def _write(x: Any, values_of: Callable[[tuple[int, ...], Shard | None], Any]) -> None:
    """Write what is computed for each part of a larger array that an array is."""
    view = view_of(x)
    for part, shard in parts_of(view.array, view.shard):
        if not part.size:
            continue
        values = np.asarray(values_of(part.shape, shard)).astype(part.dtype)
        with view.context():
            part[...] = _on_device(values) if view.backend == "cuda" else values
    view.notify_owner()
