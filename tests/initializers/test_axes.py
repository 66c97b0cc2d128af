"""Axes and parts: each matrix of a weight counts alone, whatever its axes, in functions, rules, shards and lazy arrays."""

from __future__ import annotations

import functools
import math
import time

import numpy as np
import pytest

import gpuinit as gi
from gpuinit import rules
from tests.support import fills, reference
from tests.support.arrays import to_host

# Shape and keywords -> fan_in and fan_out of each part, counted by hand.
LAYOUTS = {
    "torch's": ((6, 4, 3), {}, [(12, 18)]),
    "Conv1D": ((4, 6), {"in_axis": 0, "out_axis": 1}, [(4, 6)]),
    "Keras": ((3, 2, 4, 6), {"in_axis": -2, "out_axis": -1}, [(24, 36)]),
    "experts": ((5, 6, 4), {"batch_axis": 0, "out_axis": 1, "in_axis": 2}, [(4, 6)]),
    "attention": ((8, 2, 3), {"in_axis": 0, "out_axis": (1, 2)}, [(8, 6)]),
    "attention's output": ((2, 3, 8), {"in_axis": (0, 1), "out_axis": 2}, [(6, 8)]),
    "outputs in another order": ((2, 3, 8), {"out_axis": (1, 0), "in_axis": 2}, [(8, 6)]),
    "transposed": ((4, 6, 3), {"in_axis": 0, "out_axis": 1}, [(12, 18)]),
    "grouped": ((6, 4, 3), {"groups": 2}, [(12, 9)] * 2),
    "grouped and transposed": ((6, 4, 3), {"in_axis": 0, "out_axis": 1, "groups": 2}, [(9, 12)] * 2),
    "grouped, Keras": ((3, 2, 6), {"in_axis": -2, "out_axis": -1, "groups": 3}, [(6, 6)] * 3),
    "depthwise, Keras": ((3, 4, 2), {"batch_axis": 1, "in_axis": (), "out_axis": 2}, [(3, 6)]),
    "packed": ((12, 4), {"parts": 3}, [(4, 4)] * 3),
    "grouped queries": ((12, 4), {"parts": (8, 2, 2)}, [(4, 8), (4, 2), (4, 2)]),
    "parts of inputs": ((3, 8), {"parts": (5, 3), "parts_axis": 1}, [(5, 3), (3, 3)]),
    "an empty part": ((4, 3), {"parts": (4, 0)}, [(3, 4)]),
    "parts of experts": ((2, 6, 4), {"batch_axis": 0, "out_axis": 1, "in_axis": 2, "parts": (4, 2)}, [(4, 4), (4, 2)]),
    "two batch axes": ((2, 3, 4, 5), {"batch_axis": (1, 0), "out_axis": 2, "in_axis": 3}, [(5, 4)]),
}
CASES = [(shape, keywords) for shape, keywords, _ in LAYOUTS.values()]
CALLS = [
    ("xavier_uniform_", {"gain": 2.0}),
    ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}),
    ("lecun_normal_", {}),
    ("variance_scaling_", {"mode": "fan_geo_avg", "distribution": "uniform"}),
    ("variance_scaling_", {"mode": "fan_avg", "fan_in": 7}),
    ("orthogonal_", {"gain": 1.5}),
]


@pytest.mark.parametrize(("shape", "keywords", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_fans(shape, keywords, expected):
    if len(set(expected)) == 1:
        assert gi.fans(shape, **keywords) == gi.fans(np.empty(shape), **keywords) == expected[0]
    else:
        with pytest.raises(ValueError, match=r"parts must be alike for one pair of fans, got \{"):
            gi.fans(shape, **keywords)


@pytest.mark.parametrize(("shape", "keywords"), CASES, ids=LAYOUTS)
@pytest.mark.parametrize(("name", "arguments"), CALLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values(xp, name, arguments, shape, keywords, dtype):
    """Those that docs/values.md defines."""
    generator, expected_generator = fills.generator_at(3, 5), reference.Generator(5, position=3)
    x = to_host(getattr(gi, name)(xp.empty(shape, dtype), **arguments, **keywords, generator=generator))
    expected = getattr(reference, name)(shape, dtype, expected_generator, **arguments, **keywords)
    tolerance = {"float32": 2e-6, "float64": 2e-14}[dtype] if name == "orthogonal_" else 0
    np.testing.assert_allclose(x, expected, rtol=0, atol=tolerance)
    assert generator.position == expected_generator.position


@pytest.mark.parametrize(("shape", "keywords"), CASES, ids=LAYOUTS)
@pytest.mark.parametrize("dtype", ["float16", "complex64"])
def test_orthogonal(xp, shape, keywords, dtype):
    """By its own definition, in other dtypes."""
    layout = {"in_axis": 1, "out_axis": 0, "batch_axis": (), **keywords}
    x = to_host(gi.orthogonal_(xp.empty(shape, dtype), **keywords, generator=1)).astype(np.complex128)
    for q in matrices(x, **layout):
        gram = q.conj().T @ q if q.shape[0] >= q.shape[1] else q @ q.conj().T
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=4e-3)


def matrices(x, in_axis, out_axis, batch_axis, groups=1, parts=1, parts_axis=None):
    outputs, stacked = (axes if isinstance(axes, tuple) else (axes,) for axes in (out_axis, batch_axis))
    axis = parts_axis if parts_axis is not None else 0 if groups > 1 and 0 in (in_axis, out_axis) else outputs[0]
    count = max(groups, parts) if isinstance(parts, int) else np.cumsum(parts)[:-1]
    for part in np.split(x, count, axis):
        moved = np.moveaxis(part, (*stacked, *outputs), range(len(stacked) + len(outputs)))
        rows = math.prod(part.shape[axis] for axis in outputs)
        if part.size:
            yield from moved.reshape(-1, rows, moved.size // rows // math.prod(part.shape[axis] for axis in stacked))


@pytest.mark.parametrize(("shape", "keywords"), CASES, ids=LAYOUTS)
@pytest.mark.parametrize("name", ["kaiming_normal_", "orthogonal_"])
def test_other_ways_to_say_the_same(xp, name, shape, keywords, tmp_path):
    """A rule's string, a TOML file, a strided array, a model of many, and a lazy array."""
    text = f"{name}({', '.join(f'{key}={value!r}' for key, value in keywords.items())})"
    path = tmp_path / "rules.toml"
    path.write_text(f"[[rules]]\npattern = '*'\ninitializer = '{text}'\n")
    expected = to_host(getattr(gi, name)(xp.empty(shape), **keywords, generator=gi.Generator(1).spawn("w")))
    for rule in ([("*", text)], rules.load(path)):
        model = {"v": xp.empty(shape), "w": xp.empty((*shape, 2))[..., 1]}
        gi.initialize(model, rule, seed=1)
        np.testing.assert_allclose(to_host(model["w"]), expected, rtol=0, atol=1e-14)


@pytest.mark.dask
@pytest.mark.parametrize(("shape", "keywords"), CASES, ids=LAYOUTS)
def test_lazy(shape, keywords):
    lazy = pytest.importorskip("gpuinit.dask", exc_type=ImportError)
    x = lazy.xavier_normal(shape, **keywords, seed=2, chunks=2).compute()
    np.testing.assert_array_equal(x, gi.xavier_normal_(np.empty(shape, np.float32), **keywords, generator=2))
    layout = {"in_axis": 1, "out_axis": 0, "batch_axis": (), **keywords}
    for q in matrices(lazy.orthogonal(shape, **keywords, seed=2, chunks=2, dtype="float64").compute(), **layout):
        gram = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_expected_std_of_unequal_parts():
    model = {"qkv": np.empty((3000, 50)), "delta": np.empty((60, 40, 3)), "heads": np.empty((9, 30, 20))}
    of_rules = {
        "qkv": "kaiming_normal_(parts=(2000, 500, 500), mode='fan_out')",
        "delta": "delta_orthogonal_(gain=2)",
        "heads": "orthogonal_(batch_axis=0, out_axis=1, in_axis=2)",
    }
    for row in gi.initialize(model, of_rules, seed=3).rows:
        assert row.std == pytest.approx(row.expected_std, rel=0.02), row.name


ERRORS = [
    (
        {"in_axis": 0},
        ValueError,
        r"in_axis, out_axis and batch_axis must be different axes of shape \(6, 4, 3\), got in_axis=0, ",
    ),
    ({"in_axis": 3}, ValueError, r"in_axis must be an axis of shape \(6, 4, 3\), got in_axis=3"),
    ({"in_axis": 1.0}, TypeError, r"in_axis must be an int or a tuple of ints, got 1.0"),
    ({"batch_axis": "0"}, TypeError, r"batch_axis must be an int or a tuple of ints, got '0'"),
    ({"batch_axis": 0}, ValueError, r"must be different axes .*batch_axis=0; give each"),
    ({"groups": 4}, ValueError, r"groups must divide the length of axis 0, got groups=4 and shape \(6, 4, 3\)"),
    ({"groups": 0}, ValueError, r"groups must be at least 1, got groups=0"),
    ({"groups": 2, "parts": 3}, ValueError, r"groups must be given without parts and parts_axis, got groups=2, parts=3 and"),
    ({"groups": 2, "parts_axis": 1}, ValueError, r"groups must be given without parts and parts_axis, .*parts_axis=1; give"),
    (
        {"groups": 2, "batch_axis": 0, "in_axis": 1, "out_axis": 2},
        ValueError,
        r"groups must lie along axis 0 or .*; give parts=2",
    ),
    ({"parts": 4}, ValueError, r"parts must divide the length of axis 0, got parts=4"),
    ({"parts": (3, 2)}, ValueError, r"parts must have lengths that add up to that of axis 0, got parts=\(3, 2\) and"),
    ({"parts": (7, -1)}, ValueError, r"parts\[1\] must not be negative"),
    ({"parts": "3"}, TypeError, r"parts must be an int, or a tuple of their lengths, got '3'"),
    ({"parts": 2, "parts_axis": 5}, ValueError, r"parts_axis must be an axis of shape"),
    ({"parts": 2, "out_axis": (0, 2)}, ValueError, r"parts_axis must be given where out_axis is not a single axis"),
    ({"batch_axis": 2, "parts": 3, "parts_axis": 2}, ValueError, r"parts_axis must not be one of batch_axis=\(2,\)"),
    ({"axis": 2}, TypeError, "unexpected keyword argument 'axis'"),
    ({"column_axis": 2}, TypeError, "unexpected keyword argument 'column_axis'; write out_axis=2"),
]


@pytest.mark.parametrize(("keywords", "error", "match"), ERRORS)
@pytest.mark.parametrize("name", ["xavier_uniform_", "orthogonal_"])
def test_errors(xp, name, keywords, error, match):
    x = xp.full((6, 4, 3), 7.0)
    with pytest.raises(error, match=match):
        getattr(gi, name)(x, **keywords)
    assert (to_host(x) == 7).all()


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda x: gi.xavier_uniform_(x[:, :, 0], groups=2), ValueError, r"groups must be those of a convolution.*use parts"),
        (lambda x: gi.xavier_uniform_(x, fan_in=0), ValueError, r"fan_in must be positive, got fan_in=0.0"),
        (lambda x: gi.orthogonal_(np.empty(()), in_axis=(), out_axis=()), ValueError, r"need at least 2 axes .* got shape \(\)"),
        (lambda x: gi.fans((-6, 4)), ValueError, r"x.shape\[0\] must not be negative"),
        (lambda x: gi.orthogonal_(x, fan_in=3), TypeError, "unexpected keyword argument 'fan_in'"),
        (lambda x: gi.kaiming_normal_(x, mode="fan_geo_avg"), ValueError, "mode must be one of fan_in, fan_out, got"),
        (lambda x: gi.fans(3), TypeError, "x must be an array or a shape, got 3"),
        (lambda x: gi.fans((3,)), ValueError, "fan_in and fan_out need at least 2 axes"),
        (lambda x: gi.delta_orthogonal_(x[0]), ValueError, "x must have 3 to 5 axes, got 2"),
        (lambda x: gi.delta_orthogonal_(x, in_axis=0, out_axis=1), ValueError, "x must have at least as many outputs as inputs"),
        (lambda x: gi.delta_orthogonal_(x, in_axis=0), ValueError, "in_axis and out_axis must be different axes"),
    ],
)
def test_other_errors(call, error, match):
    x = np.full((6, 4, 3), 7.0)
    with pytest.raises(error, match=match):
        call(x)
    assert (x == 7).all()


def test_a_shard_costs_its_own_matrices_alone():
    """A million experts, of which one is here."""
    shard = gi.Shard((10**6, 4, 4), (slice(999_999, None), slice(None), slice(None)))
    keywords = {"batch_axis": 0, "out_axis": 1, "in_axis": 2}
    start = time.perf_counter()
    q = gi.orthogonal_(np.empty((1, 4, 4)), **keywords, shard=shard, generator=3)[0]
    gi.xavier_normal_(np.empty((10**5, 2)), parts=10**5, generator=3)
    assert time.perf_counter() - start < 2
    np.testing.assert_allclose(q @ q.T, np.eye(4), atol=1e-14)
    few = gi.orthogonal_(np.empty((3, 4, 4)), **keywords, generator=3)
    shard = gi.Shard(few.shape, (slice(2, 3), slice(None), slice(None)))
    assert (gi.orthogonal_(np.empty((1, 4, 4)), **keywords, shard=shard, generator=3) == few[2]).all()


def test_texts_tell_all_parts_apart():
    """Also of the same fill in other words, and of lists that change afterwards."""
    recipes = set()
    for parts in [(1,) * 30 + (5, 2) + (1,) * 30, (1,) * 30 + (2, 5) + (1,) * 30]:
        of_rules = [("*", functools.partial(gi.xavier_uniform_, parts=parts))]
        report = gi.initialize({"w": np.empty((67, 4))}, of_rules, seed=1)
        assert report.recipe == gi.initialize({"w": np.empty((67, 4))}, [("*", report.rows[0].initializer)], seed=1).recipe
        again = functools.partial(gi.xavier_uniform_, parts=list(map(np.int64, parts)))
        assert report.recipe == gi.initialize({"w": np.empty((67, 4))}, [("*", again)], seed=1).recipe
        recipes.add(report.recipe)
    assert len(recipes) == 2


@pytest.mark.jax
@pytest.mark.parametrize("shape", [(3, 4, 6), (2, 3, 4, 6), (3, 3, 1, 4, 6)])
def test_delta_orthogonal_has_jaxs_zeros(jax, shape):
    theirs = np.asarray(jax.nn.initializers.delta_orthogonal()(jax.random.key(0), shape))
    ours = gi.delta_orthogonal_(np.empty(shape), in_axis=-2, out_axis=-1, generator=0)
    np.testing.assert_array_equal(ours != 0, theirs != 0)
    centre = tuple((length - 1) // 2 for length in shape[:-2])
    np.testing.assert_allclose(ours[centre] @ ours[centre].T, np.eye(4), atol=1e-14)


@pytest.mark.jax
@pytest.mark.parametrize(("shape", "keywords"), CASES, ids=LAYOUTS)
def test_fans_are_jaxs(jax, shape, keywords):
    """By the bound of its uniform form, where it knows the keywords."""
    if {"groups", "parts"} & set(keywords):
        return
    layout = {"in_axis": 1, "out_axis": 0, "batch_axis": (), **keywords}
    for mode in ("fan_in", "fan_out", "fan_avg", "fan_geo_avg"):
        theirs = jax.nn.initializers.variance_scaling(1.0, mode, "uniform", **layout)(jax.random.key(0), (*shape[:-1], shape[-1]))
        ours = gi.variance_scaling_(np.empty(shape), 1.0, mode, "uniform", **keywords, generator=0)
        fan_in, fan_out = gi.fans(shape, **keywords)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2, "fan_geo_avg": (fan_in * fan_out) ** 0.5}
        bound = (3 / fan[mode]) ** 0.5
        for x in (np.asarray(theirs), ours):
            assert 0.8 * bound < abs(x).max() <= bound * (1 + 1e-6)
