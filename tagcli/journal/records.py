"""What the journal tells: runs, and the writes of each."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tagcli.metadata import Field, FieldChange


@dataclass(frozen=True, kw_only=True)
class Run:
    """A command that wrote into files.

    Parameters
    ----------
    number
        Ascending with time.
    started
        Date and time (UTC, ISO 8601, to the second).
    command
        Its name, such as ``predict``.
    n_writes, n_undone
        How many files it wrote, and how many of these were put back.
    n_bytes
        What the journal keeps to undo them.
    """

    number: int
    started: str
    command: str
    n_writes: int
    n_undone: int
    n_bytes: int


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """A run as it begins.

    Parameters
    ----------
    number, started, command
        As of `Run`.
    """

    number: int
    started: str
    command: str


@dataclass(frozen=True, kw_only=True)
class FileState:
    """A version of a file.

    Parameters
    ----------
    size
        In bytes.
    mtime_ns
        Its time of modification.
    sha256
        Of every byte, 64 hexadecimal digits.
    """

    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A write.

    Parameters
    ----------
    number
        Ascending with time.
    run, started
        The run's number, and when it began.
    path
        The file, symbolic links resolved.
    payload_sha256
        Hash of its audio bytes, 64 hexadecimal digits.
    changes
        The fields that changed.
    old, new
        The file before and after.
    is_undone
        Whether it was put back.
    """

    number: int
    run: int
    started: str
    path: Path
    payload_sha256: str
    changes: tuple[FieldChange, ...]
    old: FileState
    new: FileState
    is_undone: bool


def encode_changes(changes: Iterable[FieldChange]) -> str:
    """Say changes in JSON; bytes of other encodings are escaped."""
    return json.dumps([[change.field, change.name, change.old, change.new] for change in changes])


def decode_changes(text: str) -> tuple[FieldChange, ...]:
    """Read what `encode_changes` said."""
    return tuple(
        FieldChange(field=Field(field), name=name, old=tuple(old), new=tuple(new))
        for field, name, old, new in json.loads(text)
    )
