"""Rules read from TOML: what they come to, and that every mistake is found when they are read."""

from __future__ import annotations

import json
import random
import re
import string
import time

import numpy as np
import pytest

import gpuinit as gi
from gpuinit import rules
from gpuinit._rules.calls import INITIALIZERS, parse_initializer


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
        pytest.param(
            entry(set="transformers(model_type='gpt2', initializer_range=0.02, num_hidden_layers=12)"),
            rules.gpt2(12),
            id="a set's arguments by name",
        ),
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
        (
            entry(pattern="*", initializer="xavier_uniform_(parts=(1,)*9999999999999)"),
            r"rule 1: an initializer must have numbers, .* as arguments, got .*: \(1,\) is no number",
        ),
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
        (
            entry(set="gpt3(1)"),
            "rule 1: a set must be one of convnext, gpt2, llama, mamba, resnet, swin, .*, vit, got 'gpt3.1.'",
        ),
        (entry(set="gpt2"), "rule 1: set must have arguments .* got 'gpt2': .*missing 1 required positional argument: 'n_layer'"),
        (entry(set="gpt2(1, 2)"), r"rule 1: a set must have no argument twice and no more than \['n_layer'\]"),
        (entry(set="gpt2(n_layer=open('x'))"), r"rule 1: a set must have numbers, .* got .*open\('x'\) is none"),
        (entry(set="resnet(zero_init_residual='False')"), "rule 1: .*: zero_init_residual must be True or False, got 'False'"),
        (entry(set="resnet(zero_init_residual=0)"), "rule 1: .*: zero_init_residual must be True or False, got 0"),
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


# Values of arguments: no array takes those that are refused, and some array each of the others.
REFUSED = [
    ("kaiming_normal_(mode='fanin')", "mode must be one of fan_in, fan_out, got mode='fanin'"),
    ("kaiming_normal_('fan_out')", "a must be a real number, .*; write mode='fan_out'"),
    ("kaiming_uniform_(nonlinearity='gelu')", "nonlinearity must be one of"),
    ("variance_scaling_(distribution='cauchy')", "distribution must be one of"),
    ("variance_scaling_(0)", "scale must be positive, got scale=0.0"),
    ("normal_(std=-1)", "std must not be negative, got std=-1.0"),
    ("normal_(std='0.02')", "std must be a real number, got '0.02'"),
    ("normal_(mean=inf)", "mean must be finite"),
    ("uniform_(a=1, b=0)", "a must not exceed b, got a=1.0, b=0.0"),
    ("trunc_normal_(a=2, b=1)", "a must not exceed b"),
    ("trunc_normal_(a=18, b=19)", "must reach to 11 std"),
    ("embedding_(padding_idx=0.5)", "padding_idx must be an int"),
    ("sparse_(sparsity=1.5)", r"sparsity must lie in \[0, 1\]"),
    ("xavier_normal_(gain=nan)", "gain must be finite"),
    ("orthogonal_(gain=1j)", "gain must be a real number"),
    ("xavier_uniform_(parts=1000001)", "parts must be at most 1,000,000, got parts=1000001; a batch axis"),
    ("xavier_uniform_(parts='3')", "parts must be an int, or a tuple of their lengths, got '3'"),
    ("xavier_uniform_(parts=0)", "parts must be at least 1, got parts=0"),
    ("xavier_uniform_(parts=2, groups=3)", "groups must be given without parts"),
    ("orthogonal_(batch_axis=0)", "must be different axes"),
    ("dirac_(groups=0)", "groups must be at least 1, got groups=0"),
    ("dirac_(groups=1.5)", "groups must be an int"),
    ("constant_('x')", "val must be a number"),
]
ACCEPTED = [
    *(f"{name}(0.5)" if name == "sparse_" else f"{name}(1)" if name == "constant_" else name for name in INITIALIZERS),
    "constant_(1j)",
    "constant_(nan)",
    "constant_(1e300)",
    "normal_(mean=1j)",
    "uniform_(0, 1e300)",
    "delta_orthogonal_(in_axis=3, out_axis=4)",
    "xavier_uniform_(parts=1000000, parts_axis=-1)",
    "orthogonal_(parts=[3, 0], in_axis=-1, out_axis=-2)",
    "dirac_(groups=17)",
    "trunc_normal_(a=-inf)",
    "kaiming_normal_(mode='FAN_OUT')",
]


@pytest.mark.parametrize(("initializer", "message"), REFUSED)
def test_values_that_no_array_takes(tmp_path, initializer, message):
    with pytest.raises(ValueError, match=f"rule 1: {initializer.partition('(')[0]}.*: .*{message}"):
        loaded(tmp_path, entry(pattern="*", initializer=initializer))


@pytest.mark.parametrize("initializer", ACCEPTED)
def test_values_that_some_array_takes(tmp_path, initializer):
    assert loaded(tmp_path, entry(pattern="*", initializer=initializer)) == [("*", initializer)]


# Hostile text: only errors of ours, and at once.

STRINGS = {
    "minus": "normal_(std=" + "-" * 600 + "1)",
    "only minus": "-" * 600,
    "sum": "normal_(std=" + "1+" * 400 + "-1000)",
    "longer sum": "normal_(std=" + "1+" * 100_000 + "1)",
    "parentheses": "normal_(std=" + "(" * 400 + "1" + ")" * 400 + ")",
    "many parentheses": "(" * 100_000,
    "calls": "sqrt(" * 150 + "1" + ")" * 150,
    "square roots": "normal_(std=" + "sqrt(" * 150 + "1" + ")" * 152,
    "brackets": "[" * 900,
    "attributes": "normal_" + ".a" * 450,
    "digits": "normal_(std=" + "9" * 900 + ")",
    "product": "normal_(std=" + "*".join(["9" * 100] * 8) + ")",
    "quotient": "normal_(std=1j/" + "9" * 900 + ")",
    "powers": "normal_(std=9**9**9**9)",
    "shift": "normal_(std=1<<10**9)",
    "text times": "normal_(std='a'*10**10)",
    "format": "normal_(std=f'{1:>999999999}')",
    "lambda": "(lambda: normal_)()",
    "starred": "normal_(*[1])",
    "keywords": "normal_(**{'std': 1})",
    "code": "__import__('os').system('true')",
    "null": "normal_\0",
    "surrogate": "normal_('\udc80')",
    "newline": "normal_(\n",
    "empty": "",
}


@pytest.mark.parametrize("text", STRINGS.values(), ids=STRINGS)
def test_hostile_strings(text):
    start = time.perf_counter()
    with pytest.raises((TypeError, ValueError)) as caught:
        gi.initialize({"a": np.zeros((2, 2))}, [("*", text)], seed=0)
    assert time.perf_counter() - start < 1
    assert len(str(caught.value)) < 3000


FILES = {
    "brackets": "rules = " + "[" * 2000,
    "tables": "rules = " + "{a = " * 2000,
    "parts of a key": "a" + ".a" * 30_000 + " = 1",
    "parts with spaces": "a" + " . a" * 30_000 + " = 1",
    "quoted parts": '"a"' + ".'a'" * 30_000 + " = 1",
    "parts of a header": "[a" + ".a" * 30_000 + "]",
    "parts after a string": "x = '''\n''' \na" + ".a" * 30_000 + " = 1",
    "parts in a table": "a = {b" + ".b" * 30_000 + " = 1}",
    "dotted keys": "".join(f"a.b{number} = 1\n" for number in range(30_000)),
    "tables of dotted names": "".join(f"[a.b{number}]\n" for number in range(10_000)),
    "open strings": '"\\' * 50_000,
    "quotes": '"' * 100_001,
    "digits": "a = " + "9" * 5000,
    "groups": entry(regex="(" * 3000, initializer="keep"),
    "nested groups": entry(regex="(" * 3000 + ")" * 3000, initializer="keep"),
    "repetitions": entry(regex="a{99999999999}", initializer="keep"),
    "flag": entry(regex="(?L)a", initializer="keep"),
    "sets": entry(regex="[[a]", initializer="keep"),
    "a long string": entry(pattern="*", initializer="-" * 100_000),
    "a long set": entry(set="gpt2(" + "1+" * 100_000 + "1)"),
    "a nested set": entry(set="gpt2(" + "-" * 700 + "1)"),
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_hostile_files(tmp_path, text):
    start = time.perf_counter()
    with pytest.raises(ValueError, match=r"rules\.toml") as caught:
        loaded(tmp_path, text)
    assert time.perf_counter() - start < 2
    assert len(str(caught.value)) < 3000


def test_a_file_that_is_not_utf_8(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="must be a file of TOML"):
        rules.load(path)


def test_dots_in_strings_and_comments_are_no_parts(tmp_path):
    names = "|".join(rf"h\.{number}\.weight" for number in range(200))
    text = f'# {"." * 300}\n[[rules]]\nregex = \'{names}\'\ninitializer = """zeros_"""  # {"." * 300}\n'
    assert loaded(tmp_path, text) == [(re.compile(names), "zeros_")]


SEEDS = [*ACCEPTED, *(text for text, _ in REFUSED), "keep", "normal_(std=0.02/sqrt(24))", "gpt2(n_layer=12)"]
ALPHABET = string.ascii_letters[:8] + string.digits + "()[]{}=,.+-*/'\"\\ #\n_:\0\u00e9\u2028\U0001d7d8"


def mutated(draw, text):
    """A text with some pieces changed, doubled or dropped."""
    for _ in range(draw.randint(1, 4)):
        start = draw.randint(0, len(text))
        end = min(len(text), start + draw.randint(0, 6))
        piece = draw.choice(["", text[start:end] * draw.randint(2, 60), "".join(draw.choices(ALPHABET, k=draw.randint(1, 5)))])
        text = text[:start] + piece + text[end:]
    return text


def test_mutated_strings():
    """Each is read, or refused by an error of ours."""
    draw, refused = random.Random(1), 0
    for _ in range(4000):
        try:
            parse_initializer(mutated(draw, draw.choice(SEEDS)))
        except (TypeError, ValueError):
            refused += 1
    assert 2000 < refused < 4000


def test_mutated_files(tmp_path):
    whole = entry(pattern="*.bias", initializer="zeros_") + entry(regex=r"h\.\d+.*", initializer="normal_(std=1)")
    whole += entry(set="gpt2(n_layer=2)") + entry(pattern="*", initializer="keep")
    draw, refused = random.Random(2), []
    for _ in range(500):
        try:
            loaded(tmp_path, mutated(draw, whole))
        except ValueError as error:
            refused.append(str(error))
    assert 250 < len(refused) < 500
    assert all(message.startswith(str(tmp_path)) for message in refused)
