"""Models of other libraries: as their authors initialize them, and the same on any mesh."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

import gpuinit as gi

torch = pytest.importorskip("torch")

LIBRARIES = ("transformers", "timm", "torchvision", "diffusers", "torchtitan", "triton", "peft")
if missing := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
    pytest.skip(f"{' and '.join(missing)} not installed", allow_module_level=True)
proofs = importlib.import_module("tests.support.proofs")
ZOO = proofs.ZOO

pytestmark = [pytest.mark.zoo, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # those of these libraries


@pytest.fixture(scope="module")
def alone():
    """The digest of each model in one process."""
    return {name: proofs.digest_alone(name) for name in ZOO}


@pytest.mark.parametrize("name", ZOO)
def test_moments_are_those_of_the_untouched_model(name):
    assert proofs.moments_that_differ(name) == []


@pytest.mark.parametrize("name", ZOO)
def test_the_order_of_modules_has_no_influence(name):
    assert proofs.differs_backward(name) == []


@pytest.mark.parametrize("layout", proofs.LAYOUTS)
def test_one_digest_on_any_mesh(layout, alone, tmp_path):
    assert proofs.digests(layout, list(ZOO), tmp_path) == alone


def test_a_wrong_deviation_would_be_seen(monkeypatch):
    make = ZOO["GPT-2"].make

    def other(*args):
        model = make()
        if torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
            with torch.no_grad():
                model.transformer.wte.weight.mul_(1.1)
        return model

    monkeypatch.setitem(ZOO, "GPT-2", ZOO["GPT-2"]._replace(make=other))
    assert [problem.partition(":")[0] for problem in proofs.moments_that_differ("GPT-2")] == ["transformer.wte.weight"] * 2


def test_peft_leaves_the_base_models_weights():
    peft = importlib.import_module("peft")
    base = gi.construct(ZOO["Llama"].make, seed=1)
    before = {name: x.detach().clone() for name, x in base.named_parameters()}
    model = peft.get_peft_model(base, peft.LoraConfig(target_modules=["q_proj", "v_proj"], r=4))
    with gi.seeded(model, seed=2) as report:
        for module in model.modules():
            if isinstance(module, peft.tuners.lora.LoraLayer):
                module.reset_lora_parameters("default", init_lora_weights=True)
    drawn = [row.name for row in report.rows if row.initializer.startswith("kaiming_uniform_")]
    assert len(drawn) == 4
    assert all(name.endswith("lora_A.default.weight") for name in drawn)
    assert len(report.untouched) == len(before)
    for name, x in model.get_base_model().named_parameters():
        if "lora" not in name:
            assert torch.equal(x, before[name.replace("base_layer.", "")])


def test_lines_that_users_write():
    """The five lines of docs/models.md for each library."""
    documented = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    blocks = [block.partition("```")[0] for block in documented.split("```python\n") if "# tested with the zoo" in block]
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "docs/models.md", "exec"), {"__name__": "example"})
    assert "transformers" in sys.modules
