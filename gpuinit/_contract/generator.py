"""`Generator`: a key and a position in the stream of Philox blocks; nothing else is ever remembered."""

from __future__ import annotations

import hashlib
import os
import threading
import unicodedata
from collections.abc import Sequence
from struct import Struct
from typing import Any, NamedTuple

from gpuinit._contract.arguments import attribute, integer, is_a, is_integer, short_repr, type_name
from gpuinit._contract.seed_sequence import fresh_seed, key_of, keys_of

BLOCK_BYTES = 16  # of the random words of a Philox4x32 block
# Marks the spawn keys of named children, so that none is ever that of a numbered one: "name" in ASCII.
NAME_TAG = 0x6E616D65
_four_words = Struct("<4I").unpack
STATE_VERSION = 2
# One for all generators, since it is held for no longer than a few additions take; a fork waits for it. Reentrant for signal
# handlers that fill: they come between calls, so what must not be torn apart below has no call in it.
_lock = threading.RLock()
# Positions stay below this: block b's counter is two 32-bit words.
END_OF_STREAM = 2**64


class Stream(NamedTuple):
    """A place in the stream of Philox blocks: the key's two 32-bit words and the number of the first block."""

    key: tuple[int, int]
    block: int


class Generator:
    """A source of random bits: the Philox4x32-10 stream of a seed, and a position in it.

    ``docs/values.md`` defines the stream, and how fills use it. A generator is cheap, may be shared between threads (no two
    fills ever get the same block) and can be pickled and copied.

    Parameters
    ----------
    seed : int, optional
        Any integer >= 0. Without one, 128 bits of fresh entropy are drawn; `seed` tells them afterwards. A seed of 2**128 or more
        may have the stream of a child of a smaller one (``docs/values.md``).

    Raises
    ------
    TypeError
        If `seed` is neither an integer nor None.
    ValueError
        If `seed` is negative.

    References
    ----------
    Salmon, Moraes, Dror and Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3".

    Examples
    --------
    >>> import gpuinit as gi, numpy as np
    >>> g = gi.Generator(42)
    >>> w = gi.uniform_(np.empty(3, np.float32), generator=g)
    >>> g.position, g
    (1, Generator(seed=42, position=1))
    """

    __slots__ = ("_children", "_key", "_position", "_seed", "_spawn_key")  # a model may have one for each parameter

    def __init__(self, seed: int | None = None) -> None:
        self._start(_check_seed(seed))

    def _start(self, seed: int, spawn_key: tuple[int, ...] = (), position: int = 0, children: int = 0) -> None:
        key = key_of(seed, spawn_key)
        with _lock:
            self._begin(seed, spawn_key, key, position, children)

    def _begin(self, seed: int, spawn_key: tuple[int, ...], key: tuple[int, int], position: int = 0, children: int = 0) -> None:
        self._seed = seed
        self._spawn_key = spawn_key
        self._children = children
        self._key = key
        self._position = position

    def manual_seed(self, seed: int) -> Generator:
        """Start again at position 0 of `seed`'s stream; returns the generator."""
        if seed is None:
            raise TypeError("seed must be an int, got None")
        self._start(_check_seed(seed))
        return self

    @property
    def seed(self) -> int:
        """The seed (of a child: that of its first ancestor)."""
        return self._seed

    @property
    def position(self) -> int:
        """Number of blocks (of 128 bits) that were used up."""
        return self._position

    @property
    def state(self) -> dict[str, Any]:
        """All there is to the generator, as a dict that JSON can hold; assign it to return to that state."""
        with _lock:
            return {
                "version": STATE_VERSION,
                "entropy": self._seed,
                "spawn_key": list(self._spawn_key),
                "position": self._position,
                "children": self._children,
            }

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._start(*_parse_state(state))

    def spawn(self, child: int | str) -> Any:
        """Independent child generators, by number or by name; the parent's position stays as it is.

        Parameters
        ----------
        child : int or str
            An int gives a list of the next so many children, never given before, as
            `numpy.random.SeedSequence.spawn` does. A string gives the one child of that name,
            always the same, on every machine.

        Returns
        -------
        list of Generator, or Generator

        Raises
        ------
        TypeError, ValueError
            If `child` is neither a string nor an integer >= 0.

        Examples
        --------
        >>> import gpuinit as gi
        >>> g = gi.Generator(42)
        >>> g.spawn("encoder.weight").state == g.spawn("encoder.weight").state
        True
        >>> [c.state["spawn_key"] for c in g.spawn(2)]
        [[0], [1]]
        """
        if is_a(child, str):
            return self._spawn_named([child])[0]
        count = integer("child", child)
        with _lock:
            first = self._children
            if first + count > NAME_TAG:
                raise ValueError(f"a generator has at most {NAME_TAG} numbered children, got child={count}")
            self._children = first + count
        return self._children_of([(number,) for number in range(first, first + count)])

    def _spawn_named(self, names: Sequence[str]) -> list[Generator]:
        """Return ``[self.spawn(name) for name in names]``, in less time."""
        return self._children_of([_name_key(name) for name in names])

    def _children_of(self, own: list[tuple[int, ...]]) -> list[Generator]:
        """Return the children of spawn keys that go on with these words, each as many."""
        children = []
        for words, key in zip(own, keys_of(self._seed, self._spawn_key, own)):
            child = Generator.__new__(Generator)
            child._begin(self._seed, (*self._spawn_key, *words), key)
            children.append(child)
        return children

    def reserve(self, blocks: int) -> Stream:
        """Take the next `blocks` blocks of the stream for the caller alone and tell where they begin.

        Raises
        ------
        ValueError
            If `blocks` is negative.
        OverflowError
            If the stream has not so many blocks left.
        """
        return self._reserve(integer("blocks", blocks))

    def _reserve(self, blocks: int) -> Stream:
        with _lock:
            start = self._position
            if start + blocks < END_OF_STREAM:
                self._position = start + blocks
                return Stream(self._key, start)
        raise OverflowError(f"position {start} + {blocks} blocks passes the end of the stream, 2**64 blocks")

    def __repr__(self) -> str:
        key = list(self._spawn_key)
        return f"Generator(seed={self.seed}, {f'spawn_key={key}, ' if key else ''}position={self._position})"

    def __getstate__(self) -> dict[str, Any]:
        return self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


def _check_seed(seed: int | None) -> int:
    """Return a seed as an int, or fresh entropy in the place of None."""
    if seed is None:
        return fresh_seed()
    if is_integer(seed):
        return integer("seed", seed)
    raise TypeError(f"seed must be an int, got {describe_source('seed', seed)}")


def _name_key(name: str) -> tuple[int, ...]:
    try:
        digest = hashlib.sha256(unicodedata.normalize("NFC", name).encode()).digest()
    except UnicodeEncodeError:
        raise ValueError(f"child must be a name that UTF-8 can encode, got child={name!r}") from None
    return (NAME_TAG, *_four_words(digest[:16]))


def _parse_state(state: Any) -> tuple[int, tuple[int, ...], int, int]:
    """Return the seed, spawn key, position and number of children that a `Generator.state` describes."""
    fields = {"version", "entropy", "spawn_key", "position", "children"}
    if not is_a(state, dict) or set(state) != fields:
        raise ValueError(f"state must be a dict with the keys {sorted(fields)}, got {short_repr(state)}")
    if not is_integer(state["version"]) or integer("version", state["version"]) != STATE_VERSION:
        raise ValueError(
            f"state must be of version {STATE_VERSION}, got version={short_repr(state['version'])}; another version's position "
            "stands for other values: seed a new Generator"
        )
    if not is_a(state["spawn_key"], (list, tuple)):
        raise TypeError(f"spawn_key must be a list of ints, got spawn_key={short_repr(state['spawn_key'])}")
    return (
        integer("entropy", state["entropy"]),
        tuple(_integer_to("spawn_key", word, 2**32 - 1) for word in state["spawn_key"]),
        _integer_to("position", state["position"], END_OF_STREAM - 1),
        _integer_to("children", state["children"], NAME_TAG),
    )


def _integer_to(name: str, value: Any, greatest: int) -> int:
    number = integer(name, value)
    if number > greatest:
        raise ValueError(f"{name} must be at most {greatest}, got {name}={number}")
    return number


default_generator = Generator()
_drawn = default_generator._key  # what the default generator has until somebody seeds it


def _after_fork_in_child() -> None:
    """Draw fresh entropy for the default generator: children of a process that did not seed it have nothing to repeat."""
    global _drawn
    _lock.release()
    if default_generator._key is _drawn:
        default_generator._start(fresh_seed())
        _drawn = default_generator._key


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_fork_in_child)


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, which fills use that are given none; returns it.

    Notes
    -----
    Until this is called, or its state is set, the default generator has fresh entropy, and each forked child draws its own. Once
    it is seeded, a forked child goes on where the parent was, like every copy of a generator: children then get the same
    values, unless each is seeded, as with ``worker_init_fn=lambda worker: gpuinit.manual_seed(torch.initial_seed())`` in a torch
    ``DataLoader``, or ``gpuinit.Generator(seed).spawn(f"worker {number}")``. A child that is spawned rather than forked
    imports gpuinit again, unseeded.

    Examples
    --------
    >>> import gpuinit
    >>> gpuinit.manual_seed(7)
    Generator(seed=7, position=0)
    """
    return default_generator.manual_seed(seed)


def as_generator(generator: Generator | int | None) -> Generator:
    """The generator that a fill's argument stands for: itself, a new one of an int seed, or the default one."""
    if generator is None:
        return default_generator
    if type(generator) is Generator or is_a(generator, Generator):
        return generator
    if is_integer(generator):
        return Generator(integer("generator", generator))
    raise TypeError(f"generator must be a gpuinit.Generator, an int seed or None, got {describe_source('generator', generator)}")


# Methods of other libraries' sources of random bits, and what a seed is drawn by. Python's own has NumPy's older one's too.
_SEEDS = {
    "initial_seed": "{}.initial_seed()",  # torch
    "integers": "int({}.integers(2**63))",  # NumPy, CuPy
    "getrandbits": "{}.getrandbits(64)",  # Python
    "randint": "int({}.randint(2**31))",  # NumPy, CuPy
    "random_raw": "int({}.random_raw())",  # NumPy's bit generators
    "generate_state": "int({}.generate_state(1, 'uint64')[0])",  # NumPy's seed sequences
}


def describe_source(name: str, value: Any) -> str:
    """What an error says of an argument that is no source of random bits: its type, and how to seed a generator from it."""
    seed = next((seed for method, seed in _SEEDS.items() if attribute(type(value), method) is not None), "")
    if type_name(value).partition(".")[0] in ("jax", "jaxlib"):
        seed = "int(jax.random.bits({}, dtype='uint32'))"
    described = f"{short_repr(value)} of type {type_name(value)}"
    return f"{described}; make one of it, once: {name} = gpuinit.Generator({seed.format(name)})" if seed else described
