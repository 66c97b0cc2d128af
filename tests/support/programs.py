"""Programs that fill in a process of their own, with a time limit: what hangs there fails here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tests.support import fills

LIMIT = 60  # seconds; the programs take about one

# What the programs have in common: fills of some sizes, above and below what is cut into pieces for the helper threads.
NAMES = ("uniform_", "normal_", "trunc_normal_", "kaiming_normal_", "sparse_")
PRELUDE = f"""
import hashlib, os, sys, threading, time
import numpy as np
import gpuinit as gi

SIZES = [1, 800, 70_000, 600_000]
FILLS = {[fills.first(name)[:2] for name in NAMES]}

def fill(name, arguments, size, generator, dtype=np.float32):
    x = np.empty((-(-size // 8), 8), dtype)
    return getattr(gi, name)(x, **arguments, generator=generator)

def digest(seed=3, dtype=np.float32):
    found = hashlib.sha256()
    for name, arguments in FILLS:
        for size in SIZES:
            found.update(fill(name, arguments, size, seed, dtype).tobytes())
    return found.hexdigest()

def run(threads):
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

def helpers():
    # Python 3.13 also lists threads whose start was interrupted, and which never began.
    return [thread for thread in threading.enumerate() if thread.name.startswith("gpuinit") and thread.is_alive()]
"""


def run(program, *arguments, threads="4", options=("-W", "error")):
    """Output of a program that must end well, in time and in silence."""
    environment = {**os.environ, "GPUINIT_NUM_THREADS": threads}
    # Its own session, so that children that hang end with it.
    process = subprocess.Popen(
        [sys.executable, *options, "-c", PRELUDE + textwrap.dedent(program), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        pytest.fail(f"hangs; it wrote {output!r} and {errors!r}")
    assert process.returncode == 0, errors
    assert errors == "", errors
    return output


def forking(program, *arguments, **keywords):
    """Python 3.12 and later warn of each fork of a process that has threads; here that is the point."""
    return run(program, *arguments, options=("-W", "error", "-W", "ignore:This process:DeprecationWarning"), **keywords)
