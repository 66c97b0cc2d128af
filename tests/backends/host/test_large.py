"""Numbers of elements beyond 2**32 on the CPU, without the memory for them; for the GPU, see `test_indices_beyond_32_bits`."""

from __future__ import annotations

import numpy as np
import pytest

import gpuinit as gi
from gpuinit._backends.host.fills import pieces
from gpuinit._backends.host.random_words import run_words
from gpuinit._backends.host.workspace import Workspace
from tests.support.stream import words_at


@pytest.mark.parametrize("shape", [(2**33,), (2**18, 2**15), (3, 2**31 + 1), (2**31 + 1, 2), (2, 3, 2**17 + 1)], ids=str)
def test_pieces_follow_each_other(shape):
    """One element stands for all: pieces are views, so that none is ever looked at."""
    expected = 0
    for start, part in pieces(np.broadcast_to(np.float32(0), shape), 2**16):
        assert start == expected
        assert 0 < part.size <= 2**16
        expected += part.size
    assert expected == np.prod(shape, dtype=object)


@pytest.mark.parametrize("start", [2**31 - 3, 2**32 + 5, 2**36 + 1, 2**60])
@pytest.mark.parametrize("bits", [32, 64])
def test_words_of_far_elements(start, bits):
    words = run_words(Workspace(), gi.Generator(42).reserve(0), np.array([start]), 20, bits)
    assert np.array_equal(words, words_at(42, start, 20, bits))
