"""`report.verify` draws parameters again and finds what differs; `report.recipe` stands for what was asked for."""

from __future__ import annotations

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._backends import redrawing
from gpuinit._contract.dtypes import as_dtype
from tests.support.arrays import by_ufuncs

MATRIX = (23, 31)
# Initializer, and the shape of what it fills.
CALLS = [
    ("uniform_(a=-1, b=3)", (5, 7, 11)),
    ("normal_(mean=5, std=0.02)", MATRIX),
    ("normal_", ()),
    ("normal_", (257,)),
    ("trunc_normal_", MATRIX),
    ("trunc_normal_(a=-1e-3, b=2e-3)", MATRIX),
    ("uniform_(a=2, b=2)", MATRIX),
    ("constant_(val=nan)", MATRIX),
    ("zeros_", (3, 5, 7, 2)),
    ("eye_", MATRIX),
    ("dirac_(groups=2)", (12, 4, 3)),
    ("kaiming_uniform_(nonlinearity='relu')", MATRIX),
    ("variance_scaling_(distribution='normal')", MATRIX),
    ("sparse_(sparsity=0.3)", MATRIX),
    ("sparse_(sparsity=1)", MATRIX),
    ("sparse_(sparsity=0.3, mean=1, axis=1)", MATRIX),
    ("embedding_(padding_idx=5)", MATRIX),
    ("kaiming_normal_(parts=(20, 3), mode='fan_out')", MATRIX),
    ("orthogonal_(gain=2)", MATRIX),
    ("orthogonal_(batch_axis=0, out_axis=1, in_axis=2)", (3, 7, 11)),
    ("delta_orthogonal_", (7, 5, 3)),
]


@pytest.fixture(params=[17, 64, 10**6], ids=["small pieces", "pieces", "one piece"])
def piece(request, monkeypatch):
    """Pieces shorter than a row, of some rows, and longer than the array."""
    monkeypatch.setattr(redrawing, "PIECE", {"host": request.param, "cuda": request.param})


def bits_of(x):
    """The elements as integers, in memory order; of a complex array, those of its parts."""
    flat = x.reshape(-1, order="A")
    parts = flat.view(flat.real.dtype) if flat.dtype.kind == "c" else flat
    return parts.view(f"u{parts.dtype.itemsize}")


def check_one_bit(report, x):
    """One bit of any element makes a difference; of `orthogonal_`, the sign of the largest one does."""
    assert report.verify() == []
    bits = bits_of(x)
    places, bit = {0, len(bits) // 2, len(bits) - 1}, 1
    if "orthogonal_" in report.rows[0].initializer:
        largest = int(abs(x.reshape(-1, order="A")).argmax())
        places, bit = {largest * len(bits) // x.size}, 2 ** (8 * bits.itemsize - 1)
    for place in places:
        bits[place] ^= bits.dtype.type(bit)
        assert report.verify() == ["w"], place
        bits[place] ^= bits.dtype.type(bit)
    assert report.verify() == []


@pytest.mark.parametrize(("initializer", "shape"), CALLS)
def test_one_bit_of_any_initializer_is_found(initializer, shape, piece, xp):
    x = xp.empty(shape, np.float32)
    check_one_bit(gi.initialize({"w": x, "v": xp.empty(3)}, [("w", initializer), ("*", "normal_")], seed=42), x)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("initializer", ["normal_", "kaiming_uniform_", "sparse_(sparsity=0.3)", "eye_", "orthogonal_"])
def test_dtypes(initializer, dtype, piece, xp):
    x = xp.empty(MATRIX, as_dtype(dtype))
    check_one_bit(gi.initialize({"w": x}, [("*", initializer)], seed=42), x)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("initializer", ["normal_(std=400)", "sparse_(sparsity=0.3)", "orthogonal_"])
def test_dtypes_of_8_bits(initializer, dtype, piece):
    x = np.empty(MATRIX, as_dtype(dtype))
    check_one_bit(gi.initialize({"w": x}, [("*", initializer)], seed=42), x)
    check_one_bit(gi.initialize({"w": x}, [("*", initializer)], seed=42, dtype="float32"), x)


@pytest.mark.parametrize(
    ("dtype", "drawn_in"), [("float16", "float32"), ("bfloat16", "float32"), ("float64", "float32"), ("float64", "float16")]
)
@pytest.mark.parametrize("initializer", ["normal_", "orthogonal_"])
def test_values_that_were_drawn_in_another_dtype(initializer, dtype, drawn_in, piece, xp):
    x = xp.empty(MATRIX, as_dtype(dtype))
    check_one_bit(gi.initialize({"w": x}, [("*", initializer)], seed=42, dtype=drawn_in), x)


@pytest.mark.parametrize("initializer", ["normal_", "sparse_(sparsity=0.3)", "orthogonal_", "eye_"])
@pytest.mark.parametrize("layout", ["F", "strided", ">f4"])
def test_layouts(initializer, layout, piece):
    x = {
        "F": np.empty(MATRIX, np.float32, order="F"),
        "strided": np.empty((46, 62), np.float32)[::2, ::2],
        ">f4": np.empty(MATRIX, ">f4"),
    }[layout]
    report = gi.initialize({"w": x}, [("*", initializer)], seed=42)
    assert report.verify() == []
    x[-1, -1] += 1
    assert report.verify() == ["w"]


def test_without_compiled_kernels(piece):
    x = np.empty(MATRIX, np.float32)
    with by_ufuncs():
        check_one_bit(gi.initialize({"w": x}, [("*", "normal_")], seed=42), x)


def test_alike_parameters_have_streams_of_their_own(xp):
    """Their checks are shared, but not their values."""
    model = {str(number): xp.empty((8, 8), np.float32) for number in range(5)}
    report = gi.initialize(model, [("*", "normal_")], seed=gi.Generator(42).spawn("run"))
    assert report.verify() == []
    model["3"][...] = model["2"]
    assert report.verify() == ["3"]


def test_a_gpu_compares_in_place(cupy, cudasim):
    """On the array's device, of which only the answers are copied."""
    with cupy.cuda.Device(cupy.cuda.runtime.getDeviceCount() - 1) as device:
        model = {name: cupy.empty((30, 20), np.float32) for name in ("zeros", "normal")}
    report = gi.initialize(model, [("zeros", "zeros_"), ("normal", "normal_")], seed=42)
    report.verify()  # compiles the kernels
    with cudasim.trace() as events:
        assert report.verify() == []
    assert len(events.of("launch", device=device.id)) == len(events.of("launch")) > 0
    assert [event["bytes"] for event in events.of("memcpy")] == ["1", "1"]
    with device:
        model["normal"][3, 4] += 1
    assert report.verify() == ["normal"]


def test_what_cannot_be_drawn_again_is_listed():
    model = {"kept": np.zeros(3), "called": np.empty(3), "drawn": np.empty(3), "empty": np.empty((0, 3))}
    rules = [("kept", "keep"), ("called", lambda x, g, p: gi.normal_(x, generator=g)), ("*", "normal_")]
    report = gi.initialize(model, rules, seed=1)
    for x in model.values():
        x += 1
    assert (report.verify(), report.unverified) == (["drawn"], ["kept", "called"])


def test_tensors_of_torch(torch):
    normed = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 4))
    model = torch.nn.Sequential(torch.nn.Linear(8, 4), normed, torch.nn.Embedding(5, 4, dtype=torch.bfloat16))
    report = gi.initialize(model, [("*", "normal_")], seed=42)
    assert report.unverified == ["1.weight"]
    with torch.no_grad():
        model[2].weight[1, 2] += 1
    assert report.verify() == ["2.weight"]


def test_tied_tensors(torch):
    model = torch.nn.ModuleDict({"head": torch.nn.Linear(4, 8, bias=False), "embed": torch.nn.Embedding(8, 4)})
    model.head.weight = model.embed.weight
    for tied in (None, {"embed.weight": "head.weight"}):
        report = gi.initialize(model, [("*", "normal_")], seed=42, tied=tied)
        assert (report.verify(), len(report.rows)) == ([], 1)


def test_files(paths):
    safetensors = pytest.importorskip("safetensors.numpy")
    path, out = paths
    safetensors.save_file({"w": np.zeros((5, 7), np.float32), "kept": np.zeros(3)}, path)
    report = gi.checkpoint.initialize_file(path, [("w", "normal_"), ("*", "keep")], seed=42, out=out)
    assert (report.verify(), report.unverified) == ([], ["kept"])


def recipe(model=None, initializer="normal_", seed=42, **keywords):
    model = {"w": np.empty((3, 4), np.float32)} if model is None else model
    return gi.initialize(model, [("*", initializer)], seed=seed, **keywords).recipe


def test_recipes_differ_where_values_do():
    others = [
        recipe({"v": np.empty((3, 4), np.float32)}),
        recipe({"w": np.empty((4, 3), np.float32)}),
        recipe({"w": np.empty((3, 4), np.float64)}),
        recipe({"w": np.empty((3, 4), np.float32), "v": np.empty(3)}),
        recipe(initializer="normal_(std=2)"),
        recipe(initializer=f"normal_(std={1 + 2**-52})"),
        recipe(seed=43),
        recipe(seed=gi.Generator(42).spawn("a")),
        recipe(dtype="float16"),
    ]
    assert len({recipe(), *others}) == len(others) + 1


def test_recipes_do_not_depend_on_order_layout_or_values(xp):
    names = ["a", "b"]
    expected = recipe({name: np.empty((3, 4)) for name in names})
    model = {name: xp.empty((3, 4), order="F") for name in reversed(names)}
    report = gi.initialize(model, [("*", "normal_")], seed=42)
    model["a"][...] = 7
    assert report.recipe == expected
