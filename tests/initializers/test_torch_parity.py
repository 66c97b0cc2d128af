"""What torch.nn.init does, gpuinit does: names, defaults, gains, fans, bounds, exact fills, and errors of the same kind.

Where gpuinit differs on purpose (other random bits, a ValueError for torch's RuntimeError) that is tested too, where it is cheap.
"""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._initializers.fans import fan_in_and_fan_out
from tests.support.arrays import to_host

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch

NAN, INF = float("nan"), float("inf")
GAINS = [member.value for member in gi.NonLinearity]
FUNCTIONS = sorted(
    name for name in dir(torch.nn.init) if (name.endswith("_") and not name.startswith("_")) or name == "calculate_gain"
)
WEIGHTS = [(30, 50), (50, 30), (1, 7), (7, 1), (16, 8, 3), (16, 8, 5, 3), (4, 6, 2, 3, 5), (2, 3, 1, 1, 1, 2), (256, 256)]


def theirs(name, shape, dtype=np.float32, *arguments, seed=1, **options):
    """What torch writes into a NumPy array."""
    x = np.full(shape, 1, dtype)
    if "generator" in inspect.signature(getattr(torch.nn.init, name)).parameters:
        options["generator"] = torch.Generator().manual_seed(seed)
    getattr(torch.nn.init, name)(torch.from_numpy(x), *arguments, **options)
    return x


def ours(xp, name, shape, dtype=np.float32, *arguments, **options):
    """What gpuinit writes, on the host."""
    x = xp.full(shape, 1, dtype)
    if "generator" in inspect.signature(getattr(gi, name)).parameters:
        options["generator"] = 1
    assert getattr(gi, name)(x, *arguments, **options) is x
    return to_host(x)


# Names, defaults, pure functions.


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signatures(name):
    """All but the array's name, and what comes by keyword alone: torch's generator, and here the shard and the axes."""

    def parameters(function):
        found = list(inspect.signature(function).parameters.values())
        named = found if name == "calculate_gain" else found[1:]
        in_order = [(p.name, p.default) for p in named if p.kind is not p.KEYWORD_ONLY and p.name != "generator"]
        return in_order, any(p.name == "generator" for p in named)

    assert parameters(getattr(gi, name)) == parameters(getattr(torch.nn.init, name))


@pytest.mark.parametrize("param", [None, 0, 0.0, 0.01, 0.2, 1, -0.5, 5.0, 1e-3, 1e-9, 100, 1e10, math.pi])
@pytest.mark.parametrize("name", GAINS)
def test_calculate_gain(name, param):
    """Within a unit in the last place."""
    expected = torch.nn.init.calculate_gain(name, param)
    assert abs(gi.calculate_gain(name, param) - expected) <= math.ulp(expected)


@pytest.mark.parametrize("shape", WEIGHTS, ids=str)
def test_fans(shape):
    assert fan_in_and_fan_out(shape) == torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))


# Random fills: the bits differ, bounds and standard deviations do not.


SCALED = [
    *((f"xavier_{kind}_", {"gain": gain}) for kind in ("uniform", "normal") for gain in (1.0, 5 / 3)),
    *((f"kaiming_{kind}_", {}) for kind in ("uniform", "normal")),
    *(
        (f"kaiming_{kind}_", {"mode": mode, "nonlinearity": nonlinearity, "a": a})
        for kind in ("uniform", "normal")
        for mode in ("fan_in", "fan_out", "FAN_OUT")
        for nonlinearity, a in (("relu", 0), ("relu", 0.5), ("leaky_relu", 0.5), ("linear", 0), ("tanh", 0), ("selu", 0))
    ),
]


@pytest.mark.parametrize("shape", [(200, 500), (60, 20, 9, 9)], ids=str)
@pytest.mark.parametrize(("name", "options"), SCALED)
def test_scale(xp, name, options, shape):
    """Of 1e5 elements: equal standard deviations up to 5 sigma; of uniform values also the greatest, up to 1e-3 (p = 1e-43)."""
    expected, found = theirs(name, shape, **options), ours(xp, name, shape, **options)
    kurtosis = 9 / 5 if "uniform" in name else 3
    assert abs(math.log(found.std() / expected.std())) < 5 * math.sqrt((kurtosis - 1) / (2 * found.size))
    if "uniform" in name:
        for extreme in (np.max, np.min):
            assert extreme(found) == pytest.approx(extreme(expected), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("uniform_", {}, (300, 300)),
        ("uniform_", {"a": -3, "b": 5}, (300, 300)),
        ("normal_", {}, (300, 300)),
        ("normal_", {"mean": 7, "std": 0.1}, (300, 300)),
        ("trunc_normal_", {}, (300, 300)),
        ("trunc_normal_", {"std": 0.02}, (300, 300)),
        ("trunc_normal_", {"mean": 1, "std": 2, "a": 0, "b": 1.5}, (300, 300)),
        ("trunc_normal_", {"a": -INF, "b": 1}, (300, 300)),
        ("trunc_normal_", {"a": 0, "b": INF}, (300, 300)),
        ("sparse_", {"sparsity": 0.3}, (300, 300)),
        ("sparse_", {"sparsity": 0.9, "std": 2}, (300, 300)),
    ],
)
def test_mean_and_variance(xp, name, options, shape):
    expected, found = (x.astype(np.float64) for x in (theirs(name, shape, **options), ours(xp, name, shape, **options)))
    for power in (1, 2):
        one, other = expected**power, found**power
        assert abs(one.mean() - other.mean()) < 5 * math.sqrt((one.var() + other.var()) / one.size)


@pytest.mark.parametrize("rows", [*range(1, 21), 33, 50, 64, 99, 100, 1000])
def test_zeros_of_sparse(xp, rows):
    for sparsity in (0, 1, 1e-12, 1 / 3, 2 / 3, 0.999, *(i / 20 for i in range(1, 20)), *(i / 7 for i in range(1, 7))):
        expected, found = theirs("sparse_", (rows, 3), sparsity=sparsity), ours(xp, "sparse_", (rows, 3), sparsity=sparsity)
        assert ((found == 0).sum(axis=0) == (expected == 0).sum(axis=0)).all()


@pytest.mark.parametrize("gain", [1, 2.5])
@pytest.mark.parametrize("shape", [(5, 5), (8, 3), (3, 8), (1, 4), (4, 1), (4, 3, 2), (12, 2, 2), (3, 2, 2, 2)], ids=str)
def test_side_of_orthogonal(xp, shape, gain):
    """Q'Q or QQ' is gain**2 times the identity: whichever it is in torch, and both only of a square matrix."""

    def grams(x):
        q = x.reshape(shape[0], -1).astype(np.float64)
        return [np.allclose(gram, gain**2 * np.eye(len(gram)), atol=1e-5) for gram in (q.T @ q, q @ q.T)]

    expected = grams(theirs("orthogonal_", shape, np.float32, gain))
    assert any(expected)
    assert grams(ours(xp, "orthogonal_", shape, np.float32, gain)) == expected


# Exact fills: the same bytes.


DTYPES = ["float16", "float32", "float64", "complex64", "complex128", "int8", "uint8", "int16", "int32", "int64", "bool"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "shape", "arguments"),
    [
        *(("eye_", shape, ()) for shape in ((3, 3), (2, 5), (5, 2), (1, 1), (1, 4), (0, 3), (3, 0), (40, 70))),
        *((name, shape, ()) for name in ("ones_", "zeros_") for shape in ((), (1,), (3, 4), (0,), (2, 3, 4, 5, 6))),
        *(
            ("dirac_", shape, (groups,))
            for shape in (
                (4, 4, 3),
                (4, 2, 4),
                (2, 4, 1),
                (6, 3, 3, 3),
                (6, 3, 2, 5),
                (6, 6, 3, 3, 3),
                (12, 2, 4, 1, 2),
                (6, 0, 3),
            )
            for groups in (1, 2)
        ),
        *(("dirac_", (12, inputs, 5), (groups,)) for inputs in (1, 3, 20) for groups in (3, 4, 6, 12)),
        ("dirac_", (0, 3, 3), (2,)),
    ],
)
def test_structured_constants(xp, name, shape, arguments, dtype):
    assert ours(xp, name, shape, dtype, *arguments).tobytes() == theirs(name, shape, dtype, *arguments).tobytes()


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        *(("float16", value) for value in (0.1, -0.0, 1e-7, 1e-9, 65504, -65504.0, NAN, INF, -INF, 3, True)),
        *(("float32", value) for value in (0.1, -0.0, 1e-40, 1e-46, 3.4e38, NAN, INF, -INF, 2**24 + 1, True)),
        *(("float64", value) for value in (0.1, -0.0, 5e-324, 1e308, NAN, INF, -INF, 2**53 + 1)),
        *(("complex64", value) for value in (0.1, 1 - 2j, complex(0, INF), -3)),
        *(("complex128", value) for value in (0.1, 1 - 2j, 1j)),
        *((dtype, value) for dtype in ("int8", "int16", "int32", "int64") for value in (0, 1, -128, 127, 2.0, -3.0, True)),
        *(("int64", value) for value in (2**63 - 1, -(2**63), 2**53 + 1)),
        *(("uint8", value) for value in (0, 255, 7.0)),
        *(("bool", value) for value in (True, False, 1, 0, 1.0)),
    ],
)
def test_constants(xp, dtype, value):
    assert ours(xp, "constant_", (3, 4), dtype, value).tobytes() == theirs("constant_", (3, 4), dtype, value).tobytes()


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("uniform_", {"a": 2.5, "b": 2.5}, (3, 4)),
        ("normal_", {"mean": 2.5, "std": 0}, (3, 4)),
        ("trunc_normal_", {"a": 1.5, "b": 1.5}, (3, 4)),
        ("sparse_", {"sparsity": 1}, (3, 4)),
        ("xavier_uniform_", {"gain": 0}, (3, 4)),
        ("xavier_normal_", {"gain": 0}, (3, 4)),
        *((name, {}, shape) for name in ("uniform_", "normal_", "trunc_normal_") for shape in ((0,), (2, 0))),
        *(("orthogonal_", {}, shape) for shape in ((0, 3), (3, 0), (2, 0, 4))),
    ],
)
def test_nothing_left_to_chance(xp, name, options, shape):
    assert (ours(xp, name, shape, **options) == theirs(name, shape, **options)).all()


# Errors and warnings.


# Calls, and what the messages of torch and of gpuinit say.
TWO_AXES = ("Only tensors with 2 dimensions are supported", r"^x must have 2 axes, got \d: shape ")
KERNELS = ("Only tensors with 3, 4, or 5 dimensions are supported", r"^x must have 3 to 5 axes, got \d: shape ")
GROUPS = ("dim 0 must be divisible by groups", r"^groups must divide x\.shape\[0\], got groups=")
FANS = ("Fan in and fan out can not be computed", r"^fan_in and fan_out need at least 2 axes .* got shape ")
MATRICES = ("Only tensors with 2 or more dimensions are supported", r"^x must have at least 2 axes, got \d: shape ")
MODE = (r"Mode \w* not supported", r"^mode must be one of fan_in, fan_out, got mode='")
NONLINEARITY = (r"Unsupported nonlinearity \w*$", r"^nonlinearity must be one of .*, got nonlinearity='")
REFUSED = [
    *(("eye_", {}, shape, *TWO_AXES) for shape in ((), (3,), (2, 2, 2))),
    *(("dirac_", {}, shape, *KERNELS) for shape in ((), (3,), (4, 4), (2,) * 6)),
    *(("dirac_", {"groups": groups}, (6, 2, 3), *GROUPS) for groups in (4, 5, 7)),
    *((name, {}, shape, *FANS) for name in ("xavier_uniform_", "xavier_normal_") for shape in ((), (3,))),
    *(("orthogonal_", {}, shape, *MATRICES) for shape in ((), (3,))),
    *((name, {}, shape, *FANS) for name in ("kaiming_uniform_", "kaiming_normal_") for shape in ((), (3,))),
    *(
        (name, options, (3, 4), *(MODE if "mode" in options else NONLINEARITY))
        for name in ("kaiming_uniform_", "kaiming_normal_")
        for options in ({"mode": "fan_avg"}, {"mode": "fan"}, {"mode": ""}, {"nonlinearity": "gelu"}, {"nonlinearity": ""})
    ),
    *(("sparse_", {"sparsity": 0.1}, shape, *TWO_AXES) for shape in ((), (3,), (2, 2, 2))),
    (
        "sparse_",
        {"sparsity": NAN},
        (3, 4),
        "cannot convert float NaN to integer",
        r"^sparsity must lie in \[0, 1\], got sparsity=nan",
    ),
]


@pytest.mark.parametrize(("name", "options", "shape", "of_torch", "of_gpuinit"), REFUSED)
def test_value_error_in_both(xp, name, options, shape, of_torch, of_gpuinit):
    with pytest.raises(ValueError, match=of_torch):
        theirs(name, shape, **options)
    with pytest.raises(ValueError, match=of_gpuinit):
        ours(xp, name, shape, **options)


SLOPE = (r"negative_slope .* not a valid number", r"^param, the slope of leaky_relu, must be a finite number, got param=")


@pytest.mark.parametrize(
    ("arguments", "of_torch", "of_gpuinit"),
    [
        *((arguments, *NONLINEARITY) for arguments in (("gelu",), ("",))),
        *((("leaky_relu", param), *SLOPE) for param in (True, False, "x", [1.0])),
    ],
    ids=repr,
)
def test_calculate_gain_refuses(arguments, of_torch, of_gpuinit):
    with pytest.raises(ValueError, match=of_torch):
        torch.nn.init.calculate_gain(*arguments)
    with pytest.raises(ValueError, match=of_gpuinit):
        gi.calculate_gain(*arguments)


@pytest.mark.parametrize(
    ("name", "dtype", "options"),
    [
        *(
            ("uniform_", "float32", options)
            for options in ({"a": 2}, {"a": NAN}, {"b": NAN}, {"b": INF}, {"a": -INF}, {"b": 1e39})
        ),
        ("uniform_", "float16", {"b": 70000}),
        *(("normal_", "float32", {"std": value}) for value in (-1, NAN)),
        ("constant_", "int8", {"val": 300}),
        ("constant_", "int32", {"val": NAN}),
        ("constant_", "float16", {"val": 70000.0}),
        ("constant_", "float32", {"val": 1e39}),
        ("constant_", "float32", {"val": 1j}),
    ],
)
def test_runtime_error_in_torch_is_a_value_error(xp, name, dtype, options):
    (name_of_argument,) = options
    with pytest.raises(RuntimeError, match=r"expects|out of bounds|cannot be converted"):
        theirs(name, (3, 4), dtype, **options)
    with pytest.raises(ValueError, match=rf"^(b - )?{name_of_argument} must .* got .*\b{name_of_argument}="):
        ours(xp, name, (3, 4), dtype, **options)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (2, 3, 0)], ids=str)
@pytest.mark.parametrize("name", ["kaiming_uniform_", "kaiming_normal_"])
def test_warning_on_no_elements(xp, name, shape):
    for fill in (theirs, lambda *arguments: ours(xp, *arguments)):
        with pytest.warns(UserWarning, match="^Initializing zero-element tensors is a no-op$"):
            fill(name, shape)
