"""Which ID3 frames tagcli's fields are, and what changes when they are written, wherever the tag lies."""

import re
from collections.abc import Collection, Iterable, Mapping

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
_ITUNES_GROUPING = "GRP1"
_GROUPING_FRAMES = ("TIT1", _ITUNES_GROUPING)
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
    names = {
        **_OWN,
        Field.GENRE: GENRE_FRAME,
        Field.MOOD: _name_mood(tag, by_name, dialect),
        Field.GROUPING: _name_grouping(by_name, dialect),
        Field.COMMENT: next((name for name in by_name if name.startswith(_COMMENT)), _COMMENT + _LANGUAGE),
    }
    held = {}
    for field, name in names.items():
        frames = by_name.get(name, [])
        values = tuple(value for frame_values in frames for value in frame_values)
        named = tuple(genre for value in values for genre in name_genres(value)) if field is Field.GENRE else values
        is_alone = tag.version == 3 and dialect.joiner is None and field in (Field.GENRE, Field.MOOD)
        held[field] = Held(
            name=name,
            values=values,
            named=named,
            is_tidy=frames in ([], [values]),
            is_opaque=name in opaque,
            most=1 if is_alone else None,
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


def _name_mood(tag: Tag, names: Collection[str], dialect: Dialect) -> str:
    """Choose where the mood is: in one place, never in two, as Navidrome stumbles over that."""
    text = next((name for name in names if name.upper() == _MOOD_TEXT), None)
    has_frame = tag.version == 4 and (MOOD_FRAME in names or text is None)
    return MOOD_FRAME if has_frame else text or dialect.mood_text


def _name_grouping(by_name: Mapping[str, list[tuple[str, ...]]], dialect: Dialect) -> str:
    """Choose where the grouping is: where tagcli has written it already, so that it can be found and taken back."""
    added = {entry for values in by_name.get(_OWN[Field.ADDED], ()) for entry in values}
    for name in _GROUPING_FRAMES:
        if any(f"{Field.GROUPING}={value}" in added for values in by_name.get(name, ()) for value in values):
            return name
    return dialect.grouping_frame


def _read_frame(tag: Tag, frame: RawFrame, dialect: Dialect | None = None) -> StoredField:
    """Read the values of a frame of a kind that tagcli can write."""
    field = decode_text(tag, frame)
    if field is None:
        # An encoding and no text, or not even that, is an empty field; other unreadable bytes count as one.
        return describe_frame(tag, frame) if _is_opaque(tag, frame) else StoredField(field=frame.id, values=())
    if _is_one_text(tag, field.field) or field.field == _ITUNES_GROUPING:
        is_own = field.field in _OWN.values()
        joiners = (JOINER,) if dialect is None or is_own else (JOINER, dialect.joiner or JOINER)
        pattern = "|".join(map(re.escape, dict.fromkeys(joiners)))
        return StoredField(
            field=field.field, values=tuple(part for text in field.values for part in re.split(pattern, text))
        )
    return field


def _is_one_text(tag: Tag, name: str) -> bool:
    """Tell whether several values of a field are joined to one text."""
    if name in _ONE_TEXT:
        return False
    is_ours = name in _OWN.values() or name.upper() == _MOOD_TEXT or not name.startswith(USER_TEXT_FRAME)
    return (tag.version == 3 and is_ours) or name.startswith(COMMENT_FRAME)


def _is_opaque(tag: Tag, frame: RawFrame) -> bool:
    is_shared = frame.id not in (USER_TEXT_FRAME, COMMENT_FRAME)
    return is_shared and len(frame.content) > 1 and decode_text(tag, frame) is None


def _to_texts(tag: Tag, change: FieldChange, dialect: Dialect) -> tuple[str, ...]:
    is_itunes = dialect.shows_one and change.name == _ITUNES_GROUPING
    if not _is_one_text(tag, change.name) and not is_itunes:
        return change.new
    return ((JOINER if change.field in _OWN else dialect.joiner or JOINER).join(change.new),)
