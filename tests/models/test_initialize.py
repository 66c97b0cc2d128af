"""`gpuinit.initialize`: what each parameter gets, that nothing else has an influence on it, and errors before any write."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest

import gpuinit as gi
from gpuinit import rules
from gpuinit._backends import targets
from gpuinit._contract.dtypes import as_dtype
from tests.support.arrays import to_host

SHAPES = {
    "embedding.weight": (60, 8),
    "layers.0.weight": (16, 8),
    "layers.0.bias": (16,),
    "layers.1.weight": (4, 16, 3),
    "layers.1.bias": (4,),
    "scale": (),
}
RULES = [
    ("*.bias", "zeros_"),
    ("embedding.*", "trunc_normal_(std=0.02, a=-0.04, b=0.04)"),
    ("layers.*", functools.partial(gi.kaiming_uniform_, nonlinearity="relu")),
    ("scale", gi.normal_),
]


def model(xp=np, shapes=SHAPES, dtype=np.float32):
    return {name: xp.full(shape, 7, dtype) for name, shape in shapes.items()}


def bytes_of(arrays):
    return {name: to_host(array).tobytes() for name, array in arrays.items()}


def test_each_parameter_is_filled_from_the_stream_of_its_name(xp):
    arrays = model(xp)
    report = gi.initialize(arrays, RULES, seed=42)
    root = gi.Generator(42)
    expected = {
        "embedding.weight": functools.partial(gi.trunc_normal_, std=0.02, a=-0.04, b=0.04),
        "layers.0.weight": functools.partial(gi.kaiming_uniform_, nonlinearity="relu"),
        "layers.1.weight": functools.partial(gi.kaiming_uniform_, nonlinearity="relu"),
        "scale": gi.normal_,
    }
    for name, array in arrays.items():
        alone = np.zeros(array.shape, np.float32)
        if name in expected:
            expected[name](alone, generator=root.spawn(name))
        assert to_host(array).tobytes() == alone.tobytes(), name
    assert report.digest == gi.digest({name: arrays[name] for name in sorted(arrays)})
    assert [row.name for row in report.rows] == list(arrays)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda shapes: shapes | {"layers.2.weight": (5, 5)}, id="a layer more"),
        pytest.param(lambda shapes: {n: s for n, s in shapes.items() if "layers.0" not in n}, id="a layer less"),
        pytest.param(lambda shapes: dict(reversed(shapes.items())), id="another order"),
    ],
)
def test_other_layers_have_no_influence(change, xp):
    arrays, changed = model(xp), model(xp, change(SHAPES))
    gi.initialize(arrays, RULES, seed=42)
    gi.initialize(changed, RULES, seed=42)
    before, after = bytes_of(arrays), bytes_of(changed)
    common = before.keys() & after.keys()
    assert len(common) >= 4
    assert {name: before[name] for name in common} == {name: after[name] for name in common}


def nested(arrays):
    layers = [{"weight": arrays[f"layers.{i}.weight"], "bias": arrays[f"layers.{i}.bias"]} for i in range(2)]
    return {"embedding": {"weight": arrays["embedding.weight"]}, "layers": layers, "scale": arrays["scale"], "none": None}


class Named:
    """What has `named_parameters()` and nothing else."""

    def __init__(self, arrays):
        self.arrays = arrays

    def named_parameters(self):
        return iter(self.arrays.items())


def part(arrays):
    return {"layers": Named({"0.bias": arrays["layers.0.bias"]})}


@pytest.mark.parametrize("form", [dict, nested, Named, part])
def test_forms_of_models(form):
    flat, formed = model(), model()
    gi.initialize(flat, RULES, seed=1)
    of_all = RULES if form is not part else [rule for rule in RULES if rule[0] == "*.bias"]
    names = [row.name for row in gi.initialize(form(formed), of_all, seed=1).rows]
    assert names
    assert all(flat[name].tobytes() == formed[name].tobytes() for name in names)
    untouched = set(SHAPES) - set(names)
    assert all((formed[name] == 7).all() for name in untouched)


def test_tied_parameters_are_filled_once():
    shared = np.zeros((6, 4))
    report = gi.initialize({"wte": shared, "head": shared, "view": shared[:]}, [("*", "normal_")], seed=3)
    assert [row.name for row in report.rows] == ["head"]
    assert shared.tobytes() == gi.normal_(np.empty((6, 4)), generator=gi.Generator(3).spawn("head")).tobytes()


def test_a_generator_as_seed_stays_where_it_is():
    generator = gi.Generator(42)
    gi.normal_(np.empty(100), generator=generator)
    state = generator.state
    first, second = model(), model()
    gi.initialize(first, RULES, seed=generator)
    gi.initialize(second, RULES, seed=42)
    assert generator.state == state
    assert bytes_of(first) == bytes_of(second)


def test_a_callable_is_given_array_generator_and_param(xp):
    given = []

    def fill(x, generator, param):
        given.append((param.name, param.own_name, param.shape, param.dtype, param.owner, param.siblings))
        gi.normal_(x, generator=generator)
        x *= 2

    arrays = model(xp)
    report = gi.initialize(arrays, [("layers.0.weight", fill), ("*", "keep")], seed=5)
    siblings = {"weight": (16, 8), "bias": (16,)}
    assert given == [("layers.0.weight", "weight", (16, 8), "float32", None, siblings)]
    expected = 2 * gi.normal_(np.empty((16, 8), np.float32), generator=gi.Generator(5).spawn("layers.0.weight"))
    assert to_host(arrays["layers.0.weight"]).tobytes() == expected.tobytes()
    assert (to_host(arrays["layers.0.bias"]) == 7).all()
    row = report.rows[1]
    assert (row.initializer, np.isnan(row.expected_std)) == ("fill", True)
    assert report.apart == [name for name in SHAPES if name != "layers.0.weight"]


@pytest.mark.parametrize(
    ("dtype", "drawn"),
    [("float64", "float32"), ("float32", "float64"), ("float16", "float32"), ("complex128", "float32"), ("float32", "float32")],
)
def test_values_drawn_in_another_dtype(xp, dtype, drawn):
    shapes = {"a": (30, 40), "b": (7,)}
    kaiming = [("a", "kaiming_normal_"), ("b", "uniform_(a=-1, b=1)")]
    arrays, of_drawn = model(xp, shapes, dtype), model(np, shapes, np.result_type(drawn, dtype) if "complex" in dtype else drawn)
    if "complex" in dtype:
        of_drawn = model(np, shapes, np.complex64)
    report = gi.initialize(arrays, kaiming, seed=2, dtype=drawn)
    gi.initialize(of_drawn, kaiming, seed=2)
    for name in shapes:
        assert to_host(arrays[name]).tobytes() == of_drawn[name].astype(dtype).tobytes()
    assert report.rows[0].expected_std == pytest.approx((2 / 40) ** 0.5)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "bfloat16", "float16", "float64", "complex64"])
def test_a_model_of_a_dtype(dtype):
    arrays = model(shapes={"a": (30, 40), "b": (7,)}, dtype=as_dtype(dtype))
    report = gi.initialize(arrays, [("*", "normal_")], seed=2)
    for row in report.rows:
        alone = gi.normal_(np.empty(row.shape, as_dtype(dtype)), generator=gi.Generator(2).spawn(row.name))
        assert (row.dtype, row.digest) == (dtype, gi.digest(alone))


@pytest.mark.parametrize("drawn", ["float32", "bfloat16"])
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_drawing_in_another_dtype_for_eight_bits(dtype, drawn):
    """Values are those of the other dtype, rounded; what is too large is not nan."""
    rules = [("a", "normal_"), ("b", "normal_(std=1e9)")]
    shapes = {"a": (30, 40), "b": (7,)}
    arrays, of_drawn = (model(shapes=shapes, dtype=as_dtype(name)) for name in (dtype, drawn))
    gi.initialize(arrays, rules, seed=2, dtype=drawn)
    gi.initialize(of_drawn, rules, seed=2)
    assert arrays["a"].tobytes() == of_drawn["a"].astype(arrays["a"].dtype).tobytes()
    assert (abs(arrays["b"].astype(float)) == (448 if dtype == "float8_e4m3fn" else np.inf)).all()


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_drawing_in_eight_bits(dtype):
    arrays, drawn = model(), model(dtype=as_dtype(dtype))
    gi.initialize(arrays, [("*", "normal_")], seed=2, dtype=dtype)
    gi.initialize(drawn, [("*", "normal_")], seed=2)
    for name, x in arrays.items():
        assert x.tobytes() == drawn[name].astype(np.float32).tobytes()


def test_drawing_in_another_dtype_leaves_integers_alone():
    arrays = {"steps": np.empty(3, np.int64), "mask": np.empty(2, bool)}
    gi.initialize(arrays, [("*", "ones_")], seed=0, dtype="float32")
    assert arrays["steps"].tolist() == [1, 1, 1]
    assert arrays["mask"].all()


def test_progress_tells_each_name_once():
    names = []
    gi.initialize(model(), [*RULES[:2], ("layers.0.weight", lambda x, g, p: None), ("*", "keep")], seed=0, progress=names.append)
    assert sorted(names) == sorted(SHAPES)


ERRORS = [
    (
        {"rules": [("*.bias", "zeros_")]},
        ValueError,
        r"4 without a rule.*embedding\.weight \(60, 8\).*layers\.0\.weight.*scale \(\)",
    ),
    ({"rules": "*"}, TypeError, r"rules must be a list of pairs.*got '\*' of type str"),
    ({"rules": [("*",)]}, TypeError, r"rules\[0\] must be a pair"),
    ({"rules": [(3, "zeros_")]}, TypeError, r"rules\[0\] must have a string, .* got 3"),
    ({"rules": [("*", 3)]}, TypeError, r"rules\[0\], '\*': an initializer must be .*; got 3 of type int"),
    ({"rules": [("*", "normal")]}, ValueError, r"must be one of constant_, .* got 'normal'"),
    ({"rules": [("*", "normal_(")]}, ValueError, r"must be written as a call.* got 'normal_\('"),
    ({"rules": [("*", "normal_(sd=1)")]}, TypeError, r"normal_\(sd=1\).*unexpected keyword argument 'sd'"),
    ({"rules": [("*", "normal_(std=open('x'))")]}, ValueError, r"numbers, strings.* open\('x'\) is none"),
    ({"rules": [("*", "normal_(std=1/0)")]}, ValueError, r"numbers, strings.* division by zero"),
    ({"rules": [("*", "normal_(0, mean=1)")]}, ValueError, r"no argument twice"),
    ({"rules": [("*", "normal_(generator=1)")]}, TypeError, r"must leave generator to `initialize`"),
    ({"rules": [("*", functools.partial(gi.normal_, 0))]}, TypeError, r"arguments by keyword"),
    ({"rules": [*RULES[:3], ("*", "normal_(std=-1)")]}, ValueError, r"scale, normal_\(std=-1\): std must not be negative"),
    ({"rules": [("*", "kaiming_normal_")]}, ValueError, r"layers\.0\.bias, kaiming_normal_\(\): .* at least 2 axes"),
    ({"seed": None}, TypeError, r"seed must be an int or a gpuinit\.Generator, got None"),
    ({"rules": [*RULES, ("*", "trunc_")]}, ValueError, r"rules\[4\], '\*': .* must be one of constant_, .* got 'trunc_'"),
    ({"rules": [*RULES, ("*", gi.trunc_)]}, TypeError, r"rules\[4\], '\*': a callable must take array, generator and Param"),
    ({"rules": [*RULES, ("*", lambda x: None)]}, TypeError, r"a callable must take array, generator and Param, got <func"),
    ({"rules": [*RULES, ("*", np.ones(3))]}, TypeError, r"an initializer must be .* got array\(.* of type numpy.ndarray"),
    ({"rules": [("*", rules.by_param(lambda p: 3))]}, TypeError, r"embedding\.weight, by_param: an initializer .* got 3"),
    ({"seed": -1}, ValueError, r"seed must not be negative, got seed=-1"),
    ({"seed": "1"}, TypeError, r"seed must be an int or a gpuinit\.Generator, got '1'"),
    ({"seed": True}, TypeError, r"seed must be .*, got True"),
    ({"dtype": np.ones(3)}, TypeError, r"dtype must be one of .*, got array"),
    ({"dtype": "int32"}, TypeError, r"dtype must be one of .*, got 'int32'"),
    ({"dtype": "nonsense"}, TypeError, r"dtype must be one of .*, got 'nonsense'"),
    ({"progress": 1.5}, TypeError, r"progress must be .* got 1\.5"),
    ({"model": 3}, TypeError, r"model must be a mapping .* got 3 of type int"),
    ({"model": {"a": 3}}, TypeError, r"got 3 of type int for a"),
    ({"model": {2.5: np.ones(2)}}, TypeError, r"strings or integers as keys, got the key 2\.5"),
    ({"model": {"a": {"b": np.ones(2)}, "a.b": np.ones(2)}}, ValueError, r"got 'a\.b' twice"),
    ({"model": np.ones(3)}, TypeError, r"model must be a mapping"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), ERRORS)
def test_errors_come_before_anything_is_written(arguments, error, message):
    arrays = model()
    with pytest.raises(error, match=re.compile(message, re.DOTALL)):
        gi.initialize(**{"model": arrays, "rules": RULES, "seed": 0} | arguments)
    assert all((array == 7).all() for array in arrays.values())


@pytest.mark.parametrize("initializer", ["normal_(std=-1)", lambda array, generator, param: 1 / 0], ids=["planned", "called"])
def test_after_an_error_fills_are_those_of_before(initializer):
    """Writes are collected no longer than `initialize` plans them, or a callable makes them."""
    before = targets._handler.get()
    with pytest.raises((ValueError, ZeroDivisionError)):
        gi.initialize(model(), [("*", initializer)], seed=1)
    assert (gi.ones_(np.zeros(3)) == 1).all()
    assert targets._handler.get() is before


def test_overlapping_parameters_are_refused():
    buffer = np.full(10, 7.0)
    with pytest.raises(ValueError, match="got a and b, which overlap"):
        gi.initialize({"a": buffer[:6], "b": buffer[4:]}, [("*", "zeros_")], seed=0)
    assert (buffer == 7).all()
    gi.initialize({"a": buffer[:5], "b": buffer[5:]}, [("*", "zeros_")], seed=0)
    assert not buffer.any()


def test_more_precise_values_are_not_rounded_twice():
    with pytest.raises(ValueError, match=r"a, normal_\(\): dtype must be at most float32 for an array of float16"):
        gi.initialize({"a": np.empty(3, np.float16)}, [("*", "normal_")], seed=0, dtype="float64")


def test_drawing_in_another_dtype_checks_the_array_too():
    overlapping = np.lib.stride_tricks.as_strided(np.full(1, 7.0), (5,), (0,))
    with pytest.raises(ValueError, match=r"a, normal_\(\): x must not overlap itself"):
        gi.initialize({"a": overlapping}, [("*", "normal_")], seed=0, dtype="float32")
    assert (overlapping == 7).all()


def test_byte_order_is_of_no_influence():
    big, native = np.empty(5, ">f4"), np.empty(5, "f4")
    reports = [gi.initialize({"a": x}, [("*", "normal_")], seed=0, dtype=dtype) for x in (big, native) for dtype in (None, ">f4")]
    assert (big == native).all()
    assert [report.rows for report in reports[1:]] == [reports[0].rows] * 3


@pytest.mark.parametrize("returned", [lambda x: x, lambda x: x[::2], lambda x: None, lambda x: "done"])
def test_what_a_callable_may_return(returned, xp):
    x = xp.ones(4)
    report = gi.initialize({"a": x}, [("*", lambda x, generator, param: returned(x))], seed=0)
    assert report.digest == gi.digest({"a": np.ones(4)})


def test_a_callable_that_makes_another_array_is_an_error(xp):
    with pytest.raises(TypeError, match=r"must fill the array that it is given, got another one returned: array\(\[1") as caught:
        gi.initialize({"a": xp.ones(4)}, [("*", lambda x, generator, param: x.copy())], seed=0)
    assert caught.value.__notes__ == ["while initializing parameter 'a'"]


def test_by_param_needs_a_callable():
    with pytest.raises(TypeError, match="function must be a callable that takes a Param, got 'normal_'"):
        rules.by_param("normal_")


def test_a_rule_made_by_param_may_pass_on():
    wide = rules.by_param(lambda param: "ones_" if param.shape[-1:] == (8,) else None)
    arrays = model()
    gi.initialize(arrays, [("*", wide), ("*", "zeros_")], seed=0)
    assert [name for name, array in arrays.items() if array.all()] == ["embedding.weight", "layers.0.weight"]


def test_a_torch_module(torch):
    nn = torch.nn
    layers = nn.ModuleDict({"embed": nn.Embedding(20, 8), "body": nn.Sequential(nn.Linear(8, 8), nn.Conv1d(8, 4, 3))})
    seen = {}

    def look(x, generator, param):
        seen[param.name] = [type(owner).__name__ for owner in param.owners]
        gi.zeros_(x)

    by_class = [("Embedding", "normal_"), ("Linear.weight", "ones_"), (nn.Conv1d, "zeros_"), ("*", look)]
    report = gi.initialize(layers, by_class, seed=4)
    assert [(row.name, row.initializer) for row in report.rows] == [
        ("embed.weight", "normal_()"),
        ("body.0.weight", "ones_()"),
        ("body.0.bias", "look"),
        ("body.1.weight", "zeros_()"),
        ("body.1.bias", "zeros_()"),
    ]
    assert seen == {"body.0.bias": ["ModuleDict", "Sequential", "Linear"]}
    expected = gi.normal_(np.empty((20, 8), np.float32), generator=gi.Generator(4).spawn("embed.weight"))
    assert layers["embed"].weight.detach().numpy().tobytes() == expected.tobytes()


def test_a_module_below_a_mapping_and_a_dtype_of_torch(torch):
    model = {"encoder": torch.nn.Linear(3, 5, dtype=torch.float64)}
    before = model["encoder"].weight._version
    gi.initialize(model, [("encoder.weight", "normal_"), ("encoder.bias", "zeros_")], seed=4, dtype=torch.float32)
    expected = gi.normal_(np.empty((5, 3), np.float32), generator=gi.Generator(4).spawn("encoder.weight"))
    assert model["encoder"].weight.detach().numpy().tobytes() == expected.astype(np.float64).tobytes()
    assert model["encoder"].weight._version > before


def test_many_small_arrays_take_a_handful_of_launches(cupy, cudasim):
    shapes = {f"layers.{i}.{own}": shape for i in range(250) for own, shape in LAYER.items()}
    arrays = model(cupy, shapes)
    gi.initialize(model(cupy, LAYER), MANY, seed=0)  # compiles the kernels and uploads the table of normals
    with cudasim.trace() as trace:
        gi.initialize(arrays, MANY, seed=42)
    assert len(arrays) == 1000
    assert len(trace.launches()) <= 4
    assert [event["how"] for event in trace.of("memcpy")] == ["async"]
    assert not trace.of("sync")
    on_host = model(np, shapes)
    gi.initialize(on_host, MANY, seed=42)
    assert bytes_of(arrays) == bytes_of(on_host)


LAYER = {"weight": (8, 5), "bias": (5,), "norm": (7,), "embedding": (9, 4)}
MANY = [("*weight", "kaiming_uniform_"), ("*bias", "zeros_"), ("*norm", "ones_"), ("*", "trunc_normal_(std=0.02)")]
