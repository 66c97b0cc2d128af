"""Which stream a draw reads: by the place that its values go to, and the number of draws that went there before."""

from __future__ import annotations

from collections.abc import Iterable

from gpuinit._contract.generator import Generator


class Streams:
    """The streams of a seed for the parameters and modules of a model; `docs/values.md` defines them."""

    def __init__(self, root: Generator, parameters: Iterable[str]) -> None:
        self._root = root
        names = list(parameters)
        self._first = dict(zip(names, root._spawn_named(names), strict=True))  # of parameters without a draw
        self._places: dict[str, Generator] = {}

    def of_parameter(self, name: str) -> Generator:
        """Return that of the next draw into a parameter: of the first one, the one that `initialize` reads."""
        if name in self._first:
            self._places[name] = generator = self._first.pop(name)
            return generator
        return self._numbered(name)

    def of_module(self, name: str) -> Generator:
        """Return that of the next draw into a tensor outside the parameters, while the code of this module runs."""
        if name not in self._places:
            self._places[name] = self._root.spawn(name)
        return self._numbered(name)

    def _numbered(self, name: str) -> Generator:
        child: Generator = self._places[name].spawn(1)[0]
        return child
