"""What goes into the store and comes out of it."""

from dataclasses import dataclass
from pathlib import Path

from tagcli.files import FileIdentity

_INTEGER_RANGE = 2**64  # SQLite's integers are signed, and no longer
PATH_MARK = "\0"
"""Stands for the path in a stored message: the bytes may go by another name the next time."""


@dataclass(frozen=True, kw_only=True)
class StoredResult:
    """What is remembered of one track under one model and its settings.

    Parameters
    ----------
    scores
        float32 [shape=(n_tags,)] as bytes in the machine's order; None for a track without scores.
    n_clips, duration_seconds
        How much of it was heard, and its length.
    warnings
        Codes of what was wrong with a track that was scored all the same.
    code, message
        Why there are no scores; the message has `PATH_MARK` where it names the file.
    """

    scores: bytes | None
    n_clips: int
    duration_seconds: float | None
    warnings: tuple[str, ...] = ()
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, kw_only=True)
class StoredFailure:
    """A file that is remembered to have failed.

    Parameters
    ----------
    path
        As bytes, as the file system has it.
    key
        Inode, size and time that the file had then.
    code, message
        Why; the message has `PATH_MARK` where it names the file.
    """

    path: bytes
    key: tuple[int, int, int]
    code: str
    message: str

    def is_of(self, identity: FileIdentity) -> bool:
        """Tell whether the file is still as it was."""
        return self.key == key_of(identity)


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """How much is remembered.

    Parameters
    ----------
    path, size
        The store's file, and its size in bytes with its journal.
    n_files, n_payloads, n_failures
        Files, different audio contents, and results of this version that are failures.
    n_results
        Results by model name and settings.
    """

    path: Path
    size: int
    n_files: int
    n_payloads: int
    n_failures: int
    n_results: dict[tuple[str, str], int]


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was forgotten.

    Parameters
    ----------
    n_files
        Paths that lead to no file any more.
    n_results
        Results whose audio no remembered path leads to, or that another version heard otherwise.
    """

    n_files: int
    n_results: int


def key_of(identity: FileIdentity) -> tuple[int, int, int]:
    """Give what is compared of a file: inode, size and time."""
    return _fold(identity.inode), identity.size, _fold(identity.mtime_ns)


def _fold(number: int) -> int:
    """Make a number one of SQLite's; inodes use all 64 bits, and times may lie past the year 2262."""
    return (number + _INTEGER_RANGE // 2) % _INTEGER_RANGE - _INTEGER_RANGE // 2
