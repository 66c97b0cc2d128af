"""Process groups of which only this process is there: nothing can be sent in them."""

from __future__ import annotations

import contextlib

import pytest


@contextlib.contextmanager
def fake_group(processes):
    """A group of so many, in which this process is the first."""
    distributed = pytest.importorskip("torch.distributed")
    store = pytest.importorskip("torch.testing._internal.distributed.fake_pg").FakeStore()
    distributed.init_process_group("fake", store=store, rank=0, world_size=processes)
    try:
        yield
    finally:
        distributed.destroy_process_group()
