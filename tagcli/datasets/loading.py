"""Load the clips of the next batches while the device is at work on this one."""

import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagcli.audio.clips import ClipRule
from tagcli.datasets.audio import ExampleAudio, read_clip
from tagcli.errors import AudioError


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A clip that is wanted.

    Parameters
    ----------
    row
        The example.
    position
        Where in it, in [0, 1]: 0 is the earliest clip, 1 the latest that fits.
    """

    row: int
    position: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """A batch of clips.

    Parameters
    ----------
    waveforms
        [shape=(n_clips, clip_samples)], float32, about [-1, 1]; zeros where an example cannot be decoded.
    rows
        The examples [shape=(n_clips,)].
    is_heard
        Whether an example could be decoded [shape=(n_clips,)].
    waited_seconds
        How long the batch was waited for.
    """

    waveforms: npt.NDArray[np.float32]
    rows: npt.NDArray[np.intp]
    is_heard: npt.NDArray[np.bool_]
    waited_seconds: float


def load_batches(
    audio: ExampleAudio,
    batches: Iterable[Sequence[Request]],
    *,
    rule: ClipRule,
    n_workers: int,
    n_ahead: int = 4,
) -> Generator[Loaded, None, None]:
    """Load batches of clips in threads, in their order; the number of threads changes nothing but the time.

    Parameters
    ----------
    audio
        Where the waveforms come from.
    batches
        The clips of each batch; asked for `n_ahead` batches before they are given out.
    rule
        Length of a clip, and what becomes of a shorter excerpt.
    n_workers
        Number of threads.
    n_ahead
        Number of batches that are loaded, or just being, while the one before them is in use.

    Yields
    ------
    Loaded
        The next batch.

    Raises
    ------
    DatasetError
        When the cache that the waveforms come from is damaged.
    """
    pool = ThreadPoolExecutor(n_workers, thread_name_prefix="load")
    loading: deque[_Loading] = deque()
    left = iter(batches)
    try:
        while True:
            asked = time.perf_counter()
            while len(loading) <= n_ahead and (requests := next(left, None)) is not None:
                loading.append(_Loading(pool, audio, requests, rule))
            if not loading:
                return
            batch = loading.popleft()
            is_heard = np.array([future.result() for future in batch.futures], dtype=np.bool_)
            waited_seconds = time.perf_counter() - asked
            yield Loaded(waveforms=batch.waveforms, rows=batch.rows, is_heard=is_heard, waited_seconds=waited_seconds)
    finally:
        pool.shutdown(cancel_futures=True)


class _Loading:
    """A batch that is being loaded: each clip into its place."""

    def __init__(
        self, pool: ThreadPoolExecutor, audio: ExampleAudio, requests: Sequence[Request], rule: ClipRule
    ) -> None:
        self.waveforms = np.zeros((len(requests), rule.n_samples), dtype=np.float32)
        self.rows = np.array([request.row for request in requests], dtype=np.intp)
        self.futures: list[Future[bool]] = [
            pool.submit(_load, audio, request, rule, clip)
            for request, clip in zip(requests, self.waveforms, strict=True)
        ]


def _load(audio: ExampleAudio, request: Request, rule: ClipRule, clip: npt.NDArray[np.float32]) -> bool:
    """Load one clip into its place; say whether it could be decoded."""
    try:
        clip[:] = read_clip(audio, request.row, request.position, rule)
    except AudioError:
        return False
    return True
