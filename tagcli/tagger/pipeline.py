"""Walk the corridor for many tracks at once: decode, front end, model; results in input order, memory bounded.

On a CPU each worker does all of it for one track, a clip or two at a time: small batches stay in the cache and under
the allocator's thresholds. On a GPU workers only decode, ahead of the device, and clips of many tracks are scored
together.
"""

import itertools
import os
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from tagcli.audio.clips import ClipChoice
from tagcli.audio.reading import Clip, TrackClips
from tagcli.errors import AudioError
from tagcli.tagger.module import ClipScores, TaggerModule
from tagcli.tagger.track_sum import TrackSum
from tagcli.tags import Failure, TrackScores

CPU_BATCH_SIZE = 1
GPU_BATCH_SIZE = 64
TRACKS_AHEAD = 2  # per worker: started but not yet given out, so that one long track does not hold up the others
_POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class TagOptions:
    """How tracks are scored; none of it but `clips` changes a score.

    Parameters
    ----------
    clips
        Which clips of each track.
    n_workers
        Number of tracks in work at a time; None for one for each core that this process may use.
    batch_size
        Clips scored at a time; None for what is fastest on the device.
    with_taggram, with_embeddings
        Whether to keep scores over time, and to compute embeddings.
    """

    clips: ClipChoice = field(default_factory=ClipChoice)
    n_workers: int | None = None
    batch_size: int | None = None
    with_taggram: bool = False
    with_embeddings: bool = False


class _StoppedError(Exception):
    """Raised inside a worker when nobody wants its result any more."""


def tag_tracks(
    module: TaggerModule, paths: Iterable[Path], *, device: torch.device, options: TagOptions
) -> Generator[TrackScores | Failure, None, None]:
    """Score tracks.

    Parameters
    ----------
    module
        Front end and model, on `device`.
    paths
        The tracks; consumed as they are needed.
    device
        Where the module is.
    options
        How.

    Yields
    ------
    TrackScores or Failure
        One for each path, in input order, as soon as it and those before it are done.
    """
    n_workers = options.n_workers or _count_cores()
    if device.type == "cpu":
        yield from _tag_whole(module, paths, n_workers=n_workers, options=options)
    else:
        yield from _tag_batched(module, paths, device=device, n_workers=n_workers, options=options)


def _count_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read_clips(module: TaggerModule, path: Path, options: TagOptions) -> TrackClips:
    """Open a track for the module."""
    header = module.header
    return TrackClips(path, sample_rate=header.front_end.sample_rate, rule=header.clip, choice=options.clips)


def _fail(path: Path, error: AudioError) -> Failure:
    """Turn a track's error into its result."""
    return Failure(path=path, code=error.code, message=error.message)


# One worker, one track: the CPU's way


def _tag_whole(
    module: TaggerModule, paths: Iterable[Path], *, n_workers: int, options: TagOptions
) -> Iterator[TrackScores | Failure]:
    """Give each worker whole tracks; torch runs one thread in each, which is faster than many in one."""
    stop = threading.Event()
    n_threads_before = torch.get_num_threads()
    torch.set_num_threads(1)
    executor = ThreadPoolExecutor(
        n_workers, thread_name_prefix="tagcli-worker", initializer=torch.set_num_threads, initargs=(1,)
    )
    running: deque[Future[TrackScores | Failure]] = deque()
    remaining = iter(paths)
    try:
        while True:
            for path in itertools.islice(remaining, TRACKS_AHEAD * n_workers - len(running)):
                running.append(executor.submit(_score_track, module, path, options, stop))
            if not running:
                return
            yield running.popleft().result()
    finally:
        stop.set()
        executor.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(n_threads_before)


def _score_track(module: TaggerModule, path: Path, options: TagOptions, stop: threading.Event) -> TrackScores | Failure:
    """Decode and score one track, a few clips at a time."""
    clips = _read_clips(module, path, options)
    track_sum = TrackSum(path, with_taggram=options.with_taggram)
    batch: list[np.ndarray] = []
    batch_size = options.batch_size or CPU_BATCH_SIZE

    def flush() -> None:
        waveforms = torch.from_numpy(np.stack(batch))
        track_sum.add(module.score(waveforms, with_embeddings=options.with_embeddings))
        batch.clear()

    try:
        for clip in clips:
            if stop.is_set():
                raise _StoppedError
            track_sum.hear(clip)
            batch.append(clip.waveform)
            if len(batch) == batch_size:
                flush()
        if batch:
            flush()
    except AudioError as error:
        return _fail(path, error)
    return track_sum.finish(clips)


# Workers decode, the device scores clips of many tracks together: the GPU's way


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    """A message from a decoding worker: a clip, or the end of its track."""

    index: int
    clip: Clip | None = None
    end: TrackClips | Failure | None = None


class _Decoders:
    """Threads that decode ahead of the device, bounded by a queue of clips and a number of open tracks."""

    def __init__(
        self, module: TaggerModule, paths: Iterable[Path], *, n_workers: int, n_queued: int, options: TagOptions
    ) -> None:
        self._module = module
        self._options = options
        self._paths = enumerate(paths)
        self._paths_lock = threading.Lock()
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._open_tracks = threading.Semaphore(TRACKS_AHEAD * n_workers)
        self._messages: queue.Queue[_Decoded] = queue.Queue(maxsize=n_queued)
        self.sums: dict[int, TrackSum] = {}
        self._threads = [
            threading.Thread(target=self._work, name=f"tagcli-decoder-{index}", daemon=True)
            for index in range(n_workers)
        ]

    def __enter__(self) -> "_Decoders":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def give_back(self) -> None:
        """Allow another track to be opened: one has been given out."""
        self._open_tracks.release()

    def receive(self) -> _Decoded | None:
        """Wait for the next message; None when every track has ended.

        Raises
        ------
        BaseException
            What stopped a worker, when it was not the track's fault.
        """
        while True:
            try:
                return self._messages.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if self._errors:
                    raise self._errors[0] from None
                if not any(thread.is_alive() for thread in self._threads) and self._messages.empty():
                    return None

    @property
    def is_idle(self) -> bool:
        """Whether no message waits: the device should not wait for a full batch then."""
        return self._messages.empty()

    def _work(self) -> None:
        try:
            while self._wait_for_turn():
                with self._paths_lock:
                    index, path = next(self._paths, (-1, None))
                    if path is None:
                        return
                    self.sums[index] = TrackSum(path, with_taggram=self._options.with_taggram)
                self._decode(index, path)
        except _StoppedError:
            return
        except BaseException as error:  # handed to the thread that receives
            self._errors.append(error)

    def _wait_for_turn(self) -> bool:
        while not self._stop.is_set():
            if self._open_tracks.acquire(timeout=_POLL_SECONDS):
                return True
        return False

    def _decode(self, index: int, path: Path) -> None:
        clips = _read_clips(self._module, path, self._options)
        try:
            for clip in clips:
                self._send(_Decoded(index=index, clip=clip))
        except AudioError as error:
            self._send(_Decoded(index=index, end=_fail(path, error)))
        else:
            self._send(_Decoded(index=index, end=clips))

    def _send(self, message: _Decoded) -> None:
        while not self._stop.is_set():
            try:
                self._messages.put(message, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return
        raise _StoppedError


def _tag_batched(
    module: TaggerModule, paths: Iterable[Path], *, device: torch.device, n_workers: int, options: TagOptions
) -> Iterator[TrackScores | Failure]:
    """Score clips of many tracks together on a device."""
    batch_size = options.batch_size or GPU_BATCH_SIZE
    ended: dict[int, TrackClips | Failure] = {}
    batch: list[_Decoded] = []
    n_given = 0
    with _Decoders(module, paths, n_workers=n_workers, n_queued=2 * batch_size, options=options) as decoders:
        while True:
            message = decoders.receive()
            if message is not None and message.end is not None:
                ended[message.index] = message.end
            elif message is not None and message.clip is not None:
                decoders.sums[message.index].hear(message.clip)
                batch.append(message)
            if batch and (message is None or len(batch) == batch_size or decoders.is_idle):
                _score_batch(module, batch, decoders.sums, device=device, options=options)
                batch.clear()
            waiting = {clip.index for clip in batch}
            while n_given in ended and n_given not in waiting:
                end, track_sum = ended.pop(n_given), decoders.sums.pop(n_given)
                yield end if isinstance(end, Failure) else track_sum.finish(end)
                decoders.give_back()
                n_given += 1
            if message is None:
                return


def _score_batch(
    module: TaggerModule,
    batch: list[_Decoded],
    sums: dict[int, TrackSum],
    *,
    device: torch.device,
    options: TagOptions,
) -> None:
    """Score a batch on the device and add each clip to its own track."""
    waveforms = torch.from_numpy(np.stack([message.clip.waveform for message in batch if message.clip is not None]))
    if device.type == "cuda":
        waveforms = waveforms.pin_memory()
    waveforms = waveforms.to(device, non_blocking=True)
    output = module.score(waveforms, with_embeddings=options.with_embeddings)
    scores, embeddings = output.scores.cpu(), [embedding.cpu() for embedding in output.embeddings]
    for row, message in enumerate(batch):
        part = ClipScores(scores[row : row + 1], [embedding[row : row + 1] for embedding in embeddings])
        sums[message.index].add(part)
