"""The CPU backend: NumPy arrays of any layout."""

from gpuinit.backends.host.fill import constant, fill, trunc
from gpuinit.backends.host.identity import dirac, eye
from gpuinit.backends.host.orthogonal import orthogonal
from gpuinit.backends.host.sparse import sparse

__all__ = ["constant", "dirac", "eye", "fill", "orthogonal", "sparse", "trunc"]
