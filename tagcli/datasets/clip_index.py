"""A cache of waveforms as it lies on the disk: one file of samples, and an index that is only appended to.

The samples of one excerpt follow those of another, as 16-bit integers, each excerpt with a scale of its own. A line of
the index says where an excerpt lies and what its samples' CRC-32 is, or why it could not be decoded; a later line on
the same excerpt holds instead of an earlier one. A line begins with the CRC-32 of the rest of it and is written after
the samples are on the disk, so whatever ends a process, or the machine, leaves only a tail that is known and cut off.
"""

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tagcli.errors import DatasetError

FORMAT_VERSION = 1
DATA_NAME = "waveforms.int16"
INDEX_NAME = "index.jsonl"
SAMPLE_TYPE = np.dtype("<i2")

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """What all waveforms of a cache have in common.

    Parameters
    ----------
    root
        Folder that the paths are in.
    sample_rate
        In Hz.
    max_seconds
        Longest waveform; what is longer is cut to its middle.
    """

    root: str
    sample_rate: int
    max_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ExcerptKey:
    """Which excerpt of which file; a duration of None reaches to the end."""

    path: str
    start_seconds: float
    duration_seconds: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What the cache knows of an excerpt.

    Parameters
    ----------
    path, start_seconds, duration_seconds
        See `ExcerptKey`.
    size, mtime_ns
        Of the file that was decoded; None when another try may end otherwise although the file is the same.
    offset, n_samples
        Where its samples lie; none when it could not be decoded.
    scale
        What a sample is multiplied with.
    crc32
        Of its samples.
    code, message
        Why it could not be decoded.
    """

    path: str
    start_seconds: float
    duration_seconds: float | None
    size: int | None
    mtime_ns: int | None
    offset: int = 0
    n_samples: int = 0
    scale: float = 0.0
    crc32: int = 0
    code: str = ""
    message: str = ""

    @property
    def key(self) -> ExcerptKey:
        """Which excerpt it is about."""
        return ExcerptKey(path=self.path, start_seconds=self.start_seconds, duration_seconds=self.duration_seconds)


@dataclass(frozen=True, kw_only=True)
class Index:
    """The index of a cache, read.

    Parameters
    ----------
    records
        The last record of each excerpt.
    n_bytes
        Length of the index up to the end of its last good line.
    n_samples
        Length of the samples that the lines speak of.
    """

    records: dict[ExcerptKey, Record]
    n_bytes: int
    n_samples: int


def read_index(folder: Path, settings: CacheSettings) -> Index:
    """Read the index of a cache; a torn tail is passed over.

    Parameters
    ----------
    folder
        The cache; where there is none, the index is empty.
    settings
        What it must have been made for.

    Raises
    ------
    DatasetError
        When it cannot be read, is damaged, was made for something else, or lacks samples.
    """
    path = folder / INDEX_NAME
    with translated(folder):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""
        data = folder / DATA_NAME
        n_there = data.stat().st_size // SAMPLE_TYPE.itemsize if data.exists() else 0
    n_whole = content.rfind(b"\n") + 1  # what follows the last line's end is torn
    if not n_whole:
        return Index(records={}, n_bytes=0, n_samples=0)
    first, *lines = content[: n_whole - 1].split(b"\n")
    try:
        _check_head(folder, _parse_line(first), settings)
        while lines and not _is_good(lines[-1]):  # a power cut may leave anything behind the last synced line
            n_whole -= len(lines.pop()) + 1
        records = [Record(**dict(zip(_NAMES, _parse_line(line), strict=True))) for line in lines]
    except (ValueError, TypeError) as error:
        raise damaged(folder, "its index is damaged") from error
    n_samples = max((record.offset + record.n_samples for record in records), default=0)
    if n_samples > n_there:
        raise damaged(folder, "samples are missing at its end")
    return Index(records={record.key: record for record in records}, n_bytes=n_whole, n_samples=n_samples)


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals into one sentence.

    Raises
    ------
    DatasetError
        In place of an `OSError`.
    """
    try:
        yield
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        reason = getattr(error, "strerror", None) or error
        msg = f"The cache {folder} cannot be used ({reason}); free space there, or name another folder for it."
        raise DatasetError(msg, path=folder) from error


def damaged(folder: Path, reason: str) -> DatasetError:
    """Make the error for a cache that is not what was written."""
    msg = f"The cache {folder} is damaged ({reason}); delete this folder, and it is built anew."
    return DatasetError(msg, path=folder)


_NAMES = tuple(field.name for field in fields(Record))


def format_head(settings: CacheSettings) -> bytes:
    """Write the first line of an index."""
    return _format_line([FORMAT_VERSION, *astuple(settings)])


def format_record(record: Record) -> bytes:
    """Write a line of an index."""
    return _format_line(list(astuple(record)))


def compute_crc(samples: Samples) -> int:
    """Compute the CRC-32 of samples."""
    return zlib.crc32(samples.data)


def _format_line(values: list[Any]) -> bytes:
    """Write values and their CRC-32."""
    text = json.dumps(values, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _is_good(line: bytes) -> bool:
    """Tell whether a line is as it was written."""
    return line[:9] == b"%08x " % zlib.crc32(line[9:])


def _parse_line(line: bytes) -> list[Any]:
    """Read a line of the index.

    Raises
    ------
    ValueError
        When it is not as it was written.
    """
    if not _is_good(line):
        msg = "a line of the index has another CRC-32 than it says"
        raise ValueError(msg)
    values: list[Any] = json.loads(line[9:])
    return values


def _check_head(folder: Path, head: list[Any], settings: CacheSettings) -> None:
    """Refuse a cache that was made by another version, or for something else.

    Raises
    ------
    DatasetError
        When it was.
    """
    version, *made_for = head
    if version != FORMAT_VERSION:
        msg = (
            f"The cache {folder} has the format {version}, not {FORMAT_VERSION}; delete this folder, and it is "
            "built anew."
        )
        raise DatasetError(msg, path=folder)
    if made_for != list(astuple(settings)):
        root, sample_rate, max_seconds = made_for
        msg = (
            f"The cache {folder} was made for {root} at {sample_rate} Hz and at most {max_seconds:g} s, which is not "
            "what is wanted now; name another folder."
        )
        raise DatasetError(msg, path=folder)
