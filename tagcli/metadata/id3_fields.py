"""Which ID3 frames tagcli's fields are, and what changes when they are written, wherever the tag lies."""

import re
from collections.abc import Iterable

from tagcli.metadata.fields import (
    JOINER,
    OWN_NAMES,
    Dialect,
    Field,
    FieldChange,
    Held,
    StoredField,
)
from tagcli.metadata.frames import (
    COMMENT_FRAME,
    GENRE_FRAME,
    MOOD_FRAME,
    USER_TEXT_FRAME,
    decode_text,
    describe_frame,
    encode_text,
    is_text_frame,
    name_genres,
)
from tagcli.metadata.id3 import RawFrame, Tag

_OWN = {field: f"{USER_TEXT_FRAME}:{name}" for field, name in OWN_NAMES.items()}
_MOOD_TEXT = f"{USER_TEXT_FRAME}:MOOD"
_COMMENT = f"{COMMENT_FRAME}::"
_LANGUAGE = "eng"
_ONE_TEXT = (_OWN[Field.MODEL], _OWN[Field.SETTINGS])


def hold_frames(tag: Tag, dialect: Dialect) -> dict[Field, Held]:
    """Read the fields that tagcli can store.

    Parameters
    ----------
    tag
        The tag.
    dialect
        How they are written.

    Returns
    -------
    dict of Field to Held
        All fields, also those that are absent.
    """
    by_name: dict[str, list[tuple[str, ...]]] = {}
    opaque = set()
    for frame in tag.frames:
        if is_text_frame(frame):
            stored = _read_frame(tag, frame, dialect)
            by_name.setdefault(stored.field, []).append(stored.values)
            if _is_opaque(tag, frame):
                opaque.add(stored.field)
    comments = [name for name in by_name if name.startswith(_COMMENT)]
    # one, never both: Navidrome stumbles where there are two
    has_mood_frame = tag.version == 4 and (MOOD_FRAME in by_name or _MOOD_TEXT not in by_name)
    names = {
        **_OWN,
        Field.GENRE: GENRE_FRAME,
        Field.MOOD: MOOD_FRAME if has_mood_frame else _MOOD_TEXT,
        Field.GROUPING: dialect.grouping_frame,
        Field.COMMENT: comments[0] if comments else _COMMENT + _LANGUAGE,
    }
    held = {}
    for field, name in names.items():
        frames = by_name.get(name, [])
        values = tuple(value for frame_values in frames for value in frame_values)
        named = tuple(genre for value in values for genre in name_genres(value)) if field is Field.GENRE else values
        held[field] = Held(
            name=name, values=values, named=named, is_tidy=frames in ([], [values]), is_opaque=name in opaque
        )
    return held


def change_frames(tag: Tag, changes: tuple[FieldChange, ...], dialect: Dialect) -> tuple[RawFrame, ...]:
    """Make the changes; each stands where the first frame of its name stood, or at the end.

    Parameters
    ----------
    tag
        The tag.
    changes
        What changes.
    dialect
        How it is written.

    Returns
    -------
    tuple of RawFrame
        All frames; those that no change is about are the tag's own.
    """
    new_frames = {
        change.name: encode_text(tag, StoredField(field=change.name, values=_to_texts(tag, change, dialect)))
        for change in changes
        if change.new
    }
    names = {change.name for change in changes}
    frames: list[RawFrame] = []
    for frame in tag.frames:
        name = _read_frame(tag, frame, dialect).field if is_text_frame(frame) else None
        if name not in names:
            frames.append(frame)
        elif name in new_frames:
            frames.append(new_frames.pop(name))
    return (*frames, *new_frames.values())


def list_foreign_frames(tag: Tag, changes: tuple[FieldChange, ...]) -> list[bytes]:
    """Give the frames that changes are not about.

    Parameters
    ----------
    tag
        The tag.
    changes
        What changes.
    """
    names = {change.name for change in changes}
    return [frame.raw for frame in tag.frames if not is_text_frame(frame) or _read_frame(tag, frame).field not in names]


def list_misread_frames(
    texts: Iterable[StoredField], tag: Tag, changes: tuple[FieldChange, ...], dialect: Dialect
) -> list[str]:
    """Give the names of fields that another reader does not find as changes say.

    Parameters
    ----------
    texts
        What that reader finds.
    tag
        The tag that it has read.
    changes
        What was to change.
    dialect
        How it was written.
    """
    found = {text.field: text.values for text in texts}
    return [
        change.name
        for change in changes
        if found.get(change.name, ()) != (_to_texts(tag, change, dialect) if change.new else ())
    ]


def describe_frames(tag: Tag) -> tuple[StoredField, ...]:
    """Make all frames readable, in their order.

    Parameters
    ----------
    tag
        The tag.
    """
    fields = []
    for frame in tag.frames:
        field = _read_frame(tag, frame) if is_text_frame(frame) else None
        is_own = field is not None and field.field in _OWN.values()
        fields.append(field if field is not None and is_own else describe_frame(tag, frame))
    return tuple(fields)


def _read_frame(tag: Tag, frame: RawFrame, dialect: Dialect | None = None) -> StoredField:
    """Read the values of a frame of a kind that tagcli can write."""
    field = decode_text(tag, frame)
    if field is None:
        # An encoding and no text, or not even that, is an empty field; other unreadable bytes count as one.
        return describe_frame(tag, frame) if _is_opaque(tag, frame) else StoredField(field=frame.id, values=())
    if _is_one_text(tag, field.field):
        joiners = (JOINER,) if dialect is None or field.field in _OWN.values() else (JOINER, dialect.joiner)
        pattern = "|".join(map(re.escape, dict.fromkeys(joiners)))
        return StoredField(
            field=field.field, values=tuple(part for text in field.values for part in re.split(pattern, text))
        )
    return field


def _is_one_text(tag: Tag, name: str) -> bool:
    """Tell whether several values of a field are joined to one text."""
    if name in _ONE_TEXT:
        return False
    is_ours = name in _OWN.values() or name == _MOOD_TEXT or not name.startswith(USER_TEXT_FRAME)
    return (tag.version == 3 and is_ours) or name.startswith(COMMENT_FRAME)


def _is_opaque(tag: Tag, frame: RawFrame) -> bool:
    is_shared = frame.id not in (USER_TEXT_FRAME, COMMENT_FRAME)
    return is_shared and len(frame.content) > 1 and decode_text(tag, frame) is None


def _to_texts(tag: Tag, change: FieldChange, dialect: Dialect) -> tuple[str, ...]:
    if not _is_one_text(tag, change.name):
        return change.new
    return ((JOINER if change.field in _OWN else dialect.joiner).join(change.new),)
