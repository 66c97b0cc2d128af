"""Checkpoints that transformers writes, filled, and read by it again."""

from __future__ import annotations

import importlib.util
import json

import pytest

import gpuinit as gi
from gpuinit.__main__ import main
from gpuinit.checkpoint import initialize_file

torch = pytest.importorskip("torch")
if importlib.util.find_spec("transformers") is None:
    pytest.skip("transformers is not installed", allow_module_level=True)
load_file = importlib.import_module("safetensors.torch").load_file
ZOO = importlib.import_module("tests.support.zoo").ZOO

pytestmark = [pytest.mark.zoo, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # those of transformers

RULES = """
[[rules]]
pattern = "*norm.weight"
initializer = "ones_"

[[rules]]
pattern = "*"
initializer = "normal_(std=0.02)"
"""
READ = [("*norm.weight", "ones_"), ("*", "normal_(std=0.02)")]


@pytest.mark.parametrize("name", ["Llama", "GPT-2", "T5", "BERT"])
@pytest.mark.parametrize("size", ["20KB", "1GB"], ids=["many files", "one file"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_transformers_saves_is_filled_and_loads(tmp_path, name, size, dtype):
    """With the values that `initialize` gives the model that was saved; GPT-2 and T5 have tied weights."""
    model = ZOO[name].make().to(getattr(torch, dtype))
    before, out, report = tmp_path / "before", tmp_path / "after", tmp_path / "report.json"
    model.save_pretrained(before, max_shard_size=size)
    indexes = [path.name for path in before.glob("*.index.json")]
    assert len(indexes) == (size == "20KB")
    (tmp_path / "rules.toml").write_text(RULES)
    arguments = ["--rules", str(tmp_path / "rules.toml"), "--seed", "7", "--json", str(report)]
    assert main(["init", str(before), *arguments, "-o", str(out)]) == 0

    loaded, told = type(model).from_pretrained(out, dtype="auto", output_loading_info=True)
    assert not any(told.values()), told
    expected = gi.initialize(model, READ, seed=7, tied=model.all_tied_weights_keys)
    values, same = loaded.state_dict(), model.state_dict()
    assert {key: (x.dtype, gi.digest(x)) for key, x in values.items()} == {
        key: (x.dtype, gi.digest(x)) for key, x in same.items()
    }
    assert json.loads(report.read_text())["digest"] == expected.digest
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in before.iterdir())
    for other in [*indexes, "config.json"]:
        assert (out / other).read_bytes() == (before / other).read_bytes()


def test_torch_defaults_see_the_weight_in_another_file(tmp_path):
    """As `initialize` fills a mapping of all tensors; each file has one or few."""
    model = ZOO["GPT-NeoX"].make()
    before, out = tmp_path / "before", tmp_path / "after"
    model.save_pretrained(before, max_shard_size="5KB")
    files = json.loads((before / "model.safetensors.index.json").read_text())["weight_map"]
    assert any(files[name] != files[name.removesuffix("bias") + "weight"] for name in files if name.endswith(".bias"))
    rules = [("*embed_*", "normal_"), *gi.rules.torch_defaults()]
    report = initialize_file(before, rules, seed=7, out=out)
    tensors = {name: x for file in set(files.values()) for name, x in load_file(before / file).items()}
    assert report.digest == gi.initialize(tensors, rules, seed=7).digest
