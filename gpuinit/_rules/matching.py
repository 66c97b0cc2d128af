"""Which rule a parameter falls under: the first one whose pattern matches its name or its module's class."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import Any

from gpuinit._contract.arguments import short_repr
from gpuinit._contract.arithmetic import exact
from gpuinit._rules.calls import ByParam, Initializer, RuleItem, parse_initializer
from gpuinit._rules.parameters import Param

Pattern = str | re.Pattern[str] | type
Rule = tuple[Pattern, Any]


@exact
def choose_initializers(rules: Any, params: Iterable[Param]) -> list[Initializer]:
    """Return the initializer of each parameter.

    Raises
    ------
    TypeError, ValueError
        If `rules` is no sequence of pairs (pattern, initializer), or no rule matches some parameters: all are named.
    """
    read = read_rules(rules)
    found = [(param, first_match(read, param)) for param in params]
    if unmatched := [param for param, choice in found if choice is None]:
        listed = "\n".join(f"    {param.name} {param.shape}" for param in unmatched)
        raise ValueError(
            f"rules must match every parameter, got {len(unmatched)} without a rule; "
            f'add rules for them, or a last ("*", "keep"):\n{listed}'
        )
    return [choice for _, choice in found if choice is not None]


def read_rules(rules: Any) -> list[tuple[Pattern, RuleItem]]:
    """Return rules with what their strings and partials stand for; errors as `choose_initializers`, except the last."""
    if not isinstance(rules, (list, tuple)):
        raise TypeError(
            f"rules must be a list of pairs (pattern, initializer), got {short_repr(rules)} of type {type(rules).__name__}"
        )
    return [_read_rule(number, rule) for number, rule in enumerate(rules)]


def _read_rule(number: int, rule: Any) -> tuple[Pattern, RuleItem]:
    if not isinstance(rule, (list, tuple)) or len(rule) != 2:
        raise TypeError(f"rules[{number}] must be a pair (pattern, initializer), got {short_repr(rule)}")
    pattern, given = rule
    if not isinstance(pattern, (str, re.Pattern, type)):
        raise TypeError(
            f"rules[{number}] must have a string, a compiled regular expression or a class as pattern, got {short_repr(pattern)}"
        )
    try:
        return pattern, parse_initializer(given)
    except (TypeError, ValueError) as error:
        raise type(error)(f"rules[{number}], {short_repr(pattern)}: {error}") from None


def first_match(rules: list[tuple[Pattern, RuleItem]], param: Param) -> Initializer | None:
    """Return the initializer of the first rule that matches, or None."""
    for pattern, choice in rules:
        if matches(pattern, param):
            made = _resolve(choice, param)
            if made is not None:
                return made
    return None


def _resolve(choice: RuleItem, param: Param) -> Initializer | None:
    """Return what a rule's item comes to for a parameter, or None if it is not for this one."""
    if not isinstance(choice, ByParam):
        return choice
    given = choice.function(param)
    try:
        made = None if given is None else parse_initializer(given)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{param.name}, by_param: {error}") from None
    return None if made is None else _resolve(made, param)


def matches(pattern: Pattern, param: Param) -> bool:
    """Whether a pattern matches a parameter.

    A string is a glob on the whole name, in which `*` passes dots; or "Class" or "Class.name": the name of the owning module's
    class, or of a base of it, and a glob on the parameter's name there. A regular expression must match the whole name.
    """
    if isinstance(pattern, re.Pattern):
        return pattern.fullmatch(param.name) is not None
    if isinstance(pattern, type):
        return isinstance(param.owner, pattern)
    if fnmatch.fnmatchcase(param.name, pattern):
        return True
    name, _, own = pattern.partition(".")
    classes = () if param.owner is None else type(param.owner).__mro__
    return name in {cls.__name__ for cls in classes} and fnmatch.fnmatchcase(param.own_name, own or "*")
