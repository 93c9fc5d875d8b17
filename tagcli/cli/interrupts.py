"""Ctrl-C and SIGTERM between tracks: what has begun for one track is finished before the run ends."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tagcli.errors import ExitCode

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Holds Ctrl-C, or a SIGTERM, back while a track is being written and counted.

    Outside of `held` it interrupts at once, as ever. A second one ends the program on the spot: threads of the decoders
    and of torch do not survive an interpreter that is torn down in the middle of its end.
    """

    def __init__(self) -> None:
        self._is_interrupted = False
        self._is_held = False
        self._is_pending = False

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Take Ctrl-C over for as long as the context lasts; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        try:
            yield
        finally:
            if not self._is_interrupted:
                for number, handler in before.items():
                    signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Finish what stands in the context first.

        Raises
        ------
        KeyboardInterrupt
            Behind the context, when Ctrl-C came meanwhile.
        """
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._is_pending:
            self._is_interrupted = True
            raise KeyboardInterrupt

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._is_held:
            self._is_pending = True
            return
        if self._is_interrupted:
            os._exit(ExitCode.INTERRUPTED)
        self._is_interrupted = True
        raise KeyboardInterrupt


def ignore_from_now_on() -> None:
    """Let no further signal change the exit code of a run that is over.

    The interpreter takes its handlers away while it ends, but leaves an ignored signal ignored.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
