"""Worker threads: how many, and running one function over many pieces. Values never depend on either."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import TypeVar

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
_pool: _Pool | None = None
_pool_lock = threading.Lock()


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
    pool = _pool
    _drop_pool()
    if pool is not None:
        pool.dismiss()


def for_each(work: Callable[[Iterable[Item]], None], items: Iterable[Item], most: int) -> None:
    """Call `work` on the calling thread and on helpers, fewer than `most`, each with an iterator: one of them gets each item.

    Items are taken one by one by whichever thread is free, so a busy pool delays nothing: a helper that has not
    begun when the caller runs out of items finds nothing to do.
    """
    helpers = min(_threads, most) - 1
    if helpers < 1:
        work(items)
        return
    lock = threading.Lock()  # not a Condition: its methods are Python code, which an interrupt can end with the lock held
    remaining = iter(items)
    closed = False
    running: list[threading.Lock] = []
    errors: list[BaseException] = []

    def take() -> Iterator[Item]:
        while True:
            with lock:
                item = next(remaining, _NO_MORE)
            if item is _NO_MORE:
                return
            yield item  # type: ignore[misc]

    def help_out() -> None:
        at_work = threading.Lock()
        with at_work:
            with lock:
                if closed:
                    return
                running.append(at_work)
            try:
                work(take())
            except BaseException as error:
                errors.append(error)

    try:
        _submit(help_out, helpers)
        work(take())
    finally:  # after an error too: nobody may go on writing to the array when the caller has it back
        with lock:
            closed, remaining = True, iter(())
        for at_work in running:
            with at_work:
                pass
    if errors:
        raise errors[0]


_NO_MORE = object()


class _Pool:
    """Threads that wait for tasks. `ThreadPoolExecutor` takes 20 us longer to hand one over; 64 MB of zeros take 1,300."""

    def __init__(self) -> None:
        self.tasks: SimpleQueue[Task | None] = SimpleQueue()
        self.helpers = 0

    def grow(self, helpers: int) -> None:
        """Start threads until there are so many, or as many as can be had: none more while the interpreter shuts down."""
        with contextlib.suppress(RuntimeError):
            while self.helpers < helpers:
                threading.Thread(target=_serve, args=(self.tasks,), name="gpuinit", daemon=True).start()
                self.helpers += 1

    def dismiss(self) -> None:
        """Let each thread end, after what it does."""
        for _ in range(self.helpers):
            self.tasks.put(None)


def _serve(tasks: SimpleQueue[Task | None]) -> None:
    while True:
        task = tasks.get()
        if task is None:
            return
        task()
        del task  # it holds the array that it filled


def _submit(task: Task, helpers: int) -> None:
    """Have a task done by up to so many helpers at once."""
    pool = _pool_of(helpers)
    for _ in range(min(helpers, pool.helpers)):
        pool.tasks.put(task)


def _pool_of(helpers: int) -> _Pool:
    """Return the pool, with so many threads: they are started when a fill first needs them."""
    global _pool
    with _pool_lock:
        pool = _pool  # another thread may drop it at any moment
        if pool is None:
            pool = _pool = _Pool()
        pool.grow(helpers)
        return pool


def _drop_pool() -> None:
    """Forget the pool: its size changed, or this is a forked child, which has none of its threads."""
    global _pool, _pool_lock
    _pool = None
    _pool_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_pool)
