"""What `gpuinit.digest` accepts and refuses, and that different arrays cannot give it the same bytes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._backends import hashing
from gpuinit._contract.digests import PIECE
from tests.support import reference

EMPTY = np.zeros(0, np.float32)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"a": EMPTY, "b": EMPTY}, {"a\nfloat32\n0\nb": EMPTY}),
        ({"a\nb": EMPTY}, {"a\\nb": EMPTY}),
        ({"a\\": EMPTY}, {"a\\\\": EMPTY}),
        ({"a": np.frombuffer(b"b\nuint8\n0\n", np.uint8)}, {"a": np.zeros(0, np.uint8), "b": np.zeros(0, np.uint8)}),
        ({"a": EMPTY.reshape(0, 1)}, {"a": EMPTY}),
        ({"a": np.zeros((), np.uint8)}, {"a": np.zeros(1, np.uint8)}),
        ({"a": np.zeros(1, np.int8)}, {"a": np.zeros(1, np.uint8)}),
    ],
)
def test_what_differs_has_other_digests(first, second):
    assert gi.digest(first) != gi.digest(second)


@pytest.mark.parametrize("name", ["layers.0.weight", "ж", "", "a b", 'quote"', "w\r\t"])
def test_ordinary_names_are_taken_as_they_are(name):
    assert gi.digest({name: EMPTY}) == hashlib.sha256(f"{gi.digest(EMPTY)} {name}\n".encode()).hexdigest()


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_the_digest_of_one_array_has_no_name():
    x = np.arange(6.0).reshape(2, 3)
    for array in (x, x.copy("F"), np.asmatrix(x), x.astype(">f8")):
        assert gi.digest(array) == reference.digest_of_array(x) != gi.digest({"": x})


def test_parts_of_a_model_join():
    """Each part may be known by its arrays, or by their digests alone, in any order."""
    model = {f"layers.{number}": np.full(number, number) for number in range(12)}
    digests = {name: gi.digest(x) for name, x in model.items()}
    first = {name: model[name] for name in list(model)[:5]}
    assert gi.digest(digests) == gi.digest(dict(reversed(digests.items()))) == gi.digest(model)
    assert gi.digest({**digests, **first}) == gi.digest(model) != gi.digest(first)


@pytest.fixture
def threads_as_before():
    before = gi.get_num_threads()
    yield
    gi.set_num_threads(before)


def large():
    """More than three pieces, the last one short."""
    x = np.arange(31 * 101479, dtype=np.float32).reshape(31, 101479)
    assert 3 * PIECE < x.size < 4 * PIECE
    return x


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("layout", ["C", "F", "strided", "big-endian"])
def test_threads_and_layouts_do_not_matter(threads, layout, threads_as_before):
    x = large()
    expected = reference.digest_of_array(x)
    given = {"C": x, "F": np.asfortranarray(x), "strided": np.repeat(x, 2, axis=1)[:, ::2], "big-endian": x.astype(">f4")}[layout]
    gi.set_num_threads(threads)
    assert gi.digest(given) == expected
    assert gi.digest({"a": given, "b": x[:1]}) == gi.digest({"b": x[:1], "a": expected})


def test_arrays_of_a_gpu(cupy, threads_as_before):
    """Threads read pieces of it on streams of their own, after what is under way on the caller's."""
    gi.set_num_threads(3)
    x = large()
    with cupy.cuda.Device(cupy.cuda.runtime.getDeviceCount() - 1), cupy.cuda.Stream(non_blocking=True):
        there = cupy.asarray(x)
        assert gi.digest({"w": there, "t": there.T}) == gi.digest({"w": x, "t": x.T})
    assert gi.digest(there) == gi.digest(x)


def test_pieces_may_be_hashed_in_any_order(monkeypatch):
    x, expected = large(), gi.digest(large())
    monkeypatch.setattr(hashing, "for_each", lambda work, items: work(reversed(list(items))))
    assert gi.digest(x) == expected


def test_more_arrays_than_are_read_together(monkeypatch):
    model = {str(number): np.arange(number) for number in range(9)}
    expected, done = gi.digest(model), []
    monkeypatch.setattr(hashing, "_AT_ONCE", 5)
    assert (gi.digest(model, done.append), done) == (expected, list(model))


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        (3, "arrays must hold arrays, got '': 3 of type int"),
        (None, "arrays must hold arrays, got '': None"),
        ([EMPTY], "arrays must hold arrays, got '': .* of type list"),
        ({"a": EMPTY, "b": [1.0]}, "arrays must hold arrays, got 'b'"),
        ({"a": np.array([None])}, "an array of object"),
        ({1: EMPTY}, "arrays must have strings as names, got 1 of type int"),
    ],
)
def test_what_is_refused(arrays, match):
    with pytest.raises(TypeError, match=match):
        gi.digest(arrays)


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "A" * 64, "0" * 64 + "\n"])
def test_strings_that_are_not_digests_are_refused(text):
    with pytest.raises(ValueError, match="arrays must hold arrays or their digests, which have 64 hex digits, got 'a': "):
        gi.digest({"a": text})


TORCH_DTYPES = ("float16", "float32", "float64", "complex64", "complex128", "bool", "uint8", "int16", "int64")


@pytest.mark.parametrize("dtype", TORCH_DTYPES)
def test_tensors_have_the_digests_of_arrays(torch, dtype):
    tensor = (torch.arange(6).reshape(2, 3) - 2).to(getattr(torch, dtype))
    for one in (tensor, tensor.T, tensor[:, 1:], tensor[0, 0], tensor[:0]):
        assert gi.digest(one) == gi.digest(one.numpy())
    if tensor.is_complex():
        assert gi.digest(tensor.conj()) == gi.digest(tensor.numpy().conj())


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_tensors_of_dtypes_that_numpy_lacks(torch, dtype):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    tensor = torch.arange(6).to(getattr(torch, dtype)).reshape(2, 3)
    assert gi.digest(tensor) == gi.digest(np.arange(6).reshape(2, 3).astype(getattr(ml_dtypes, dtype)))


def test_modules_have_the_digest_of_their_state(torch):
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    state = {name: value.numpy() for name, value in module.state_dict().items()}
    assert gi.digest(module) == gi.digest(module.state_dict()) == gi.digest(state)
    assert gi.digest(module[0].weight) == gi.digest(state["0.weight"])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda torch: torch.empty(3, device="meta"), "a Tensor without plain memory"),
        (lambda torch: torch.ones(2, 2).to_sparse(), "a Tensor without plain memory"),
        (lambda torch: torch.nn.LazyLinear(3), "got 'weight': a UninitializedParameter without"),
        (lambda torch: torch.nn.Linear, "arrays must hold arrays, got ''.* of type type"),
    ],
)
def test_tensors_that_are_refused(torch, make, match):
    with pytest.raises(TypeError, match=match):
        gi.digest(make(torch))


def test_a_distributed_tensor_is_refused(torch, tmp_path):
    """This process may hold only a part of it."""
    distributed = pytest.importorskip("torch.distributed")
    from torch.distributed.tensor import DTensor, Replicate

    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = distributed.init_device_mesh("cpu", (1,))
        tensor = DTensor.from_local(torch.ones(3), mesh, [Replicate()])
        with pytest.raises(TypeError, match=r"a DTensor; give full_tensor\(\)"):
            gi.digest({"w": tensor})
        assert gi.digest(tensor.full_tensor()) == gi.digest(torch.ones(3))
    finally:
        distributed.destroy_process_group()
