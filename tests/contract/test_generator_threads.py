"""What threads that share a generator must not see of each other, with the interleaving that would show it.

Under the GIL, threads hardly ever switch between two lines of Python, so each test forces it: at one access to an attribute of
the generator, a rival thread makes its own call, and goes on until it ends or waits for the lock.
"""

from __future__ import annotations

import threading

import pytest

import gpuinit as gi
from gpuinit._contract import generator as module

SECONDS = 30  # by which a thread that hangs fails the test


class Watched(gi.Generator):
    """A generator that calls `turn` after the last of some accesses to its attributes, as ("get", "_position")."""

    accesses: tuple[tuple[str, str], ...] = ()

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        if name != "accesses":
            Watched.seen("get", name)
        return value

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        Watched.seen("set", name)

    @classmethod
    def seen(cls, kind, name):
        if cls.accesses[:1] == ((kind, name),):
            cls.accesses = cls.accesses[1:]
            if not cls.accesses:
                cls.turn()


class WatchedLock:
    """The module's lock, which says when a thread other than the main one comes to it."""

    def __init__(self, lock, arrived):
        self.lock, self.arrived = lock, arrived

    def __enter__(self):
        if threading.current_thread() is not threading.main_thread():
            self.arrived.set()
        return self.lock.__enter__()

    def __exit__(self, *error):
        return self.lock.__exit__(*error)


@pytest.fixture
def interleaved(monkeypatch):
    """Make a call, and at one access a rival's; returns both results, or the exception of the rival's."""

    def run(call, rival, accesses):
        arrived, results = threading.Event(), []

        def work():
            try:
                results.append(rival())
            except ValueError as error:
                results.append(error)
            finally:
                arrived.set()

        thread = threading.Thread(target=work)

        def turn():
            thread.start()
            assert arrived.wait(SECONDS)

        monkeypatch.setattr(module, "_lock", WatchedLock(module._lock, arrived))
        monkeypatch.setattr(Watched, "turn", turn, raising=False)
        monkeypatch.setattr(Watched, "accesses", accesses)
        result = call()
        thread.join(SECONDS)
        assert not Watched.accesses
        return result, results[0]

    return run


def test_no_block_is_given_twice(interleaved):
    generator = Watched(0)
    streams = interleaved(lambda: generator.reserve(3), lambda: generator.reserve(4), (("get", "_position"),))
    assert [stream.block for stream in streams] == [0, 3]
    assert generator.position == 7


def test_a_stream_has_the_key_and_the_position_of_one_seed(interleaved):
    """The rival comes after the new key is there, and before the new position is."""
    generator = Watched(0)
    generator.reserve(5)
    _, stream = interleaved(lambda: generator.manual_seed(9), lambda: generator.reserve(1), (("set", "_key"),))
    assert stream == gi.Generator(9).reserve(1)
    assert (generator.seed, generator.position) == (9, 1)


def test_a_state_is_that_of_one_time(interleaved):
    generator = Watched(0)
    generator.reserve(5)
    generator.spawn(2)
    before = generator.state
    state, _ = interleaved(lambda: generator.state, lambda: generator.manual_seed(9), (("get", "_position"),))
    assert state == before
    assert generator.state == gi.Generator(9).state


def test_the_last_numbered_children_are_given_once(interleaved):
    """The rival comes when the first caller has seen that there are two children left."""
    generator = Watched(0)
    generator.state = generator.state | {"children": module.NAME_TAG - 2}
    children, refusal = interleaved(lambda: generator.spawn(2), lambda: generator.spawn(2), (("get", "_children"),))
    assert [child.state["spawn_key"] for child in children] == [[module.NAME_TAG - 2], [module.NAME_TAG - 1]]
    with pytest.raises(ValueError, match="a generator has at most"):
        raise refusal


def test_children_are_numbered_on(interleaved):
    generator = Watched(0)
    families = interleaved(lambda: generator.spawn(2), lambda: generator.spawn(1), (("get", "_children"),))
    assert [[child.state["spawn_key"] for child in family] for family in families] == [[[0], [1]], [[2]]]
