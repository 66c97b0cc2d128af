"""Views of other libraries' arrays as NumPy or CuPy arrays on the same memory: one table, one function per library.

Libraries are found in `sys.modules`, never imported: anyone holding an array has already imported its library.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpuinit._backends.gpu import usable_cupy
from gpuinit._backends.torch_private import tensor_types
from gpuinit._backends.torch_tensors import view_of_dtensor, view_of_tensor
from gpuinit._backends.view import View, read_only_error
from gpuinit._contract.arguments import attribute, is_a, type_name


def view_of(x: Any) -> View:
    """Return the view of any array that can be filled in place; the errors are those of `targets.target`."""
    if type(x) is np.ndarray and x.flags.writeable:  # by far the most frequent, in a third of the time
        return View("host", x)
    if type(x) in tensor_types():
        return view_of_tensor(x)
    for library, (class_name, view) in _LIBRARIES.items():
        kind = getattr(sys.modules.get(library), class_name, None)
        if isinstance(kind, type) and is_a(x, kind):
            return view(x)
    if not issubclass(type(x), type):  # a class has its instances' methods
        if attribute(x, "__dlpack__") is not None and attribute(x, "__dlpack_device__") is not None:
            return _view_by_dlpack(x)
        if attribute(x, "__cuda_array_interface__") is not None:
            return _view_by_cuda_array_interface(x)
    raise TypeError(
        "x must be an array that can be filled in place: a numpy.ndarray, cupy.ndarray, torch.Tensor, or an object with "
        f"__dlpack__ or __cuda_array_interface__; got {type_name(x)}"
    )


def _view_of_numpy(x: Any) -> View:
    masked = getattr(sys.modules.get("numpy.ma"), "MaskedArray", np.matrix)  # NumPy imports it when it is first used
    if not issubclass(type(x), np.ndarray) or issubclass(type(x), (np.matrix, masked)):
        raise TypeError(f"x must be a plain array, got {type_name(x)}; give its data, as in numpy.asarray(x)")
    array = np.asarray(x)
    if not array.flags.writeable:
        raise read_only_error(x)
    return View("host", array)


def _view_of_cupy(x: Any) -> View:
    usable_cupy()
    return View("cuda", x)


def _refuse(x: Any) -> View:
    raise read_only_error(x)


# Library -> the name of its array class, and its view.
_LIBRARIES: dict[str, tuple[str, Callable[[Any], View]]] = {
    "numpy": ("ndarray", _view_of_numpy),
    "cupy": ("ndarray", _view_of_cupy),
    "torch.distributed.tensor": ("DTensor", view_of_dtensor),
    "torch": ("Tensor", view_of_tensor),
    "jax": ("Array", _refuse),  # on CUDA, its DLPack capsules do not say that they are read-only
}
# DLPack's device types, from its header's DLDeviceType.
_CPU, _CUDA_DEVICES = 1, (2, 13)


def _view_by_dlpack(x: Any) -> View:
    with _renaming_errors(x, "__dlpack__"):
        device, number = map(int, x.__dlpack_device__())
    if device == _CPU:
        with _renaming_errors(x, "__dlpack__"):
            array = np.from_dlpack(_OwnMemory(x, versioned=True))
        if not array.flags.writeable:
            raise read_only_error(x)
        return View("host", array)
    if device not in _CUDA_DEVICES:
        raise TypeError(f"x must lie on the CPU or a CUDA device, got {type_name(x)} on DLPack's device type {device}")
    cupy = usable_cupy()
    # Without a version, DLPack has no flag for read-only memory, and its producer refuses; CuPy looks at no flags.
    with _renaming_errors(x, "__dlpack__"), cupy.cuda.Device(number):
        return View("cuda", cupy.from_dlpack(_OwnMemory(x, versioned=False)))


class _OwnMemory:
    """A DLPack producer that is asked for its own memory and no copy, which NumPy 2.0 and CuPy do not ask for."""

    def __init__(self, x: Any, versioned: bool) -> None:
        self._x, self._versioned = x, versioned

    def __dlpack_device__(self) -> Any:
        return self._x.__dlpack_device__()

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None) -> Any:
        options = {} if stream is None else {"stream": stream}
        version = {"max_version": max_version} if self._versioned else {}
        try:
            return self._x.__dlpack__(**options, **version, copy=False)
        except TypeError:  # a producer from before the keyword, of the array API standard 2023.12
            return self._x.__dlpack__(**options)


def _view_by_cuda_array_interface(x: Any) -> View:
    with _renaming_errors(x, "__cuda_array_interface__"):
        _, read_only = x.__cuda_array_interface__["data"]
    if read_only:
        raise read_only_error(x)
    cupy = usable_cupy()
    with _renaming_errors(x, "__cuda_array_interface__"):
        return View("cuda", cupy.asarray(x))


@contextlib.contextmanager
def _renaming_errors(x: Any, protocol: str) -> Iterator[None]:
    """Turn whatever another library's method raises into an error that names the argument."""
    try:
        yield
    except Exception as error:
        raise TypeError(f"x must give its own memory through {protocol}, but {type_name(x)} does not: {error}") from error
