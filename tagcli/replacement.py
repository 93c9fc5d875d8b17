"""Replace a file by a new version of it without ever harming it: a proved copy in the same folder takes its place."""

import errno
import hashlib
import logging
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from tagcli.errors import FileBusyError, MetadataError
from tagcli.files import FileIdentity, Piece, read_pieces

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

LOCK_ATTEMPTS = 5
"""How often a copy is asked for anew when another process removes it at the very moment."""
STALE_SECONDS = 3600.0
"""Where the file system has no locks, a copy that nobody has written to for so long is nobody's."""

_REASONS = {
    errno.ENOSPC: "there is no room left on the disk; free some and run again",
    errno.EDQUOT: "your disk quota is used up; free some room and run again",
    errno.EFBIG: "a file of that size is not allowed there",
    errno.EROFS: "the disk is mounted read-only",
    errno.EACCES: "its folder may not be written to; check the permissions",
    errno.EPERM: "the system does not permit it; check the permissions",
    errno.ENOENT: "it does not exist any more",
}


def resolve_target(path: Path) -> tuple[Path, FileIdentity]:
    """Find the file behind symbolic links, and what tells it from others.

    Parameters
    ----------
    path
        The file as the user named it.

    Returns
    -------
    tuple of Path and FileIdentity
        The file itself.

    Raises
    ------
    MetadataError
        When there is none.
    """
    try:
        target = path.resolve(strict=True)
        return target, FileIdentity.from_status(target.stat())
    except (OSError, RuntimeError) as error:  # A loop of links is a RuntimeError up to Python 3.12.
        message = f"{path} does not exist (any more) or cannot be reached; check the path."
        raise MetadataError(message, path=path) from error


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """A new version of a file.

    Parameters
    ----------
    path
        The file as the user named it.
    target
        The file itself, symbolic links resolved.
    identity
        The file at the time of planning; one that has changed since is refused.
    pieces
        What the new version is made of.
    mtime_ns
        Its time of modification; None for the time of the write.
    """

    path: Path
    target: Path
    identity: FileIdentity
    pieces: tuple[Piece, ...]
    mtime_ns: int | None = None


@dataclass(frozen=True, kw_only=True)
class Versions:
    """A file before and after a replacement.

    Parameters
    ----------
    old, new
        Its identities.
    old_sha256, new_sha256
        Of every byte, 64 hexadecimal digits each.
    """

    old: FileIdentity
    new: FileIdentity
    old_sha256: str
    new_sha256: str


def replace_file(
    replacement: Replacement, *, prove: Callable[[Path], None], note: Callable[[Versions], None] | None = None
) -> Versions:
    """Replace a file by a new version of it, wholly or not at all.

    Parameters
    ----------
    replacement
        The file and its new version.
    prove
        Called with the finished copy; raises MetadataError when it is not as it should be.
    note
        Called when the copy is proved and on the disk, right before it takes the file's place; when it raises, nothing
        is replaced.

    Returns
    -------
    Versions
        What the file was, and is now.

    Raises
    ------
    MetadataError
        When any step fails. The file is then as it was and the copy is gone.
    """
    path, target = replacement.path, replacement.target
    with _translate_os_errors(path):
        _check_unchanged(replacement)
        _check_writable(replacement)
        copy_path = _copy_path(target)
        with _locked_copy(copy_path) as copy, target.open("rb") as source:
            if not FileIdentity.from_status(os.fstat(source.fileno())).has_same_content(replacement.identity):
                raise _changed(path)
            for block in read_pieces(source, replacement.pieces):
                copy.write(block)
            copy.flush()
            _keep_attributes(source, copy)
            if replacement.mtime_ns is not None:
                os.utime(copy_path, ns=(os.fstat(source.fileno()).st_atime_ns, replacement.mtime_ns))
            os.fsync(copy.fileno())
            old_sha256, new_sha256 = _hash(source), _check_copy(replacement, copy, source)
            prove(copy_path)
            n_names = os.fstat(source.fileno()).st_nlink
            _check_unchanged(replacement)
            identity = FileIdentity.from_status(os.fstat(copy.fileno()))
            versions = Versions(old=replacement.identity, new=identity, old_sha256=old_sha256, new_sha256=new_sha256)
            if note is not None:
                note(versions)
                _check_unchanged(replacement)
            if not _is_at(copy, copy_path):
                raise _busy(copy_path)
            copy_path.replace(target)
            identity = FileIdentity.from_status(os.fstat(copy.fileno()))  # a rename changes the status
        _sync_folder(target.parent)
    if n_names > 1:
        logger.warning("%s had %d names (hard links); only this one has the new tags.", path, n_names)
    return replace(versions, new=identity)


def write_file_beside(path: Path, target: Path, content: bytes) -> None:
    """Write a small file beside another, wholly or not at all.

    Parameters
    ----------
    path
        The other file; its permissions are taken.
    target
        The small file; it need not exist.
    content
        What it is to hold.

    Raises
    ------
    MetadataError
        When it cannot be written.
    """
    with _translate_os_errors(target):
        copy_path = _copy_path(target)
        with _locked_copy(copy_path) as copy:
            copy.write(content)
            copy.flush()
            if sys.platform != "win32":
                os.fchmod(copy.fileno(), stat.S_IMODE(path.stat().st_mode) & 0o666)
            os.fsync(copy.fileno())
            if not _is_at(copy, copy_path):
                raise _busy(copy_path)
            copy_path.replace(target)
        _sync_folder(target.parent)


def remove_leftover(target: Path) -> None:
    """Remove the copy that a killed run left behind, unless another process is at work on it.

    Parameters
    ----------
    target
        The file, symbolic links resolved.
    """
    with suppress(OSError, MetadataError):
        _remove_stale(_copy_path(target))


def _copy_path(target: Path) -> Path:
    digest = hashlib.blake2b(os.fsencode(target.name), digest_size=8)
    return target.with_name(f".tagcli-{digest.hexdigest()}.tmp")


def _check_unchanged(replacement: Replacement) -> None:
    if FileIdentity.from_status(replacement.target.stat()) != replacement.identity:
        raise _changed(replacement.path)


def _changed(path: Path) -> FileBusyError:
    message = f"{path} was changed by another program in the meantime, so nothing is written; run again."
    return FileBusyError(message, path=path)


def _check_writable(replacement: Replacement) -> None:
    # os.access says yes to root whatever the mode; the user's mark is respected all the same.
    is_allowed = os.access(replacement.target, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    if not replacement.target.stat().st_mode & 0o222 or not is_allowed:
        message = (
            f"{replacement.path} is marked read-only, so nothing is written; change its permissions to have it tagged."
        )
        raise MetadataError(message, path=replacement.path)


@contextmanager
def _locked_copy(copy_path: Path) -> Iterator[BinaryIO]:
    """Open an empty copy that no other process shares; remove it unless it was renamed."""
    for _ in range(LOCK_ATTEMPTS):
        _remove_stale(copy_path)
        with suppress(FileExistsError):
            copy = _open_private(copy_path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            break
    else:
        raise _busy(copy_path)
    with copy:
        if _lock(copy) is _Lock.TAKEN or not _is_at(copy, copy_path):
            raise _busy(copy_path)
        try:
            yield copy
        finally:
            # Renamed, the copy is the file itself and its old path may belong to another process.
            with suppress(OSError):
                if _is_at(copy, copy_path):
                    copy_path.unlink()


def _remove_stale(copy_path: Path) -> None:
    """Remove what is at the path unless another process has a lock on it."""
    try:
        with _open_private(copy_path, os.O_RDWR) as stale:
            lock = _lock(stale)
            is_fresh = time.time() - os.fstat(stale.fileno()).st_mtime < STALE_SECONDS
            if lock is _Lock.TAKEN or (lock is _Lock.NONE and is_fresh):
                raise _busy(copy_path)
            if _is_at(stale, copy_path):
                copy_path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        message = f"{copy_path} is in the way, left behind by a run that was killed; remove it and run again."
        raise MetadataError(message, path=copy_path) from error


def _open_private(path: Path, flags: int) -> BinaryIO:
    # No link is followed and no pipe waited for: the folder may be another user's to write to.
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
        flags |= getattr(os, name, 0)
    return os.fdopen(os.open(path, flags, 0o600), "r+b")


class _Lock(Enum):
    """What came of locking a file for this process: ours, another one's, or there are no locks."""

    OURS = auto()
    TAKEN = auto()
    NONE = auto()


def _lock(file: BinaryIO) -> _Lock:
    if sys.platform == "win32":
        return _Lock.NONE
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _Lock.TAKEN
    except OSError as error:
        logger.debug("No lock: %s", error)
        return _Lock.NONE
    return _Lock.OURS


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def _busy(copy_path: Path) -> FileBusyError:
    message = f"Another process is writing ({copy_path} is in use); run again when it is done."
    return FileBusyError(message, path=copy_path)


def _hash(file: BufferedReader) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _check_copy(replacement: Replacement, copy: BinaryIO, source: BufferedReader) -> str:
    """Prove, by reading both again, that a copy is made of its pieces; give its hash."""
    digest = hashlib.sha256()
    copy.seek(0)
    is_right = True
    for block in read_pieces(source, replacement.pieces):
        data = copy.read(len(block))
        is_right = is_right and data == bytes(block)  # comparing a memoryview is 20 times as slow
        digest.update(data)
    is_right = is_right and not copy.read(1)
    if not is_right or os.fstat(source.fileno()).st_size != replacement.identity.size:
        message = f"The copy of {replacement.path} did not come out right, so nothing is written; check the disk."
        raise MetadataError(message, path=replacement.path)
    return digest.hexdigest()


def _keep_attributes(source: BinaryIO, copy: BinaryIO) -> None:
    """Give the copy the owner, mode and extended attributes of the original, as far as the system lets us."""
    if sys.platform == "win32":
        return
    status = os.fstat(source.fileno())
    with suppress(OSError):
        os.fchown(copy.fileno(), -1, status.st_gid)
        os.fchown(copy.fileno(), status.st_uid, -1)
    with suppress(OSError):
        os.fchmod(copy.fileno(), stat.S_IMODE(status.st_mode))
    if sys.platform == "linux":
        with suppress(OSError):
            for name in os.listxattr(source.fileno()):
                with suppress(OSError):
                    os.setxattr(copy.fileno(), name, os.getxattr(source.fileno(), name))


def _sync_folder(folder: Path) -> None:
    # The file is whole by now, under either name; some file systems cannot sync folders.
    if sys.platform != "win32":
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


@contextmanager
def _translate_os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        message = f"{path} cannot be written: {reason}."
        raise MetadataError(message, path=path) from error
