"""Weights that a model says are one, and that are not, as after `to_empty`: tied again where the model says how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpuinit._contract.arguments import attribute, is_a


def mend(model: Any) -> list[str]:
    """Tie what a model's `all_tied_weights_keys` has as tied (transformers 5), by its `tie_weights` if it has one; return the
    names that were apart."""
    apart = _apart(model)
    tie = attribute(model, "tie_weights")
    if apart and callable(tie):
        tie()
    for name, other in _apart(model).items():
        owner, _, own = name.rpartition(".")
        setattr(model.get_submodule(owner), own, _get(model, other))
    return list(apart)


def _apart(model: Any) -> dict[str, str]:
    declared = attribute(model, "all_tied_weights_keys")
    pairs = declared.items() if is_a(declared, Mapping) else ()
    return {name: other for name, other in pairs if _get(model, name) is not _get(model, other)}


def _get(model: Any, name: str) -> Any:
    owner, _, own = name.rpartition(".")
    try:
        return getattr(model.get_submodule(owner), own)
    except AttributeError:  # a part of the model that is not there
        return None
