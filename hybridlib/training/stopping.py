"""What stops a training from outside, held back until a step is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Ctrl-C; the end that a system or a job's scheduler asks for; a terminal that is closed.
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Stopped(KeyboardInterrupt):
    """A training that was stopped from outside; the message says what is saved of it.

    Attributes:
        number: of the signal.
    """

    def __init__(self, message: str = "", number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.number = number


class Interruptions:
    """A context in which the signals of `SIGNALS` raise `Stopped`, those that come during `held`
    after it. A second one comes through at once. Only the main thread gets signals; in others, and
    for a signal that the program ignores (nohup), nothing changes."""

    def __init__(self) -> None:
        self.before: dict[int, object] = {}
        self.holding = False
        self.waiting: int | None = None

    def __enter__(self) -> Interruptions:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self.before[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _arrived(self, number: int, _: object) -> None:
        if self.holding and self.waiting is None:
            self.waiting = number
        else:
            raise Stopped(number=number)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing inside is cut in two."""
        self.holding = True
        try:
            yield
        finally:
            self.holding = False
        if self.waiting is not None:
            number, self.waiting = self.waiting, None
            raise Stopped(number=number)
