"""Put a new head on a file without ever harming it: a proved copy in the same folder takes its place."""

import errno
import hashlib
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tagcli.errors import FileBusyError, MetadataError
from tagcli.files import BLOCK_BYTES, FileIdentity
from tagcli.metadata.fields import WritePlan

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

LOCK_ATTEMPTS = 5
"""How often a copy is asked for anew when another process removes it at the very moment."""

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


def replace_head(
    plan: WritePlan, *, make_head: Callable[[], tuple[bytes, int]], verify: Callable[[Path], None]
) -> FileIdentity:
    """Replace the first bytes of a file by others, wholly or not at all.

    Parameters
    ----------
    plan
        The file, and what it was when the write was planned.
    make_head
        Gives the new first bytes, and how many of the old ones they take the place of.
    verify
        Called with the finished copy; raises MetadataError when it is not as it should be.

    Returns
    -------
    FileIdentity
        The file as it is now.

    Raises
    ------
    MetadataError
        When any step fails. The file is then as it was and the copy is gone.
    """
    target = plan.target
    with _translate_os_errors(plan.path):
        _check_unchanged(plan)
        _check_writable(plan)
        copy_path = _copy_path(target)
        with _locked_copy(copy_path) as copy, target.open("rb") as source:
            head, n_old_bytes = make_head()
            copy.write(head)
            source.seek(n_old_bytes)
            written = _stream(source, copy)
            copy.flush()
            _keep_attributes(source, copy)
            os.fsync(copy.fileno())
            _check_copy(plan, copy_path, head, written)
            verify(copy_path)
            n_names = os.fstat(source.fileno()).st_nlink
            _check_unchanged(plan)
            copy_path.replace(target)
            identity = FileIdentity.from_status(os.fstat(copy.fileno()))
        _sync_folder(target.parent)
    if n_names > 1:
        logger.warning("%s had %d names (hard links); only this one has the new tags.", plan.path, n_names)
    return identity


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


def _check_unchanged(plan: WritePlan) -> None:
    if FileIdentity.from_status(plan.target.stat()) != plan.identity:
        message = f"{plan.path} was changed by another program in the meantime, so nothing is written; run again."
        raise FileBusyError(message, path=plan.path)


def _check_writable(plan: WritePlan) -> None:
    # os.access says yes to root whatever the mode; the user's mark is respected all the same.
    is_allowed = os.access(plan.target, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    if not plan.target.stat().st_mode & 0o222 or not is_allowed:
        message = f"{plan.path} is marked read-only, so nothing is written; change its permissions to have it tagged."
        raise MetadataError(message, path=plan.path)


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
        if not _lock(copy) or not _is_at(copy, copy_path):
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
            if not _lock(stale):
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


def _lock(file: BinaryIO) -> bool:
    """Lock a file for this process; False when another one has it. Where there are no locks, every file is free."""
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            logger.debug("No lock: %s", error)
    return True


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def _busy(copy_path: Path) -> FileBusyError:
    message = f"Another process is writing ({copy_path} is in use); run again when it is done."
    return FileBusyError(message, path=copy_path)


def _stream(source: BinaryIO, sink: BinaryIO | None) -> bytes:
    """Read a file to its end, into a sink when there is one, and return the hash of what was read."""
    digest = hashlib.blake2b()
    while block := source.read(BLOCK_BYTES):
        digest.update(block)
        if sink is not None:
            sink.write(block)
    return digest.digest()


def _check_copy(plan: WritePlan, copy_path: Path, head: bytes, written: bytes) -> None:
    """Prove that a copy has the new head, and behind it every byte that the original has behind the old one."""
    with copy_path.open("rb") as copy:
        is_right = copy.read(len(head)) == head and _stream(copy, None) == written
    if not is_right:
        message = f"The copy of {plan.path} did not come out right, so nothing is written; check the disk."
        raise MetadataError(message, path=plan.path)


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
