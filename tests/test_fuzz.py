"""Ten thousand generated calls, most of them wrong: each gives a right result, or an error that names the argument and leaves
the array's bytes and the generators' states alone.

An argument is either one that must be accepted, or a suspect. A call with no suspect must succeed; the error of any other must
name one of its suspects. Objects that misbehave on purpose are told apart by labels, as some cannot even be shown.
"""

from __future__ import annotations

import datetime
import math
import re
import warnings
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from numbers import Real
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

import gpuinit as gi
from tests.support.arrays import to_host

INF, NAN = math.inf, math.nan
CALLS = {"numpy": 10_000, "cupy": 2_000}
LEAST_ACCEPTED = 0.15  # of the calls of each function


class Given(NamedTuple):
    """An argument: the text that tells it, the object, whether it may be refused; of arrays, the memory to be watched."""

    label: str
    value: Any
    suspect: bool = True
    memory: Any = None


# Objects.


def raising(*_):
    raise RuntimeError("of the object's own")


class Unshowable:
    __repr__ = __str__ = __format__ = raising


class NoFloat:
    __float__ = __int__ = __index__ = __complex__ = raising


class RealWithoutFloat(NoFloat):
    """Says of itself that it is a real number."""


Real.register(RealWithoutFloat)


class FloatWithoutFloat(float):
    __float__ = __complex__ = raising


class IntWithoutIndex(int):
    __float__ = __int__ = __index__ = raising


class NoItem:
    ndim = 0
    item = raising


class ItsOwnItem:
    ndim = 0

    def item(self):
        return self


class ManyDimensions:
    ndim = np.array([0, 0])


class Text(str):
    lower = raising


def with_attributes(**attributes):
    return type("Thing", (), attributes)()


NOT_NUMBERS = {
    "None": None,
    "text": "1",
    "no text": "",
    "surrogate": "\udc80",
    "bytes": b"1",
    "list": [0.5],
    "tuple": (1, 2),
    "dict": {},
    "set": {1},
    "class": float,
    "function": len,
    "ellipsis": ...,
    "not implemented": NotImplemented,
    "generator": (i for i in ()),
    "date": datetime.date(2020, 1, 1),
    "datetime64": np.datetime64("2020-01-01"),
    "timedelta64": np.timedelta64(3, "s"),
    "Decimal": Decimal("0.5"),
    "Decimal NaN": Decimal("sNaN"),
    "array of 1": np.ones(1),
    "array of text": np.array("1"),
    "array of None": np.array(None),
    "empty array": np.empty(0),
    "dtype": np.dtype("f4"),
    "unshowable": Unshowable(),
    "array of unshowable": np.array(Unshowable()),
    "raises in __float__": NoFloat(),
    "real that raises in __float__": RealWithoutFloat(),
    "float that raises in __float__": FloatWithoutFloat(1),
    "int that raises in __int__": IntWithoutIndex(1),
    "raises in item()": NoItem(),
    "is its own item()": ItsOwnItem(),
    "array as ndim": ManyDimensions(),
}
NUMBERS = {
    "nan": NAN,
    "inf": INF,
    "-inf": -INF,
    "-0.0": -0.0,
    "5e-324": 5e-324,
    "-1e-310": -1e-310,
    "1e39": 1e39,
    "-7e4": -7e4,
    "1.7e308": 1.7e308,
    "-3": -3,
    "6.5": 6.5,
    "1 + 2**-50": 1 + 2**-50,
    "10**400": 10**400,
    "-10**400": -(10**400),
    "10**5000": 10**5000,
    "-10**5000": -(10**5000),
    "2**64": 2**64,
    "2**63": 2**63,
    "True": True,
    "1j": 1j,
    "1+0j": 1 + 0j,
    "nan j": complex(0, NAN),
    "1e39 - 2j": 1e39 - 2j,
    "Fraction": Fraction(1, 3),
    "large Fraction": Fraction(10**5000),
    "small Fraction": Fraction(1, 10**5000),
    "float16": np.float16(0.3),
    "float32 nan": np.float32(NAN),
    "bfloat16": ml_dtypes.bfloat16(0.5),
    "longdouble": np.longdouble("0.25"),
    "large longdouble": np.longdouble("1e4000"),
    "complex64": np.complex64(1j),
    "clongdouble": np.clongdouble(1),
    "int8": np.int8(-5),
    "uint64": np.uint64(2**64 - 1),
    "bool_": np.True_,
    "array of 0 axes": np.array(0.25),
    "array of a complex": np.array(1j),
    "array of nan": np.array(NAN),
}
WEIRD = [Given(label, value) for label, value in (NOT_NUMBERS | NUMBERS).items()]
GENERATORS = [
    *WEIRD,
    Given("numpy.random", np.random),
    Given("Philox", np.random.Philox(0)),
    Given("numpy Generator", np.random.default_rng(0)),
    Given("SeedSequence", np.random.SeedSequence(0)),
    Given("Generator class", gi.Generator),
    Given("state", gi.Generator(0).state),
]
NAMES = [
    *WEIRD,
    *(
        Given(repr(name), name)
        for name in ("fan", "FAN_IN", "fan_in ", "fan_avg", "gelu", "ReLU", "conv1d", "NORMAL", "cauchy", "uniform\0", "\u0130")
    ),
    Given("enum", gi.Mode.FAN_OUT),
    Given("other enum", gi.NonLinearity.TANH),
    Given("enum class", gi.Mode),
    Given("long text", "fan_in" * 10_000),
    Given("text that raises in lower()", Text("fan_in")),
]
NO_ARRAYS = [
    *(given for given in WEIRD if not isinstance(given.value, np.ndarray)),
    Given("memoryview", memoryview(bytearray(8))),
    Given("array class", np.ndarray),
    Given("range", range(6)),
    Given("buffer of DLPack's that raises", with_attributes(__dlpack__=raising, __dlpack_device__=raising)),
    Given("DLPack on no device", with_attributes(__dlpack__=raising, __dlpack_device__=lambda _: None)),
    Given("DLPack on a device of text", with_attributes(__dlpack__=raising, __dlpack_device__=lambda _: ("cpu", 0))),
    Given("DLPack on a strange device", with_attributes(__dlpack__=raising, __dlpack_device__=lambda _: (99, 0))),
    Given("DLPack that gives no capsule", with_attributes(__dlpack__=lambda *_, **__: 1, __dlpack_device__=lambda _: (1, 0))),
    Given("DLPack that raises", with_attributes(__dlpack__=raising, __dlpack_device__=lambda _: (1, 0))),
    Given("no CUDA array interface", with_attributes(__cuda_array_interface__=None)),
    Given("empty CUDA array interface", with_attributes(__cuda_array_interface__={})),
    Given("CUDA array interface without data", with_attributes(__cuda_array_interface__={"data": None})),
    Given("CUDA array interface of text", with_attributes(__cuda_array_interface__="data")),
    Given(
        "read-only CUDA array interface",
        with_attributes(__cuda_array_interface__={"data": (0, True), "shape": (0,), "typestr": "<f4", "version": 3}),
    ),
    Given("NumPy's array interface", with_attributes(__array_interface__=np.zeros(3).__array_interface__)),
    Given("__array__", with_attributes(__array__=lambda *_, **__: np.zeros(3))),
]

# Values of a kind that every call must accept, whatever the others of these are.
FINE = {
    "low": [-1, -0.5, 0, np.float32(-0.25)],
    "high": [1, 0.75, np.int16(2), Fraction(3, 2)],
    "mean": [0, 0.5, np.float64(-0.5)],
    "positive": [1, 0.5, 2.0, np.uint8(1)],
    "share": [0, 0.3, 1, np.float32(0.5), False],
    "val": [0, 1, True, np.float32(1), 1 + 0j],
    "groups": [1, 2, np.int64(4)],
    "row": [0, -1, np.int64(-2)],
    "mode": ["fan_in", "fan_out", gi.Mode.FAN_IN],
    "distribution": ["normal", "uniform", "truncated_normal", "untruncated_normal"],
    "nonlinearity": ["relu", "tanh", "leaky_relu", "linear", gi.NonLinearity.SELU],
    "slope": [0, 0.01, -2, np.float32(0.5)],
}
PARAMETERS = {
    "uniform_": {"a": "low", "b": "high"},
    "normal_": {"mean": "mean", "std": "positive"},
    "trunc_normal_": {"mean": "mean", "std": "positive", "a": "low", "b": "high"},
    "xavier_uniform_": {"gain": "positive"},
    "xavier_normal_": {"gain": "positive"},
    "kaiming_uniform_": {"a": "slope", "mode": "mode", "nonlinearity": "nonlinearity"},
    "kaiming_normal_": {"a": "slope", "mode": "mode", "nonlinearity": "nonlinearity"},
    "lecun_uniform_": {},
    "lecun_normal_": {},
    "variance_scaling_": {"scale": "positive", "mode": "mode", "distribution": "distribution"},
    "orthogonal_": {"gain": "positive"},
    "delta_orthogonal_": {"gain": "positive"},
    "sparse_": {"sparsity": "share", "std": "positive"},
    "embedding_": {"std": "positive", "padding_idx": "row"},
    "constant_": {"val": "val"},
    "ones_": {},
    "zeros_": {},
    "eye_": {},
    "dirac_": {"groups": "groups"},
    "trunc_": {},
    "calculate_gain": {"nonlinearity": "nonlinearity", "param": "slope"},
}
REQUIRED = {"sparse_": ("sparsity",), "constant_": ("val",), "calculate_gain": ("nonlinearity",)}
RANDOM = ("normal_", "uniform_", "sparse_", "embedding_", "orthogonal_", "variance_scaling_")
RANDOM_FILLS = [name for name in PARAMETERS if name.endswith(RANDOM)]
FLOATS = ["f2", ml_dtypes.bfloat16, "f4", "f8"]
DTYPES = [*FLOATS, "c8", "c16", "?", "i1", "u2", "i8", "u8"]
NUMPY_DTYPES = [
    "g",
    "G",
    "O",
    "M8[s]",
    "m8[ns]",
    "U3",
    "S0",
    "V4",
    ">f4",
    ">c16",
    "f4,i1",
    ml_dtypes.float8_e4m3fnuz,
    ml_dtypes.int4,
]


def pick(rng, values):
    return values[rng.integers(len(values))]


def array(xp, rng, name):
    """An array that the function must accept, in one of some layouts."""
    shape = (4, 3, 3) if name in ("dirac_", "delta_orthogonal_") else (4, 6)
    dtype = pick(rng, FLOATS if name in RANDOM_FILLS or name == "trunc_" else [*FLOATS, "c8", "i4", "?"])
    memory = xp.ones([2 * length for length in shape], dtype)
    slices = [[slice(n), slice(n, None), slice(None, None, 2), slice(n - 1, None, -1)] for n in shape]
    x = memory[(..., *(pick(rng, choices) for choices in slices))]
    return Given(f"{np.dtype(dtype)} array", x, False, memory)


def odd_array(xp, rng, name):
    """An array that is refused, or accepted for reasons of its own: of other dtypes and axes, overlapping, read-only."""
    kind = int(rng.integers(7))
    if kind == 0 or (xp is not np and kind > 3):
        x = xp.ones((4, 3, 3) if name in ("dirac_", "delta_orthogonal_") else (4, 6), pick(rng, DTYPES))
    elif kind == 1:
        shape = pick(rng, [(), (1,), (3,), (0,), (0, 3), (3, 0), (0, 2**40), (2, 0, 2), (1, 1), (2, 3, 1, 1), (1,) * 6, (1, 7)])
        x = xp.ones(shape, pick(rng, DTYPES))
    elif kind == 2:
        memory = xp.ones(64, "f4")
        shape, strides = pick(rng, [((4, 6), (0, 4)), ((4, 6), (4, 4)), ((2**40,), (0,)), ((4, 6), (20, 4)), ((1, 3), (0, 4))])
        return Given(f"strides {strides}", xp.lib.stride_tricks.as_strided(memory, shape, strides), memory=memory)
    elif kind == 3:
        x = xp.ones((4, 6), "f4").T
    elif kind == 4:
        x = np.zeros((4, 6), pick(rng, NUMPY_DTYPES))
    elif kind == 5:
        x = np.ones((4, 6))
        x.flags.writeable = False
    else:
        memory = np.ones((4, 6))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PendingDeprecationWarning)  # of numpy.matrix
            view = pick(rng, [np.matrix, np.ma.masked_array, lambda x: x.view(np.recarray), np.broadcast_to, lambda x: x[0, 0]])
            x = view(memory, (4, 6)) if view is np.broadcast_to else view(memory)
        return Given(f"{type(x).__name__} of an array", x, memory=memory)
    return Given(f"{x.dtype} array of shape {x.shape}", x, memory=x)


def generated(xp, rng):
    """A function's name, its array (or what stands in its place), its other arguments."""
    name = pick(rng, list(PARAMETERS))
    kind = rng.random()
    if name == "calculate_gain":
        x = None
    elif kind < 0.55:
        x = array(xp, rng, name)
    else:
        x = odd_array(xp, rng, name) if kind < 0.8 else pick(rng, NO_ARRAYS)
    weird = rng.choice([0.0, 0.4, 0.8])
    arguments = {}
    for parameter, kind in PARAMETERS[name].items():
        if parameter not in REQUIRED.get(name, ()) and rng.random() < 0.3:
            continue
        if rng.random() < weird:
            arguments[parameter] = pick(rng, NAMES if kind in ("mode", "distribution", "nonlinearity") else WEIRD)
        else:
            value = pick(rng, FINE[kind])
            arguments[parameter] = Given(str(value), value, suspect=False)
    if name in RANDOM_FILLS and rng.random() < 0.6:
        if rng.random() < weird:
            arguments["generator"] = pick(rng, GENERATORS)
        else:
            generator = gi.Generator(int(rng.integers(100)))
            generator.state = generator.state | {"position": int(pick(rng, [0, 5, 2**63, 2**64 - 2, 2**64 - 1]))}
            seed = int(rng.integers(100))
            late = generator.position > 2**63
            arguments["generator"] = pick(
                rng,
                [
                    Given(f"generator at {generator.position}", generator, late),
                    Given("seed", seed, False),
                    Given("None", None, False),
                ],
            )
    return name, x, arguments


def states(arguments):
    given = arguments["generator"].value if "generator" in arguments else None
    return [generator.state for generator in (gi.default_generator, given) if type(generator) is gi.Generator]


def bytes_of(given):
    if given is None or given.memory is None or given.memory.dtype.hasobject:
        return b""
    return to_host(given.memory).tobytes()


def names_a_suspect(text, suspects):
    """Whether a suspect's name stands in the text; "a", "b" and "x" as names and not as words or letters."""
    patterns = (rf"\b{name}\b" if len(name) > 1 else rf"(?<!\w){name}( must|\W.* must|=|\.shape)" for name in suspects)
    return any(re.search(pattern, text) for pattern in patterns) or ("x" in suspects and "got shape" in text)


def plain(value):
    """A number or name of whatever class as Python's own; None stands for itself."""
    if value is None:
        return None
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (complex, np.complexfloating)):
        return complex(value)
    if isinstance(value, (int, float)):
        return value.real  # of a subclass: without its methods
    return float(value)


def expected(name, before, arguments, generator):
    """What a call that succeeds must have written: the fill of a plain array from plain arguments; constants by hand."""
    dtype = before.dtype.newbyteorder("=")
    values = {key: plain(given.value) for key, given in arguments.items() if key != "generator"}
    if name == "constant_":
        val = values["val"] if dtype.kind == "c" else values["val"].real
        return np.full(before.shape, dtype.type(val if dtype.kind in "ciub" else float(val)))
    if name in ("ones_", "zeros_"):
        return np.full(before.shape, name == "ones_").astype(dtype)
    if name == "eye_":
        return np.eye(*before.shape).astype(dtype)
    if name == "dirac_":
        result = np.zeros(before.shape, dtype)
        per_group = before.shape[0] // values.get("groups", 1)
        for row in range(before.shape[0]):
            if row % per_group < before.shape[1] and before.size:
                result[(row, row % per_group, *(length // 2 for length in before.shape[2:]))] = 1
        return result
    if name == "trunc_":
        return before if dtype.kind in "iu" else np.trunc(before.astype("f8")).astype(dtype)
    return getattr(gi, name)(np.empty(before.shape, dtype), **values, generator=generator)


def in_bounds(name, x, arguments):
    """Whether bounds that were given hold, exactly."""
    if name not in ("uniform_", "trunc_normal_"):
        return True
    parts = np.concatenate([x.real.astype("f8").ravel(), x.imag.astype("f8").ravel() if x.dtype.kind == "c" else []])
    low, high = ((plain(arguments[key].value) if key in arguments else default) for key, default in (("a", None), ("b", None)))
    low = low if low is not None else {"uniform_": 0, "trunc_normal_": -2}[name]
    high = high if high is not None else {"uniform_": 1, "trunc_normal_": 2}[name]
    if low == high:
        return True
    return bool(((parts >= low) & ((parts < high) if name == "uniform_" else (parts <= high))).all())


def start_of(arguments, kept):
    """A new generator in the state in which the call found its own."""
    given = arguments.get("generator")
    if given is not None and given.value is not None and type(given.value) is not gi.Generator:
        return gi.Generator(int(given.value))
    generator = gi.Generator(0)
    generator.state = kept[-1]
    return generator


def outcome(name, x, arguments):
    """Make a call; returns whether it was accepted, and what is wrong about what it did, empty if nothing is."""
    given = {key: argument.value for key, argument in arguments.items()}
    suspects = [key for key, argument in arguments.items() if argument.suspect]
    suspects += ["x"] if x is not None and x.suspect else []
    kept, content = states(arguments), bytes_of(x)
    before = (
        to_host(x.value).copy()
        if x is not None and x.memory is not None and not x.value.dtype.hasobject and x.value.size < 99
        else None
    )
    try:
        result = getattr(gi, name)(*([] if x is None else [x.value]), **given)
    except (TypeError, ValueError, OverflowError) as error:
        text = str(error)
        if bytes_of(x) != content or states(arguments) != kept:
            return False, f"wrote or drew, then raised {error!r}"
        if isinstance(error, OverflowError):
            return False, ("" if re.match(r"position \d+ \+ \d+ blocks", text) else f"raised {error!r}")
        if not suspects:
            return False, f"raised {error!r} of nothing"
        return False, ("" if names_a_suspect(text, suspects) else f"names none of {suspects}: {error!r}")
    except BaseException as error:
        return False, f"raised {type(error).__name__}"
    if name == "calculate_gain":
        return True, ("" if type(result) is float and math.isfinite(result) else f"gave {result}")
    if result is not x.value:
        return True, "returned another object"
    if before is None:
        return True, "accepted that"
    after = to_host(x.value)
    if (after.dtype, after.shape) != (before.dtype, before.shape):
        return True, "changed the dtype or the shape"
    if x.value.size:
        right = expected(name, before, arguments, start_of(arguments, kept))
        if name.endswith("orthogonal_"):
            tolerance = 0.02 * abs(plain(given["gain"])) if "gain" in given else 0.02
            close = np.allclose(after.astype("c16"), right.astype("c16"), rtol=0, atol=tolerance)
        else:
            close = after.astype(right.dtype).tobytes() == right.tobytes()
        if not close or not in_bounds(name, after, arguments):
            return True, f"wrote {after.ravel()[:4]}, not {right.ravel()[:4]}"
    return True, ""


def test_generated_calls(xp):
    rng = np.random.default_rng(20)
    kept = gi.default_generator.state
    gi.manual_seed(3)
    complaints, calls, accepted = {}, Counter(), Counter()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Initializing zero-element tensors is a no-op", UserWarning)
            for _ in range(CALLS[xp.__name__]):
                name, x, arguments = generated(xp, rng)
                succeeded, wrong = outcome(name, x, arguments)
                calls[name] += 1
                accepted[name] += succeeded
                told = ", ".join(([x.label] if x else []) + [f"{key}={argument.label}" for key, argument in arguments.items()])
                if wrong:
                    # The shortest example of each kind.
                    text = f"{name}({told}) {wrong}"[:400]
                    kind = re.sub(r"\[.*?\]|\d+", "", wrong)[:80]
                    complaints[kind] = min(complaints.get(kind, text), text, key=len)
    finally:
        gi.default_generator.state = kept
    assert not complaints, "\n".join(sorted(complaints.values()))
    assert set(calls) == set(PARAMETERS)
    assert not {name: (accepted[name], calls[name]) for name in calls if accepted[name] < LEAST_ACCEPTED * calls[name]}
