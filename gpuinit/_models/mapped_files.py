"""Arrays in the pages of a file, which another program may make shorter: a look at pages that are gone ends the process."""

from __future__ import annotations

import errno
import mmap
from typing import Any

import numpy as np


def check_readable(array: Any) -> None:
    """Check that the file in whose pages an array lies, if it does, is as long as when these were mapped.

    Raises
    ------
    OSError
        If it is shorter.
    """
    owner = array
    while isinstance(owner, (np.ndarray, memoryview)):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    if isinstance(owner, mmap.mmap) and _file_size(owner) < len(owner):
        raise OSError(errno.EIO, f"a file became shorter after an array in its pages was filled: {len(owner):,} bytes are needed")


def _file_size(memory: mmap.mmap) -> int:
    try:
        return memory.size()
    except OSError:  # memory of no file
        return len(memory)
