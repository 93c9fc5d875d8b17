"""Decode in processes of their own: for a GPU, which one Python process with its one lock cannot feed.

Each process decodes one track at a time and passes its clips through a pipe. A decoder that dies on a hostile file
takes only its process along. A process is a Python interpreter of its own, not a copy of the one that asks: neither a
GPU's state nor the user's script is carried over.
"""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tagcli.audio.clips import ClipChoice, ClipRule
from tagcli.audio.reading import Clip, DecodingStopped, TrackClips
from tagcli.errors import AudioError, DecoderError, FailureCode, WarningCode
from tagcli.files import FileIdentity

_ATTEMPTS = 2  # a decoder may have died before it saw the track


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """The process has started."""


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """A track has been read to its end."""

    n_samples: int
    warnings: frozenset[WarningCode]
    identity: FileIdentity | None


@dataclass(frozen=True, kw_only=True)
class _Failed:
    """A track cannot be read."""

    code: FailureCode
    message: str
    is_passing: bool


class ProcessReader:
    """Decodes in a process of its own, which is started at once and again when it dies.

    Parameters
    ----------
    sample_rate, rule, choice
        See `TrackClips`.
    """

    def __init__(self, *, sample_rate: int, rule: ClipRule, choice: ClipChoice) -> None:
        self.sample_rate = sample_rate
        self.rule = rule
        self.choice = choice
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        self._is_stopped = False
        self._start()

    def open(self, path: Path) -> "ProcessClips":
        """Begin with a track."""
        return ProcessClips(self, path)

    def stop(self) -> None:
        """End the work on a track that is open, at once."""
        self._is_stopped = True
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process, whatever it is at."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def exchange(self, path: Path) -> "Iterator[Clip | _Ended | _Failed]":
        """Have a track decoded.

        Raises
        ------
        DecoderError
            When no process can be started.
        DecodingStopped
            When the track is not wanted any more.
        """
        is_at_rest = False
        try:
            for _ in range(_ATTEMPTS):
                message = None if self._is_stopped else self._begin(path)
                if message is not None:
                    break
                self.close()
            while isinstance(message, Clip):
                yield message
                message = self._receive()
            is_at_rest = message is not None
            if self._is_stopped:
                raise DecodingStopped
            if message is None:
                msg = f"{path} made its decoder crash, so it is not listened to; replace the file."
                message = _Failed(code=FailureCode.UNREADABLE, message=msg, is_passing=True)
            yield message
        finally:
            if not is_at_rest:  # given up in the middle, or dead; the next track starts another one
                self.close()

    def _begin(self, path: Path) -> "Clip | _Ended | _Failed | None":
        """Ask for a track, and give the first that is said of it; None when the process dies."""
        if self._process is None:
            self._start()
        if not self._is_ready and not isinstance(self._receive(), _Ready):
            if self._is_stopped:
                raise DecodingStopped
            msg = "The process for decoding does not start; use --device cpu, which needs none."
            raise DecoderError(msg)
        self._is_ready = True
        try:
            _send(self._pipe_to, path)
        except OSError:
            return None
        return self._receive()

    def _receive(self) -> "Clip | _Ended | _Failed | None":
        """Wait for a message; None when the process is dead."""
        try:
            message: Clip | _Ended | _Failed = pickle.load(self._pipe_from)
        except (EOFError, OSError, pickle.UnpicklingError):  # the last one: it died while it spoke
            return None
        return message

    def _start(self) -> None:
        """Start the process."""
        self._is_ready = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tagcli.audio.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the decoders' own chatter
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        if self._process.stdin is None or self._process.stdout is None:
            msg = "the process was started with pipes"
            raise AssertionError(msg)
        self._pipe_to, self._pipe_from = self._process.stdin, self._process.stdout
        with suppress(OSError):  # dead already: the first one who waits for an answer learns of it
            _send(self._pipe_to, (self.sample_rate, self.rule, self.choice))


class ProcessClips:
    """The clips of one track that another process decodes; as `TrackClips`."""

    def __init__(self, reader: ProcessReader, path: Path) -> None:
        self.path = path
        self.sample_rate = reader.sample_rate
        self.n_samples = 0
        self.warnings: set[WarningCode] = set()
        self.identity: FileIdentity | None = None
        self._reader = reader

    def __iter__(self) -> Iterator[Clip]:
        """Yield the clips in the order of their starts.

        Raises
        ------
        AudioError
            As `TrackClips`, or when the decoder crashes.
        DecoderError
            When no process can be started.
        """
        for message in self._reader.exchange(self.path):
            if isinstance(message, Clip):
                yield message
            elif isinstance(message, _Failed):
                raise AudioError(message.message, path=self.path, code=message.code, is_passing=message.is_passing)
            else:
                self.n_samples = message.n_samples
                self.warnings = set(message.warnings)
                self.identity = message.identity


def serve() -> None:
    """Decode what is asked for, until nobody asks any more: the process's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to every process; the one that asked decides
    pipe_from = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as pipe_to:
        os.dup2(2, 1)  # whatever a decoder prints goes nowhere
        try:
            sample_rate, rule, choice = pickle.load(pipe_from)
            _send(pipe_to, _Ready())
            while True:
                path: Path = pickle.load(pipe_from)
                clips = TrackClips(path, sample_rate=sample_rate, rule=rule, choice=choice)
                _send(pipe_to, _send_clips(clips, pipe_to))
        except (EOFError, BrokenPipeError):
            return


def _send_clips(clips: TrackClips, pipe: IO[bytes]) -> _Ended | _Failed:
    """Pass clips on as they come."""
    try:
        for clip in clips:
            _send(pipe, clip)
    except AudioError as error:
        return _Failed(code=error.code, message=error.message, is_passing=error.is_passing)
    return _Ended(n_samples=clips.n_samples, warnings=frozenset(clips.warnings), identity=clips.identity)


def _send(pipe: IO[bytes], message: object) -> None:
    """Put a message into a pipe."""
    pickle.dump(message, pipe, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.flush()


if __name__ == "__main__":
    from tagcli.audio import workers  # its classes go by this name on the other side

    workers.serve()
