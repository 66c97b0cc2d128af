"""Rules from a file of TOML, for models' configurations under version control."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from gpuinit._contract.arguments import short_repr
from gpuinit._rules.calls import Call, check_values, parse_call, parse_initializer
from gpuinit._rules.language import llama, transformers
from gpuinit._rules.matching import Rule
from gpuinit._rules.published import gpt2, resnet
from gpuinit._rules.state_space import mamba
from gpuinit._rules.torch_layers import torch_defaults
from gpuinit._rules.vision import convnext, swin, vit

_FORMS = ({"pattern", "initializer"}, {"regex", "initializer"}, {"set"})
_SETS: dict[str, Callable[..., list[Rule]]] = {
    make.__name__: make for make in (convnext, gpt2, llama, mamba, resnet, swin, torch_defaults, transformers, vit)
}
# Strings, also those without an end, and comments of TOML: what is left has few dots, except in long dotted keys.
_TEXT = re.compile(r'''"""(?s:.*?)(?:"""|\Z)|\'{3}(?s:.*?)(?:\'{3}|\Z)|"(?:\\.|[^"\\\n])*"?|\'[^\'\n]*\'?|#[^\n]*''')
_MOST_DOTS = 100  # in a line of those left; tomllib takes time in proportion to the square of a key's parts


def load(path: str | os.PathLike[str]) -> list[Rule]:
    """Read rules from a file of TOML, and check them.

    Parameters
    ----------
    path : path-like
        The file: tables ``[[rules]]`` in the order in which they count, each with the keys ``pattern`` (a glob on the name, or a
        module's class) or ``regex`` (which must match the whole name), and ``initializer`` (a string, as in `initialize`); or
        with the key ``set`` alone, a call of a ready-made set, ``"gpt2(n_layer=12)"``, whose rules stand there in its place.

    Returns
    -------
    list of (pattern, initializer)
        For `initialize`.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no TOML, has other keys, or a value that is no pattern, initializer or set; if an initializer fills no array with
        its arguments.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gpuinit import rules
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "rules.toml")
    ...     _ = path.write_text('''
    ...         [[rules]]
    ...         pattern = "*.bias"
    ...         initializer = "zeros_"
    ...
    ...         [[rules]]
    ...         pattern = "*"
    ...         initializer = "normal_(std=0.02)"
    ...     ''')
    ...     rules.load(path)
    [('*.bias', 'zeros_'), ('*', 'normal_(std=0.02)')]
    """
    rules = []
    for number, entry in enumerate(_read_entries(path), start=1):
        try:
            rules += _parse_entry(entry)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)}, rule {number}: {error}") from error
    return rules


def _read_entries(path: str | os.PathLike[str]) -> list[Any]:
    import tomllib  # 2 ms of each import of gpuinit otherwise

    with open(path, "rb") as file:
        content = file.read()
    try:
        text = content.decode()
        if any(line.count(".") > _MOST_DOTS for line in _TEXT.sub("", text).splitlines()):
            raise ValueError(f"a key has more than {_MOST_DOTS} parts")
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)} must be a file of TOML: {error}") from error
    entries = tables.get("rules")
    if tables.keys() != {"rules"} or not isinstance(entries, list):
        raise ValueError(f"{os.fspath(path)} must have tables [[rules]] and nothing else, got {short_repr(tables)}")
    return entries


def _parse_entry(entry: Any) -> list[Rule]:
    """The rules that a table stands for."""
    if not isinstance(entry, dict) or entry.keys() not in _FORMS:
        raise ValueError(f"a table must have the keys pattern or regex, and initializer, or set alone; got {short_repr(entry)}")
    for key, value in entry.items():
        if not isinstance(value, str):
            raise ValueError(f"{key} must be a string, got {short_repr(value)}")
    if "set" in entry:
        return _make_set(entry["set"])
    choice = parse_initializer(entry["initializer"])
    if type(choice) is Call:
        check_values(choice)
    return [(_compile(entry["regex"]) if "regex" in entry else entry["pattern"], entry["initializer"])]


def _compile(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, ValueError, OverflowError, RecursionError, Warning) as error:
        raise ValueError(f"regex must be a regular expression, got {short_repr(text)}: {error}") from error


def _make_set(text: str) -> list[Rule]:
    function, keywords = parse_call(text, _SETS, "a set")
    try:
        rules: list[Rule] = function(**keywords)
    except TypeError as error:
        raise TypeError(f"set must have arguments that its function takes, got {short_repr(text)}: {error}") from error
    return rules
