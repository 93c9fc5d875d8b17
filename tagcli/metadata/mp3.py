"""MP3 files: which ID3 frames tagcli's fields are, and what changes when they are written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mutagen import MutagenError

from tagcli.container import Container
from tagcli.errors import MetadataError, UnsupportedContainerError
from tagcli.files import open_track
from tagcli.metadata.fields import (
    MODEL_FIELD,
    SCORES_FIELD,
    SETTINGS_FIELD,
    TAGS_FIELD,
    BrokenTagError,
    FieldChange,
    Fields,
    GenrePolicy,
    Metadata,
    StoredField,
)
from tagcli.metadata.frames import (
    GENRE_FRAME,
    USER_TEXT_FRAME,
    copy_id3v1,
    decode_text,
    describe_frame,
    encode_text,
    name_genres,
    read_texts,
)
from tagcli.metadata.id3 import (
    RawFrame,
    Tag,
    UnknownVersionError,
    build_tag,
    measure_tag,
    parse_tag,
)
from tagcli.metadata.wanted import choose_genres, choose_own_values
from tagcli.outer_tags import ID3V1_BYTES, ID3V2_HEADER_BYTES

VERSION_OF_NEW_TAGS = 4
JOINER = "; "
"""Between the values of one text in ID3v2.3, where readers cut everything behind a NUL."""

_FRAMES = {field: f"{USER_TEXT_FRAME}:{field}" for field in (TAGS_FIELD, SCORES_FIELD, MODEL_FIELD, SETTINGS_FIELD)}
_LISTS = {_FRAMES[TAGS_FIELD], _FRAMES[SCORES_FIELD], GENRE_FRAME}


def read_tag(path: Path) -> Tag | None:
    """Read the first ID3v2 tag at the start of a file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Tag or None
        The tag; None when the file does not start with one.

    Raises
    ------
    UnsupportedContainerError
        When the tag is of a version that cannot be written back.
    MetadataError
        When the tag is damaged, or the file cannot be read.
    """
    with open_track(path) as (file, _), _translate_broken(path):
        header = file.read(ID3V2_HEADER_BYTES)
        if not header.startswith(b"ID3"):
            return None
        return parse_tag(header + file.read(measure_tag(header) - ID3V2_HEADER_BYTES))


def plan(path: Path, fields: Fields, genre: GenrePolicy) -> tuple[FieldChange, ...]:
    """Find what storing fields in an MP3 file would change.

    Parameters
    ----------
    path
        The file.
    fields
        What is to be stored.
    genre
        What happens to the genre frame.

    Returns
    -------
    tuple of FieldChange
        The changes; empty when the file holds it all.

    Raises
    ------
    MetadataError
        When the tag is damaged, its version cannot be written back, or its genre cannot be read and is to be added to.
    """
    tag = read_tag(path) or _begin_tag(path)
    stored = [(frame, _read_values(tag, frame)) for frame in tag.frames]
    by_field: dict[str, list[tuple[str, ...]]] = {}
    for _, field in stored:
        by_field.setdefault(field.field, []).append(field.values)
    flat = {name: tuple(value for frame in values for value in frame) for name, values in by_field.items()}

    own = choose_own_values(fields, {field: flat.get(name, ()) for field, name in _FRAMES.items()})
    wanted = {_FRAMES[field]: values for field, values in own.items()}
    genres = flat.get(GENRE_FRAME, ())
    if genre is GenrePolicy.APPEND and fields.genres and any(_is_opaque_genre(tag, frame) for frame in tag.frames):
        message = f"The genre of {path} cannot be read, so nothing can be added to it; replace it or leave it alone."
        raise MetadataError(message, path=path)
    named = tuple(name for value in genres for name in name_genres(value))
    new_genres = choose_genres(genres, named, fields.genres, genre)
    if new_genres != genres:
        wanted[GENRE_FRAME] = new_genres
    return tuple(
        FieldChange(field=name, old=flat.get(name, ()), new=values)
        for name, values in wanted.items()
        # Values spread over two frames of one name are not stored as they should be.
        if by_field.get(name, []) != ([values] if values else [])
    )


def splice(path: Path, changes: tuple[FieldChange, ...]) -> tuple[bytes, int]:
    """Build the tag that a file has after its changes.

    Parameters
    ----------
    path
        The file.
    changes
        What changes.

    Returns
    -------
    tuple of bytes and int
        The new tag, and how many bytes of the file it takes the place of.

    Raises
    ------
    MetadataError
        When the tag is damaged, or would grow larger than a tag can be.
    """
    old = read_tag(path)
    tag = old or _begin_tag(path)
    new_frames = {
        change.field: encode_text(tag, StoredField(field=change.field, values=_to_texts(tag, change)))
        for change in changes
        if change.new
    }
    names = {change.field for change in changes}
    frames: list[RawFrame] = []
    for frame in tag.frames:
        name = _read_values(tag, frame).field
        if name not in names:
            frames.append(frame)
        elif name in new_frames:
            frames.append(new_frames.pop(name))
    with _translate_broken(path):
        return build_tag(tag, (*frames, *new_frames.values())), old.size if old else 0


def verify(path: Path, original: Path, changes: tuple[FieldChange, ...]) -> None:
    """Prove that a rewritten file holds the changes, and every other frame of the original byte for byte.

    Parameters
    ----------
    path
        The rewritten file.
    original
        The file that it was made from.
    changes
        What was to change.

    Raises
    ------
    MetadataError
        When it does not.
    """
    names = {change.field for change in changes}
    new, old = read_tag(path), read_tag(original) or _begin_tag(original)
    if new is None or _foreign_frames(new, names) != _foreign_frames(old, names):
        message = f"A frame of {original} did not survive the write, which was undone; please report this file."
        raise MetadataError(message, path=original)
    try:
        stored = {field.field: field.values for field in read_texts(path)}
    except MutagenError as error:
        message = f"The tag of {original} could not be read back ({error}), so the write was undone."
        raise MetadataError(message, path=original) from error
    for change in changes:
        if stored.get(change.field, ()) != (_to_texts(new, change) if change.new else ()):
            message = f"The field {change.field} of {original} could not be read back, so the write was undone."
            raise MetadataError(message, path=original)


def read(path: Path) -> Metadata:
    """Read what an MP3 file's ID3v2 tag holds.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Metadata
        Its fields in their order.

    Raises
    ------
    MetadataError
        When the tag is damaged or of a version that is not read.
    """
    tag = read_tag(path)
    if tag is None:
        return Metadata(container=Container.MP3, version="", fields=())
    fields = []
    for frame in tag.frames:
        field = _read_values(tag, frame)
        fields.append(field if field.field in _FRAMES.values() else describe_frame(tag, frame))
    return Metadata(container=Container.MP3, version=f"ID3v2.{tag.version}", fields=tuple(fields))


def _begin_tag(path: Path) -> Tag:
    """Begin the tag of a file that has none, with what an ID3v1 tag at the end says.

    Many programs look at ID3v1 only where there is no ID3v2 tag: without the copy they would lose the title.
    """
    with open_track(path) as (file, size):
        file.seek(max(0, size - ID3V1_BYTES))
        return Tag(version=VERSION_OF_NEW_TAGS, frames=copy_id3v1(file.read()))


def _read_values(tag: Tag, frame: RawFrame) -> StoredField:
    field = decode_text(tag, frame)
    if field is None:
        # An encoding and no text, or not even that, is an empty genre; other unreadable bytes count as one.
        return describe_frame(tag, frame) if _is_opaque_genre(tag, frame) else StoredField(field=frame.id, values=())
    if tag.version == 3 and field.field in _LISTS:
        values = tuple(value for text in field.values for value in text.split(JOINER))
        return StoredField(field=field.field, values=values)
    return field


def _is_opaque_genre(tag: Tag, frame: RawFrame) -> bool:
    return frame.id == GENRE_FRAME and len(frame.content) > 1 and decode_text(tag, frame) is None


def _to_texts(tag: Tag, change: FieldChange) -> tuple[str, ...]:
    return (JOINER.join(change.new),) if tag.version == 3 and change.field in _LISTS else change.new


def _foreign_frames(tag: Tag, names: set[str]) -> list[RawFrame]:
    return [frame for frame in tag.frames if _read_values(tag, frame).field not in names]


@contextmanager
def _translate_broken(path: Path) -> Iterator[None]:
    try:
        yield
    except UnknownVersionError as error:
        message = f"The tag of {path} is {error}, which cannot be written back as {error}; convert it to ID3v2.4 first."
        raise UnsupportedContainerError(message, path=path) from error
    except BrokenTagError as error:
        message = f"The ID3 tag of {path} is damaged ({error}), so nothing is written; repair it with a tag editor."
        raise MetadataError(message, path=path) from error
