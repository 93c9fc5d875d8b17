"""MP3 files: the ID3v2 tag at their start."""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from tagcli.files import Piece, Span, hash_pieces, open_track, read_at
from tagcli.metadata.ape_tag import read_tag
from tagcli.metadata.fields import (
    BrokenTagError,
    Dialect,
    Field,
    FieldChange,
    Held,
    StoredField,
    UnknownVersionError,
)
from tagcli.metadata.frames import COMMENT_FRAME, GENRE_FRAME, can_hold, copy_id3v1, copy_texts, read_texts
from tagcli.metadata.id3 import RawFrame, Tag, lay_out_tag, measure_tag, parse_tag
from tagcli.metadata.id3_fields import (
    change_frames,
    describe_frames,
    hold_frames,
    list_foreign_frames,
    list_misread_frames,
)
from tagcli.outer_tags import ID3V1_BYTES, ID3V2_HEADER_BYTES, find_content_of

_COPIED = {
    "title": "TIT2",
    "artist": "TPE1",
    "album": "TALB",
    "album artist": "TPE2",
    "year": "TDRC",
    "track": "TRCK",
    "genre": GENRE_FRAME,
    "comment": COMMENT_FRAME,
}
_HOLD_ONE = ("TDRC", "TRCK")


class Mp3Document:
    """The first ID3v2 tag at the start of a file; see `tagcli.metadata.plan.Document`.

    A file without one gets a tag that says what an APE tag at the end says, and else an ID3v1 tag. Many programs look
    at these only where there is no ID3v2 tag: without the copy they would lose the title.

    Parameters
    ----------
    path
        The file.
    dialect
        How fields are written.
    """

    def __init__(self, path: Path, dialect: Dialect) -> None:
        self._path = path
        self._dialect = dialect
        with open_track(path) as (file, size):
            self._file_size = size
            header = file.read(ID3V2_HEADER_BYTES)
            self._stored: Tag | None = None
            if header.startswith(b"ID3"):
                self._stored = parse_tag(header + file.read(measure_tag(header) - ID3V2_HEADER_BYTES), start=0)
            else:
                self._fresh = Tag(version=dialect.new_version, frames=_copy_end(file, size, dialect.new_version))

    @property
    def _tag(self) -> Tag:
        return self._stored or self._fresh

    @property
    def _end(self) -> int:
        """Where the tag ends."""
        return self._stored.size if self._stored else 0

    @property
    def version(self) -> str:
        """Such as ``ID3v2.3``; empty when there is no tag."""
        return f"ID3v2.{self._stored.version}" if self._stored else ""

    def hold(self) -> Mapping[Field, Held]:
        """Read the fields that tagcli can store."""
        return hold_frames(self._tag, self._dialect)

    def rewrite(self, changes: tuple[FieldChange, ...]) -> list[Piece]:
        """Put the file together after changes."""
        frames = change_frames(self._tag, changes)
        return [*lay_out_tag(self._tag, frames), Span(start=self._end, end=self._file_size)]

    def list_foreign(self, changes: tuple[FieldChange, ...]) -> list[bytes]:
        """Give the frames that changes are not about, and hashes of further tags before and behind the audio."""
        with open_track(self._path) as (file, size):
            content = find_content_of(file, size)
            further = hash_pieces(file, [Span(start=self._end, end=content.start)])
            behind = hash_pieces(file, [Span(start=content.end, end=size)])
        return [*list_foreign_frames(self._tag, changes), further, behind]

    def list_misread(self, changes: tuple[FieldChange, ...]) -> list[str]:
        """Give the names of fields that mutagen does not find as changes say."""
        return list_misread_frames(read_texts(self._path), self._tag, changes)

    def describe(self) -> tuple[StoredField, ...]:
        """Make all frames readable."""
        return describe_frames(self._stored) if self._stored else ()


def _copy_end(file: BinaryIO, size: int, version: int) -> tuple[RawFrame, ...]:
    """Say in ID3v2 what the tags at the end say: the APE tag, where it is whole, and the ID3v1 tag what that lacks."""
    try:
        items = read_tag(file, size).items
    except (BrokenTagError, UnknownVersionError):
        items = ()
    copied = {}
    for item in items:
        name = _COPIED.get(item.name)
        values = tuple(text for text in item.texts or () if can_hold(name, text)) if name else ()
        if name and values:
            copied[name] = values[:1] if name in _HOLD_ONE else values
    frames = copy_texts(copied, version)
    names = {frame.id for frame in frames}
    id3v1 = copy_id3v1(read_at(file, max(0, size - ID3V1_BYTES), ID3V1_BYTES), version)
    return (*frames, *(frame for frame in id3v1 if frame.id not in names))
