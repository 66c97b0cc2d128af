"""Worker threads: how many, and running one function over many pieces. Values never depend on either."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat, tee
from queue import SimpleQueue
from typing import Any, TypeVar

from gpuinit._contract.arguments import integer

Item = TypeVar("Item")
Task = Callable[[], None]


def _default_threads() -> int:
    setting = os.environ.get("GPUINIT_NUM_THREADS", "")
    if setting.isdecimal() and int(setting) > 0:
        return int(setting)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_threads = _default_threads()
# Helpers that were started and have not left. Each also adds itself, so that one whose start was interrupted is counted.
_helpers: set[threading.Thread] = set()
_helpers_lock = threading.RLock()  # reentrant for signal handlers that fill
# One for all helpers, for as long as the process lives: whatever happened while a helper was started, it finds work, or that it
# is one too many. None is for that.
_tasks: SimpleQueue[Task | None] = SimpleQueue()


def get_num_threads() -> int:
    """The number of CPU threads that one fill may use.

    Examples
    --------
    >>> import gpuinit
    >>> gpuinit.get_num_threads() >= 1
    True
    """
    return _threads


def set_num_threads(threads: int) -> None:
    """Bound the CPU threads of one fill; the start value is `GPUINIT_NUM_THREADS`, or the cores there are.

    Parameters
    ----------
    threads : int
        At least 1. No value depends on it.

    Raises
    ------
    TypeError, ValueError
        If `threads` is no int of at least 1.

    Examples
    --------
    >>> import gpuinit
    >>> gpuinit.set_num_threads(gpuinit.get_num_threads())
    """
    global _threads
    _threads = integer("threads", threads, least=1)
    _dismiss_one_too_many()


def for_each(work: Callable[[Iterable[Item]], None], items: Iterable[Item]) -> None:
    """Call `work` on the calling thread and on helpers, each with an iterator: one of them gets each item.

    Items are taken one by one by whichever thread is free, so a busy pool delays nothing: a helper that has not
    begun when the caller runs out of items finds nothing to do.
    """
    if _threads == 1:
        work(items)
        return
    waiting: deque[Any] = deque(items)  # its methods are atomic: an interrupt could leave a lock held for ever
    helpers = min(_threads, len(waiting)) - 1
    if helpers < 1:
        work(waiting)
        return
    ends = [_END] * (helpers + 1)
    waiting.extend(ends)
    begun: list[Any] = [_END]
    errors: list[BaseException] = []

    def take() -> Iterator[Item]:
        return iter(waiting.popleft, _END)

    def help_out() -> None:
        gate = _allocate()
        if gate is None:  # no memory for one
            return
        _lock(gate, 1)
        begun.append(gate)  # before an item is taken, so that the caller knows of all who may have one
        try:
            work(take())
        except BaseException as error:
            errors.append(error)
        finally:
            try:
                begun.remove(gate)
            except ValueError:  # the caller waits for it
                _unlock(gate)
            else:
                _free(gate)

    gates, passed = tee(iter(begun.pop, _END))
    wait_and_free = zip(map(_wait, gates, repeat(1)), map(_free, passed))
    try:
        try:
            _submit(help_out, helpers)
            work(take())
        finally:
            waiting.extendleft(ends)
    finally:
        # After an error too: nobody may go on writing to the array when the caller has it back. Python looks for signals between
        # calls, so all the waiting is one call, of C code that looks for none.
        list(wait_and_free)
    if errors:
        raise errors[0]


_END: Any = object()

# The locks of Python's C API: to wait for one, unlike for a `threading.Lock`, is not ended by a signal whose handler raises. The
# interpreter's lock is given up for the wait alone.
_lock_api = ctypes.PyDLL(None, handle=ctypes.pythonapi._handle)
_allocate, _lock, _unlock, _free = (_lock_api[f"PyThread_{name}_lock"] for name in ("allocate", "acquire", "release", "free"))
_wait = ctypes.CDLL(None, handle=ctypes.pythonapi._handle)["PyThread_acquire_lock"]
_allocate.restype, _unlock.restype, _free.restype = ctypes.c_void_p, None, None
_lock.argtypes = _wait.argtypes = [ctypes.c_void_p, ctypes.c_int]
_unlock.argtypes = _free.argtypes = [ctypes.c_void_p]


def _submit(task: Task, helpers: int) -> None:
    """Have a task done by up to so many helpers at once. `ThreadPoolExecutor` takes 20 us longer; 64 MB of zeros take 1,300."""
    if len(_helpers) < helpers:
        _start(helpers)
    for _ in range(min(helpers, len(_helpers))):
        _tasks.put(task)


def _start(helpers: int) -> None:
    """Start threads until there are so many, or as many as can be had: none more while the interpreter shuts down."""
    with _helpers_lock, contextlib.suppress(RuntimeError):
        while len(_helpers) < helpers:
            thread = threading.Thread(target=_serve, name="gpuinit", daemon=True)
            _helpers.add(thread)
            try:
                thread.start()
            except BaseException:
                if not thread.is_alive():
                    _helpers.discard(thread)
                raise


def _serve() -> None:
    me = threading.current_thread()
    while not _leaves(me):
        task = _tasks.get()
        if task is not None:
            task()
        del task  # it holds the array that it filled


def _leaves(helper: threading.Thread) -> bool:
    """Count a helper, unless it is one too many: the thread that fills is one of those allowed."""
    _helpers.add(helper)
    if len(_helpers) < _threads:
        return False
    with _helpers_lock:
        if len(_helpers) < _threads:
            return False
        _helpers.discard(helper)
    _dismiss_one_too_many()
    return True


def _dismiss_one_too_many() -> None:
    """Wake a helper, if there are too many; it wakes the next one when it leaves."""
    if len(_helpers) >= _threads:
        _tasks.put(None)


def _forget_helpers() -> None:
    """Begin again in a forked child, which has none of the threads, and locks as they happened to be."""
    global _helpers, _helpers_lock, _tasks
    _helpers, _helpers_lock, _tasks = set(), threading.RLock(), SimpleQueue()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)
