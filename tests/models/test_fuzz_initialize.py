"""Random small module trees, initialized, against a slow and obvious model of what should happen to each of their tensors.

The model knows a tree from its construction: the plain names, what each tensor is, and the addresses of all its elements. It says
which errors a call may raise, or else what each tensor must hold afterwards. Some tensors are DTensors, in a process group of
which only this process is there.
"""

from __future__ import annotations

import fnmatch
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import gpuinit as gi
from tests.support.groups import fake_group

torch = pytest.importorskip("torch")
nn = torch.nn
tensors = pytest.importorskip("torch.distributed.tensor")

pytestmark = pytest.mark.torch

INITIALIZERS = {
    "keep": None,
    "zeros_": lambda x, generator: gi.zeros_(x),
    "constant_(val=3)": lambda x, generator: gi.constant_(x, 3),
    "normal_(std=0.5)": lambda x, generator: gi.normal_(x, std=0.5, generator=generator),
    "uniform_": lambda x, generator: gi.uniform_(x, generator=generator),
}


# Trees.


@dataclass
class Tensor:
    """A tensor of a leaf: its name there, the classes that a rule may name, and what it is.

    `kind` is "plain", or "computed" by a parametrization that takes any values but those of `refused`, or "unfit".
    """

    name: str
    classes: set[str]
    kind: str = "plain"
    is_buffer: bool = False
    refused: tuple[str, ...] = ()


@dataclass(eq=False)
class Node:
    """A module without its wrappers, what wraps it, and its tensors or its children; `whole` is what its tensors are views of."""

    module: Any
    tensors: list[Tensor] = field(default_factory=list)
    children: dict[str, Node] = field(default_factory=dict)
    wrappers: list[Callable[[Any], Any]] = field(default_factory=list)
    whole: Any = None


class Module(nn.Module):
    """What torch.compile takes."""

    def forward(self, x):
        return x


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x

    def right_inverse(self, x):
        return x / 2


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).T


class DistributedDataParallel(Module):
    def __init__(self, module):
        super().__init__()
        self.module = module


class FullyShardedDataParallel(Module):
    def __init__(self, module):
        super().__init__()
        self._fsdp_wrapped_module = module


def checkpointed(module):
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    return checkpoint_wrapper(module)


WRAPPERS = [
    DistributedDataParallel,
    FullyShardedDataParallel,
    checkpointed,
    lambda module: torch.compile(module, backend="eager"),
]


def layer(module, *names, buffers=()):
    classes = {type(module).__name__}
    return Node(module, [*(Tensor(n, classes) for n in names), *(Tensor(n, classes, is_buffer=True) for n in buffers)])


def parametrized(parametrization, refused=()):
    module = nn.utils.parametrize.register_parametrization(nn.Linear(4, 4), "weight", parametrization)
    return Node(module, [Tensor("bias", {"Linear"}), Tensor("weight", {"Linear"}, "computed", refused=refused)])


def weight_norm():
    module = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    return Node(module, [Tensor("bias", {"Linear"}), Tensor("weight", {"Linear"}, "computed", refused=("zeros_",))])


def spectral_norm():
    node = Node(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)))
    buffers = [Tensor(f"parametrizations.weight.0.{own}", {"_SpectralNorm"}, is_buffer=True) for own in ("_u", "_v")]
    node.tensors = [Tensor("bias", {"Linear"}), Tensor("weight", {"Linear"}, "computed", refused=tuple(INITIALIZERS)), *buffers]
    return node


def hooked():
    node = layer(nn.utils.spectral_norm(nn.Linear(4, 4)), "bias")
    node.tensors += [Tensor("weight_orig", {"Linear"}, "unfit")]
    node.tensors += [Tensor(name, {"Linear"}, "unfit", is_buffer=True) for name in ("weight_u", "weight_v")]
    return node


def partitioned():
    node = layer(nn.Linear(4, 4), "bias")
    node.module.weight.data = torch.empty(0)
    node.module.weight.ds_shape = (4, 4)
    node.tensors.append(Tensor("weight", {"Linear"}, "unfit"))
    return node


def with_buffer():
    module = Module()
    module.register_buffer("table", torch.ones(3), persistent=False)
    return layer(module, buffers=["table"])


def views(*cuts):
    """A module with parameters that are views of the memory of one tensor."""
    names, whole, module = ("weight", "bias")[: len(cuts)], torch.ones(9, 8), Module()
    for name, cut in zip(names, cuts, strict=True):
        module.register_parameter(name, nn.Parameter(cut(whole)))
    node = layer(module, *names)
    node.whole = whole
    return node


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
COMMON = [
    lambda: layer(nn.Linear(4, 4), "weight", "bias"),
    lambda: layer(nn.Linear(4, 4, bias=False), "weight"),
    lambda: layer(nn.Embedding(4, 4), "weight"),
    lambda: layer(nn.LayerNorm(4), "weight", "bias"),
    lambda: layer(nn.BatchNorm1d(4), "weight", "bias", buffers=STATISTICS),
    with_buffer,
    weight_norm,
    lambda: parametrized(Doubled()),
    lambda: views(lambda x: x.T),
    lambda: views(lambda x: x[1::2, ::3]),
    lambda: views(lambda x: x[::2], lambda x: x[1::2]),
    lambda: views(lambda x: x[:5, 1::2].T, lambda x: x[2:, ::2]),
]
RARE = [
    lambda: views(lambda x: x, lambda x: x.T),
    lambda: views(lambda x: x[:5], lambda x: x[4:]),
    lambda: views(lambda x: x[:, ::2], lambda x: x[:, ::3]),
    hooked,
    partitioned,
    spectral_norm,
    lambda: parametrized(Symmetric(), refused=tuple(INITIALIZERS)),
    lambda: Node(nn.LazyLinear(4), [Tensor("weight", {"LazyLinear"}, "lazy"), Tensor("bias", {"LazyLinear"}, "lazy")]),
]


def make_tree(rng, depth):
    """A node; some nodes are in it twice."""
    if depth == 0:
        node = rng.choice(RARE if rng.random() < 0.03 else COMMON)()
    else:
        children = [make_tree(rng, depth - rng.choice([1, 1, 2]) if depth > 1 else 0) for _ in range(rng.randint(1, 3))]
        if rng.random() < 0.1:
            children.append(rng.choice(children))
        names = rng.sample(["module", "a", "b", "layers", "w0"], len(children))
        node = Node(Module(), children=dict(zip(names, children, strict=True)))
        for name, child in node.children.items():
            node.module.add_module(name, wrapped(child))
    if rng.random() < 0.2:
        node.wrappers = rng.sample(WRAPPERS, rng.randint(1, 2))
    return node


def wrapped(node):
    module = node.module
    for wrap in node.wrappers:
        module = wrap(module)
    return module


def named_nodes(node, name=""):
    """All nodes with tensors by all names."""
    if node.tensors:
        yield name, node
    for own, child in node.children.items():
        yield from named_nodes(child, f"{name}.{own}" if name else own)


PROCESSES = 6


def make_mesh(rng):
    """Some or all processes on one or two axes; this process is anywhere among them, or not at all."""
    shape = rng.choice([(1,), (2,), (3,), (4,), (6,), (6,), (2, 2), (2, 3), (2, 3), (3, 2), (6, 1)])
    return torch.distributed.DeviceMesh("cpu", np.reshape(rng.sample(range(PROCESSES), int(np.prod(shape))), shape).tolist())


def shard_some(rng, tree):
    """Make DTensors of some tensors, of other lengths than before, so that parts are uneven, or empty here."""
    for _, node in named_nodes(tree):
        for tensor in node.tensors:
            if rng.random() < 0.2 and tensor.kind == "plain" and "." not in tensor.name:
                x = getattr(node.module, tensor.name)
                y = make_sharded(rng, make_mesh(rng), [length + rng.randint(-1, 3) for length in x.shape], x.dtype)
                setattr(node.module, tensor.name, y if tensor.is_buffer else nn.Parameter(y))


def make_sharded(rng, mesh, shape, dtype):
    placements = rng.choices([tensors.Replicate(), *map(tensors.Shard, range(len(shape)))], k=mesh.ndim)
    x = tensors.ones(shape, dtype=dtype, device_mesh=mesh, placements=placements)
    return x.T if x.ndim == 2 and rng.random() < 0.2 else x


def is_sharded(x):
    return isinstance(x, tensors.DTensor)


def local(x):
    """The memory of a tensor in this process."""
    return (x.to_local() if is_sharded(x) else x).detach()


def tie_some(rng, tree):
    """Tie weights of layers as objects or as memory, or let them overlap."""
    layers = [node for _, node in named_nodes(tree) if any(t.name == "weight" and t.kind == "plain" for t in node.tensors)]
    for _ in range(rng.choice([0, 1, 1, 2])):
        if len(layers) > 1:
            one, other = rng.sample(layers, 2)
            weight = one.module.weight
            how = rng.random()
            if how < 0.6:
                other.module.weight = weight
            elif how < 0.8 and not hasattr(weight, "ds_shape"):
                other.module.weight = nn.Parameter(weight.data)
            elif how < 0.85 and not is_sharded(weight):
                other.module.weight = nn.Parameter(weight.data[1:])


def freeze_some(rng, tree):
    for _, node in named_nodes(tree):
        if rng.random() < 0.15 and not any(tensor.kind == "lazy" for tensor in node.tensors):
            node.module.requires_grad_(False)


# The model of what should happen.


@dataclass
class Place:
    """A tensor by one of its names."""

    name: str
    node: Node
    tensor: Tensor

    @property
    def stored(self):
        """The tensors that are written when it is filled."""
        if self.tensor.kind == "computed":
            return list(self.node.module.parametrizations.weight.parameters(recurse=False))
        module = self.node.module
        *path, own = self.tensor.name.split(".")
        for part in path:
            module = getattr(module, part)
        return [getattr(module, own)]

    @property
    def addresses(self):
        """Those of all elements in order; an object's identity, if it has none."""
        if self.tensor.kind in ("computed", "lazy") or not local(self.stored[0]).numel():
            return (id(self.stored[0]),)
        return addresses_of(local(self.stored[0]))

    @property
    def is_frozen(self):
        return not self.tensor.is_buffer and any(not x.requires_grad for x in self.stored)

    @property
    def is_cut(self):
        """Whether some process lacks a part of the tensor."""
        x = self.stored[0]
        if not is_sharded(x):
            return False
        shards = [count for count, placement in zip(x.device_mesh.shape, x.placements, strict=True) if placement.is_shard()]
        return x.device_mesh.size() < PROCESSES or max(shards, default=1) > 1


def addresses_of(x):
    offsets = sum(index * stride for index, stride in zip(np.indices(x.shape), x.stride(), strict=True))
    return tuple((x.data_ptr() + np.ravel(offsets) * x.element_size()).tolist())


def group(places):
    """Places of the same tensor, and whether some share only a part of their memory."""
    groups: dict[tuple, list[Place]] = {}
    for place in places:
        groups.setdefault(place.addresses, []).append(place)
    sets = [set(addresses) for addresses in groups]
    overlap = any(sets[i] & sets[j] for i in range(len(sets)) for j in range(i))
    return list(groups.values()), overlap


def rule_for(rules, place):
    for pattern, initializer in rules:
        class_name, _, own = pattern.partition(".")
        of_class = class_name in place.tensor.classes and fnmatch.fnmatchcase(place.tensor.name.rpartition(".")[2], own or "*")
        if of_class or fnmatch.fnmatchcase(place.name, pattern):
            return initializer
    return None


def expectation(places, rules, tied, frozen):
    """The errors, one of which must come if there are any; and what each group is filled with, by its stream's name."""
    groups, overlap = group(places)
    errors = ["overlap"] if overlap else []
    errors += [f"{place.name} must have a shape" for place in places if place.tensor.kind == "lazy"]
    filled = {}
    for members in groups:
        names = sorted(place.name for place in members)
        stream = next((tied[name] for name in names if name in tied), names[0])
        if not frozen and any(place.is_frozen for place in members):
            filled[stream] = members, "frozen"
            continue
        found = {initializer for place in members if (initializer := rule_for(rules, place)) is not None}
        if len(found) > 1:
            errors.append("the same by all its names")
        if not found:
            errors.append(f"without a rule(.|\n)*{stream} ")
        elif found != {"keep"}:
            (initializer, *_), tensor = sorted(found), members[0].tensor
            if tensor.kind == "unfit":
                errors.append(f"{stream} is (partitioned|only what)")
            if initializer in tensor.refused:
                errors.append(rf"{stream}, .*a parametrized weight must be one")
            if tensor.name == "num_batches_tracked" and initializer in ("normal_(std=0.5)", "uniform_"):
                errors.append(f"{stream}, .* got int64")
        filled[stream] = members, next(iter(found), None)
    return errors, filled


def current(place):
    """What the module computes with."""
    return [local(x).clone() for x in place.stored if not torch.nn.parameter.is_lazy(x)]


def part(whole, x):
    """What this process has of the whole of a DTensor: on each axis of the mesh in turn, its chunk of what it has so far."""
    coordinate = x.device_mesh.get_coordinate()
    if coordinate is None:
        return whole.new_empty(0)
    for number, count, placement in zip(coordinate, x.device_mesh.shape, x.placements, strict=True):
        if placement.is_shard():
            chunks = whole.chunk(count, placement.dim)
            whole = chunks[number] if number < len(chunks) else whole.narrow(placement.dim, 0, 0)
    return whole


def assert_filled(stream, members, initializer, before, seed):
    place = members[0]
    if initializer in ("keep", "frozen"):
        for member in members:
            assert all(torch.equal(x, y) for x, y in zip(current(member), before[member.name], strict=True)), member.name
        return
    computed = place.tensor.kind == "computed"
    x = place.node.module.weight if computed else place.stored[0]
    expected = torch.empty(x.shape, dtype=x.dtype)
    INITIALIZERS[initializer](expected, generator=gi.Generator(seed).spawn(stream))
    expected = part(expected, x) if is_sharded(x) else expected
    torch.testing.assert_close(local(x), expected, rtol=1e-5 if computed else 0, atol=1e-6 if computed else 0)


def assert_reported(report, filled):
    """All rows, and one digest of what all processes have the same bits of."""
    assert sorted(row.name for row in report.rows) == sorted(filled)
    kept = {name for name, (_, initializer) in filled.items() if initializer in ("keep", "frozen")}
    cut = {name for name, (members, _) in filled.items() if members[0].is_cut}
    computed = {name for name, (members, _) in filled.items() if members[0].tensor.kind == "computed"}
    assert {row.name for row in report.rows if not row.digest} == kept | cut
    assert sorted(report.apart) == sorted(kept | cut | computed)
    shared = sorted(set(filled) - kept - cut - computed)
    assert report.digest == (gi.digest({name: local(filled[name][0][0].stored[0]) for name in shared}) if shared else "")


def assert_gaps_untouched(node, places):
    """Of the tensor that parameters are views of, the elements that are in none."""
    inside = {address for place in places for address in place.addresses}
    gaps = [address not in inside for address in addresses_of(node.whole)]
    assert (node.whole.flatten()[gaps] == 1).all()


# Calls.

# Parts of all errors that are expected, each of some trees.
ERRORS = ["overlap", "a shape", "the same by all", "without a rule", "partitioned", "only what", "parametrized", "int64"]


def make_rules(rng, places):
    names = [place.name for place in places]
    patterns = [
        "*.weight",
        "*bias",
        "Linear",
        "Linear.weight",
        "Embedding.weight",
        "*norm*",
        "*running*",
        rng.choice(names or ["x"]),
    ]
    rules = [(pattern, rng.choice(list(INITIALIZERS))) for pattern in rng.sample(patterns, rng.randint(0, 3))]
    return [*rules, ("*", rng.choice(list(INITIALIZERS)))] if rng.random() < 0.9 else rules


def make_tied(rng, places):
    """Sometimes a choice of the stream's name, for a tensor with several."""
    several = [members for members in group(places)[0] if len(members) > 1]
    if not several or rng.random() < 0.5:
        return {}
    name, stream = (place.name for place in rng.sample(rng.choice(several), 2))
    return {name: stream}


def run(number):
    """Make a tree and initialize it; returns the error that came as expected, if one did."""
    rng = random.Random(number)
    torch.manual_seed(number)
    tree = make_tree(rng, rng.randint(1, 3))
    shard_some(rng, tree)
    tie_some(rng, tree)
    freeze_some(rng, tree)
    prefix = rng.choice(["", "", "part.1"])
    everything = [
        Place(".".join(filter(None, (prefix, name, tensor.name))), node, tensor)
        for name, node in named_nodes(tree)
        for tensor in node.tensors
    ]
    buffers, frozen = rng.random() < 0.3, rng.random() < 0.3
    places = [place for place in everything if buffers or not place.tensor.is_buffer]
    rules, tied = make_rules(rng, places), make_tied(rng, places)
    before = {place.name: current(place) for place in everything}
    errors, filled = expectation(places, rules, tied, frozen)
    call = {"prefix": prefix, "tied": tied, "buffers": buffers, "frozen": frozen, "seed": number}
    if errors:
        with pytest.raises((TypeError, ValueError), match="|".join(errors)) as caught:
            gi.initialize(wrapped(tree), rules, **call)
        filled = {place.name: ([place], "keep") for place in everything}
    else:
        report = gi.initialize(wrapped(tree), rules, **call)
        assert_reported(report, filled)
        assert sorted(report.buffers) == sorted(place.name for place in everything if place.tensor.is_buffer and not buffers)
        left = [name for name, (members, initializer) in filled.items() if any(place.is_frozen for place in members)]
        assert sorted(report.frozen) == sorted(name for name in left if filled[name][1] in ("frozen", "keep"))
        for place in everything:
            if place.tensor.is_buffer and not buffers:
                filled[place.name] = [place], "keep"
    for stream, (members, initializer) in filled.items():
        assert_filled(stream, members, initializer, before, number)
    for _, node in named_nodes(tree):
        if node.whole is not None:
            assert_gaps_untouched(node, everything)
    return str(caught.value) if errors else ""


@pytest.fixture
def group_of_some():
    with fake_group(PROCESSES):
        yield


@pytest.mark.usefixtures("group_of_some")
@pytest.mark.filterwarnings("ignore:Initializing zero-element", "ignore:Lazy modules", "ignore:rules should match")
@pytest.mark.parametrize("numbers", [range(100), pytest.param(range(100, 2100), marks=pytest.mark.slow)], ids=["100", "2000"])
def test_random_trees(numbers):
    outcomes = []
    for number in numbers:
        try:
            outcomes.append(run(number))
        except BaseException as error:
            error.add_note(f"tree {number}")
            raise
    accepted = outcomes.count("")
    assert accepted > 0.4 * len(numbers)
    if len(numbers) > 1000:
        assert not [kind for kind in ERRORS if not any(kind in outcome for outcome in outcomes)]
