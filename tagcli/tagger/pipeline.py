"""Walk the corridor for many tracks at once; results in input order, memory bounded."""

import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tagcli.audio.clips import ClipChoice
from tagcli.audio.reading import ClipReader
from tagcli.cores import count_cores
from tagcli.tagger.crew import Crew, Outcome, ScorerWanted, StageTimes, Task
from tagcli.tagger.memory import Memory, Ticket
from tagcli.tags import Failure, TrackScores

if TYPE_CHECKING:
    from tagcli.tagger.scorer import Scorer

logger = logging.getLogger(__name__)

TRACKS_AHEAD = 12  # per worker: taken in and not yet done
CLIPS_GATHERED = 8  # by a worker, then scored one after the other
RESULTS_AHEAD = 256  # done or remembered, and waiting for one before them: a long track does not hold up the others
_LOOK_SECONDS = 0.25  # between looks at what another process has in work
_PATIENCE_SECONDS = 60.0  # with a process that has in work all that is left, and may stand still


@dataclass(frozen=True, kw_only=True)
class TagOptions:
    """How tracks are scored; only `clips` and `half` change a score by more than rounding.

    Parameters
    ----------
    clips
        Which clips of each track.
    n_workers
        Number of tracks in work at a time; None for one for each core that this process may use.
    batch_size
        Clips scored at a time; None for what is fastest on the device.
    half
        Whether the network runs in half precision: float16 on a GPU, bfloat16 on a CPU that is faster with it.
    with_taggram, with_embeddings
        Whether to keep scores over time, and to compute embeddings.

    Raises
    ------
    ValueError
        When there is no worker, or nothing in a batch.
    """

    clips: ClipChoice = field(default_factory=ClipChoice)
    n_workers: int | None = None
    batch_size: int | None = None
    half: bool = False
    with_taggram: bool = False
    with_embeddings: bool = False

    def __post_init__(self) -> None:
        if (self.n_workers is not None and self.n_workers < 1) or (self.batch_size is not None and self.batch_size < 1):
            msg = f"{self.n_workers} workers and batches of {self.batch_size} score nothing; both begin at 1"
            raise ValueError(msg)


OpenScorer = Callable[[Callable[[BaseException], None]], "Scorer"]
"""Makes the scorer when the first track needs it; it is given what an error of its threads is to be told to."""


def tag_tracks(
    paths: Iterable[Path],
    *,
    make_reader: Callable[[], ClipReader],
    open_scorer: OpenScorer,
    options: TagOptions,
    n_gathered: int = CLIPS_GATHERED,
    memory: Memory | None = None,
    times: StageTimes | None = None,
) -> Generator[TrackScores | Failure, None, None]:
    """Score tracks.

    Parameters
    ----------
    paths
        The tracks; consumed as they are needed.
    make_reader
        Called by each worker: what it opens tracks with.
    open_scorer
        Called once, in the caller's thread, while the workers decode already; not at all when every track is
        remembered.
    options
        How.
    n_gathered
        Clips that a worker decodes before it has them scored.
    memory
        What is remembered of earlier runs, and is to be remembered of this one.
    times
        Where to add up what the workers spend their time with.

    Yields
    ------
    TrackScores or Failure
        One for each path, in input order, as soon as it and those before it are done.

    Raises
    ------
    DeviceError
        When the device is not there, or its memory does not suffice for one clip.
    CheckpointError
        When the checkpoint is damaged.
    DecoderError
        When processes for decoding do not start.
    """
    with _Run(
        make_reader, open_scorer=open_scorer, options=options, n_gathered=n_gathered, memory=memory, times=times
    ) as run:
        yield from run.results(iter(paths))


@dataclass(kw_only=True)
class _Place:
    """A track's place in the order of results."""

    path: Path
    result: TrackScores | Failure | None = None


class _Run:
    """One walk: a window over the input, and the crew that works in it."""

    def __init__(
        self,
        make_reader: Callable[[], ClipReader],
        *,
        open_scorer: OpenScorer,
        options: TagOptions,
        n_gathered: int,
        memory: Memory | None,
        times: StageTimes | None,
    ) -> None:
        self._make_reader = make_reader
        self._n_workers = count_cores() if options.n_workers is None else options.n_workers
        self._open_scorer = open_scorer
        self._options = options
        self._n_gathered = n_gathered
        self._memory = memory
        self._times = times or StageTimes()
        self._crew: Crew | None = None
        self._scorer: Scorer | None = None
        self._window: deque[_Place] = deque()
        self._n_given = 0
        self._n_open = 0
        self._waiting: dict[int, Ticket] = {}
        self._looked = self._noted = time.monotonic()

    def __enter__(self) -> "_Run":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._crew is not None:
            self._crew.stop()
        if self._scorer is not None:
            self._scorer.close()
        if self._crew is not None:
            self._crew.join()
        if self._memory is not None:
            self._memory.give_up()

    def results(self, paths: Iterator[Path]) -> Iterator[TrackScores | Failure]:
        """Yield the results in the order of the paths."""
        is_more = True
        while is_more or self._window:
            is_more = is_more and self._fill(paths)
            while self._window and (result := self._window[0].result) is not None:
                self._window.popleft()
                self._n_given += 1
                yield result
            if self._window:
                self._wait()

    def _fill(self, paths: Iterator[Path]) -> bool:
        """Take tracks in as far as memory allows; False when there are no more."""
        while self._n_open < TRACKS_AHEAD * self._n_workers and len(self._window) < RESULTS_AHEAD:
            path = next(paths, None)
            if path is None:
                return False
            place = _Place(path=path, result=self._memory.recall_by_file(path) if self._memory is not None else None)
            self._window.append(place)
            if place.result is None:
                self._submit(Task(number=self._n_given + len(self._window) - 1, path=path))
            elif len(self._window) == 1:
                return True  # nothing before it is waited for
        return True

    def _submit(self, task: Task) -> None:
        """Give a task to the crew; the first one calls it together."""
        if self._crew is None:
            self._crew = Crew(
                self._make_reader,
                n_workers=self._n_workers,
                n_gathered=self._n_gathered,
                memory=self._memory,
                with_taggram=self._options.with_taggram,
                times=self._times,
            )
        self._n_open += 1
        self._crew.submit(task)

    def _wait(self) -> None:
        """Wait until something is done, and take note of all that is; look after what others have in work."""
        if self._crew is None:
            return
        try:
            self._note(self._crew.outcomes.get(timeout=_LOOK_SECONDS))
            while True:
                self._note(self._crew.outcomes.get_nowait())
        except queue.Empty:
            pass
        now = time.monotonic()
        if self._waiting and now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            is_patient = now - self._noted < _PATIENCE_SECONDS
            if not is_patient:
                logger.warning("Another process has tracks in work and does not go on; they are listened to here, too.")
            for number, ticket in self._waiting.items():
                self._submit(Task(number=number, path=ticket.path, ticket=ticket, is_patient=is_patient))
            self._waiting.clear()

    def _note(self, message: Outcome | ScorerWanted | BaseException) -> None:
        """Take note of an outcome: put it into its place."""
        if isinstance(message, BaseException):
            raise message
        if isinstance(message, ScorerWanted):
            if self._crew is not None and self._scorer is None:
                self._scorer = self._open_scorer(self._crew.outcomes.put)
                self._crew.scorer.set_result(self._scorer)
            return
        self._n_open -= 1
        number, ticket = message.task.number, message.ticket
        if message.result is None:
            if ticket is not None:
                self._waiting[number] = ticket
            return
        self._window[number - self._n_given].result = message.result
        self._noted = time.monotonic()
