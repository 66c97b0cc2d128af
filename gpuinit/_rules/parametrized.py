"""Weights that a parametrization of torch's computes: filled as the layer sees them, through `right_inverse`."""

from __future__ import annotations

import copy
import math
import sys
from typing import Any, NamedTuple


class Parametrized(NamedTuple):
    """What `torch.nn.utils.parametrize` computes from `parts`, its `ParametrizationList`; in the place of a tensor."""

    parts: Any
    shape: tuple[int, ...]
    dtype: Any
    device: Any

    @classmethod
    def of(cls, parts: Any) -> Parametrized:
        """Find the shape by a computation on a copy, since a parametrization may keep a state, as `spectral_norm` does."""
        with sys.modules["torch"].no_grad():
            values = copy.deepcopy(parts)()
        return cls(parts, tuple(values.shape), values.dtype, values.device)

    @property
    def originals(self) -> list[Any]:
        """The parameters that the weight is computed from; none if it takes the place of a buffer."""
        return list(self.parts.parameters(recurse=False))

    def copy(self) -> Parametrized:
        """Return one of the same state, to try something on."""
        return self._replace(parts=copy.deepcopy(self.parts))

    def new_values(self) -> Any:
        """Return memory for the whole weight."""
        return sys.modules["torch"].empty(self.shape, dtype=self.dtype, device=self.device)

    def assign(self, values: Any) -> Any:
        """Make the layer compute with these values, and return what it computes.

        Raises
        ------
        TypeError
            If the parametrization has no inverse, or computes other values than these from what its inverse gives.
        """
        with sys.modules["torch"].no_grad():
            try:
                self.parts.right_inverse(values.clone())
                computed = self.parts()
            except (TypeError, ValueError, RuntimeError) as error:
                raise TypeError(self._refusal(str(error))) from error
            if not _equal_to_rounding(computed, values):
                raise TypeError(self._refusal("it computes other values than those that it is given"))
        return computed.detach()

    def _refusal(self, reason: str) -> str:
        names = ", ".join(type(part).__name__ for part in self.parts)
        return (
            f"a parametrized weight must be one that its parametrization can give, got {names}: {reason}; initialize the module "
            "before it is parametrized, or keep the weight by a rule"
        )


def _equal_to_rounding(computed: Any, values: Any) -> bool:
    if computed.shape != values.shape or computed.dtype != values.dtype:
        return False
    largest = float(values.abs().max()) if values.numel() else 0.0
    error = largest * math.sqrt(sys.modules["torch"].finfo(values.dtype).eps)
    return bool(sys.modules["torch"].allclose(computed, values, rtol=0, atol=error))
