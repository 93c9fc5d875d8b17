"""Putting old versions back, and telling whether the audio is still what it was."""

from enum import StrEnum
from pathlib import Path

from tagcli.errors import JournalError
from tagcli.files import hash_file
from tagcli.journal import Journal
from tagcli.journal.patch import read_patch
from tagcli.journal.records import Entry
from tagcli.payload import hash_payload
from tagcli.replacement import Replacement, remove_leftover, replace_file, resolve_target


class Undone(StrEnum):
    """What became of a write that was to be undone."""

    UNDONE = "undone"
    UNCHANGED = "unchanged"


class Identity(StrEnum):
    """Whether the audio of a file is that of the journal."""

    SAME = "same"
    CHANGED = "changed"
    UNKNOWN = "unknown"


def undo_write(journal: Journal, entry: Entry) -> Undone:
    """Give a file the very bytes and time of modification back that it had before a write.

    Parameters
    ----------
    journal
        Where the entry is from.
    entry
        The write.

    Returns
    -------
    Undone
        `UNCHANGED` when the file was as before already.

    Raises
    ------
    JournalError
        When the file has changed since it was written, or what was stored of it is damaged.
    MetadataError
        When it is not there any more, or cannot be written.
    """
    target, identity = resolve_target(entry.path)
    sha256 = hash_file(target)
    if sha256 == entry.old.sha256:
        remove_leftover(target)
        if not journal.has_later_write(entry):  # else undoing that one would bring this one's version back
            journal.mark_undone(entry)
        return Undone.UNCHANGED
    if sha256 != entry.new.sha256:
        message = (
            f"{entry.path} was changed since tagcli wrote it ({entry.started}), so its old version is not put back;"
            " undo what was written later first, or keep it as it is."
        )
        raise JournalError(message, path=entry.path)

    def prove(copy: Path) -> None:
        if hash_file(copy) != entry.old.sha256:
            message = f"What was stored of {entry.path} does not give its old version back; the file stays as it is."
            raise JournalError(message, path=entry.path)

    replacement = Replacement(
        path=entry.path,
        target=target,
        identity=identity,
        pieces=read_patch(journal.read_patch(entry)),
        mtime_ns=entry.old.mtime_ns,
    )
    replace_file(replacement, prove=prove)
    journal.mark_undone(entry)
    return Undone.UNDONE


def verify_audio(journal: Journal, path: Path) -> tuple[Identity, Entry | None]:
    """Tell whether the audio bytes of a file are those that it had when tagcli last wrote it.

    Parameters
    ----------
    journal
        The journal.
    path
        The file. One that was moved or renamed is known by its audio bytes.

    Returns
    -------
    tuple of Identity and Entry or None
        The answer, and the write that it is compared with.

    Raises
    ------
    MetadataError
        When the file cannot be read.
    """
    target, _ = resolve_target(path)
    payload_sha256 = hash_payload(target)
    entry = journal.find_latest(target)
    if entry is None:
        entry = journal.find_payload(payload_sha256)
        return (Identity.UNKNOWN if entry is None else Identity.SAME), entry
    return (Identity.SAME if entry.payload_sha256 == payload_sha256 else Identity.CHANGED), entry
