"""The GPU backend: CuPy arrays of any layout and device."""

from gpuinit.backends.cuda.fill import constant, dirac, eye, fill, sparse, trunc
from gpuinit.backends.cuda.orthogonal import orthogonal

__all__ = ["constant", "dirac", "eye", "fill", "orthogonal", "sparse", "trunc"]
