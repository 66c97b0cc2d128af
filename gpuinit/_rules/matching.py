"""Which rule a parameter falls under: the first one whose pattern matches its name or its module's class."""

from __future__ import annotations

import fnmatch
import functools
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, ParamSpec

from gpuinit._contract.arguments import is_a, short_repr, shorten, type_name
from gpuinit._contract.arithmetic import exact
from gpuinit._contract.generator import Generator
from gpuinit._rules.calls import ByParam, Call, Initializer, Keep, RuleItem, module_of, name_of, parse_initializer
from gpuinit._rules.modules import class_names
from gpuinit._rules.parameters import Param

Pattern = str | re.Pattern[str] | type
Rule = tuple[Pattern, Any]
Given = ParamSpec("Given")


class SetRule(NamedTuple):
    """A rule of a ready-made set: no mistake if it matches nothing."""

    pattern: Pattern
    initializer: Any


def ready_made(make: Callable[Given, list[Rule]]) -> Callable[Given, list[Rule]]:
    """Mark the rules that a function makes as those of a ready-made set."""

    @functools.wraps(make)
    def marked(*args: Given.args, **keywords: Given.kwargs) -> list[Rule]:
        return [SetRule(*rule) for rule in make(*args, **keywords)]

    return marked


class Choices(NamedTuple):
    """The initializer of each parameter, and the rules, as given, that match none."""

    initializers: list[Initializer]
    unused: list[Rule]


@exact
def choose_initializers(rules: Any, params: Iterable[Param]) -> Choices:
    """Return the initializer of each parameter, and the rules that match none.

    Raises
    ------
    TypeError, ValueError
        If `rules` is no sequence of pairs (pattern, initializer) nor a mapping, or no rule matches some parameters.
    """
    read = read_rules(rules)
    decided: list[tuple[Param, int]] = []
    found = [(param, _match_all_names(read, param, decided)) for param in params]
    if unmatched := [param for param, choice in found if choice is None]:
        listed = "\n".join(shorten([f"    {param.name} {param.shape}" for param in unmatched]))
        raise ValueError(
            f"rules must match every parameter, got {len(unmatched)} without a rule; "
            f'add rules for them, or a last ("*", "keep"):\n{listed}'
        )
    given = list(rules.items() if is_a(rules, Mapping) else rules)
    unused = [given[number] for number in _find_unused(read, decided)] if found else []
    return Choices([choice for _, choice in found if choice is not None], unused)


def _find_unused(rules: list[tuple[Pattern, RuleItem]], decided: list[tuple[Param, int]]) -> list[int]:
    """Return the numbers of the rules that match no parameter; `decided` has the number of each parameter's first match.

    A rule that comes after the first match counts if its pattern matches. One that comes before it did not match.
    """
    deciding = {number for _, number in decided}
    return [
        number
        for number, (pattern, _) in enumerate(rules)
        if number not in deciding and not any(first < number and matches(pattern, param) for param, first in decided)
    ]


def warn_of_unused(rules: list[Rule], stacklevel: int = 3) -> None:
    """Warn of rules that match nothing, except those of a ready-made set; by default in the code that calls the caller."""
    if patterns := [short_repr(pattern) for pattern, _ in (rule for rule in rules if not isinstance(rule, SetRule))]:
        warnings.warn(
            f"rules should match parameters, but {', '.join(shorten(patterns))} match{'es' * (len(patterns) == 1)} none",
            UserWarning,
            stacklevel=stacklevel,
        )


def read_rules(rules: Any) -> list[tuple[Pattern, RuleItem]]:
    """Return rules with what their strings and partials stand for; errors as `choose_initializers`, except the last."""
    if is_a(rules, Mapping):
        rules = list(rules.items())
    if not is_a(rules, (list, tuple)):
        raise TypeError(
            "rules must be a list of pairs (pattern, initializer), or a mapping of patterns to initializers, got "
            f"{short_repr(rules)} of type {type_name(rules)}"
        )
    return [_read_rule(number, rule) for number, rule in enumerate(rules)]


def _read_rule(number: int, rule: Any) -> tuple[Pattern, RuleItem]:
    if not is_a(rule, (list, tuple)) or len(rule) != 2:
        raise TypeError(f"rules[{number}] must be a pair (pattern, initializer), got {short_repr(rule)}")
    pattern, given = rule
    check_pattern(f"rules[{number}]", pattern)
    try:
        return pattern, parse_initializer(given)
    except (TypeError, ValueError) as error:
        raise type(error)(f"rules[{number}], {short_repr(pattern)}: {error}") from None


def check_pattern(name: str, pattern: Any) -> None:
    """Refuse, in the argument `name`, what is no pattern."""
    if not is_a(pattern, (str, re.Pattern, type)):
        raise TypeError(
            f"{name} must have a string, a compiled regular expression or a class as pattern, got {short_repr(pattern)}"
        )


def _match_all_names(rules: list[tuple[Pattern, RuleItem]], param: Param, decided: list[tuple[Param, int]]) -> Initializer | None:
    """Return the initializer of a parameter; a tied one has the same by all its names that a rule matches.

    A callable is given the parameter by the name that its rule matched: with the module that it expects there.
    """
    if not param.places:
        return first_match(rules, param, decided)
    found = [(choice, face) for face in param.by_names if (choice := first_match(rules, face, decided)) is not None]
    if different := [pair for pair in found if not _same(pair[0], found[0][0])]:
        first, second = (f"{_show(choice)} for {face.name}" for choice, face in (found[0], different[0]))
        raise ValueError(
            f"rules must give a tied parameter the same by all its names, got {first} and {second}; begin the rules with one for "
            "each of these names"
        )
    return _under(*found[0]) if found else None


def _same(a: Initializer, b: Initializer) -> bool:
    try:
        return a is b or bool(a == b) or (type(a) is Keep and type(b) is Keep)
    except Exception:  # of a callable's own `__eq__`
        return False


def _show(choice: Initializer) -> str:
    return str(choice) if type(choice) is Call or type(choice) is Keep else short_repr(choice)


def _under(choice: Initializer, face: Param) -> Initializer:
    if type(choice) is Call or type(choice) is Keep:
        return choice

    def fill(x: Any, generator: Generator, param: Param) -> Any:
        return choice(x, generator, face)

    fill.__module__, fill.__name__ = module_of(choice), name_of(choice)
    return fill


def first_match(
    rules: list[tuple[Pattern, RuleItem]], param: Param, decided: list[tuple[Param, int]] | None = None
) -> Initializer | None:
    """Return the initializer of the first rule that matches, or None; note the parameter and the rule's number in `decided`."""
    for number, (pattern, choice) in enumerate(rules):
        if matches(pattern, param):
            made = _resolve(choice, param)
            if made is not None:
                if decided is not None:
                    decided.append((param, number))
                return made
    return None


def _resolve(choice: RuleItem, param: Param) -> Initializer | None:
    """Return what a rule's item comes to for a parameter, or None if it is not for this one."""
    if type(choice) is not ByParam:
        return choice
    given = choice.function(param)
    try:
        made = None if given is None else parse_initializer(given)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{param.name}, by_param: {error}") from None
    return None if made is None else _resolve(made, param)


def matches(pattern: Pattern, param: Param) -> bool:
    """Whether a pattern matches a parameter.

    A string is a glob on the whole name, in which `*` passes dots; one that is a parameter's name stands for that one alone. Or
    it is "Class" or "Class.name": the name of the owning module's class, or of a base of it, and a glob on the parameter's name
    there. A regular expression must match the whole name.
    """
    if isinstance(pattern, re.Pattern):
        return pattern.fullmatch(param.name) is not None
    if isinstance(pattern, type):
        return isinstance(param.owner, pattern)
    if pattern in param.shapes:
        if param.name == pattern:
            return True
    elif pattern == "*" or fnmatch.fnmatchcase(param.name, pattern):
        return True
    if param.owner is None:
        return False
    name, _, own = pattern.partition(".")
    return name in class_names(param.owner.__class__) and fnmatch.fnmatchcase(param.own_name, own or "*")
