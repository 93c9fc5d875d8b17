"""A file as the operating system keeps it: opened for reading, and known again."""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, TypeAlias

from tagcli.errors import MetadataError

_READ_BYTES = 1 << 17  # at a time, into one buffer that stays in the processor's cache


@dataclass(frozen=True, kw_only=True)
class Span:
    """A part of a file.

    Parameters
    ----------
    start
        Offset of its first byte.
    end
        Offset of the first byte behind it.
    """

    start: int
    end: int


Piece: TypeAlias = Span | bytes
"""What a new version of a file is made of: a part of the old one, or bytes of its own."""


@dataclass(frozen=True, kw_only=True)
class FileIdentity:
    """What tells that a file is still the one that was planned for.

    Parameters
    ----------
    device, inode
        Where the file system keeps it.
    size
        In bytes.
    mtime_ns, ctime_ns
        Last change of its content, and of its content or status. Some editors put the first one back.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    def has_same_content(self, other: "FileIdentity") -> bool:
        """Tell whether nothing says that the content differs; a new name or mode changes the status alone."""
        mine = (self.device, self.inode, self.size, self.mtime_ns)
        return mine == (other.device, other.inode, other.size, other.mtime_ns)

    @classmethod
    def from_status(cls, status: os.stat_result) -> "FileIdentity":
        """Take the identity from what the operating system says of a file.

        Parameters
        ----------
        status
            Result of a stat.

        Returns
        -------
        FileIdentity
            The identity.
        """
        return cls(
            device=status.st_dev,
            inode=status.st_ino,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
        )


@contextmanager
def open_track(path: Path) -> Iterator[tuple[BufferedReader, int]]:
    """Open a regular file for reading, and say in one sentence what is wrong when that fails.

    Parameters
    ----------
    path
        The file.

    Yields
    ------
    tuple of BufferedReader and int
        The open file and its size in bytes.

    Raises
    ------
    MetadataError
        When the file is missing, is no regular file, or cannot be read, also while it is being read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            message = f"{path} is not a regular file; give the path of an audio file."
            raise MetadataError(message, path=path)
        with path.open("rb") as file:
            yield file, status.st_size
    except FileNotFoundError as error:
        message = f"{path} does not exist (any more); check the path."
        raise MetadataError(message, path=path) from error
    except PermissionError as error:
        message = f"{path} may not be read; check its permissions."
        raise MetadataError(message, path=path) from error
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror or error}); check the disk."
        raise MetadataError(message, path=path) from error


def read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Read a few bytes somewhere in a file; fewer where it ends.

    Parameters
    ----------
    file
        The file.
    offset, size
        Where, and how many.

    Returns
    -------
    bytes
        What is there.
    """
    file.seek(offset)
    return file.read(size)


def read_blocks(file: BufferedReader, span: Span) -> Iterator[memoryview]:
    """Read a part of a file in constant memory.

    Parameters
    ----------
    file
        The file.
    span
        The part; it may reach beyond the end of the file.

    Yields
    ------
    memoryview
        The next bytes. They are good until the next ones are asked for: all share one buffer.
    """
    file.seek(span.start)
    left = span.end - span.start
    block = memoryview(bytearray(min(left, _READ_BYTES)))
    while left and (n_bytes := file.readinto(block[: min(left, _READ_BYTES)])):
        yield block[:n_bytes]
        left -= n_bytes


def hash_file(path: Path) -> str:
    """Hash every byte of a file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.

    Raises
    ------
    MetadataError
        When it cannot be read.
    """
    with open_track(path) as (file, _):
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_pieces(file: BufferedReader, pieces: Iterable[Piece]) -> Iterator[bytes | memoryview]:
    """Read the new version of a file that pieces of the old one make up, in constant memory.

    Parameters
    ----------
    file
        The old version.
    pieces
        What the new one is made of, in order.

    Yields
    ------
    bytes or memoryview
        The next bytes, good until the next ones are asked for.
    """
    for piece in pieces:
        if isinstance(piece, Span):
            yield from read_blocks(file, piece)
        else:
            yield piece


def hash_pieces(file: BufferedReader, pieces: Iterable[Piece]) -> bytes:
    """Hash what pieces of a file make up, in constant memory.

    Parameters
    ----------
    file
        The file.
    pieces
        In order.

    Returns
    -------
    bytes
        SHA-256, 32 bytes.
    """
    digest = hashlib.sha256()
    for block in read_pieces(file, pieces):
        digest.update(block)
    return digest.digest()


def join_pieces(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """Put pieces together that adjoin, and leave out empty ones.

    Parameters
    ----------
    pieces
        In order.

    Returns
    -------
    tuple of Span or bytes
        The same content in as few pieces as possible.
    """
    joined: list[Piece] = []
    fresh: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes):
            fresh.append(piece)
        elif piece.end > piece.start:
            if added := b"".join(fresh):
                joined.append(added)
            fresh.clear()
            last = joined[-1] if joined else None
            if isinstance(last, Span) and last.end == piece.start:
                joined[-1] = Span(start=last.start, end=piece.end)
            else:
                joined.append(piece)
    if added := b"".join(fresh):
        joined.append(added)
    return tuple(joined)


def measure_pieces(pieces: Iterable[Piece]) -> int:
    """Count the bytes that pieces make up.

    Parameters
    ----------
    pieces
        In order.

    Returns
    -------
    int
        Their size.
    """
    return sum(len(piece) if isinstance(piece, bytes) else piece.end - piece.start for piece in pieces)
