"""How much memory a call takes."""

from __future__ import annotations

import threading
import tracemalloc

import gpuinit as gi

LIMIT = 8 * 2**20  # bytes of temporary memory per thread that a fill may take


def peak_memory(fill, threads):
    """Bytes that a call had at most, on so many threads."""
    kept = gi.get_num_threads()
    gi.set_num_threads(threads)
    # In a thread of its own, so that what a thread keeps for its next fill is counted.
    thread = threading.Thread(target=fill)
    tracemalloc.start()
    try:
        thread.start()
        thread.join()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gi.set_num_threads(kept)
