"""Neural-network weight initializers that fill NumPy and CuPy arrays in place: one seed, the same bits everywhere.

The functions, names and defaults are those of `torch.nn.init`. `docs/values.md` defines every value they give.
"""

import importlib
import typing

from gpuinit.digest import CONTRACT_VERSION, digest
from gpuinit.fans import Mode, NonLinearity, calculate_gain
from gpuinit.fills import constant_, normal_, ones_, trunc_, trunc_normal_, uniform_, zeros_
from gpuinit.generator import Generator, default_generator, manual_seed
from gpuinit.scaled import (
    kaiming_normal_,
    kaiming_uniform_,
    lecun_normal_,
    lecun_uniform_,
    variance_scaling_,
    xavier_normal_,
    xavier_uniform_,
)
from gpuinit.shards import Shard
from gpuinit.structured import dirac_, eye_, orthogonal_, sparse_
from gpuinit.threads import get_num_threads, set_num_threads
from gpuinit.warmup import warmup

# What whole models need takes half as long to import as all the rest, so that happens when it is first asked for. No module may
# have the name of one of the functions: to import it would put the module in the function's place.
if typing.TYPE_CHECKING:
    from gpuinit import rules
    from gpuinit.model_fills import initialize
    from gpuinit.parameters import Param
    from gpuinit.report import Report
else:
    _PLACES = {"Param": "parameters", "Report": "report", "initialize": "model_fills", "rules": ""}

    def __getattr__(name):
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = importlib.import_module(f"{__name__}.{_PLACES[name] or name}")
        globals()[name] = value = getattr(module, name) if _PLACES[name] else module
        return value

    def __dir__():
        return sorted({*globals(), *_PLACES})


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
    "default_generator",
    "digest",
    "dirac_",
    "eye_",
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
