"""Add to a cache of waveforms: one process at a time, the samples before the lines about them."""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from tagcli.datasets.clip_index import (
    DATA_NAME,
    INDEX_NAME,
    SAMPLE_TYPE,
    CacheSettings,
    ExcerptKey,
    Record,
    Samples,
    format_head,
    format_record,
    read_index,
    translated,
)

_LOCK_NAME = "filling.lock"

_LOG = logging.getLogger(__name__)


class CacheWriter:
    """Adds to a cache; of several processes one at a time.

    Parameters
    ----------
    folder
        The cache; it is made when there is none.
    settings
        What it is for.

    Attributes
    ----------
    records
        What the cache knows, up to date.

    Raises
    ------
    DatasetError
        On entering: see `read_index`, and when the folder cannot be written to.
    """

    def __init__(self, folder: Path, settings: CacheSettings) -> None:
        self.records: dict[ExcerptKey, Record] = {}
        self._folder = folder
        self._settings = settings
        self._held = ExitStack()
        self._fresh: list[bytes] = []

    def __enter__(self) -> Self:
        with ExitStack() as held:
            with translated(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(_lock(self._folder))
            index = read_index(self._folder, self._settings)
            self.records, self._n_samples = index.records, index.n_samples
            with translated(self._folder):
                self._data = held.enter_context(_open(self._folder / DATA_NAME, index.n_samples * SAMPLE_TYPE.itemsize))
                self._index = held.enter_context(_open(self._folder / INDEX_NAME, index.n_bytes))
            if not index.n_bytes:
                self._fresh.append(format_head(self._settings))
            self.commit()
            self._held = held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._held:
            self.commit()

    def append(self, record: Record, samples: Samples) -> None:
        """Add what became of an excerpt.

        Parameters
        ----------
        record
            The record; its offset is filled in.
        samples
            [shape=(n_samples,)]; nothing when it could not be decoded.

        Raises
        ------
        DatasetError
            When the disk is full, or refuses.
        """
        record = replace(record, offset=self._n_samples if record.n_samples else 0)
        with translated(self._folder):
            _write(self._data, samples.tobytes())
        self._n_samples += len(samples)
        self._fresh.append(format_record(record))
        self.records[record.key] = record

    def commit(self) -> None:
        """Bring onto the disk what was added: the samples first, then the lines about them.

        Raises
        ------
        DatasetError
            When the disk is full, or refuses.
        """
        if not self._fresh:
            return
        lines = b"".join(self._fresh)
        self._fresh.clear()  # also when it fails: half of a line must stay the last thing in the index
        with translated(self._folder):
            os.fsync(self._data.fileno())
            _write(self._index, lines)
            os.fsync(self._index.fileno())


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the lock of those who add to a cache."""
    lock = FileLock(folder / _LOCK_NAME, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        _LOG.warning("Another process fills the cache %s; waiting until it is done.", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _open(path: Path, n_bytes: int) -> Iterator[FileIO]:
    """Open a file for appending behind its good part; the rest is cut off."""
    path.touch()
    with path.open("r+b", buffering=0) as file:
        file.truncate(n_bytes)
        file.seek(n_bytes)
        yield file


def _write(file: FileIO, content: bytes) -> None:
    """Write all of something, which a file that is full takes in part."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]
