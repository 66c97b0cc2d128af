"""Tied parameters: which name determines the stream, which rule counts, and that no order of registration has an influence."""

from __future__ import annotations

import functools
import itertools
import re

import numpy as np
import pytest

import gpuinit as gi
from gpuinit import rules
from gpuinit.checkpoint import initialize_file
from tests.support.checkpoints import described, write

NAMES = ["body.embed.weight", "embed.weight", "head.weight", "shared.weight"]


def tied_arrays(order=NAMES, shape=(6, 4)):
    """One array by all names, and another beside it."""
    shared = np.full(shape, 7, np.float32)
    return {**dict.fromkeys(order, shared), "head.bias": np.full(6, 7, np.float32)}


def drawn(name, shape=(6, 4), seed=3, **arguments):
    return gi.normal_(np.empty(shape, np.float32), generator=gi.Generator(seed).spawn(name), **arguments)


STREAMS = [
    (None, "body.embed.weight"),
    ({}, "body.embed.weight"),
    ({"head.weight": "embed.weight"}, "embed.weight"),
    ({"embed.weight": "head.weight"}, "head.weight"),
    (dict.fromkeys(NAMES[:3], "shared.weight"), "shared.weight"),
    ({"head.weight": "of.another.stage"}, "of.another.stage"),
    ({"of.another.stage": "head.weight"}, "head.weight"),
]


@pytest.mark.parametrize(("tied", "stream"), STREAMS)
def test_the_name_of_the_stream(tied, stream):
    """Whatever the order, in a mapping and in a file that has one of the names."""
    expected = drawn(stream).tobytes()
    for order in itertools.permutations(NAMES):
        arrays = tied_arrays(order)
        report = gi.initialize(arrays, [("*", "normal_")], seed=3, tied=tied)
        assert arrays["head.weight"].tobytes() == expected
        assert {row.name for row in report.rows} == {stream, "head.bias"}


@pytest.mark.parametrize(("tied", "stream"), STREAMS)
@pytest.mark.parametrize("kept", NAMES)
def test_the_name_of_the_stream_of_a_file(paths, kept, tied, stream):
    """As `save_model` of safetensors writes it: with one name, and the others in the metadata."""
    metadata = {"format": "pt", "head.bias": "ignored", **{name: kept for name in NAMES if name != kept}}
    write(paths[0], described({"head.bias": ("F32", (6,)), kept: ("F32", (6, 4))}, metadata))
    initialize_file(paths[0], [("*", "normal_")], seed=3, out=paths[1], tied=tied)
    assert paths[1].read_bytes().endswith(drawn("head.bias", (6,)).tobytes() + drawn(stream).tobytes())


def test_a_file_without_metadata_has_the_names_that_it_has(paths):
    write(paths[0], described({"head.weight": ("F32", (6, 4))}))
    initialize_file(paths[0], [("*", "normal_")], seed=3, out=paths[1])
    assert paths[1].read_bytes().endswith(drawn("head.weight").tobytes())
    initialize_file(paths[0], [("*", "normal_")], seed=3, out=paths[1], tied={"head.weight": "embed.weight"})
    assert paths[1].read_bytes().endswith(drawn("embed.weight").tobytes())


@pytest.mark.parametrize("metadata", [{"format": "pt"}, {"pt": "format"}, {"format": "w"}])
def test_metadata_that_says_nothing_of_ties(paths, metadata):
    write(paths[0], described({"pt": ("F32", (6, 4)), "w": ("F32", (2,))}, metadata))
    report = initialize_file(paths[0], [("*", "normal_")], seed=3, out=paths[1])
    assert [row.name for row in report.rows] == ["pt", "w"]


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_ties_of_arrays_without_elements():
    arrays = {"embed.weight": np.empty((0, 4)), "head.weight": np.empty((0, 4)), "other": np.empty((0, 4))}
    rows = gi.initialize(arrays, [("*", "normal_")], seed=3, tied={"head.weight": "embed.weight"}).rows
    assert [row.name for row in rows] == ["embed.weight", "other"]


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize(
    ("tied", "names"),
    [
        ({"b": "c"}, ["c", "d"]),
        ({"c": "b"}, ["b", "d"]),
        ({"b": "elsewhere"}, ["elsewhere", "d"]),
        ({"b": "d"}, ["d"]),
        ({"a": "d", "c": "d"}, ["d"]),
    ],
)
def test_an_array_without_elements_by_several_names(tied, names):
    """What `tied` says of one of its names counts for all."""
    arrays = dict.fromkeys("abc", np.empty((0, 4))) | {"d": np.empty((0, 4))}
    rows = gi.initialize(arrays, [("*", "normal_")], seed=3, tied=tied).rows
    assert [row.name for row in rows] == names


TIED_ERRORS = [
    (["embed.weight"], TypeError, r"tied must be a mapping of names to .* got \['embed\.weight'\]"),
    ({"embed.weight": 3}, TypeError, "tied must be a mapping of names"),
    ({"head.weight": "head.bias"}, ValueError, "got 'head.weight' and 'head.bias', which lie apart; tie them first"),
    ({"haed.weight": "embde.weight"}, ValueError, "got 'haed.weight' and 'embde.weight', which the model does not have"),
    (
        {"head.weight": "embed.weight", "embed.weight": "shared.weight"},
        ValueError,
        "choose one name for a parameter, got 'embed.weight' and 'shared.weight'",
    ),
]


@pytest.mark.parametrize(("tied", "error", "message"), TIED_ERRORS)
def test_ties_that_are_refused(paths, tied, error, message):
    arrays = tied_arrays()
    with pytest.raises(error, match=message):
        gi.initialize(arrays, [("*", "normal_")], seed=3, tied=tied)
    assert all((array == 7).all() for array in arrays.values())
    write(
        paths[0], described({"head.bias": ("F32", (6,)), "embed.weight": ("F32", (6, 4))}, dict.fromkeys(NAMES, "embed.weight"))
    )
    with pytest.raises(error, match=message):
        initialize_file(paths[0], [("*", "normal_")], seed=3, out=paths[1], tied=tied)
    assert not paths[1].exists()


# Rules.


def same_callable(x, generator, param):
    gi.ones_(x)


AGREEING = [
    ([("*", "ones_")], 1),
    ([("head.*", "ones_"), ("*", "ones_()")], 1),
    ([("head.*", "constant_(val=2)"), ("*", functools.partial(gi.constant_, val=2))], 2),
    ([("*embed.weight", "ones_"), ("head.bias", "keep"), (re.compile("head.*|shared.*"), gi.ones_)], 1),
    ([("head.*", "ones_")], 1),  # the other names match nothing
    ([("*.bias", "keep"), ("shared.weight", same_callable)], 1),
    ([("head.*", same_callable), ("*", same_callable)], 1),
    ([("head.*", "keep"), ("*", rules.keep)], 7),
    ([("*", rules.by_param(lambda param: f"constant_(val={len(param.names)})"))], 4),
]


@pytest.mark.parametrize(("of_rules", "value"), AGREEING)
def test_rules_that_agree(of_rules, value):
    for order in (NAMES, NAMES[::-1]):
        arrays = tied_arrays(order)
        gi.initialize(arrays, [*of_rules, ("*.bias", "zeros_")], seed=0)
        assert (arrays["head.weight"] == value).all()


DIFFERING = [
    ("keep", "normal_(std=0.02)", r"keep for NAME and normal_\(std=0\.02\) for NAME"),
    ("zeros_", "ones_", r"zeros_\(\) for NAME and ones_\(\) for NAME"),
    ("normal_", "normal_(std=2)", r"normal_\(\) for NAME and normal_\(std=2\) for NAME"),
    ("ones_", same_callable, r"ones_\(\) for NAME and <function same_callable.* for NAME"),
]


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("first", "second", "message"), DIFFERING)
@pytest.mark.parametrize("form", ["mapping", "file"])
def test_rules_that_differ(paths, first, second, message, swapped, form):
    """The error names both, whatever the order of the rules and of the names."""
    of_rules = [("embed.weight", first), ("*", second)] if not swapped else [("head.weight", second), ("*", first)]
    found = []
    for order in (NAMES, NAMES[::-1]):
        arrays = tied_arrays(order)
        write(paths[0], described({order[0]: ("F32", (6, 4))}, dict.fromkeys(order[1:], order[0])))
        call = {
            "mapping": functools.partial(gi.initialize, arrays, of_rules, seed=0),
            "file": functools.partial(initialize_file, paths[0], of_rules, seed=0, out=paths[1]),
        }[form]
        with pytest.raises(ValueError, match="rules must give a tied parameter the same by all its names, got ") as caught:
            call()
        assert all((array == 7).all() for array in arrays.values())
        found.append(str(caught.value))
    assert found[0] == found[1]
    both = {message, "NAME and ".join(reversed(message.removesuffix("NAME").split("NAME and "))) + "NAME"}
    assert any(re.search(one.replace("NAME", "[a-z.]+weight"), found[0]) for one in both)


def test_a_name_without_a_rule_of_any_name():
    with pytest.raises(ValueError, match=r"1 without a rule.*\n    body\.embed\.weight \(6, 4\)"):
        gi.initialize(tied_arrays(), [("*.bias", "zeros_")], seed=0)


def test_param_tells_all_names():
    seen = {}

    def look(x, generator, param):
        seen[param.name] = param.names

    gi.initialize(tied_arrays(NAMES[::-1]), [("shared.weight", look), ("head.bias", look)], seed=0)
    assert seen == {"shared.weight": tuple(NAMES), "head.bias": ("head.bias",)}


# Modules.


def language_model(torch, head_first, width=8, **embedding):
    """An embedding and a head, tied: the one that is registered first also gives the weight."""
    nn = torch.nn
    parts = {"embed": nn.Embedding(20, width, **embedding), "head": nn.Linear(width, 20)}
    model = nn.ModuleDict(dict(reversed(parts.items())) if head_first else parts)
    if head_first:
        model["embed"].weight = model["head"].weight
    else:
        model["head"].weight = model["embed"].weight
    return model


SMALL = [("*", "normal_(std=0.02)")]
TORCH_RULES = {
    "torch_defaults": (lambda torch: None, 1.0),
    "mup": (lambda torch: rules.mup(language_model(torch, False, 2), SMALL), 0.02),
    "mup, base registered otherwise": (lambda torch: rules.mup(language_model(torch, True, 2), SMALL), 0.02),
    "mup of torch_defaults": (lambda torch: rules.mup(language_model(torch, False, 2)), 1.0),
    "mup, one name in the base": (lambda torch: rules.mup({"embed.weight": (20, 2), "head.bias": (20,)}, SMALL), 0.02),
    "a set": (lambda torch: [("embed.*", "normal_(std=0.02)"), ("head.*", "normal_(std=0.02)")], 0.02),
}


@pytest.mark.parametrize(("of_rules", "std"), TORCH_RULES.values(), ids=TORCH_RULES)
@pytest.mark.parametrize("tied", [None, {"head.weight": "embed.weight"}, {"embed.weight": "head.weight"}])
def test_registration_has_no_influence(torch, of_rules, std, tied):
    found = set()
    for head_first in (False, True):
        model = language_model(torch, head_first)
        report = gi.initialize(model, of_rules(torch), seed=1, tied=tied)
        row = next(row for row in report.rows if "bias" not in row.name)
        assert row.expected_std == pytest.approx(std)
        assert model["head"].weight is model["embed"].weight
        found.add((row.name, model["embed"].weight.detach().numpy().tobytes(), report.digest))
    assert len(found) == 1
    (name, values, _), *_ = found
    assert values == drawn(name, (20, 8), seed=1, std=std).tobytes()


def test_a_callable_sees_the_module_that_its_rule_matched(torch):
    for head_first in (False, True):
        model = language_model(torch, head_first, padding_idx=3)
        gi.initialize(model, seed=1, tied={"embed.weight": "head.weight"})
        weight = model["embed"].weight.detach().numpy()
        expected = drawn("head.weight", (20, 8), seed=1)
        expected[3] = 0
        assert weight.tobytes() == expected.tobytes()


@pytest.mark.parametrize("prefix", ["", "part"])
def test_declared_ties_that_are_broken(torch, prefix):
    """As models of Hugging Face's declare them."""
    with torch.device("meta"):
        model = language_model(torch, False)
    model.all_tied_weights_keys = {"head.weight": "embed.weight", "of.another.model": "embed.weight"}
    assert model["head"].weight is model["embed"].weight
    model.to_empty(device="cpu")
    dot = f"{prefix}." if prefix else ""
    with pytest.warns(UserWarning, match=f"declares {dot}head.weight to be {dot}embed.weight, but they lie apart.*tie_weights"):
        gi.initialize(model, seed=0, prefix=prefix)
    model["head"].weight = model["embed"].weight
    gi.initialize(model, seed=0, prefix=prefix)  # without a warning


def test_a_module_its_state_and_its_file_get_the_same(torch, paths):
    pytest.importorskip("safetensors")
    from safetensors.torch import load_file, save_model

    def make():
        nn = torch.nn
        model = nn.ModuleDict({"shared": nn.Embedding(12, 4), "head": nn.Linear(4, 12, bias=False)})
        model["encoder"] = nn.ModuleDict({"embed_tokens": nn.Embedding(12, 4)})
        model["decoder"] = nn.ModuleDict({"embed_tokens": nn.Embedding(12, 4), "wi": nn.Linear(4, 4)})
        for tied in (model["encoder"]["embed_tokens"], model["decoder"]["embed_tokens"], model["head"]):
            tied.weight = model["shared"].weight
        return model

    of_rules = [("*.wi.*", "uniform_(a=-1, b=1)"), ("*", "normal_(std=0.02)")]
    for tied in (None, {"decoder.embed_tokens.weight": "shared.weight"}):
        model, other = make(), make()
        save_model(other, paths[0])
        digests = [gi.initialize(x, of_rules, seed=5, tied=tied).digest for x in (model, other.state_dict())]
        digests.append(initialize_file(paths[0], of_rules, seed=5, out=paths[1], tied=tied).digest)
        assert len(set(digests)) == 1
        for name, values in load_file(paths[1]).items():
            assert torch.equal(values, model.state_dict()[name])
            assert torch.equal(values, other.state_dict()[name])
