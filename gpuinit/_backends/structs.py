"""The C++ structs of `kernels/{uniform,normal,narrow}.cuh` that make values of words: the one list of their members.

CuPy's declaration of a kernel, the arguments of a launch, a record of a batch, and what compiled CPU kernels read follow from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from gpuinit._contract.distributions import Distribution, Narrow, Normal, Sampled, Truncated, Uniform
from gpuinit._contract.narrow import DEGREE

TABLE = "table"  # the address of the inverse CDF's table
WORKING = "W"  # a number of the working precision


class Member(NamedTuple):
    """A member of a struct, or a kernel's parameter: `TABLE`, `WORKING`, or one of NumPy's dtypes by name."""

    name: str
    kind: str = WORKING

    @property
    def declaration(self) -> str:
        """The parameter, as CuPy declares it."""
        return f"raw W {self.name}" if self.kind == TABLE else f"{self.kind} {self.name}"

    @property
    def expression(self) -> str:
        """What a kernel with that parameter initializes the member with, in C++."""
        return f"&{self.name}[0]" if self.kind == TABLE else self.name


class Struct(NamedTuple):
    """A struct made of a distribution. Its name is the kernel's with a capital; the members are in C++'s order."""

    name: str
    header: str
    members: tuple[Member, ...]

    @property
    def type(self) -> str:
        return f"gpuinit::{self.name.capitalize()}<W>"

    @property
    def expression(self) -> str:
        """The struct made of a kernel's parameters, in C++."""
        return f"{self.type}{{{', '.join(member.expression for member in self.members)}}}"

    def values(self, distribution: Distribution, table: Any) -> tuple[Any, ...]:
        """Return the members' values in their order; `table` stands for the inverse CDF's."""
        return tuple(
            table
            if kind == TABLE
            else getattr(distribution, name)
            if kind == WORKING
            else np.dtype(kind).type(getattr(distribution, name))
            for name, kind in self.members
        )


UNIFORM = Struct("uniform", "uniform.cuh", (Member("scale"), Member("low"), Member("least"), Member("greatest")))
NORMAL = Struct("normal", "normal.cuh", (Member("table", TABLE), Member("mean"), Member("odd_mean"), Member("std")))
TRUNCATED = Struct(
    "truncated",
    "normal.cuh",
    (
        Member("table", TABLE),
        Member("start", "uint64"),
        Member("factor", "uint64"),
        Member("shift", "int32"),
        Member("mean"),
        Member("std"),
        Member("least"),
        Member("greatest"),
    ),
)
NARROW = Struct(
    "narrow", "narrow.cuh", (*(Member(f"c{power}") for power in range(DEGREE + 1)), Member("least"), Member("greatest"))
)
STRUCTS = {struct.name: struct for struct in (UNIFORM, NORMAL, TRUNCATED, NARROW)}
_STRUCT_OF: dict[type, Struct] = {Uniform: UNIFORM, Normal: NORMAL, Truncated: TRUNCATED, Narrow: NARROW}


def struct_of(distribution: Sampled) -> Struct:
    """Return the struct that makes a distribution's values."""
    return _STRUCT_OF[type(distribution)]


def declare(members: Iterable[Member]) -> str:
    """Return a kernel's parameters, as CuPy declares them."""
    return ", ".join(member.declaration for member in members)


def layout(members: Iterable[Member], real: np.dtype[Any] | None) -> np.dtype[Any]:
    """Return members as one NumPy dtype with the layout of C++; W is `real`."""
    kinds: dict[str, Any] = {TABLE: np.uintp, WORKING: real}
    return np.dtype([(name, kinds.get(kind, kind)) for name, kind in members], align=True)
