"""Embeddings with a row that stands for padding, and is zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpuinit._backends.views import view_of
from gpuinit._contract.arguments import attribute, short_repr
from gpuinit._contract.generator import Generator
from gpuinit._contract.shards import parts_of
from gpuinit._rules.calls import ByParam, Call, Keep, by_param, parse_initializer
from gpuinit._rules.parameters import Param


@dataclass(frozen=True)
class _ZeroPaddingRow:
    """Fills, and then writes zeros to the row of the module's `padding_idx`."""

    fill: Any

    def __call__(self, x: Any, generator: Generator, param: Param) -> None:
        if type(self.fill) is Call:
            self.fill(x, generator=generator)
        else:
            self.fill(x, generator, param)
        view = view_of(x)
        for part, shard in parts_of(view.array, view.shard):
            row = param.owner.padding_idx - (shard.start[0] if shard else 0)
            if 0 <= row < len(part):  # or another process holds it
                with view.context():
                    part[row] = 0
                view.notify_owner()

    @property
    def __name__(self) -> str:  # in a report
        return f"zero_padding_row({self.fill if type(self.fill) is Call else attribute(self.fill, '__name__', '...')})"


def zero_padding_row(initializer: Any) -> ByParam:
    """An initializer that leaves zeros in the row of an embedding's `padding_idx`, as `torch.nn.Embedding` does.

    The row may lie in another process's part of a sharded weight. Modules without a `padding_idx` get the initializer alone.

    Parameters
    ----------
    initializer : str, partial or callable
        As a rule may have it, but not `keep` or `by_param`.

    Returns
    -------
    ByParam
        To stand in a rule.

    Raises
    ------
    TypeError, ValueError
        If `initializer` is none of these.

    Examples
    --------
    >>> from gpuinit import rules
    >>> of_embeddings = [("Embedding.weight", rules.zero_padding_row("normal_(std=0.02)"))]
    """
    fill = parse_initializer(initializer)
    if type(fill) in (Keep, ByParam):
        raise TypeError(f"initializer must fill the array, got {short_repr(initializer)}; write it in the rule itself")
    with_zeros = _ZeroPaddingRow(fill)
    return by_param(lambda param: fill if getattr(param.owner, "padding_idx", None) is None else with_zeros)
