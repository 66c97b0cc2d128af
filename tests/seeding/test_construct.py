"""`construct`: models that their constructors initialize."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import gpuinit as gi

torch = pytest.importorskip("torch")
nn = torch.nn
init = torch.nn.init

pytestmark = pytest.mark.torch


def streams(name, count=1, seed=42):
    """Those of a parameter's draws."""
    child = gi.Generator(seed).spawn(name)
    return [child, *child.spawn(count - 1)]


class Twice(nn.Module):
    """A layer whose weight is drawn by its own constructor, and then by that of the model."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 4)
        init.trunc_normal_(self.layer.weight, std=0.02)
        for chunk in self.layer.bias.data.chunk(2):
            chunk.normal_()


def test_the_first_numbers_are_those_of_what_stays():
    """So that a model has the values that `seeded` gives it where constructors drew nothing."""
    model = gi.construct(Twice, seed=42)
    weight = gi.trunc_normal_(torch.empty(4, 6), std=0.02, generator=streams("layer.weight")[0])
    assert torch.equal(model.layer.weight, weight)
    first, second = streams("layer.bias", 3)[
        1:
    ]  # of the constructor's draw into the whole, the chunks leave nothing they know of
    halves = [gi.normal_(torch.empty(2), generator=generator) for generator in (first, second)]
    assert torch.equal(model.layer.bias, torch.cat(halves))


MODELS = {
    "layers": lambda: nn.Sequential(nn.Linear(5, 4), nn.Conv2d(4, 3, 3), nn.Embedding(7, 3, padding_idx=2), nn.LSTM(3, 4)),
    "attention": lambda: nn.MultiheadAttention(8, 2),
    "a transformer": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
    "spectral_norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)),
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)),
    "orthogonal": lambda: nn.utils.parametrizations.orthogonal(nn.Linear(4, 3)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_seed_gives_one_model(name):
    before = torch.get_rng_state()
    models = [gi.construct(MODELS[name], seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    first, same, other = (nn.utils.parameters_to_vector(model.parameters()) for model in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    plain = MODELS[name]()
    for ours, theirs in zip(models[0].parameters(), plain.parameters(), strict=True):
        assert ours.shape == theirs.shape
        assert bool((ours == 0).all()) == bool((theirs == 0).all())


def test_layers_that_are_copies_stay_copies():
    encoder = gi.construct(MODELS["a transformer"], seed=1)
    assert torch.equal(encoder.layers[0].linear1.weight, encoder.layers[1].linear1.weight)


def test_seeded_gives_the_same():
    constructed = gi.construct(MODELS["layers"], seed=3)
    with torch.device("meta"):
        model = MODELS["layers"]()
    model.to_empty(device="cpu")
    with gi.seeded(model, seed=3, strict=True):
        for module in model:
            module.reset_parameters()
    for x, y in zip(constructed.parameters(), model.parameters(), strict=True):
        assert torch.equal(x, y)


def test_one_model_at_a_time():
    made = []

    def factory():
        assert all(model() is None for model in made)
        model = nn.Linear(3, 2)
        model.itself = [model]
        made.append(weakref.ref(model))
        return model

    gc.disable()  # then only construct itself collects what is left of the first
    try:
        gi.construct(factory, seed=1)
    finally:
        gc.enable()
    assert len(made) == 2


def test_random_numbers_while_constructing_are_random():
    """The code may look at them, in either call."""

    def factory():
        x = torch.randn(1000)
        assert 0.8 < x.std() < 1.2
        assert sorted(torch.randperm(9).tolist()) == list(range(9))
        return nn.Linear(3, 2)

    gi.construct(factory, seed=1)


def test_the_device():
    model = gi.construct(lambda: nn.Linear(3, 2), seed=1, device="cpu")
    assert model.weight.device.type == "cpu"
    with pytest.raises(TypeError, match="'weight' on the meta device"):
        gi.construct(lambda: nn.Linear(3, 2), seed=1, device="meta")


@pytest.mark.parametrize(
    "convert",
    [lambda m: m.double(), lambda m: m.to(torch.float16), lambda m: m.to(memory_format=torch.channels_last)],
    ids=["double", "half", "channels last"],
)
def test_conversions_in_the_factory_change_no_stream(convert):
    plain = gi.construct(lambda: nn.Conv2d(3, 4, 2), seed=1)
    found = gi.construct(lambda: convert(nn.Conv2d(3, 4, 2)), seed=1)
    for x, y in zip(found.parameters(), convert(plain).parameters(), strict=True):
        assert torch.equal(x, y)


def test_parameters_made_of_new_tensors():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 4))

    for convert in (lambda m: m, lambda m: m.double()):
        weight = gi.construct(lambda convert=convert: convert(Model()), seed=1).weight
        assert torch.equal(weight.float(), gi.normal_(torch.empty(3, 4), generator=streams("weight", seed=1)[0]))


def test_a_layer_that_skips_its_initialization():
    def factory():
        layer = nn.utils.skip_init(nn.Linear, 3, 2)
        nn.init.normal_(layer.weight)
        nn.init.zeros_(layer.bias)
        return layer

    assert torch.equal(
        gi.construct(factory, seed=1).weight, gi.normal_(torch.empty(2, 3), generator=streams("weight", seed=1)[0])
    )


MADE = nn.Linear(2, 2)


def other_each_time(*models):
    waiting = list(models)
    return lambda: waiting.pop(0)()


@pytest.mark.parametrize(
    ("factory", "error", "match"),
    [
        (3, TypeError, "factory must be a callable"),
        (lambda: 3, TypeError, "factory must return a torch.nn.Module"),
        (other_each_time(lambda: nn.Linear(3, 2), lambda: nn.Linear(2, 2)), RuntimeError, "shape .2, 2. the second time only"),
        (other_each_time(lambda: nn.Linear(3, 2), lambda: nn.Bilinear(3, 2, 2)), RuntimeError, "the second time only"),
        (other_each_time(lambda: nn.Linear(3, 2), nn.Identity), RuntimeError, "end in 'weight' the first time only"),
        (lambda: (np.random.rand(), nn.Linear(3, 2))[1], RuntimeError, "numpy.random"),
        (lambda: MADE, RuntimeError, "got the same one twice"),
        (lambda: gi.construct(nn.Identity, seed=1), RuntimeError, "cannot be nested"),
    ],
)
def test_refused(factory, error, match):
    state = np.random.get_state()
    with pytest.raises(error, match=match):
        gi.construct(factory, seed=1)
    np.random.set_state(state)
