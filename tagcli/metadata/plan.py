"""The doors of metadata: plan a write or a removal, apply it, read a file; each opens the file's own document."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mutagen import MutagenError

from tagcli.container import Container, find_container
from tagcli.errors import MetadataError, UnsupportedContainerError
from tagcli.files import Piece, join_pieces, measure_pieces
from tagcli.metadata.ape import ApeDocument
from tagcli.metadata.asf import AsfDocument
from tagcli.metadata.chunks import ChunkDocument
from tagcli.metadata.fields import (
    DEFAULT_DIALECT,
    DEFAULT_POLICIES,
    BrokenTagError,
    Dialect,
    Field,
    FieldChange,
    Fields,
    Held,
    Metadata,
    Policies,
    StoredField,
    UnknownVersionError,
    UnwritableError,
    WritePlan,
)
from tagcli.metadata.flac import FlacDocument
from tagcli.metadata.mp3 import Mp3Document
from tagcli.metadata.mp4 import Mp4Document
from tagcli.metadata.ogg import OggDocument
from tagcli.metadata.wanted import choose_changes, choose_removal
from tagcli.payload import hash_payload
from tagcli.replacement import Replacement, Versions, remove_leftover, replace_file, resolve_target


class Document(Protocol):
    """The metadata of one file, taken apart. Made from its path and a dialect.

    Raises BrokenTagError when they cannot be walked to their end, UnknownVersionError when they cannot be written back,
    UnwritableError when they cannot hold a change, MetadataError when the file cannot be read; so do all methods.
    """

    def __init__(self, path: Path, dialect: Dialect) -> None:
        """Read what is needed of the file."""

    @property
    def version(self) -> str:
        """What the metadata are written in, such as ``ID3v2.3``; empty when there are none."""

    def hold(self) -> Mapping[Field, Held]:
        """Read the fields that tagcli can store, also those that are absent."""

    def rewrite(self, changes: tuple[FieldChange, ...]) -> list[Piece]:
        """Put the file together after changes: every byte that is not about them is a part of the old file."""

    def list_foreign(self, changes: tuple[FieldChange, ...]) -> list[bytes]:
        """Give all of the file that neither changes nor `hash_payload` are about, in order; not padding.

        Byte for byte, or as hashes where it may be long, such as what lies before the metadata and behind the audio.
        """

    def list_misread(self, changes: tuple[FieldChange, ...]) -> list[str]:
        """Give the names of fields that mutagen, reading this file, does not find as changes say."""

    def describe(self) -> tuple[StoredField, ...]:
        """Make all fields readable, in the order of the file."""


_DOCUMENTS: dict[Container, type[Document]] = {
    Container.MP3: Mp3Document,
    Container.FLAC: FlacDocument,
    Container.WAV: ChunkDocument,
    Container.AIFF: ChunkDocument,
    Container.ASF: AsfDocument,
    Container.WAVPACK: ApeDocument,
    Container.APE: ApeDocument,
    Container.MUSEPACK: ApeDocument,
    Container.OGG: OggDocument,
    Container.MP4: Mp4Document,
}


@dataclass(frozen=True, kw_only=True)
class Write:
    """A write at the moment before the copy takes the place of the file.

    Parameters
    ----------
    plan
        What is written.
    versions
        The file before and after.
    payload_sha256
        Hash of the audio bytes, before and after.
    """

    plan: WritePlan
    versions: Versions
    payload_sha256: str


def plan_write(
    path: Path, fields: Fields, *, policies: Policies = DEFAULT_POLICIES, dialect: Dialect = DEFAULT_DIALECT
) -> WritePlan:
    """Plan what storing fields in a file would change. Nothing is touched.

    Parameters
    ----------
    path
        The file; symbolic links are followed.
    fields
        What is to be stored.
    policies
        What happens to fields that are not tagcli's own.
    dialect
        How they are written.

    Returns
    -------
    WritePlan
        The changes; empty when the file holds it all.

    Raises
    ------
    UnsupportedContainerError
        When the file is of another container, or its tag of a version that cannot be written back.
    MetadataError
        When the file cannot be read, its tag is damaged, or it cannot hold the change.
    """
    return _plan(path, dialect, lambda held: choose_changes(held, fields, policies))


def plan_removal(path: Path) -> WritePlan:
    """Plan what removing all that tagcli stored in a file would change. Nothing is touched.

    Parameters
    ----------
    path
        The file; symbolic links are followed.

    Returns
    -------
    WritePlan
        The changes; empty when nothing in the file is tagcli's.

    Raises
    ------
    UnsupportedContainerError, MetadataError
        As `plan_write`.
    """
    return _plan(path, DEFAULT_DIALECT, choose_removal)


def apply_plan(
    plan: WritePlan, *, keeps_mtime: bool = False, note: Callable[[Write], None] | None = None
) -> Versions | None:
    """Write what was planned: the whole file changes, or nothing does.

    A copy with the new tag is made in the same folder, proved, and put in the place of the file. An empty plan writes
    nothing; what a killed run left behind for this file is removed all the same.

    Parameters
    ----------
    plan
        The plan.
    keeps_mtime
        Whether the file keeps its time of modification.
    note
        Called right before the file is replaced; when it raises, nothing is.

    Returns
    -------
    Versions or None
        What the file was, and is now; None when there was nothing to change.

    Raises
    ------
    MetadataError
        When the file changed since planning, may not be written, does not fit on the disk, or the copy cannot be
        proved right. The file is then as it was.
    """
    if plan.is_empty:
        remove_leftover(plan.target)
        return None
    payload_sha256 = ""

    def prove(copy: Path) -> None:
        nonlocal payload_sha256
        payload_sha256 = _prove(plan, copy)

    def note_write(versions: Versions) -> None:
        if note is not None:
            note(Write(plan=plan, versions=versions, payload_sha256=payload_sha256))

    replacement = Replacement(
        path=plan.path,
        target=plan.target,
        identity=plan.identity,
        pieces=plan.pieces,
        mtime_ns=plan.identity.mtime_ns if keeps_mtime else None,
    )
    return replace_file(replacement, prove=prove, note=note_write)


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
    container, make_document = _find_document(path)
    with _translate_broken(path):
        document = make_document(path, DEFAULT_DIALECT)
        return Metadata(container=container, version=document.version, fields=document.describe())


def name_fields(path: Path, *, dialect: Dialect = DEFAULT_DIALECT) -> dict[Field, str]:
    """Tell what the container of a file calls the fields that tagcli stores.

    Parameters
    ----------
    path
        The file.
    dialect
        How they are written.

    Returns
    -------
    dict of Field to str
        Names such as ``TXXX:TAGCLI_TAGS``.

    Raises
    ------
    UnsupportedContainerError, MetadataError
        As `read_metadata`.
    """
    _, make_document = _find_document(path)
    with _translate_broken(path):
        return {field: held.name for field, held in make_document(path, dialect).hold().items()}


def _plan(path: Path, dialect: Dialect, choose: Callable[[Mapping[Field, Held]], tuple[FieldChange, ...]]) -> WritePlan:
    target, identity = resolve_target(path)
    container, make_document = _find_document(path)
    with _translate_broken(path):
        document = make_document(target, dialect)
        changes = choose(document.hold())
        pieces = join_pieces(document.rewrite(changes)) if changes else ()
    return WritePlan(
        path=path,
        target=target,
        container=container,
        identity=identity,
        dialect=dialect,
        changes=changes,
        pieces=pieces,
        new_size=measure_pieces(pieces) if changes else identity.size,
    )


def _prove(plan: WritePlan, copy: Path) -> str:
    """Prove that a copy holds the changes, all other metadata byte for byte, and the same audio; give its hash."""
    make_document = _DOCUMENTS[plan.container]
    with _translate_broken(plan.path):
        new, old = make_document(copy, plan.dialect), make_document(plan.target, plan.dialect)
        if new.list_foreign(plan.changes) != old.list_foreign(plan.changes):
            message = f"A field of {plan.path} did not survive the write, which was undone; please report this file."
            raise MetadataError(message, path=plan.path)
        try:
            misread = new.list_misread(plan.changes)
        except MutagenError as error:
            message = f"The metadata of {plan.path} could not be read back ({error}), so the write was undone."
            raise MetadataError(message, path=plan.path) from error
    if misread:
        message = f"The field {misread[0]} of {plan.path} could not be read back, so the write was undone."
        raise MetadataError(message, path=plan.path)
    payload_sha256 = hash_payload(copy)
    if payload_sha256 != hash_payload(plan.target):
        message = f"The audio of {plan.path} did not survive the write, which was undone; please report this file."
        raise MetadataError(message, path=plan.path)
    return payload_sha256


def _find_document(path: Path) -> tuple[Container, type[Document]]:
    container = find_container(path)
    if container in _DOCUMENTS:
        return container, _DOCUMENTS[container]
    if container is Container.UNKNOWN:
        with _translate_broken(path):
            Mp3Document(
                path, DEFAULT_DIALECT
            )  # A damaged tag hides the audio behind it, and is then what to complain about.
    kind = "is of no known kind" if container is Container.UNKNOWN else f"is of the kind {container.value}"
    message = f"{path} {kind}, into which tagcli does not write."
    raise UnsupportedContainerError(message, path=path)


@contextmanager
def _translate_broken(path: Path) -> Iterator[None]:
    try:
        yield
    except UnknownVersionError as error:
        message = f"The tag of {path} is {error}, which cannot be written back; convert it with a tag editor first."
        raise UnsupportedContainerError(message, path=path) from error
    except UnwritableError as error:
        message = f"{path} cannot take the change: {error}, so nothing is written."
        raise MetadataError(message, path=path) from error
    except BrokenTagError as error:
        message = f"The metadata of {path} are damaged ({error}), so nothing is written; repair them with a tag editor."
        raise MetadataError(message, path=path) from error
