"""Signals that end a process: one exception, which nothing interrupts and nothing swallows for good."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

PRELUDE = """
import signal, sys
from gpuinit._cli import stopping

sys.unraisablehook = lambda found: print("swallowed", found.exc_value, flush=True)

class Finalized:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

def others():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.raise_signal(number)

stopping.raise_exits()
"""


@pytest.mark.parametrize(
    ("program", "output", "code"),
    [
        ("signal.raise_signal(signal.SIGTERM); print('on')", "", 143),
        ("try:\n    signal.raise_signal(signal.SIGINT)\nfinally:\n    others()\n    print('clean')", "clean\n", 130),
        ("try:\n    sys.exit(1)\nfinally:\n    others()\n    print('clean')", "clean\n", 1),
        ("try:\n    1 / 0\nexcept ZeroDivisionError:\n    signal.raise_signal(signal.SIGHUP)", "", 129),
        ("stopping.commit()\nothers()\nprint('done')", "done\n", 0),
        ("Finalized()\nprint('on')", "swallowed 143\non\n", 0),
        ("Finalized()\nstopping.commit()", "swallowed 143\n", 143),
        ("Finalized()\nsignal.raise_signal(signal.SIGINT)", "swallowed 143\n", 130),
    ],
)
def test_programs_that_get_signals(program, output, code):
    run = subprocess.run([sys.executable, "-c", PRELUDE + program], capture_output=True, text=True)
    assert (run.stdout, run.returncode, run.stderr) == (output, code, "")
