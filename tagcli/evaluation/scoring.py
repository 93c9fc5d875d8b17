"""Have a model listen to the examples of a data set."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt

from tagcli.audio.clips import ClipChoice
from tagcli.cores import count_cores
from tagcli.datasets.audio import ExampleAudio, cut_clips
from tagcli.errors import AudioError, FailureCode, TagcliError
from tagcli.tagger.module import TaggerModule
from tagcli.tagger.scorer import Scorer, open_scorer
from tagcli.tagger.track_sum import ClipScores

GPU_BATCH_SIZE = 16


def score_examples(
    module: TaggerModule,
    audio: ExampleAudio,
    *,
    choice: ClipChoice,
    rows: Sequence[int] | npt.NDArray[np.intp] | None = None,
    batch_size: int = GPU_BATCH_SIZE,
    n_workers: int | None = None,
    on_failure: Callable[[int, TagcliError], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Score every example of a data set: the mean over its clips of the sigmoid outputs.

    Each worker reads one example at a time. On a CPU it scores the clips itself, one after the other, with one thread
    of torch's; the caller's number of them is the same afterwards.

    Parameters
    ----------
    module
        On the device that scores.
    audio
        The examples, at the module's rate.
    choice
        Which clips of an excerpt.
    rows
        Which examples, in this order; None for all.
    batch_size
        Clips that another device than a CPU scores at a time.
    n_workers
        Examples in work at a time; None for one for each core.
    on_failure
        Told the row and the reason of an example that cannot be heard, in the caller's thread.
    on_progress
        Told after each example how many are done, in the caller's thread.

    Returns
    -------
    numpy.ndarray
        [shape=(n_examples, n_tags)], in [0, 1]; a row of nan where an example cannot be decoded or is too short.

    Raises
    ------
    ValueError
        When the audio has another rate than the module.
    TagcliError
        When something else than a single example is the matter.
    """
    header = module.header
    if audio.sample_rate != header.front_end.sample_rate:
        msg = f"{header.name} hears {header.front_end.sample_rate} Hz, and the audio is read at {audio.sample_rate} Hz"
        raise ValueError(msg)
    n_examples = len(audio.manifest)
    wanted = list(range(n_examples)) if rows is None else [int(row) for row in rows]
    scores = np.full((n_examples, len(header.vocabulary)), np.nan, dtype=np.float32)
    device = next(module.buffers()).device
    outcomes: SimpleQueue[_Outcome] = SimpleQueue()
    scorer = open_scorer(
        module,
        device,
        batch_size=None if device.type == "cpu" else batch_size,
        half=False,
        with_embeddings=False,
        on_error=lambda error: outcomes.put(_Outcome(error=error)),
    )
    readers = _Readers(audio, wanted, module, scorer, choice, outcomes, n_workers=n_workers or count_cores())
    try:
        readers.start()
        for n_done in range(1, len(wanted) + 1):
            outcome = outcomes.get()
            if isinstance(outcome.error, AudioError):
                if on_failure is not None:
                    on_failure(outcome.row, outcome.error)
            elif outcome.error is not None:
                raise outcome.error
            else:
                scores[outcome.row] = outcome.scores
            if on_progress is not None:
                on_progress(n_done)
    finally:
        readers.stop()
        scorer.close()
        readers.join()
    return scores if rows is None else scores[wanted]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Outcome:
    """What became of an example; an error that is none of an example's has no row."""

    row: int = -1
    scores: npt.NDArray[np.float32] | None = None
    error: BaseException | None = None


class _Gathering:
    """The scores of one example's clips, as they come from any thread."""

    def __init__(self, row: int, n_clips: int, outcomes: "SimpleQueue[_Outcome]") -> None:
        self._row = row
        self._parts: dict[int, npt.NDArray[np.float32]] = {}
        self._n_clips = n_clips
        self._outcomes = outcomes
        self._lock = threading.Lock()

    def take(self, index: int) -> Callable[[ClipScores], None]:
        """Give the way for the scores of one clip."""

        def deliver(clip_scores: ClipScores) -> None:
            with self._lock:
                self._parts[index] = clip_scores.scores[0]
                is_complete = len(self._parts) == self._n_clips
            if is_complete:  # in the order of the clips: the same sum whoever came first
                parts = np.stack([self._parts[number] for number in range(self._n_clips)])
                mean = parts.mean(axis=0, dtype=np.float64).astype(np.float32)
                self._outcomes.put(_Outcome(row=self._row, scores=mean))

        return deliver


class _Readers:
    """Threads that read examples, cut them and have the clips scored.

    Parameters
    ----------
    audio, rows, module, scorer, choice
        What is read, which of it, how long a clip is, who scores, and which clips.
    outcomes
        Where it is told what became of each example.
    n_workers
        How many threads.
    """

    def __init__(
        self,
        audio: ExampleAudio,
        rows: Sequence[int],
        module: TaggerModule,
        scorer: Scorer,
        choice: ClipChoice,
        outcomes: "SimpleQueue[_Outcome]",
        *,
        n_workers: int,
    ) -> None:
        self._audio = audio
        self._rule = module.header.clip
        self._scorer = scorer
        self._choice = choice
        self._outcomes = outcomes
        self._rows = iter(rows)
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, name=f"tagcli-example-{number}", daemon=True)
            for number in range(min(n_workers, len(rows)))
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin with no further example."""
        with self._lock:
            self._rows = iter(())

    def join(self) -> None:
        """Wait for the threads."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        """Read examples as long as there are some."""
        while (row := self._next()) is not None:
            try:
                clips = self._read(row)
                gathering = _Gathering(row, len(clips), self._outcomes)
                self._scorer.score([(clip, gathering.take(index)) for index, clip in enumerate(clips)])
            except AudioError as error:
                self._outcomes.put(_Outcome(row=row, error=error))
            except BaseException as error:  # handed to the thread that waits for outcomes
                self._outcomes.put(_Outcome(row=row, error=error))
                return

    def _next(self) -> int | None:
        """Take the next row."""
        with self._lock:
            return next(self._rows, None)

    def _read(self, row: int) -> "Sequence[npt.NDArray[np.float32]]":
        """Read an example and cut it.

        Raises
        ------
        AudioError
            When it cannot be decoded, or is too short.
        """
        waveform = self._audio.read(row)
        try:
            return cut_clips(waveform, self._choice, self._rule, sample_rate=self._audio.sample_rate)
        except ValueError as error:
            path = self._audio.manifest.locate(row)
            msg = f"{path} is too short to be judged ({error}); leave it out."
            raise AudioError(msg, path=path, code=FailureCode.TOO_SHORT) from error
