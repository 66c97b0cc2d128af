"""The GPU backend: CuPy arrays of any layout and device."""

from gpuinit._backends.cuda.fills import constant, dirac, eye, fill, sparse, truncate
from gpuinit._backends.cuda.reflectors import orthogonal

__all__ = ["constant", "dirac", "eye", "fill", "orthogonal", "sparse", "truncate"]
