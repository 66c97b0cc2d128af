"""Parameters that cannot be filled as they are, though they may look as if they could: placeholders, parts, packed numbers."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from gpuinit._backends import torch_private
from gpuinit._backends.torch_memory import why_partitioned
from gpuinit._contract.arguments import is_a


class Unfit(NamedTuple):
    """In the place of a tensor that may be kept and must not be filled, for a reason that says what to do instead."""

    tensor: Any
    reason: str

    @property
    def shape(self) -> Any:
        """That of the whole, if the tensor knows it."""
        return getattr(self.tensor, "ds_shape", self.tensor.shape)

    @property
    def dtype(self) -> Any:
        return self.tensor.dtype


def why_unfit(tensor: Any, own_name: str = "", module: Any = None, fsdp: Any = None) -> str:
    """Say why a tensor of a module cannot be filled, with the remedy; empty if nothing is known against it.

    `fsdp` is the nearest wrapper of FSDP1 around the module.
    """
    torch = sys.modules.get("torch")
    if torch is None or not is_a(tensor, torch.Tensor) or torch.nn.parameter.is_lazy(tensor):
        return ""
    if type(tensor) is torch.nn.Parameter and not tensor.__dict__:  # without a mark of any library
        return _why_computed(own_name, module)
    if reason := why_partitioned(tensor):
        return f"is {reason}"
    if torch_private.is_of_fsdp1(tensor) and (fsdp is None or fsdp.training_state.name != "SUMMON_FULL_PARAMS"):
        return (
            "is a piece of FSDP1's flattened parameter, without a shape of its own; initialize the model before it is wrapped, "
            "or the wrapper within FullyShardedDataParallel.summon_full_params, or shard with fully_shard"
        )
    if reason := _why_computed(own_name, module):
        return reason
    if _is_packed(tensor):
        kind = f"{type(tensor).__name__} of {tensor.dtype}"
        return f"is a {kind}, packed by a quantization; initialize the model before it is quantized"
    return ""


def _why_computed(own_name: str, module: Any) -> str:
    """Say that a hook of the module computes a plain attribute from this parameter and others; empty if none does."""
    computed, _, suffix = own_name.rpartition("_")
    if not computed or suffix not in ("g", "v", "u", "orig") or not torch_private.has_forward_pre_hooks(module):
        return ""
    if not hasattr(vars(module).get(computed), "shape"):
        return ""
    return (
        f"is only what {computed} is computed from before each call, by weight_norm, spectral_norm or pruning; initialize "
        "the module before that, or use torch.nn.utils.parametrizations, or keep the parameter by a rule"
    )


def _is_packed(tensor: Any) -> bool:
    """Check for a class of parameter of its own that holds integers: no such numbers are weights."""
    parameter = sys.modules["torch"].nn.Parameter
    special = isinstance(tensor, parameter) and type(tensor) is not parameter
    return special and not (tensor.is_floating_point() or tensor.is_complex())
