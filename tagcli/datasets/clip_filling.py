"""Fill a cache of waveforms: say beforehand how much room they take, then decode what is not there yet."""

import math
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tagcli.audio.decode import Track
from tagcli.datasets.audio import DecodedAudio
from tagcli.datasets.clip_cache import MAX_SECONDS, default_cache_folder, key_of, quantise, settings_for
from tagcli.datasets.clip_index import (
    SAMPLE_TYPE,
    CacheSettings,
    ExcerptKey,
    Record,
    Samples,
    compute_crc,
    read_index,
    translated,
)
from tagcli.datasets.clip_writer import CacheWriter
from tagcli.datasets.manifest import Manifest
from tagcli.errors import AudioError, DatasetError

_N_HEADERS = 64  # of the files whose length the manifest does not say, so many are looked into
_COMMIT_SECONDS = 1.0  # what a power cut loses at most; a slow disk is not to be waited for after each excerpt
_AHEAD = 2  # excerpts for each thread that are decoded, or just being, and not written yet


@dataclass(frozen=True, kw_only=True)
class FileStamp:
    """What tells that a file has changed: its size in bytes and the time of its last change."""

    size: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """An excerpt that is to be decoded: an example that it is of, and its file as it was found, if it was."""

    row: int
    stamp: FileStamp | None


@dataclass(frozen=True, kw_only=True, eq=False)
class CachePlan:
    """What is to be decoded before every example of a data set is in its cache.

    Parameters
    ----------
    manifest
        The data set.
    folder, settings
        The cache.
    tasks
        The excerpts that are not there.
    n_cached
        Number of those that are.
    n_bytes
        How much room the tasks take at most.
    is_exact
        Whether the length of each of them is known; else it is estimated.
    """

    manifest: Manifest
    folder: Path
    settings: CacheSettings
    tasks: tuple[Task, ...]
    n_cached: int
    n_bytes: int
    is_exact: bool


@dataclass(frozen=True, kw_only=True)
class CacheProgress:
    """How far a cache has been filled.

    Parameters
    ----------
    n_done
        Number of the plan's excerpts that are there, or were tried.
    n_total
        Number of them all.
    n_failed
        Number of those that could not be decoded; `ClipCache.missing` says why.
    """

    n_done: int
    n_total: int
    n_failed: int


def plan_cache(
    manifest: Manifest, *, sample_rate: int, max_seconds: float = MAX_SECONDS, folder: Path | None = None
) -> CachePlan:
    """Say what a cache lacks, and how much room that takes.

    An excerpt whose file has changed is decoded anew, also when it could not be decoded before; one whose file is not
    there any more stays as it is.

    Parameters
    ----------
    manifest, sample_rate, max_seconds, folder
        See `ClipCache`.

    Raises
    ------
    DatasetError
        When the cache is damaged, cannot be read or was made for something else.
    """
    settings = settings_for(manifest, sample_rate=sample_rate, max_seconds=max_seconds)
    folder = folder or default_cache_folder(settings)
    records = read_index(folder, settings).records
    rows: dict[ExcerptKey, int] = {}
    for row in range(len(manifest)):
        rows.setdefault(key_of(manifest, row), row)
    tasks = []
    for key, row in rows.items():
        stamp = _look_at(manifest.locate(row))
        if not _is_current(records.get(key), stamp):
            tasks.append(Task(row=row, stamp=stamp))
    n_samples, is_exact = _measure(manifest, [task.row for task in tasks if task.stamp and task.stamp.size], settings)
    return CachePlan(
        manifest=manifest,
        folder=folder,
        settings=settings,
        tasks=tuple(tasks),
        n_cached=len(rows) - len(tasks),
        n_bytes=n_samples * SAMPLE_TYPE.itemsize,
        is_exact=is_exact,
    )


def build_cache(plan: CachePlan, *, n_workers: int) -> Iterator[CacheProgress]:
    """Fill a cache; what was done stays done, whatever ends it.

    When another process fills the same cache, this one waits for it, and does what is left then.

    Parameters
    ----------
    plan
        What is to be decoded.
    n_workers
        Number of threads that decode.

    Yields
    ------
    CacheProgress
        After each excerpt.

    Raises
    ------
    DatasetError
        When there is not enough room, or the cache is damaged or cannot be written.
    """
    settings = plan.settings
    audio = DecodedAudio(plan.manifest, sample_rate=settings.sample_rate, max_seconds=settings.max_seconds)
    with CacheWriter(plan.folder, settings) as writer:
        records = writer.records
        known = [records.get(key_of(plan.manifest, task.row)) for task in plan.tasks]
        tasks = [task for task, record in zip(plan.tasks, known, strict=True) if not _is_current(record, task.stamp)]
        _check_room(plan, len(tasks))
        n_total = len(plan.tasks)
        n_done, n_failed, committed = n_total - len(tasks), 0, time.monotonic()
        for decoded in _decode_all(audio, tasks, n_workers):
            if decoded.record != records.get(decoded.record.key):  # a failure may be no news
                writer.append(decoded.record, decoded.samples)
            if time.monotonic() - committed > _COMMIT_SECONDS:
                writer.commit()
                committed = time.monotonic()
            n_done += 1
            n_failed += not decoded.record.n_samples
            yield CacheProgress(n_done=n_done, n_total=n_total, n_failed=n_failed)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Decoded:
    """What became of an excerpt [shape=(n_samples,)]."""

    record: Record
    samples: Samples


def _decode_all(audio: DecodedAudio, tasks: Sequence[Task], n_workers: int) -> Iterator[_Decoded]:
    """Decode excerpts in threads, a bounded number of them ahead; they come in their order."""
    waiting: deque[Future[_Decoded]] = deque()
    pool = ThreadPoolExecutor(n_workers, thread_name_prefix="decode")
    try:
        for task in tasks:
            if len(waiting) == _AHEAD * n_workers:
                yield waiting.popleft().result()
            waiting.append(pool.submit(_decode, audio, task))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(audio: DecodedAudio, task: Task) -> _Decoded:
    """Decode one excerpt, or find out why that is not possible."""
    key = key_of(audio.manifest, task.row)
    unheard = Record(
        path=key.path,
        start_seconds=key.start_seconds,
        duration_seconds=key.duration_seconds,
        size=task.stamp.size if task.stamp else None,
        mtime_ns=task.stamp.mtime_ns if task.stamp else None,
    )
    try:
        samples, scale = quantise(audio.read(task.row))
    except AudioError as error:
        if error.is_passing:
            unheard = replace(unheard, size=None, mtime_ns=None)
        record = replace(unheard, code=str(error.code), message=error.message)
        return _Decoded(record=record, samples=np.empty(0, dtype=SAMPLE_TYPE))
    record = replace(unheard, n_samples=len(samples), scale=scale, crc32=compute_crc(samples))
    return _Decoded(record=record, samples=samples)


def _look_at(path: Path) -> FileStamp | None:
    """Take the stamp of a file; None where there is none to be had."""
    try:
        status = os.stat(path)  # noqa: PTH116  # 200,000 times
    except (OSError, ValueError):  # the latter: a zero byte in the name
        return None
    return FileStamp(size=status.st_size, mtime_ns=status.st_mtime_ns)


def _is_current(record: Record | None, stamp: FileStamp | None) -> bool:
    """Tell whether what is known of an excerpt still holds."""
    if record is None:
        return False
    if stamp is None:
        return record.n_samples > 0
    return (record.size, record.mtime_ns) == (stamp.size, stamp.mtime_ns)


def _measure(manifest: Manifest, rows: Sequence[int], settings: CacheSettings) -> tuple[int, bool]:
    """Count the samples of some examples; say, too, whether they were counted or estimated."""
    most = round(settings.max_seconds * settings.sample_rate)
    durations = manifest.durations_seconds[np.asarray(rows, dtype=np.intp)]
    given = np.minimum(np.rint(durations[~np.isnan(durations)] * settings.sample_rate), most)
    open_rows = [row for row, duration in zip(rows, durations.tolist(), strict=True) if math.isnan(duration)]
    seen = open_rows[:: math.ceil(len(open_rows) / _N_HEADERS) or 1]
    lengths = [_read_length(manifest, row, settings.sample_rate) for row in seen]
    found = sum(most if length is None else min(length, most) for length in lengths)
    n_open = round(found * len(open_rows) / len(seen)) if seen else 0
    return int(np.sum(given)) + n_open, len(seen) == len(open_rows) and None not in lengths


def _read_length(manifest: Manifest, row: int, sample_rate: int) -> int | None:
    """Look into the header of a file for the samples from an example's start on; None where it does not say."""
    try:
        n_samples = Track(manifest.locate(row), sample_rate).n_samples
    except AudioError:
        return 0
    return None if n_samples is None else max(0, n_samples - round(float(manifest.starts_seconds[row]) * sample_rate))


def _check_room(plan: CachePlan, n_tasks: int) -> None:
    """Refuse to begin with what cannot end.

    Raises
    ------
    DatasetError
        When there is not enough room.
    """
    with translated(plan.folder):
        n_free = shutil.disk_usage(plan.folder).free
    n_bytes = plan.n_bytes * n_tasks // max(1, len(plan.tasks))  # another process may have done some
    if n_bytes > n_free:
        msg = (
            f"The cache {plan.folder} needs {n_bytes / 1e9:.1f} GB more and {n_free / 1e9:.1f} GB are free; let "
            'XDG_CACHE_HOME name a folder on another disk, or take data.cache = "none".'
        )
        raise DatasetError(msg, path=plan.folder)
