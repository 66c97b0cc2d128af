"""What is measured: the table of functions, and the table of bars that gpuinit holds itself to.

A `Job` says what a function does in terms that libraries with other functions can be asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Uniform:
    low: float
    high: float


@dataclass(frozen=True)
class Normal:
    std: float


@dataclass(frozen=True)
class Truncated:
    """N(0, std**2) restricted to +-cut * std."""

    std: float
    cut: float


@dataclass(frozen=True)
class Scaled:
    """Mean 0 and variance scale / fan of a weight (out, in)."""

    scale: float
    mode: str
    distribution: str


@dataclass(frozen=True)
class Sparse:
    sparsity: float
    std: float


@dataclass(frozen=True)
class Orthogonal:
    pass


@dataclass(frozen=True)
class Constant:
    value: float


@dataclass(frozen=True)
class Eye:
    pass


@dataclass(frozen=True)
class Dirac:
    pass


@dataclass(frozen=True)
class Trunc:
    pass


Job = Uniform | Normal | Truncated | Scaled | Sparse | Orthogonal | Constant | Eye | Dirac | Trunc

# Standard deviation of N(0, 1) cut at +-2, as in every library's variance scaling.
STD_OF_TRUNCATED = 0.87962566103423978


def resolve(job: Job, shape: Shape) -> Job:
    """`job`, where it is a `Scaled` one, as the distribution that it is for a weight of this shape."""
    if not isinstance(job, Scaled):
        return job
    fan_out, fan_in = shape[:2]
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[job.mode]
    std = math.sqrt(job.scale / fan)
    bound = math.sqrt(3) * std
    jobs: dict[str, Job] = {
        "uniform": Uniform(-bound, bound),
        "normal": Normal(std),
        "truncated_normal": Truncated(std / STD_OF_TRUNCATED, 2.0),
    }
    return jobs[job.distribution]


def matrix(size: int) -> Shape:
    """A matrix of `size` elements, a power of two: square, or twice as high as wide."""
    columns = 2 ** ((size.bit_length() - 1) // 2)
    return size // columns, columns


def convolution(size: int) -> Shape:
    """The weight of a 4x4 convolution with `size` elements."""
    return *matrix(size // 16), 4, 4


@dataclass(frozen=True)
class Case:
    """A row of the table of functions.

    `function` and `arguments` are those of gpuinit and of `torch.nn.init` alike; `most` bounds the sizes of the sweep.
    """

    name: str
    function: str
    job: Job
    arguments: Mapping[str, Any] = field(default_factory=dict)
    shape: Callable[[int], Shape] = matrix
    most: int = 2**28

    @property
    def is_random(self) -> bool:
        return not isinstance(self.job, (Constant, Eye, Dirac, Trunc))


CASES = (
    Case("uniform_ on [0, 1)", "uniform_", Uniform(0, 1)),
    Case("uniform_ on [-0.1, 0.1)", "uniform_", Uniform(-0.1, 0.1), {"a": -0.1, "b": 0.1}),
    Case("normal_", "normal_", Normal(1)),
    Case("trunc_normal_", "trunc_normal_", Truncated(1, 2)),
    Case("xavier_uniform_", "xavier_uniform_", Scaled(1, "fan_avg", "uniform")),
    Case("kaiming_normal_", "kaiming_normal_", Scaled(2, "fan_in", "normal"), {"nonlinearity": "relu"}),
    Case("lecun_normal_", "lecun_normal_", Scaled(1, "fan_in", "truncated_normal")),
    Case(
        "variance_scaling_",
        "variance_scaling_",
        Scaled(2, "fan_out", "normal"),
        {"scale": 2.0, "mode": "fan_out", "distribution": "normal"},
    ),
    Case("sparse_", "sparse_", Sparse(0.1, 0.01), {"sparsity": 0.1}),
    # Cubic in the side: 2**22 elements, 2048x2048, take a second already.
    Case("orthogonal_", "orthogonal_", Orthogonal(), most=2**22),
    Case("zeros_", "zeros_", Constant(0)),
    Case("constant_", "constant_", Constant(0.5), {"val": 0.5}),
    Case("eye_", "eye_", Eye()),
    Case("dirac_", "dirac_", Dirac(), shape=convolution),
    Case("trunc_", "trunc_", Trunc()),
)
BY_NAME = {case.name: case for case in CASES}

DTYPES = ("float32", "float64", "float16", "bfloat16")
SIZES = (2**12, 2**16, 2**20, 2**24, 2**26)
GPU_SIZES = (*SIZES, 2**28)


class Bar(NamedTuple):
    """The least ratio to torch that `case` must reach on `arrays` arrays of a shape and dtype, on the CPU.

    Beside it, no ratio to NumPy's Philox may be below `numpy`, nor to oneMKL's, if it is there and the CPU has AVX-512, below
    `mkl`. `numpy` is 0 where there is nothing to draw, as for constants, and for the small arrays, whose bars are about what a
    call costs: NumPy's is one C function that checks no arguments. gpuinit is given NumPy arrays, or with `tensors` torch's.
    """

    case: Case
    dtype: str
    shape: Shape
    torch: float
    arrays: int = 1
    numpy: float = 1.0
    mkl: float = 0.0
    tensors: bool = False

    @property
    def size(self) -> str:
        """The shape as the tables show it."""
        text = "x".join(map(str, self.shape))
        return f"{f'{self.arrays} of ' if self.arrays > 1 else ''}{text}{', tensors' if self.tensors else ''}"


_LARGE = (4096, 4096)  # 2**24 elements
BARS = (
    *(Bar(BY_NAME[name], "float32", _LARGE, 7.0, mkl=0.7) for name in ("uniform_ on [0, 1)", "uniform_ on [-0.1, 0.1)")),
    *(Bar(BY_NAME[name], "float64", _LARGE, 5.0) for name in ("uniform_ on [0, 1)", "uniform_ on [-0.1, 0.1)")),
    *(Bar(BY_NAME["uniform_ on [0, 1)"], dtype, _LARGE, 6.0) for dtype in ("bfloat16", "float16")),
    Bar(BY_NAME["normal_"], "float32", _LARGE, 5.0, mkl=0.7),
    Bar(BY_NAME["normal_"], "float64", _LARGE, 11.0, mkl=0.7),
    *(Bar(BY_NAME["normal_"], dtype, _LARGE, 5.0) for dtype in ("bfloat16", "float16")),
    Bar(BY_NAME["trunc_normal_"], "float32", _LARGE, 40.0),
    Bar(BY_NAME["sparse_"], "float32", (2048, 2048), 4.0),
    Bar(BY_NAME["orthogonal_"], "float32", (2048, 2048), 1.6),
    Bar(BY_NAME["orthogonal_"], "float32", (4096, 512), 2.0),
    Bar(BY_NAME["orthogonal_"], "float32", (512, 4096), 2.0),
    Bar(BY_NAME["orthogonal_"], "float32", (512, 512), 1.0),
    Bar(BY_NAME["zeros_"], "float32", _LARGE, 0.9, numpy=0),
    Bar(BY_NAME["constant_"], "float32", _LARGE, 0.9, numpy=0),
    Bar(BY_NAME["eye_"], "float32", _LARGE, 1.0, numpy=0),
    Bar(BY_NAME["dirac_"], "float32", (1024, 1024, 4, 4), 2.0, numpy=0),
    *(
        Bar(BY_NAME[name], "float32", (64, 64), torch, arrays=100, numpy=0)
        for name, torch in (
            ("uniform_ on [0, 1)", 1.3),
            ("normal_", 1.3),
            ("trunc_normal_", 8.0),
            ("xavier_uniform_", 1.0),
            ("kaiming_normal_", 1.0),
            ("zeros_", 0.5),
        )
    ),
    *(
        Bar(BY_NAME[name], "float32", (64, 64), torch, arrays=100, numpy=0, tensors=True)
        for name, torch in (
            ("uniform_ on [0, 1)", 0.9),
            ("normal_", 0.9),
            ("xavier_uniform_", 0.9),
            ("kaiming_normal_", 0.9),
            ("zeros_", 0.25),
        )
    ),
)
