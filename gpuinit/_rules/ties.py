"""Which name of a tied weight determines its stream: the one that `tied` chooses, or the first in the order of code points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gpuinit._contract.arguments import is_a, short_repr

Ties = Mapping[str, str]


def check_tied(tied: Any) -> Ties:
    """Return the argument `tied` as a mapping of names to names."""
    if tied is None:
        return {}
    if not is_a(tied, Mapping) or not all(is_a(name, str) for pair in tied.items() for name in pair):
        raise TypeError(f"tied must be a mapping of names to the names whose streams they take, got {short_repr(tied)}")
    return tied


def name_ties(groups: Iterable[Sequence[str]], tied: Ties) -> list[list[str]]:
    """Return all names of each group, which are one parameter's; the name of its stream comes first, the others are sorted.

    Neither the order within a group nor that of the groups has an influence. The default is the name that
    `safetensors.torch.save_model` keeps. A name of `tied` that no group has is one more name of the group of the other.

    Raises
    ------
    ValueError
        If `tied` has two names that no group has, or names of two groups, or chooses two streams for one group.
    """
    all_names = [sorted(group) for group in groups]
    if not tied:
        return all_names
    group_of = {name: number for number, group in enumerate(all_names) for name in group}
    chosen: dict[int, set[str]] = {}
    for name, stream in tied.items():
        numbers = {group_of[known] for known in (name, stream) if known in group_of}
        if len(numbers) != 1:
            problem = "lie apart; tie them first" if numbers else "the model does not have"
            raise ValueError(f"tied must have names of parameters that are one, got {name!r} and {stream!r}, which {problem}")
        number = numbers.pop()
        chosen.setdefault(number, set()).add(stream)
        all_names[number] = sorted({*all_names[number], name, stream})
    return [_stream_first(names, chosen.get(number, set())) for number, names in enumerate(all_names)]


def _stream_first(names: list[str], chosen: set[str]) -> list[str]:
    if len(chosen) > 1:
        raise ValueError(f"tied must choose one name for a parameter, got {' and '.join(map(repr, sorted(chosen)))}")
    stream = chosen.pop() if chosen else names[0]
    return [stream, *(name for name in names if name != stream)]
