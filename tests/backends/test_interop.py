"""Arrays of libraries that gpuinit knows nothing of, by the protocols that they speak: DLPack, the CUDA array interface."""

from __future__ import annotations

import array as standard_array
import ctypes
import itertools
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gpuinit as gi
from tests.support import fills
from tests.support.arrays import to_host
from tests.support.fills import NAMES, RANDOM
from tests.support.hostile import HOSTILE, fail
from tests.support.layouts import LAYOUTS, Window
from tests.support.refusals import refused


class DLPack:
    """A producer on either device that has DLPack's two methods and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Interface:
    """A producer on a CUDA device that has `__cuda_array_interface__` and nothing else."""

    def __init__(self, array, **changes):
        self.array = array
        self.changes = changes

    @property
    def __cuda_array_interface__(self):
        interface = {**self.array.__cuda_array_interface__, **self.changes}
        return {name: value for name, value in interface.items() if value is not MISSING}


MISSING = object()

# How a test's array comes to gpuinit, on each module
PRODUCERS = {"DLPack": DLPack, "CUDA array interface": Interface}


@pytest.fixture(params=[("numpy", "DLPack"), ("cupy", "DLPack"), ("cupy", "CUDA array interface")], ids="-".join)
def produced(request):
    """The module of the memory, and the producer's class."""
    module, protocol = request.param
    return np if module == "numpy" else request.getfixturevalue("cupy"), PRODUCERS[protocol]


REAL = ("float16", "float32", "float64")
COMPLEX = fills.COMPLEX
DTYPES = (*REAL, *COMPLEX, "bool", "int8", "int64", "uint8", "uint16")
ANY = [(), (0, 4), (33,), (3, 5), (4, 3, 3, 2)]
SHAPES = {
    fills.DRAWN: ANY,
    fills.CONSTANT: ANY,
    fills.SCALED: [(3, 5), (4, 3, 3, 2)],
    fills.SPARSE: [(33, 17), (0, 3)],
    fills.STRUCTURED: [(4, 4), (3, 5), (4, 3, 3), (6, 4, 2, 3)],
}
FILLS = [row for row in fills.ONE_OF_EACH if row.kind in SHAPES] + fills.select(names=["dirac_"])[1:]


@pytest.mark.parametrize(("fill", "dtype"), fills.cases(FILLS, DTYPES))
def test_the_bits_of_the_numpy_fill(produced, fill, dtype):
    xp, producer = produced
    for layout, shape in itertools.product(LAYOUTS, filter(fill.takes, SHAPES[fill.kind])):
        expected = fills.call(fill.name, np.empty(shape, dtype), fill.arguments)
        window = Window(xp, layout, shape, dtype)
        x = producer(window.array)
        assert fills.call(fill.name, x, fill.arguments) is x
        assert to_host(window.array).tobytes() == expected.tobytes(), (layout, shape)
        assert window.outside_untouched(), (layout, shape)


@pytest.mark.parametrize("dtype", [*REAL, *COMPLEX])
def test_orthogonal_to_rounding(produced, dtype):
    xp, producer = produced
    expected = gi.orthogonal_(np.empty((9, 5), dtype), 1.5, generator=3)
    for layout in LAYOUTS:
        window = Window(xp, layout, (9, 5), dtype)
        gi.orthogonal_(producer(window.array), 1.5, generator=3)
        np.testing.assert_allclose(to_host(window.array), expected, rtol=0, atol=1e-3 if dtype == "float16" else 2e-6)
        assert window.outside_untouched()


def test_trunc(produced):
    xp, producer = produced
    x = xp.asarray([-2.7, 1.5, 0.3])
    gi.trunc_(producer(x))
    assert to_host(x).tolist() == [-2, 1, 0]


def test_the_generator_goes_on_as_for_arrays(produced):
    xp, producer = produced
    one, other = gi.Generator(1), gi.Generator(1)
    for shape in ((33,), (4, 6), (0,), (5,)):
        x = xp.empty(shape, np.float32)
        gi.normal_(producer(x), generator=one)
        assert to_host(x).tobytes() == gi.normal_(np.empty(shape, np.float32), generator=other).tobytes()
        assert one.position == other.position


def test_bad_arguments_leave_all_as_it_is(produced):
    xp, producer = produced
    memory = xp.full((4, 6), 77, np.float32)
    refused("normal_", producer(memory), ValueError, "std must not be negative", memory=memory, std=-1)
    for name in ("eye_", "sparse_"):
        refused(name, producer(memory.ravel()), ValueError, "must have 2 axes", memory=memory)
    integers = xp.full((4, 6), 77, np.int32)
    for name in RANDOM:
        refused(name, producer(integers), TypeError, "one of the dtypes .* got int32", memory=integers)


@pytest.mark.parametrize("name", NAMES)
def test_overlap(produced, name):
    xp, producer = produced
    memory = xp.full(64, 77, np.float32)
    shape, strides = ((4, 6, 1), (4, 4, 64)) if name == "dirac_" else ((4, 6), (4, 4))
    x = xp.lib.stride_tricks.as_strided(memory, shape, strides)
    refused(name, producer(x), ValueError, r"^x must not overlap itself, got shape \(4, 6", memory=memory)


# Producers that cannot be filled; `refused` sees that their memory stays as it is.

# In a `DLManagedTensorVersioned`: a version of two uint32, two pointers, then the flags, whose lowest bit says read-only
FLAGS_OFFSET, READ_ONLY = 24, 1


class ReadOnly(DLPack):
    """What says that it is read-only in the flag that DLPack has for that, and gives nothing to who knows no flags."""

    def __dlpack__(self, *, max_version=None, **options):
        if max_version is None:
            raise BufferError("the memory is read-only")
        capsule = self.array.__dlpack__(max_version=max_version, **options)
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        ctypes.c_uint64.from_address(pointer(capsule, b"dltensor_versioned") + FLAGS_OFFSET).value |= READ_ONLY
        return capsule


class Unversioned(DLPack):
    """A producer from before DLPack had flags. Immutable ones are among these, as JAX's arrays, and nothing tells them apart."""

    def __dlpack__(self, *, stream=None):
        return self.array.__dlpack__()


class Immutable(DLPack):
    """A producer from before DLPack had flags, of memory that it may not give away."""

    def __dlpack__(self, *, stream=None):
        raise BufferError("the memory is immutable")


class Copying(DLPack):
    """What gives a copy, unless it is told that only its own memory will do."""

    def __dlpack__(self, *, copy=None, **options):
        if copy is False:
            raise BufferError("a copy is needed")
        return self.array.copy().__dlpack__(**options)


class Elsewhere(DLPack):
    """Memory on a device of the given type."""

    device = 8  # kDLMetal

    def __dlpack__(self, **options):
        raise AssertionError("the device is known before")

    def __dlpack_device__(self):
        return (self.device, 0)


class OneMethod:
    """Half of the protocol."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)


class Plain:
    """An array for NumPy alone, by a protocol that may copy."""

    def __init__(self, array):
        self.__array_interface__ = array.__array_interface__


@pytest.mark.parametrize("kind", [ReadOnly, Immutable, Copying])
@pytest.mark.parametrize("name", NAMES)
def test_dlpack_without_memory_to_write(xp, name, kind):
    memory = xp.full((4, 6), 77, np.float32)
    refused(name, kind(memory), TypeError, rf"{kind.__name__}\b.*\b(copy|does not)\b", memory=memory)


# Name -> (what is made of a NumPy array, what the message has)
REFUSED = {
    "no flags": (Unversioned, "Unversioned"),
    "another device": (Elsewhere, "CPU or a CUDA device, got .*Elsewhere .* 8"),
    "half of the protocol": (OneMethod, "__dlpack__ .* got .*OneMethod"),
    "array interface": (Plain, "__dlpack__ .* got .*Plain"),
    "memoryview": (memoryview, "got memoryview"),
    "bytearray": (lambda x: bytearray(x.tobytes()), "got bytearray"),
    "array.array": (lambda x: standard_array.array("f", x.ravel()), "got array.array"),
    "list": (lambda x: x.tolist(), "got list"),
    "scalar": (lambda x: x[0, 0], "got numpy.float32"),
    "number": (lambda x: 1.0, "got float"),
    "class": (lambda x: DLPack, "got type"),
    "class of tensors": (lambda x: type(x), "got type"),
    "record": (lambda x: np.zeros(3, "f4,f4"), "one of the dtypes"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", NAMES)
def test_refused(name, kind):
    make, match = REFUSED[kind]
    memory = np.full((4, 6), 77, np.float32)
    refused(name, make(memory), TypeError, match, memory=memory)


# Objects whose own methods raise.


ARRAYS = {
    **HOSTILE,
    "DLPack": type("Hostile", (), {"__dlpack__": fail, "__dlpack_device__": fail}),
    "DLPack's device": type("Hostile", (), {"__dlpack__": fail, "__dlpack_device__": lambda self: "CPU"}),
    "DLPack's capsule": type("Hostile", (), {"__dlpack__": lambda self, **options: 1, "__dlpack_device__": lambda self: (1, 0)}),
    "DLPack as a property": type("Hostile", (), {"__dlpack__": property(fail), "__dlpack_device__": property(fail)}),
    "CUDA array interface": type("Hostile", (), {"__cuda_array_interface__": property(fail)}),
    "CUDA array interface without data": type("Hostile", (), {"__cuda_array_interface__": {}}),
    "a class that is not its own": type("Hostile", (), {"__class__": np.ndarray, "__array__": lambda *_, **__: np.zeros(3)}),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_objects_whose_methods_raise(kind):
    x, state = ARRAYS[kind](), gi.default_generator.state
    for name in ("normal_", "zeros_", "trunc_"):
        with pytest.raises(TypeError, match=r"^x must "):
            getattr(gi, name)(x)
    memory = np.full((4, 6), 77, np.float32)
    for name in ("normal_", "zeros_"):
        refused(name, memory, TypeError, r"^shard must be a gpuinit\.Shard or None, got ", shard=x)
    assert gi.default_generator.state == state


class Flagless(np.ndarray):
    """A subclass whose own attributes raise, on memory that is NumPy's all the same."""

    flags = shape = strides = property(fail)


def test_a_subclass_of_numpys_arrays_whose_attributes_raise():
    memory = np.empty((4, 6), np.float32)
    gi.normal_(memory.view(Flagless), generator=1)
    assert memory.tobytes() == gi.normal_(np.empty((4, 6), np.float32), generator=1).tobytes()


def test_errors_of_a_producer_name_the_argument():
    class Broken(DLPack):
        def __dlpack__(self, **options):
            raise ZeroDivisionError("a bug of the producer")

    with pytest.raises(TypeError, match=r"^x must give its own memory .* a bug of the producer"):
        gi.ones_(Broken(np.empty(3)))


@pytest.mark.parametrize("name", NAMES)
def test_the_cuda_array_interface_read_only(cupy, name):
    memory = cupy.full((4, 6), 77, np.float32)
    x = Interface(memory, data=(memory.data.ptr, True))
    refused(name, x, TypeError, "read-only .*Interface.* copy", memory=memory)


# Changes of the interface that mean the same array
VARIANTS = {
    "no strides": {"strides": MISSING},
    "strides of None": {"strides": None},
    "strides": {"strides": (24, 4)},
    "version 2": {"version": 2, "stream": MISSING},
    "no stream": {"stream": None},
    "the legacy default stream": {"stream": 1},
    "no mask": {"mask": None},
    "a description": {"descr": [("", "<f4")]},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_of_the_cuda_array_interface(cupy, variant):
    memory = cupy.full((4, 6), 77, np.float32)
    x = Interface(memory, **VARIANTS[variant])
    assert gi.normal_(x, generator=1) is x
    assert to_host(memory).tobytes() == gi.normal_(np.empty((4, 6), np.float32), generator=1).tobytes()


def test_a_masked_cuda_array_interface(cupy):
    memory = cupy.full((4, 6), 77, np.float32)
    mask = Interface(cupy.ones((4, 6), bool))
    refused("normal_", Interface(memory, mask=mask), (TypeError, ValueError), "mask", memory=memory)


def test_one_launch_and_nothing_else(cupy, cudasim):
    """The device's memory itself is filled: no copy comes or goes."""
    memory = cupy.empty((33, 17), np.float32)
    # A consumer of the interface waits for the stream that it names
    for x in (DLPack(memory), Interface(memory, stream=None)):
        gi.normal_(x, generator=1)
        with cudasim.trace() as events:
            gi.normal_(x, generator=1)
        assert events.counts() == {"launch": 1}


def test_a_cuda_producer_without_cupy():
    """A subprocess, as CuPy may be there in fact."""
    code = """
import sys
sys.modules["cupy"] = None
import gpuinit as gi

class Interface:
    __cuda_array_interface__ = {"data": (4096, False), "shape": (3,), "typestr": "<f4", "version": 3}

class DLPack:
    def __dlpack__(self, **options): raise AssertionError
    def __dlpack_device__(self): return (2, 0)

for x in (Interface(), DLPack()):
    try: gi.normal_(x)
    except RuntimeError as error: assert "CuPy" in str(error) and "cuda12" in str(error), error
    else: raise AssertionError("filled")
assert gi.default_generator.position == 0
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_producers_in_threads(produced):
    """Each with a generator of its own."""
    xp, producer = produced
    memory = [xp.empty((17, 9), np.float32) for _ in range(16)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: gi.normal_(producer(memory[seed]), generator=seed), range(16)))
    for seed, x in enumerate(memory):
        assert to_host(x).tobytes() == gi.normal_(np.empty((17, 9), np.float32), generator=seed).tobytes()


# Libraries.


def test_a_memory_mapped_file(tmp_path):
    x = np.memmap(tmp_path / "weights", np.float32, "w+", shape=(33, 17))
    assert gi.normal_(x, generator=1) is x
    x.flush()
    expected = gi.normal_(np.empty((33, 17), np.float32), generator=1)
    assert (tmp_path / "weights").read_bytes() == expected.tobytes()
    read = np.memmap(tmp_path / "weights", np.float32, "r", shape=(33, 17))
    refused("normal_", read, TypeError, "read-only")


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_tensors_by_dlpack(torch, dtype):
    """A torch tensor in a wrapper; NumPy imports no bfloat16 from DLPack."""
    tensor = torch.full((4, 6), 77, dtype=getattr(torch, dtype))
    if dtype == "float32":
        gi.normal_(DLPack(tensor), generator=1)
        assert tensor.numpy().tobytes() == gi.normal_(np.empty((4, 6), np.float32), generator=1).tobytes()
    else:
        refused("normal_", DLPack(tensor), TypeError, "DLPack", memory=tensor.view(torch.int16))


READ_ONLY_JAX = r"^x must be writeable, got a read-only jax.*; fill .* convert it \(jax\.numpy\.asarray\(filled\)\)"


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "int32"])
@pytest.mark.parametrize("name", NAMES)
def test_jax_arrays_are_refused(jax, name, dtype):
    jnp = jax.numpy
    x = jnp.full((4, 6), 77, dtype)
    refused(name, x, TypeError, READ_ONLY_JAX)


def test_traced_jax_arrays_are_refused(jax):
    with pytest.raises(TypeError, match=READ_ONLY_JAX):
        jax.jit(gi.ones_)(jax.numpy.zeros((4, 6)))


def test_jax_arrays_on_a_cuda_device(cupy, monkeypatch):
    """A stand-in, as JAX has no emulated device: immutable, and its DLPack, from before the flags, is silent on that."""
    jax = types.ModuleType("jax")
    jax.Array = type("Array", (Unversioned,), {"__module__": "jax"})
    monkeypatch.setitem(sys.modules, "jax", jax)
    memory = cupy.full((4, 6), 77, np.float32)
    refused("normal_", jax.Array(memory), TypeError, READ_ONLY_JAX, memory=memory)


def test_what_the_error_of_a_jax_array_advises(jax):
    jnp = jax.numpy
    filled = gi.normal_(np.empty((4, 6), np.float32), generator=1)
    assert np.asarray(jnp.asarray(filled)).tobytes() == filled.tobytes()
