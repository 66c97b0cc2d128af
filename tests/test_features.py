"""docs/features.md: every call in the column of gpuinit does something to its array, or returns a number."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import gpuinit as gi

PAGE = (Path(__file__).parents[1] / "docs" / "features.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if re.match(r"\| \w", line)]
CALLS = {row[0]: row[1].strip("`") for row in ROWS if row[1] != "-"}


def test_each_row_has_a_cell_for_each_library():
    assert len(CALLS) > 20
    assert {len(row) for row in ROWS} == {9}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_call(call):
    gi.manual_seed(1)
    x = np.full((60, 40, 9), np.nan)
    result = eval(call, {"gi": gi, "x": x})
    if isinstance(result, np.ndarray):
        assert np.isfinite(result).all()
        assert result.any()
    else:
        assert np.isfinite(result).all()
