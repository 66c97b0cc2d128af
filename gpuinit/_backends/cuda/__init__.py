"""The GPU backend: CuPy arrays of any layout and device."""

from gpuinit._backends.cuda.fill import constant, dirac, eye, fill, sparse, truncate
from gpuinit._backends.cuda.orthogonal import orthogonal

__all__ = ["constant", "dirac", "eye", "fill", "orthogonal", "sparse", "truncate"]
