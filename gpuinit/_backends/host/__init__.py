"""The CPU backend: NumPy arrays of any layout."""

from gpuinit._backends.host.fills import constant, fill, truncate
from gpuinit._backends.host.identity import dirac, eye
from gpuinit._backends.host.reflectors import orthogonal
from gpuinit._backends.host.sparsity import sparse

__all__ = ["constant", "dirac", "eye", "fill", "orthogonal", "sparse", "truncate"]
