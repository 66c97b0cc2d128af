"""Bad input is refused by an error that names the argument and its value, before anything is written or drawn.

The empty array, which is no bad input, closes the file.
"""

from __future__ import annotations

import re
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._contract.arguments import short_repr, unwrap
from tests.support import fills
from tests.support.arrays import to_host
from tests.support.fills import KINDS, NAMES, RANDOM
from tests.support.refusals import REQUIRED, refused, shape_for

NAN, INF = float("nan"), float("inf")
SHAPE = (4, 6)
FARTHEST = 11.242396325267045  # std from the mean: beyond lies a probability of 2**-96

# The real-valued parameters of random fills.
REALS = {
    "uniform_": ("a", "b"),
    "normal_": ("mean", "std"),
    "trunc_normal_": ("mean", "std", "a", "b"),
    "xavier_uniform_": ("gain",),
    "xavier_normal_": ("gain",),
    "kaiming_uniform_": ("a",),
    "kaiming_normal_": ("a",),
    "variance_scaling_": ("scale",),
    "orthogonal_": ("gain",),
    "sparse_": ("sparsity", "std"),
    "embedding_": ("std",),
}
NUMBERS = [(name, parameter) for name, parameters in REALS.items() for parameter in parameters]
SCALED = [name for name, (kind, *_) in KINDS.items() if kind == fills.SCALED]
KAIMING = ["kaiming_uniform_", "kaiming_normal_"]

pytestmark = pytest.mark.usefixtures("default_state")


def array(xp, shape=SHAPE, dtype=np.float32):
    """An array with bytes that no fill writes by chance."""
    return xp.full(shape, True if np.dtype(dtype) == bool else 77, dtype)


# Values of parameters.


@pytest.mark.parametrize("value", [NAN, INF, -INF], ids=str)
@pytest.mark.parametrize(("name", "parameter"), NUMBERS)
def test_not_finite(xp, name, parameter, value):
    if (name, parameter) in (("trunc_normal_", "a"), ("trunc_normal_", "b")) and abs(value) == INF:
        value = INF if parameter == "a" else -INF  # the other one is a cutoff that leaves the interval open on that side
    refused(name, array(xp), ValueError, rf"\b{parameter}\b.*{parameter}={value}", **{parameter: value})


@pytest.mark.parametrize("value", ["1", b"1", None, 1j, [0.5], (0.5,), Decimal("0.5"), np.zeros(1), np.array("1")], ids=repr)
@pytest.mark.parametrize(("name", "parameter"), NUMBERS)
def test_not_a_real_number(xp, name, parameter, value):
    refused(name, array(xp), TypeError, rf"^{parameter} must be a real number, got .* of type ", **{parameter: value})


OUT_OF_RANGE = [
    ("uniform_", {"a": 2, "b": 1}, "f4", r"a must not exceed b, got a=2\.0, b=1\.0"),
    ("uniform_", {"a": 1 + 1e-12, "b": 1}, "f4", r"a must not exceed b, got a=1\.000000000001, b=1\.0"),
    ("uniform_", {"a": -70000}, "f2", r"a must be finite in float16, got a=-70000\.0"),
    ("uniform_", {"b": 65520}, "f2", r"b must be finite in float16, got b=65520\.0"),
    ("uniform_", {"b": 1e39}, "f4", r"b must be finite in float32, got b=1e\+39"),
    ("uniform_", {"a": 10**400}, "f8", r"a must lie in the range of float64, got a=10{59}\.\.\.0{30}"),
    ("uniform_", {"a": -3e38, "b": 3e38}, "f4", r"b - a must be finite in float32, got a=-3e\+38, b=3e\+38"),
    ("uniform_", {"a": -1.7e308, "b": 1.7e308}, "f8", r"b - a must be finite in float64, got a=-1\.7e\+308, b=1\.7e\+308"),
    ("uniform_", {"a": 1.0001, "b": 1.0002}, "f2", r"\[a, b\) holds no value of float16, got a=1\.0001, b=1\.0002"),
    ("normal_", {"std": -0.5}, "f4", r"std must not be negative, got std=-0\.5"),
    ("normal_", {"std": 1e39}, "f4", r"std must be finite in float32, got std=1e\+39"),
    ("normal_", {"mean": -1e39}, "f2", r"mean must be finite in float32, got mean=-1e\+39"),
    ("trunc_normal_", {"std": 0}, "f4", r"std must be positive, got std=0\.0"),
    ("trunc_normal_", {"std": -1}, "f4", r"std must be positive, got std=-1\.0"),
    ("trunc_normal_", {"std": 1e39}, "f4", r"std must be finite in float32, got std=1e\+39"),
    ("trunc_normal_", {"mean": 1e39}, "f4", r"mean must be finite in float32, got mean=1e\+39"),
    ("trunc_normal_", {"a": 3}, "f4", r"a must not exceed b.* got a=3\.0, b=2\.0"),
    ("trunc_normal_", {"a": INF, "b": INF}, "f4", r"a must not exceed b.* got a=inf, b=inf"),
    ("trunc_normal_", {"a": 1.0001, "b": 1.0002}, "f2", r"\[a, b\] holds no value of float16, got a=1\.0001, b=1\.0002"),
    (
        "trunc_normal_",
        {"mean": 1e6, "a": 999999, "b": 1000001},
        "f2",
        r"holds no value of float16, got a=999999\.0, b=1000001\.0",
    ),
    ("trunc_normal_", {"a": 11.3, "b": INF}, "f4", r"a=11\.3, b=inf: from 11\.3 to inf std"),
    ("trunc_normal_", {"a": -INF, "b": -11.3}, "f4", r"a=-inf, b=-11\.3: from -inf to -11\.3 std"),
    ("trunc_normal_", {"a": 100, "b": 101}, "f8", r"a=100\.0, b=101\.0: from 100 to 101 std"),
    ("trunc_normal_", {"a": 12, "b": 12.1}, "f4", r"reach to 11 std from the mean, or be narrow, got a=12\.0, b=12\.1"),
    # One step beyond the farthest interval: see test_the_farthest_interval.
    ("trunc_normal_", {"a": np.nextafter(FARTHEST, 12), "b": INF}, "f8", r"reach to 11 std .* got a=11\.242396325267046"),
    ("trunc_normal_", {"std": 1e-3, "a": 1, "b": 2}, "f4", r"a=1\.0, b=2\.0: from 1000 to 2000 std .* std=0\.001"),
    ("xavier_uniform_", {"gain": -1}, "f4", r"gain must not be negative, got gain=-1\.0"),
    ("xavier_normal_", {"gain": -1e-9}, "f4", r"gain must not be negative, got gain=-1e-09"),
    ("xavier_normal_", {"gain": 1e39}, "f4", r"gain must be finite in float32, got gain=1e\+39"),
    ("variance_scaling_", {"scale": 0}, "f4", r"scale must be positive, got scale=0\.0"),
    ("variance_scaling_", {"scale": -2}, "f4", r"scale must be positive, got scale=-2\.0"),
    ("variance_scaling_", {"scale": 1e39}, "f4", r"scale must be finite in float32, got scale=1e\+39"),
    ("orthogonal_", {"gain": 1e39}, "f4", r"gain must be finite in float32, got gain=1e\+39"),
    ("sparse_", {"sparsity": -0.1}, "f4", r"sparsity must lie in \[0, 1\], got sparsity=-0\.1"),
    ("sparse_", {"sparsity": 1.1}, "f4", r"sparsity must lie in \[0, 1\], got sparsity=1\.1"),
    ("embedding_", {"std": -1}, "f4", r"std must not be negative, got std=-1\.0"),
    ("sparse_", {"std": -1}, "f4", r"std must not be negative, got std=-1\.0"),
]


@pytest.mark.parametrize("shape", [SHAPE, (3, 0)], ids=["full", "empty"])
@pytest.mark.parametrize(("name", "arguments", "dtype", "match"), OUT_OF_RANGE)
def test_out_of_range(xp, name, arguments, dtype, match, shape):
    refused(name, array(xp, shape, dtype), ValueError, match, **arguments)


def test_the_farthest_interval(xp):
    filled = to_host(gi.trunc_normal_(xp.empty(100), 0, 1, FARTHEST, INF, generator=1))
    assert ((filled >= FARTHEST) & (filled < 12)).all()


UNKNOWN = [
    *((name, "mode", "fan_avg", "fan_in, fan_out") for name in KAIMING),
    *((name, "mode", gi.Mode.FAN_AVG, "fan_in, fan_out") for name in KAIMING),
    *((name, "mode", "fan", "fan_in, fan_out") for name in KAIMING),
    *((name, "nonlinearity", "gelu", "linear, .*, selu") for name in KAIMING),
    *((name, "nonlinearity", "", "linear, .*, selu") for name in KAIMING),
    ("variance_scaling_", "mode", "fan_max", "fan_in, fan_out, fan_avg, fan_geo_avg"),
    ("variance_scaling_", "distribution", "cauchy", "truncated_normal, normal, untruncated_normal, uniform"),
]


@pytest.mark.parametrize(("name", "parameter", "value", "accepted"), UNKNOWN)
def test_unknown_names(xp, name, parameter, value, accepted):
    text = re.escape(repr(str(getattr(value, "value", value))))
    refused(name, array(xp), ValueError, rf"^{parameter} must be one of {accepted}, got {parameter}={text}", **{parameter: value})


@pytest.mark.parametrize("value", [1, None, True, b"fan_in", ["fan_in"], np.array("fan_in"), gi.Mode])
@pytest.mark.parametrize(
    ("name", "parameter"),
    [(name, parameter) for name in KAIMING for parameter in ("mode", "nonlinearity")]
    + [("variance_scaling_", "mode"), ("variance_scaling_", "distribution")],
)
def test_names_that_are_no_strings(xp, name, parameter, value):
    match = rf"^{parameter} must be a string, got {re.escape(repr(value))} of type "
    refused(name, array(xp), TypeError, match, **{parameter: value})


@pytest.mark.parametrize(
    ("nonlinearity", "param", "error", "match"),
    [
        ("gelu", None, ValueError, "nonlinearity must be one of .*, got nonlinearity='gelu'"),
        (None, None, TypeError, "nonlinearity must be a string, got None"),
        (0, None, TypeError, "nonlinearity must be a string, got 0"),
        *(
            ("leaky_relu", value, ValueError, f"param.* got param={value!r}".replace("[", r"\["))
            for value in (True, "x", [1], NAN, INF)
        ),
    ],
)
def test_calculate_gain(nonlinearity, param, error, match):
    with pytest.raises(error, match=match):
        gi.calculate_gain(nonlinearity, param)


@pytest.mark.parametrize(
    ("groups", "error", "match"),
    [
        (0, ValueError, "groups must be at least 1, got groups=0"),
        (-1, ValueError, "groups must be at least 1, got groups=-1"),
        (3, ValueError, r"groups must divide x.shape\[0\], got groups=3 and shape \(4, 6, 1\)"),
        (8, ValueError, r"groups must divide x.shape\[0\], got groups=8 and shape \(4, 6, 1\)"),
        (1.5, TypeError, r"groups must be an int, got 1\.5 of type float"),
        (2.0, TypeError, r"groups must be an int, got 2\.0 of type float"),
        (True, TypeError, "groups must be an int, got True of type bool"),
        ("2", TypeError, "groups must be an int, got '2' of type str"),
        (None, TypeError, "groups must be an int, got None"),
    ],
)
def test_groups(xp, groups, error, match):
    refused("dirac_", array(xp, (4, 6, 1)), error, match, groups=groups)


# Arrays.


class Wrapped:
    def __array__(self, dtype=None, copy=None):
        raise AssertionError("a copy would be filled")


NO_ARRAYS = [
    ([1.0, 2.0], "list"),
    ((1.0, 2.0), "tuple"),
    (1.0, "float"),
    (None, "NoneType"),
    ("text", "str"),
    (np.float32(1), "numpy.float32"),
    (memoryview(bytearray(4)), "memoryview"),
    (Wrapped(), "tests.initializers.test_errors.Wrapped"),
    (np.ndarray, "type"),
]


@pytest.mark.parametrize(("value", "kind"), NO_ARRAYS, ids=[kind for _, kind in NO_ARRAYS])
@pytest.mark.parametrize("name", NAMES)
def test_no_array(name, value, kind):
    refused(name, value, TypeError, rf"^x must be an array that can be filled in place: .* got {kind}(;|$)", memory=np.zeros(1))


@pytest.mark.parametrize("dtype", ["i1", "i8", "u2", "?"])
@pytest.mark.parametrize("name", RANDOM)
def test_dtypes_of_random_fills(xp, name, dtype):
    accepted = "bfloat16, complex128, complex64, float16, float32, float64, float8_e4m3fn, float8_e5m2"
    match = f"^x must be an array of one of the dtypes {accepted}; got {np.dtype(dtype)}; fill an array of a floating dtype, and"
    refused(name, array(xp, dtype=dtype), TypeError, match)


@pytest.mark.parametrize("dtype", ["?", "c8", "c16"])
def test_dtypes_of_trunc(xp, dtype):
    refused("trunc_", array(xp, dtype=dtype), TypeError, rf"^x must be an array .* float64.*; got {np.dtype(dtype)}\b")


# NumPy alone has these.
@pytest.mark.parametrize("dtype", ["g", "G", "O", "M8[s]", "m8[s]", "U3", "S3", "V4", [("a", "f4"), ("b", "f4")]], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_dtypes_of_no_fill(name, dtype):
    x = np.zeros(shape_for(name), dtype)
    refused(name, x, TypeError, rf"^x must be an array of one of the dtypes .*float64.*; got {re.escape(str(x.dtype))}$")


def read_only(shape):
    x = array(np, shape)
    x.flags.writeable = False
    return x


def matrix(shape):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.matrix(array(np, shape[:2]))


KINDS = [
    (read_only, "read-only"),
    (lambda shape: np.broadcast_to(np.float32(1), shape), "read-only"),
    (matrix, "plain array, got numpy.matrix"),
    (lambda shape: np.ma.masked_array(array(np, shape), mask=np.ones(shape, bool)), "plain array, got numpy.ma.*MaskedArray"),
]


@pytest.mark.parametrize(("make", "match"), KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_kinds_of_numpy_arrays(name, make, match):
    refused(name, make(shape_for(name)), TypeError, match)


# Shapes and strides, in elements, in a memory of 64.
OVERLAPPING = {
    "broadcast rows": ((4, 6), (0, 1)),
    "broadcast columns": ((4, 6), (1, 0)),
    "broadcast all": ((4, 6), (0, 0)),
    "windows": ((4, 6), (1, 1)),
    "rows that share an element": ((4, 6), (5, 1)),
}
SEPARATE = {
    "columns first": ((4, 6), (1, 4)),
    "gaps": ((4, 6), (14, 2)),
    "a zero stride on an axis of length 1": ((1, 6), (0, 1)),
    "no element": ((0, 6), (0, 0)),
}


def strided(xp, memory, shape, strides):
    return xp.lib.stride_tricks.as_strided(memory, shape, [stride * memory.itemsize for stride in strides])


@pytest.mark.parametrize("layout", OVERLAPPING)
@pytest.mark.parametrize("name", NAMES)
def test_overlap(xp, name, layout):
    shape, strides = OVERLAPPING[layout]
    if name == "dirac_":
        shape, strides = (*shape, 1), (*strides, 64)
    memory = array(xp, 64)
    match = r"^x must not overlap itself, got shape \(4, 6.* with strides "
    refused(name, strided(xp, memory, shape, strides), ValueError, match, memory=memory)


@pytest.mark.parametrize("layout", SEPARATE)
def test_no_overlap(xp, layout):
    x = strided(xp, array(xp, 64), *SEPARATE[layout])
    assert (to_host(gi.uniform_(x, generator=1)) == gi.uniform_(np.empty(x.shape, np.float32), generator=1)).all()


@pytest.mark.parametrize(
    ("name", "shape", "match"),
    [
        *(("eye_", shape, rf"x must have 2 axes, got {len(shape)}: shape ") for shape in ((), (3,), (2, 2, 2), (0,))),
        *(("embedding_", shape, rf"x must have 2 axes, got {len(shape)}: shape ") for shape in ((), (3,), (2, 2, 2), (0,))),
        *(("sparse_", shape, rf"x must have 2 axes, got {len(shape)}: shape ") for shape in ((), (3,), (2, 2, 2), (0,))),
        *(("dirac_", shape, rf"x must have 3 to 5 axes, got {len(shape)}: shape ") for shape in ((), (4,), (4, 6), (2,) * 6)),
        *(("orthogonal_", shape, rf"x must have at least 2 axes, got {len(shape)}: shape ") for shape in ((), (3,), (0,))),
        *((name, shape, "need at least 2 axes .* got shape ") for name in SCALED for shape in ((), (3,), (0,))),
    ],
)
def test_axes(xp, name, shape, match):
    refused(name, array(xp, shape), ValueError, match + re.escape(str(shape)))


@pytest.mark.parametrize(
    ("row", "error", "match"),
    [
        (4, ValueError, r"padding_idx must be a row of x, x.shape\[0\] being 4, got padding_idx=4"),
        (-5, ValueError, r"padding_idx must be a row of x, x.shape\[0\] being 4, got padding_idx=-5"),
        (0.0, TypeError, "padding_idx must be an int, got 0.0 of type float"),
    ],
)
def test_rows_of_padding(xp, row, error, match):
    refused("embedding_", array(xp), error, match, padding_idx=row)


# Constants.

REFUSED_CONSTANTS = [
    ("i1", 300, ValueError),
    ("u1", 256, ValueError),
    ("u1", -1, ValueError),
    ("i4", 2.7, ValueError),
    ("?", 0.3, ValueError),
    ("?", 2, ValueError),
    ("i4", NAN, ValueError),
    ("i4", INF, ValueError),
    ("i4", 1j, ValueError),
    ("i8", 2**63, ValueError),
    ("i8", 2.0**63, ValueError),
    ("i8", -(2**63) - 1, ValueError),
    ("u8", 2**64, ValueError),
    ("f2", 70000, ValueError),
    ("f2", 65520.0, ValueError),
    ("f4", 1e39, ValueError),
    ("f4", -1e39, ValueError),
    ("f4", 2**128, ValueError),
    ("f8", 10**400, ValueError),
    ("f8", Fraction(10**400), ValueError),
    ("f4", 1j, ValueError),
    ("f8", 1 + 1j, ValueError),
    ("c8", 1e39, ValueError),
    ("c8", 1e39j, ValueError),
    ("c16", 10**400, ValueError),
    *(("f4", value, TypeError) for value in ("1", b"1", None, [1], (1,), {}, Decimal(1), np.ones(1), np.array("1"))),
    ("i4", "1", TypeError),
    ("?", None, TypeError),
    ("c8", "1j", TypeError),
]


@pytest.mark.parametrize(("dtype", "value", "error"), REFUSED_CONSTANTS)
def test_refused_constants(xp, dtype, value, error):
    text = re.escape(short_repr(unwrap(value)))
    match = (
        rf"^val must .*\b{np.dtype(dtype)}\b.* got val={text}$"
        if error is ValueError
        else f"^val must be a number, got {text} of type "
    )
    refused("constant_", array(xp, dtype=dtype), error, match, val=value)


ACCEPTED_CONSTANTS = [
    ("?", True),
    ("?", 1.0),
    ("?", np.False_),
    ("i1", -128),
    ("i4", 2.0),
    ("i4", True),
    ("i8", 2**53 + 1),
    ("i8", -(2**63)),
    ("u8", 2**64 - 1),
    ("i2", np.int64(5)),
    ("f2", 65519.0),
    ("f2", NAN),
    ("f4", INF),
    ("f4", -0.0),
    ("f4", 1e-45),
    ("f4", 2**24 + 1),
    ("f4", np.float32(0.1)),
    ("f4", Fraction(1, 3)),
    ("f4", 1 + 0j),
    ("f8", -INF),
    ("f8", np.array(0.1)),
    ("c8", 0.1),
    ("c8", 1 - 2j),
    ("c16", complex(NAN, INF)),
]


@pytest.mark.parametrize(("dtype", "value"), ACCEPTED_CONSTANTS)
def test_accepted_constants(xp, dtype, value):
    x = array(xp, dtype=dtype)
    assert gi.constant_(x, value) is x
    plain = value.real if isinstance(value, complex) and np.dtype(dtype).kind == "f" else value
    expected = np.full(SHAPE, np.dtype(dtype).type(float(plain) if isinstance(plain, Fraction) else plain))
    assert to_host(x).tobytes() == expected.tobytes()


def test_a_zero_dimensional_array_is_a_number(xp):
    x = array(xp)
    assert (to_host(gi.constant_(x, xp.array(3))) == 3).all()
    assert (to_host(gi.normal_(x, mean=xp.array(2.0), std=xp.array(0))) == 2).all()


# Generators.


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        *(
            (
                value,
                TypeError,
                rf"^generator must be a gpuinit.Generator, an int seed or None, got .* of type \S*{type(value).__name__}$",
            )
            for value in (1.5, 1.0, "x", b"x", True, np.True_, [1], gi.Generator)
        ),
        (-1, ValueError, "^generator must not be negative, got generator=-1$"),
        (np.int64(-2), ValueError, "^generator must not be negative, got generator=-2$"),
    ],
)
@pytest.mark.parametrize("name", RANDOM)
def test_generator_argument(xp, name, value, error, match):
    for shape in ((4, 6), (0, 6)) if name != "delta_orthogonal_" else ((6, 4, 1), (6, 0, 1)):
        refused(name, array(xp, shape), error, match, generator=value)


@pytest.mark.parametrize("name", RANDOM)
def test_end_of_the_stream(xp, name):
    """The last block is number 2**64 - 2: a position is below 2**64."""
    g, x = gi.Generator(0), array(xp, (4, 1, 4) if name == "delta_orthogonal_" else (4, 4))  # four blocks
    g.state = g.state | {"position": 2**64 - 2}
    state, content = g.state, to_host(x).tobytes()
    with pytest.raises(OverflowError, match=rf"position {2**64 - 2} \+ 4 blocks"):
        getattr(gi, name)(x, **REQUIRED[name], generator=g)
    assert g.state == state
    assert to_host(x).tobytes() == content
    getattr(gi, name)(x[:1], **REQUIRED[name], generator=g)
    assert g.position == 2**64 - 1
    assert (to_host(x[:1]) != 77).all()


# Arrays without elements.


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)], ids=str)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in SCALED])
def test_empty_arrays_are_left_in_silence(xp, name, shape, default_state):
    given = gi.Generator(1)
    x = xp.empty((*shape, 2) if name == "dirac_" else (4, *shape) if name == "delta_orthogonal_" else shape, np.float32)
    for source in ({}, {"generator": given}) if name in RANDOM else ({},):
        assert getattr(gi, name)(x, **REQUIRED[name], **source) is x
    assert given.position == 0
    assert gi.default_generator.state == default_state


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (2, 3, 0)], ids=str)
@pytest.mark.parametrize("name", SCALED)
def test_empty_weights_give_a_warning(xp, name, shape, default_state):
    given, x = gi.Generator(1), xp.empty(shape, np.float32)
    for source in ({}, {"generator": given}):
        with pytest.warns(UserWarning, match="zero-element") as record:
            assert getattr(gi, name)(x, **source) is x
        assert [warning.filename for warning in record] == [__file__]  # of the caller's line
    assert given.position == 0
    assert gi.default_generator.state == default_state


@pytest.mark.parametrize(
    ("name", "arguments", "dtype", "match"),
    [
        ("trunc_normal_", {"mean": 1e6, "a": 1e6, "b": 1e6}, "f2", r"a must be finite in float16, got a=1000000\.0"),
        ("trunc_normal_", {"mean": 1e6, "a": 1e6, "b": INF}, "f2", r"holds no value of float16"),
        ("xavier_uniform_", {"gain": 1e6}, "f2", r"gain, scale or fans must suit float16"),
        ("xavier_uniform_", {"gain": 3e38}, "f4", r"gain, scale or fans must suit float32"),
        ("variance_scaling_", {"scale": 1e12}, "f2", r"gain, scale or fans must suit float16"),
        ("constant_", {"val": Fraction(2**64 + 1)}, "i8", "holds exactly"),
        ("constant_", {"val": np.longdouble("1e400")}, "f8", "range of float64"),
    ],
)
def test_what_the_dtype_cannot_hold(xp, name, arguments, dtype, match):
    refused(name, array(xp, dtype=dtype), ValueError, match, **arguments)


def test_large_fractions_are_held_exactly():
    assert gi.constant_(np.empty(1, np.int64), Fraction(2**53 + 1))[0] == 2**53 + 1


def test_slopes_beyond_float64():
    with pytest.raises(ValueError, match=r"param must lie in the range of float64, got param=10*\.\.\."):
        gi.calculate_gain("leaky_relu", 10**400)
