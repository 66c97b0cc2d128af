"""Tensors whose memory is not that of the values they stand for: results of operations, copies, other libraries' placeholders.

A result without a history cannot be told from a tensor that its owner has just made: `weight.float()` under `torch.no_grad`,
`weight.detach().clone()`, the weight of a parametrized module whose parameters are frozen.
"""

from __future__ import annotations

from typing import Any

from gpuinit._backends import torch_private


def why_not_its_own(x: Any) -> str:
    """Say whose memory a tensor's really is, with the remedy; empty if nothing speaks against its being the caller's."""
    if x.__dict__ and (reason := _placeholder(x)):
        return reason
    if operation := _operation(x):
        return (
            f"the result of an operation ({operation}), and what it was computed from would stay as it is; fill that (of a "
            "parametrized weight: by gpuinit.initialize of the module), or x.detach() if the result itself is meant"
        )
    return ""


def is_copied_view(x: Any) -> bool:
    """Check for a view of a DTensor that was cut from a gathered copy: torch calls it a view, but shares no memory."""
    base = torch_private.base(x)
    return base is not None and torch_private.storage(base) != torch_private.storage(x)


def why_partitioned(x: Any) -> str:
    """Say that ZeRO-3 has a parameter's values elsewhere, with the remedy; empty if it has not."""
    whole = tuple(x.__dict__.get("ds_shape", x.shape))
    if whole == tuple(x.shape):
        return ""
    return (
        f"partitioned by DeepSpeed's ZeRO-3 for shape {whole}; gather it first: fill it within "
        "deepspeed.zero.GatheredParameters(parameters, modifier_rank=0)"
    )


def _placeholder(x: Any) -> str:
    """Name the library that keeps a parameter's values elsewhere, or in another form, by the marks that it leaves."""
    marks = x.__dict__
    if reason := why_partitioned(x):
        return f"one {reason}"
    if "_fsdp_flattened" in marks and x.ndim <= 1:
        return (
            "a flattened part of a parameter under FSDP1, or one that looks like it; fill it before FSDP wraps the module, or "
            "x.detach() within FSDP.summon_full_params"
        )
    quantized = marks.get("quant_state", marks.get("SCB"))  # bitsandbytes' 4 and 8 bits; `quant_type` is GGUF's
    if quantized is not None or ("quant_type" in marks and not x.is_floating_point()):
        return f"quantized values in a {type(x).__name__}; fill a float32 tensor and quantize it"
    return ""


def _operation(x: Any) -> str:
    """Name the operation that a tensor is the result of; empty for a leaf, a view of one, and what shares a leaf's memory."""
    node = torch_private.history(x)
    if node is None:
        return ""
    own, seen, waiting = torch_private.storage(x), set(), [node]
    while waiting:  # a custom function such as DTensor.to_local() hands on the memory that it is given
        found = waiting.pop()
        leaf = getattr(found, "variable", None)
        if leaf is not None and torch_private.storage(leaf) == own:
            return ""
        if found not in seen:
            seen.add(found)
            waiting += [before for before, _ in found.next_functions if before is not None]
    return str(node.name()).rpartition("::")[2]
