"""The workers: threads that each take a track, look whether it is remembered, decode it and have its clips scored.

They begin before there is a scorer: what they decode while torch is being imported waits for it, within bounds.
"""

import queue
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from tagcli.audio.reading import Clip, ClipReader, Clips, DecodingStopped
from tagcli.audio.sources import Waveform
from tagcli.errors import AudioError
from tagcli.tagger.memory import Memory, Ticket
from tagcli.tagger.track_sum import ClipScores, TrackSum
from tagcli.tags import Failure, TrackScores

if TYPE_CHECKING:
    from tagcli.tagger.scorer import Deliver, Scorer

_CLIPS_AHEAD = 16  # decoded while there is no scorer yet, all workers together: about 25 MB


class Stage(StrEnum):
    """What a worker spends its time with."""

    LOOKING_UP = "looking up"
    DECODING = "decoding"
    SCORING = "scoring"
    STARTING = "starting"


class StageTimes:
    """Adds up what the workers spend their time with, in seconds of all of them together."""

    def __init__(self) -> None:
        self._seconds: dict[Stage, float] = dict.fromkeys(Stage, 0.0)
        self._lock = threading.Lock()

    def add(self, stage: Stage, started: float) -> None:
        """Count the time since `started` (of `time.perf_counter`)."""
        seconds = time.perf_counter() - started
        with self._lock:
            self._seconds[stage] += seconds

    @property
    def shares(self) -> dict[str, float]:
        """What share of the workers' time each stage took, the largest first; empty when nothing was done."""
        total = sum(self._seconds.values())
        ordered = sorted(self._seconds.items(), key=lambda item: -item[1])
        return {stage.value: seconds / total for stage, seconds in ordered} if total else {}


@dataclass(frozen=True, kw_only=True)
class Task:
    """A track to be scored.

    Parameters
    ----------
    number
        Its place in the order of the input.
    path
        The track.
    ticket
        What is known of its bytes already, when they were looked up before.
    is_patient
        Whether it is left to another thread or process that is at work on the same bytes.
    """

    number: int
    path: Path
    ticket: Ticket | None = None
    is_patient: bool = True


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a task.

    Parameters
    ----------
    task
        The task.
    result
        None when another thread or process is at work on the same audio bytes.
    ticket
        What is known of the bytes then.
    """

    task: Task
    result: TrackScores | Failure | None = None
    ticket: Ticket | None = None


@dataclass(frozen=True)
class ScorerWanted:
    """A worker has begun to decode: its clips will want a scorer."""


class Crew:
    """Workers, and the queues to and from them.

    Parameters
    ----------
    make_reader
        Called by each worker: what it opens tracks with.
    n_workers
        How many there are.
    n_gathered
        Clips that a worker hands to the scorer together.
    memory
        What is remembered of earlier runs, if anything is.
    with_taggram
        Whether the scores of each clip are kept.
    times
        Where to add up what the workers spend their time with.

    Attributes
    ----------
    scorer
        To be set when there is one, or cancelled.
    outcomes
        What the workers have done or want, or the error that ended one.
    """

    def __init__(
        self,
        make_reader: Callable[[], ClipReader],
        *,
        n_workers: int,
        n_gathered: int,
        memory: Memory | None,
        with_taggram: bool,
        times: StageTimes,
    ) -> None:
        self.scorer: Future[Scorer] = Future()
        self.outcomes: queue.SimpleQueue[Outcome | ScorerWanted | BaseException] = queue.SimpleQueue()
        self.times = times
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._is_stopped = threading.Event()
        self._wants_scorer = threading.Event()
        self._make_reader = make_reader
        self._readers: list[ClipReader] = []
        self._n_gathered = n_gathered
        self._n_ahead = max(1, _CLIPS_AHEAD // n_workers)
        self._memory = memory
        self._with_taggram = with_taggram
        self._threads = [
            threading.Thread(target=self._work, name=f"tagcli-worker-{number}", daemon=True)
            for number in range(n_workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task) -> None:
        """Give a task to whichever worker is free first."""
        self._tasks.put(task)

    def stop(self) -> None:
        """End the workers' work, also in the middle of a track."""
        self._is_stopped.set()
        self.scorer.cancel()
        for reader in self._readers:
            reader.stop()
        for _ in self._threads:
            self._tasks.put(None)

    def join(self) -> None:
        """Wait until no worker is left."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        """Do tasks until it is over."""
        backlog = _Backlog(self.scorer, n_gathered=self._n_gathered, n_ahead=self._n_ahead, times=self.times)
        try:
            with closing(self._make_reader()) as reader:
                self._readers.append(reader)
                while (task := self._next_task(backlog)) is not None and not self._is_stopped.is_set():
                    self._do(task, reader, backlog)
        except (CancelledError, DecodingStopped):
            return
        except BaseException as error:  # handed to the thread that waits for results
            if not self._is_stopped.is_set():
                self.outcomes.put(error)

    def _next_task(self, backlog: "_Backlog") -> Task | None:
        try:
            return self._tasks.get_nowait()
        except queue.Empty:
            backlog.drain()
            return self._tasks.get()

    def _do(self, task: Task, reader: ClipReader, backlog: "_Backlog") -> None:
        """Do one task."""
        recalled = self._recall(task)
        if isinstance(recalled, TrackScores | Failure):
            self.outcomes.put(Outcome(task=task, result=recalled))
            return
        if recalled is not None and not recalled.is_claimed and task.is_patient:
            self.outcomes.put(Outcome(task=task, ticket=recalled))
            return
        ticket = recalled
        if not self._wants_scorer.is_set():
            self._wants_scorer.set()
            self.outcomes.put(ScorerWanted())
        clips = reader.open(task.path)
        track_sum = TrackSum(task.path, with_taggram=self._with_taggram)
        track = _Track(track_sum, tell=lambda result: self._tell(task, result, ticket))
        try:
            with closing(self._decode(clips)) as decoded:
                for clip in decoded:
                    track.sum.hear(clip)
                    backlog.score(clip.waveform, track.expect_clip())
        except AudioError as error:
            failure = Failure(path=task.path, code=error.code, message=error.message, is_passing=error.is_passing)
            self._tell(task, failure, ticket)
            return
        track.end(clips)

    def _recall(self, task: Task) -> TrackScores | Failure | Ticket | None:
        """See whether a track is remembered, or claim it."""
        if self._memory is None:
            return None
        started = time.perf_counter()
        known = task.ticket
        recalled = self._memory.recall(task.path) if known is None else self._memory.recall_again(known)
        self.times.add(Stage.LOOKING_UP, started)
        return recalled

    def _tell(self, task: Task, result: TrackScores | Failure, ticket: Ticket | None) -> None:
        """Remember a result, then tell of it: it is kept even when nobody takes it any more."""
        if self._memory is not None and ticket is not None:
            self._memory.keep(ticket, result)
        self.outcomes.put(Outcome(task=task, result=result))

    def _decode(self, clips: Clips) -> Generator[Clip, None, None]:
        """Yield the clips of a track, for as long as they are wanted."""
        remaining = iter(clips)
        while True:
            started = time.perf_counter()
            clip = next(remaining, None)
            self.times.add(Stage.DECODING, started)
            if clip is None:
                return
            if self._is_stopped.is_set():
                raise CancelledError
            yield clip


class _Track:
    """A track in work; it is done when its last clip was decoded and its last scores came, whichever is later."""

    def __init__(self, track_sum: TrackSum, *, tell: Callable[[TrackScores | Failure], None]) -> None:
        self.sum = track_sum
        self._tell = tell
        self._clips: Clips | None = None
        self._n_expected = 0
        self._lock = threading.Lock()

    def expect_clip(self) -> "Deliver":
        """Say that the next clip is handed over, and where its scores go."""
        index = self._n_expected
        self._n_expected += 1

        def deliver(scores: ClipScores) -> None:
            with self._lock:
                self.sum.add(index, scores)
                self._finish()

        return deliver

    def end(self, clips: Clips) -> None:
        """Say that no more clips come."""
        with self._lock:
            self._clips = clips
            self._finish()

    def _finish(self) -> None:
        if self._clips is not None and self.sum.n_clips == self._n_expected:
            self._tell(self.sum.finish(self._clips))


class _Backlog:
    """The clips that one worker has decoded and not handed over yet.

    They are gathered, from one track or several, because decoder and network each lose the other's cache; and they wait
    here while there is no scorer yet.
    """

    def __init__(self, scorer: "Future[Scorer]", *, n_gathered: int, n_ahead: int, times: StageTimes) -> None:
        self._scorer = scorer
        self._n_gathered = n_gathered
        self._n_ahead = n_ahead
        self._times = times
        self._held: list[tuple[Waveform, Deliver]] = []

    def score(self, waveform: Waveform, deliver: "Deliver") -> None:
        """Have a clip scored, now or later."""
        self._held.append((waveform, deliver))
        if len(self._held) >= (self._n_gathered if self._scorer.done() else self._n_ahead):
            self.drain()

    def drain(self) -> None:
        """Have all clips scored that wait; waits for the scorer.

        Raises
        ------
        CancelledError
            When there will be none.
        """
        if not self._held:
            return
        started = time.perf_counter()
        scorer = self._scorer.result()
        self._times.add(Stage.STARTING, started)
        started = time.perf_counter()
        scorer.score(self._held)
        self._held.clear()
        self._times.add(Stage.SCORING, started)
