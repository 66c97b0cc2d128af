"""Signals that end a process, as an exception that does not come twice: none interrupts the clean-up after another."""

from __future__ import annotations

import signal
import sys

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_received: list[int] = []


def raise_exits() -> None:
    """Let signals raise SystemExit with the exit code that they give; those that are ignored stay so, as under nohup."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def commit() -> None:
    """From here on signals change neither what is done nor the exit code; one that came before raises its exception at last.

    Python swallows an exception that comes while it calls a finalizer.
    """
    if _received:
        raise SystemExit(128 + _received[0])
    ignore()


def ignore() -> None:
    """Ignore signals from here on, also when Python ends, which puts every handler of its own back."""
    for number in _SIGNALS:
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_IGN)


def _stop(number: int, frame: object) -> None:
    _received.append(number)
    if not isinstance(sys.exc_info()[1], SystemExit):  # which is the one that a clean-up is there for
        raise SystemExit(128 + number)
