"""The doors of metadata: plan a write, apply it, read a file; each opens the room of the file's container."""

from pathlib import Path
from typing import Protocol

from tagcli.container import Container, find_container
from tagcli.errors import UnsupportedContainerError
from tagcli.files import FileIdentity
from tagcli.metadata import flac, mp3
from tagcli.metadata.fields import FieldChange, Fields, GenrePolicy, Metadata, WritePlan
from tagcli.metadata.write import remove_leftover, replace_head, resolve_target


class Room(Protocol):
    """What a container's module does."""

    def plan(self, path: Path, fields: Fields, genre: GenrePolicy) -> tuple[FieldChange, ...]:
        """Find what storing fields would change."""

    def splice(self, path: Path, changes: tuple[FieldChange, ...]) -> tuple[bytes, int]:
        """Build the new first bytes of a file; say how many of the old ones they take the place of."""

    def verify(self, path: Path, original: Path, changes: tuple[FieldChange, ...]) -> None:
        """Prove that a rewritten file holds the changes, and all else of the original byte for byte."""

    def read(self, path: Path) -> Metadata:
        """Read what a file holds."""


_ROOMS: dict[Container, Room] = {Container.MP3: mp3, Container.FLAC: flac}


def plan_write(path: Path, fields: Fields, *, genre: GenrePolicy = GenrePolicy.FILL) -> WritePlan:
    """Plan what storing fields in a file would change. Nothing is touched.

    Parameters
    ----------
    path
        The file; symbolic links are followed.
    fields
        What is to be stored.
    genre
        What happens to the genre field.

    Returns
    -------
    WritePlan
        The changes; empty when the file holds it all.

    Raises
    ------
    UnsupportedContainerError
        When the file is of another container, or its tag of a version that cannot be written back.
    MetadataError
        When the file cannot be read or its tag is damaged.
    """
    target, identity = resolve_target(path)
    container, room = _find_room(path)
    changes = room.plan(path, fields, genre)
    return WritePlan(path=path, target=target, container=container, identity=identity, changes=changes)


def apply_plan(plan: WritePlan) -> FileIdentity | None:
    """Write what was planned: the whole file changes, or nothing does.

    A copy with the new tag is made in the same folder, proved, and put in the place of the file. An empty plan writes
    nothing; what a killed run left behind for this file is removed all the same.

    Parameters
    ----------
    plan
        The plan.

    Returns
    -------
    FileIdentity or None
        The file as it is now; None when there was nothing to change.

    Raises
    ------
    MetadataError
        When the file changed since planning, may not be written, does not fit on the disk, or the copy cannot be
        proved right. The file is then as it was.
    """
    if plan.is_empty:
        remove_leftover(plan.target)
        return None
    room = _ROOMS[plan.container]
    return replace_head(
        plan,
        make_head=lambda: room.splice(plan.target, plan.changes),
        verify=lambda copy: room.verify(copy, plan.target, plan.changes),
    )


def read_metadata(path: Path) -> Metadata:
    """Read the metadata of a file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Metadata
        Its fields, readable, in their order.

    Raises
    ------
    UnsupportedContainerError
        When the file is of another container, or its tag of a version that is not read.
    MetadataError
        When the file cannot be read or its tag is damaged.
    """
    _, room = _find_room(path)
    return room.read(path)


def _find_room(path: Path) -> tuple[Container, Room]:
    container = find_container(path)
    if container in _ROOMS:
        return container, _ROOMS[container]
    if container is Container.UNKNOWN:
        mp3.read_tag(path)  # A damaged tag hides the audio behind it, and is then what to complain about.
    kind = "is of no known kind" if container is Container.UNKNOWN else f"is of the kind {container.value}"
    message = f"{path} {kind}, and tagcli writes into mp3 and flac files only so far."
    raise UnsupportedContainerError(message, path=path)
