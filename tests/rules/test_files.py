"""Rules read from TOML: what they come to, and that every mistake is found when they are read."""

from __future__ import annotations

import json
import re

import pytest

from gpuinit import rules


def loaded(folder, text):
    path = folder / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return rules.load(path)


def entry(**keys):
    return "[[rules]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(entry(pattern="*", initializer="keep"), [("*", "keep")], id="keep"),
        pytest.param(
            entry(regex=r"h\.\d+\.bias", initializer="zeros_()")
            + entry(pattern="Embedding", initializer="normal_(std=1/sqrt(4))"),
            [(re.compile(r"h\.\d+\.bias"), "zeros_()"), ("Embedding", "normal_(std=1/sqrt(4))")],
            id="in order",
        ),
        pytest.param(
            entry(pattern="*.bias", initializer="zeros_") + entry(set="gpt2(n_layer=4)") + entry(pattern="*", initializer="keep"),
            [("*.bias", "zeros_"), *rules.gpt2(4), ("*", "keep")],
            id="a set between",
        ),
        pytest.param(entry(set="gpt2(12)"), rules.gpt2(n_layer=12), id="a set's argument by position"),
    ],
)
def test_rules(tmp_path, text, expected):
    assert loaded(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[rules]", "must be a file of TOML: "),
        ("", r"must have tables \[\[rules\]\] and nothing else, got {}"),
        ("[rules]\npattern = '*'", r"must have tables \[\[rules\]\]"),
        ("[[rule]]\npattern = '*'", r"must have .* nothing else, got {'rule'"),
        ("seed = 1\n" + entry(pattern="*", initializer="keep"), "must have .* nothing else, got {'seed'"),
        ("rules = [1]", "rule 1: a table must have the keys pattern or regex, and initializer, or set alone; got 1"),
        (entry(pattern="*"), "rule 1: a table must have the keys"),
        (entry(initializer="keep"), "rule 1: a table must have the keys"),
        (entry(pattern="*", regex=".*", initializer="keep"), "rule 1: a table must have the keys"),
        (entry(pattern="*", initializer="keep", set="gpt2(1)"), "rule 1: a table must have the keys"),
        (entry(pattern="*", initialiser="keep"), "rule 1: a table must have .*; got .*initialiser"),
        (entry(pattern=1, initializer="keep"), "rule 1: pattern must be a string, got 1"),
        (entry(pattern="*", initializer=0.5), "rule 1: initializer must be a string, got 0.5"),
        (
            entry(pattern="*", initializer="keep") * 2 + entry(regex="(", initializer="keep"),
            r"rule 3: regex must be .*, got '\('",
        ),
        (
            entry(pattern="*", initializer="normal"),
            "rule 1: an initializer must be one of constant_, .* keep, .* got 'normal'",
        ),
        (entry(pattern="*", initializer="normal_(sdt=1)"), "rule 1: an initializer must have arguments that its function takes"),
        (entry(pattern="*", initializer="keep(std=1)"), r"rule 1: Keep\(\) takes no arguments"),
        (entry(set="gpt3(1)"), "rule 1: a set must be one of gpt2, resnet, torch_defaults, vit, got 'gpt3.1.'"),
        (entry(set="gpt2"), "rule 1: set must have arguments .* got 'gpt2': .*missing 1 required positional argument: 'n_layer'"),
        (entry(set="gpt2(1, 2)"), r"rule 1: a set must have no argument twice and no more than \['n_layer'\]"),
        (entry(set="gpt2(n_layer=open('x'))"), r"rule 1: a set must have numbers, .* got .*open\('x'\) is none"),
        (entry(set="gpt2(0)"), "rule 1: n_layer must be at least 1, got n_layer=0"),
    ],
)
def test_errors(tmp_path, text, message):
    with pytest.raises(ValueError, match=rf"rules\.toml,? {message}") as caught:
        loaded(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path))


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.toml"):
        rules.load(tmp_path / "none.toml")
