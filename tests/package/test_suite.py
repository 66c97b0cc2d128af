"""The tests themselves: their folders, and what they import."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import gpuinit as gi

TESTS = Path(__file__).parents[1]
FILES = sorted(TESTS.rglob("*.py"))


def imported(path):
    """The modules of tests that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.partition(".")[0] == "tests")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(TESTS).as_posix())
def test_tests_share_what_lies_in_support(path):
    """No test imports another, nor a fixture from conftest.py."""
    assert [name for name in imported(path) if not name.startswith("tests.support.")] == []


def test_support_holds_no_tests():
    assert not list((TESTS / "support").glob("test_*"))


def test_folders_mirror_the_package():
    """`tests/rules` is for `gpuinit/_rules` and so on; others are for the benchmarks, the package as such, and shared code."""
    folders = {path.name for path in TESTS.iterdir() if (path / "__init__.py").exists()}
    rooms = {path.name for path in Path(gi.__file__).parent.iterdir() if (path / "__init__.py").exists()}
    assert {f"_{name}" for name in folders - {"bench", "package", "support"}} == rooms
