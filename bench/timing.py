"""Medians of interleaved runs: all contestants take turns, so that whatever else the machine does hits them alike."""

from __future__ import annotations

import importlib
import math
import statistics
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cases import Case, Shape
from peers import MissingError, Peer, Runner, empty


class Effort(NamedTuple):
    """How long to measure: each sample lasts `sample` seconds or more, after `warm` seconds of untimed turns of the same
    contestant; the rounds together about `total`."""

    sample: float
    total: float
    least_rounds: int
    most_rounds: int = 101
    # Idle threads of OpenMP and OpenBLAS spin for some 6 ms after their work, on CPUs that the next contestant needs; and a CPU
    # that slept is slow at first, which a pause instead of warm-up turns would add to each sample.
    warm: float = 0.03
    # Contestants whose turn takes longer than this take one only, beside the untimed first.
    slow: float = math.inf


QUICK = Effort(sample=0, total=0, least_rounds=1, warm=0)
SWEEP = Effort(sample=0.002, total=0.2, least_rounds=3, warm=0.01, slow=0.3)
BARS = Effort(sample=0.005, total=4, least_rounds=5)


class Contestant(NamedTuple):
    """A library, with a runner for each of the arrays that one turn fills."""

    peer: Peer
    runners: list[Runner]

    def turn(self, times: int = 1) -> float:
        """Seconds that filling all arrays once takes, the mean of `times`."""
        return (_by_events if self.peer.events else _by_clock)(self.runners, times)


def _by_clock(runners: list[Runner], times: int) -> float:
    start = time.perf_counter()
    _run(runners, times)
    return (time.perf_counter() - start) / times


def _by_events(runners: list[Runner], times: int) -> float:
    cuda = importlib.import_module("cupy").cuda
    start, stop = cuda.Event(), cuda.Event()
    start.record()
    _run(runners, times)
    stop.record()
    stop.synchronize()
    return float(cuda.get_elapsed_time(start, stop)) / 1e3 / times


def _run(runners: list[Runner], times: int) -> None:
    for _ in range(times):
        for runner in runners:
            runner.run()
    for runner in runners:
        runner.wait()


class Times(NamedTuple):
    """What was measured of one library: the seconds of each round."""

    seconds: list[float]
    nbytes: int

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def speed(self) -> float:
        """GB/s, of bytes written to the arrays."""
        return self.nbytes / self.median / 1e9


class Comparison(NamedTuple):
    """Times by library, and the reasons why some have none."""

    times: dict[str, Times]
    missing: dict[str, str]


def compare(
    peers: Iterable[Peer], case: Case, shape: Shape, dtype: str, threads: int, effort: Effort, arrays: int = 1
) -> Comparison:
    """Measure one case with each peer that can do it, on the same memory."""
    contestants: dict[str, Contestant] = {}
    missing: dict[str, str] = {}
    memory: dict[str, list[Any]] = {}
    for peer in peers:
        try:
            if peer.device not in memory:
                memory[peer.device] = [empty(peer.device, shape, dtype) for _ in range(arrays)]
            contestant = Contestant(peer, [peer.prepare(case, x, threads) for x in memory[peer.device]])
            contestant.turn()  # whatever a first call costs, and what fails only then
        except MissingError as reason:
            missing[peer.library] = str(reason)
        except MemoryError:
            missing[peer.library] = f"{case.name} of {dtype}, shape {shape}: too little memory"
        except Exception as error:
            if peer.library == "gpuinit":
                raise
            # As for a dtype that a library knows, but not in this function; a broken installation may raise anything.
            missing[peer.library] = f"{case.function} of {dtype}: {(str(error).splitlines() or [type(error).__name__])[0]}"
        else:
            contestants[peer.library] = contestant
    nbytes = sum(x.nbytes for arrays_there in memory.values() for x in arrays_there) // max(1, len(memory))
    return Comparison({name: Times(seconds, nbytes) for name, seconds in _rounds(contestants, effort).items()}, missing)


def _rounds(contestants: Mapping[str, Contestant], effort: Effort) -> dict[str, list[float]]:
    first = {name: contestant.turn() for name, contestant in contestants.items()}
    times = {name: max(1, math.ceil(effort.sample / max(turn, 1e-7))) for name, turn in first.items()}
    seconds = {name: [turn] if turn > effort.slow else [] for name, turn in first.items()}
    order = [name for name in contestants if not seconds[name]]
    deadline = time.perf_counter() + effort.total
    for done in range(effort.most_rounds):
        if done >= effort.least_rounds and time.perf_counter() > deadline:
            break
        for name in order:
            _warm_up(contestants[name], effort.warm)
            seconds[name].append(contestants[name].turn(times[name]))
        order = order[1:] + order[:1]  # nobody always comes after the same other one
    return seconds


def _warm_up(contestant: Contestant, seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        contestant.turn()
