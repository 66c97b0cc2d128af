"""Neural-network weight initializers that fill NumPy and CuPy arrays in place: one seed, the same bits everywhere.

The functions, names and defaults are those of `torch.nn.init`. `docs/values.md` defines every value they give.

Public are the names in `__all__` here, and those in the `__all__` of `gpuinit.rules`, `gpuinit.plot`, `gpuinit.checkpoint` and
`gpuinit.dask`. Whatever lies in a package or module whose name begins with an underscore is private.
"""

import importlib
import typing

from gpuinit._backends.hashing import digest
from gpuinit._backends.threads import get_num_threads, set_num_threads
from gpuinit._contract.digests import CONTRACT_VERSION
from gpuinit._contract.generator import Generator, default_generator, manual_seed
from gpuinit._contract.shards import Shard
from gpuinit._initializers.axes import fans
from gpuinit._initializers.basic import constant_, normal_, ones_, trunc_, trunc_normal_, uniform_, zeros_
from gpuinit._initializers.calling import meant_by as _meant_by
from gpuinit._initializers.fans import Mode, NonLinearity, calculate_gain
from gpuinit._initializers.scaled import (
    kaiming_normal_,
    kaiming_uniform_,
    lecun_normal_,
    lecun_uniform_,
    variance_scaling_,
    xavier_normal_,
    xavier_uniform_,
)
from gpuinit._initializers.structured import delta_orthogonal_, dirac_, embedding_, eye_, orthogonal_, sparse_
from gpuinit._initializers.warm_up import warmup

for _public in (Generator, Shard, Mode, NonLinearity):
    _public.__module__ = __name__  # so pickles name the public place

# What whole models need takes half as long to import as all the rest, so that happens on first access.
if typing.TYPE_CHECKING:
    from gpuinit import checkpoint as checkpoint
    from gpuinit import dask as dask
    from gpuinit import plot as plot
    from gpuinit import rules as rules
    from gpuinit._models.initialization import initialize
    from gpuinit._models.report import Report
    from gpuinit._rules.parameters import Param
    from gpuinit._seeding.construction import construct
    from gpuinit._seeding.seeding import seeded
else:
    _LAZY_NAMES = {
        "Param": "_rules.parameters",
        "Report": "_models.report",
        "construct": "_seeding.construction",
        "initialize": "_models.initialization",
        "seeded": "_seeding.seeding",
    }
    _PUBLIC_MODULES = ("checkpoint", "dask", "plot", "rules")

    def __getattr__(name):
        if name in _PUBLIC_MODULES:
            return importlib.import_module(f"{__name__}.{name}")
        if name not in _LAZY_NAMES:
            hint = f"; it has {meant}" if (meant := _meant_by(name)) else ""
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
        try:
            value = getattr(importlib.import_module(f"{__name__}.{_LAZY_NAMES[name]}"), name)
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            value = _needing_torch(name)
        globals()[name] = value
        return value

    def _needing_torch(name):
        def function(*args, **keywords):
            raise RuntimeError(f"gpuinit.{name} needs torch, which is not installed: pip install torch")

        return function

    def __dir__():
        return sorted({*__all__, *_PUBLIC_MODULES})


__version__ = "0.1.0"

__all__ = [
    "CONTRACT_VERSION",
    "Generator",
    "Mode",
    "NonLinearity",
    "Param",
    "Report",
    "Shard",
    "calculate_gain",
    "constant_",
    "construct",
    "default_generator",
    "delta_orthogonal_",
    "digest",
    "dirac_",
    "embedding_",
    "eye_",
    "fans",
    "get_num_threads",
    "initialize",
    "kaiming_normal_",
    "kaiming_uniform_",
    "lecun_normal_",
    "lecun_uniform_",
    "manual_seed",
    "normal_",
    "ones_",
    "orthogonal_",
    "rules",
    "seeded",
    "set_num_threads",
    "sparse_",
    "trunc_",
    "trunc_normal_",
    "uniform_",
    "variance_scaling_",
    "warmup",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]
