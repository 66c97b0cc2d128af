"""Process groups: of processes that talk through gloo, and of which only this process is there, where nothing can be sent."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 150  # seconds for a group; it takes about ten


def run_group(module, processes, folder):
    """Call `member(processes)` of a module in each process of a group; fail if one of them fails or hangs."""
    program = "import sys; from tests.support.groups import be_member; be_member(*sys.argv[1:])"
    environment = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_ADDR2LINE": "1", **os.environ}
    members = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, module, str(rank), str(processes), f"file://{folder}/store"],
            cwd=Path(__file__).parents[2],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for rank in range(processes)
    ]
    try:
        outputs = [member.communicate(timeout=LIMIT)[0] for member in members]
    finally:
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(member.pid, signal.SIGKILL)
            member.wait()
    # All together, as the failure of one ends the others'
    assert not any(member.returncode for member in members), "\n".join(outputs)


def be_member(module, rank, processes, store):
    """Be one of a group's processes."""
    import torch.distributed as distributed

    distributed.init_process_group("gloo", init_method=store, rank=int(rank), world_size=int(processes))
    try:
        importlib.import_module(module).member(int(processes))
        distributed.barrier()  # no process leaves while another still talks to it
    finally:
        distributed.destroy_process_group()
    leave()


def leave():
    """End this process without finalizing Python.

    Meshes keep groups alive, and a thread of gloo that wants Python's lock by then is ended by force, which C++ sometimes
    answers with "terminate called without an active exception".
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


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
