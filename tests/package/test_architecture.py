"""What the folder listing promises: rooms without import cycles, one marked private, public names in one place, lazily."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gpuinit as gi

ROOT = Path(gi.__file__).parent
PUBLIC = ("checkpoint", "dask", "plot", "rules")


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


# Import cycles.


class Imports(ast.NodeVisitor):
    """The modules of gpuinit that a module imports: when it is itself imported or checked, and when a function is called."""

    def __init__(self, module: str):
        self.module, self.in_function = module, False
        self.at_once: set[str] = set()
        self.later: set[str] = set()
        self.visit(TREES[module])

    def visit_FunctionDef(self, node):
        before, self.in_function = self.in_function, True
        self.generic_visit(node)
        self.in_function = before

    visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef  # noqa: N815

    def visit_Import(self, node):
        self.add(alias.name for alias in node.names)

    def visit_ImportFrom(self, node):
        assert node.level == 0, f"{self.module} has a relative import"
        # The name may be a module of its own or be defined in the other one.
        self.add(name if (name := f"{node.module}.{alias.name}") in FILES else node.module for alias in node.names)

    def add(self, names):
        (self.later if self.in_function else self.at_once).update(set(names) & set(FILES) - {self.module})


IMPORTS = {name: Imports(name) for name in FILES}


def rooms(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows between packages and top-level modules, for those between modules."""
    found: dict[str, set[str]] = {}
    for name, others in arrows.items():
        here = room(name)
        found.setdefault(here, set()).update({room(other) for other in others} - {here})
    return found


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def cycle(arrows: dict[str, set[str]]) -> list[str]:
    """The names that remain when those that need none of the others are taken away again and again."""
    left = {name: set(others) for name, others in arrows.items()}
    while free := {name for name, others in left.items() if not others & set(left)}:
        left = {name: others for name, others in left.items() if name not in free}
    return sorted(left)


# Imports in functions, and what they put off.
LATER = {
    "gpuinit.__main__": {"gpuinit._cli.init", "gpuinit._cli.plot", "gpuinit._cli.selfcheck"},  # what one command needs alone
    "gpuinit._backends.batching": {"gpuinit._backends.cuda.batch"},  # CuPy
    "gpuinit._backends.targets": {"gpuinit._backends.cuda"},  # CuPy
    "gpuinit._initializers.warm_up": {"gpuinit._backends.cuda.batch"},  # CuPy
    "gpuinit._models.report": {"gpuinit._plot.figures"},  # what a report without a picture does not need
    "gpuinit._plot.figures": {"gpuinit._plot.figure"},  # matplotlib
}


def test_imports_in_functions():
    """They put off what is optional or slow; none goes round a cycle, as the next test shows."""
    assert {name: found.later for name, found in IMPORTS.items() if found.later} == LATER


@pytest.mark.parametrize("kinds", [("at_once",), ("at_once", "later")], ids=["at once", "in functions too"])
def test_no_import_cycle(kinds):
    """Those under `TYPE_CHECKING` count as any other. Without imports in functions, and with them."""
    arrows = {name: set().union(*(getattr(found, kind) for kind in kinds)) for name, found in IMPORTS.items()}
    assert cycle(arrows) == []
    assert cycle(rooms(arrows)) == []


def test_cycles_would_be_seen():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]
    assert sum(len(found.at_once) for found in IMPORTS.values()) > 100


def test_only_programs_import_the_front_door():
    """The rooms import each other; what users import is for users."""
    users = {name for name, found in IMPORTS.items() if "gpuinit" in found.at_once | found.later}
    assert {room(name) for name in users} <= {"gpuinit.__main__", "gpuinit._cli"}


# Names.


def defined(tree: ast.Module) -> set[str]:
    """The names that a module defines or imports from others, but not modules."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found.update(alias.asname or alias.name for alias in node.names if f"{node.module}.{alias.name}" not in FILES)
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return found


def test_no_module_has_the_name_of_what_lies_beside_it():
    """`package.name` is then the module or the function, depending on what was imported last."""
    packages = {name for name, path in FILES.items() if path.name == "__init__.py"}
    beside = {name for name in FILES if name.rpartition(".")[0] in packages}
    twice = {name for name in beside if name.rpartition(".")[2] in defined(TREES[name.rpartition(".")[0]])}
    assert twice == set()


def test_whatever_is_not_public_is_marked_private():
    at_the_top = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert {name for name in at_the_top if not name.startswith("_")} == set(PUBLIC)
    assert not [name for name in FILES if re.search(r"\._?[A-Z]", name)]


# Public names.

public_modules = pytest.mark.parametrize(
    "module", [pytest.param(name, marks=pytest.mark.dask if name == "dask" else ()) for name in PUBLIC]
)


def imported(module):
    if module == "dask":
        pytest.importorskip("dask.array", reason="Dask is not installed")
    return importlib.import_module(f"gpuinit.{module}")


@public_modules
def test_public_modules_have_a_sorted_all_that_is_true(module):
    found = imported(module)
    assert found.__all__ == sorted(found.__all__)
    assert not [name for name in found.__all__ if name.startswith("_") or not hasattr(found, name)]
    assert not [name for name in found.__all__ if inspect.ismodule(getattr(found, name))]


def test_dir_shows_all_names_and_the_public_modules():
    assert dir(gi) == sorted({*gi.__all__, *PUBLIC})


@public_modules
def test_documented_paths_work_after_the_import_of_gpuinit_alone(module):
    """In a process of its own, which has imported nothing else."""
    names = imported(module).__all__
    code = f"""
import sys, gpuinit
assert "gpuinit.{module}" not in sys.modules
found = [gpuinit.{module}.__dict__[name] for name in {names}]
assert len(found) == {len(names)} and "gpuinit.{module}" in sys.modules
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Classes(pickle._Unpickler):
    """What an unpickling looks up: the modules and the names."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.found = []

    def find_class(self, module, name):
        self.found.append((module, name))
        return super().find_class(module, name)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value",
    [gi.Generator(7).spawn("layer"), gi.Shard((4, 6), (slice(1, 3), slice(None))), gi.Mode.FAN_OUT, gi.NonLinearity.RELU],
    ids=lambda value: type(value).__name__,
)
def test_pickles_name_the_public_module(value, protocol):
    """So that they can be read when what is private has moved."""
    unpickler = Classes(io.BytesIO(pickle.dumps(value, protocol)))
    assert type(unpickler.load()) is type(value)
    assert ("gpuinit", type(value).__name__) in unpickler.found
    assert not [module for module, _ in unpickler.found if module.startswith("gpuinit.")]
