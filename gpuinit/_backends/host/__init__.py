"""The CPU backend: NumPy arrays of any layout."""

from gpuinit._backends.host.fill import constant, fill, truncate
from gpuinit._backends.host.identity import dirac, eye
from gpuinit._backends.host.orthogonal import orthogonal
from gpuinit._backends.host.sparse import sparse

__all__ = ["constant", "dirac", "eye", "fill", "orthogonal", "sparse", "truncate"]
