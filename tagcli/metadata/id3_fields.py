"""Which ID3 frames tagcli's fields are, and what changes when they are written, wherever the tag lies."""

from collections.abc import Iterable, Mapping

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
            stored = _read_frame(tag, frame)
            by_name.setdefault(stored.field, []).append(stored.values)
            if _is_opaque(tag, frame):
                opaque.add(stored.field)
    names = {
        **_OWN,
        Field.GENRE: GENRE_FRAME,
        Field.MOOD: _name_mood(tag, by_name, dialect),
        Field.GROUPING: _find_ours(by_name, Field.GROUPING, _GROUPING_FRAMES) or dialect.grouping_frame,
        Field.COMMENT: _name_comment(by_name),
    }
    held = {}
    for field, name in names.items():
        frames = by_name.get(name, [])
        values = tuple(value for frame_values in frames for value in frame_values)
        named = {value: name_genres(value) for value in values} if field is Field.GENRE else {}
        is_alone = tag.version == 3 and not dialect.joins_values and field in (Field.GENRE, Field.MOOD)
        held[field] = Held(
            name=name,
            values=values,
            named=named,
            is_tidy=frames in ([], [values]),
            is_opaque=name in opaque,
            is_text=name == _ITUNES_GROUPING,
            most=1 if is_alone else None,
        )
    return held


def change_frames(tag: Tag, changes: tuple[FieldChange, ...]) -> tuple[RawFrame, ...]:
    """Make the changes; each stands where the first frame of its name stood, or at the end.

    Parameters
    ----------
    tag
        The tag.
    changes
        What changes.

    Returns
    -------
    tuple of RawFrame
        All frames; those that no change is about are the tag's own.
    """
    new_frames = {
        change.name: encode_text(tag, StoredField(field=change.name, values=_to_texts(tag, change)))
        for change in changes
        if change.new
    }
    names = {change.name for change in changes}
    frames: list[RawFrame] = []
    for frame in tag.frames:
        name = _read_frame(tag, frame).field if is_text_frame(frame) else None
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


def list_misread_frames(texts: Iterable[StoredField], tag: Tag, changes: tuple[FieldChange, ...]) -> list[str]:
    """Give the names of fields that another reader does not find as changes say.

    Parameters
    ----------
    texts
        What that reader finds.
    tag
        The tag that it has read.
    changes
        What was to change.
    """
    found = {text.field: text.values for text in texts}
    return [
        change.name
        for change in changes
        if found.get(change.name, ()) != (_to_texts(tag, change) if change.new else ())
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


def _name_mood(tag: Tag, by_name: Mapping[str, list[tuple[str, ...]]], dialect: Dialect) -> str:
    """Choose where the mood is: in one place, never in two, as Navidrome stumbles over that."""
    texts = [name for name in by_name if name.upper() == _MOOD_TEXT]
    if ours := _find_ours(by_name, Field.MOOD, (MOOD_FRAME, *texts)):
        return ours
    has_frame = tag.version == 4 and (MOOD_FRAME in by_name or not texts)
    return MOOD_FRAME if has_frame else texts[0] if texts else dialect.mood_text


def _name_comment(by_name: Mapping[str, list[tuple[str, ...]]]) -> str:
    """Choose which comment it is: there may be one for each language."""
    names = [name for name in by_name if name.startswith(_COMMENT)]
    return _find_ours(by_name, Field.COMMENT, names) or next(iter(names), _COMMENT + _LANGUAGE)


def _find_ours(by_name: Mapping[str, list[tuple[str, ...]]], field: Field, names: Iterable[str]) -> str | None:
    """Find where tagcli has written a field already, so that it can be taken back from there."""
    entries = [entry for values in by_name.get(_OWN[Field.ADDED], ()) for entry in values]
    added = [entry.removeprefix(f"{field}=") for entry in entries if entry.startswith(f"{field}=")]
    for name in names:
        values = [value for frame_values in by_name.get(name, ()) for value in frame_values]
        if added and (set(added) & set(values) or any(JOINER.join(added) in value for value in values)):
            return name
    return None


def _read_frame(tag: Tag, frame: RawFrame) -> StoredField:
    """Read the values of a frame of a kind that tagcli can write."""
    field = decode_text(tag, frame)
    if field is None:
        # An encoding and no text, or not even that, is an empty field; other unreadable bytes count as one.
        return describe_frame(tag, frame) if _is_opaque(tag, frame) else StoredField(field=frame.id, values=())
    if _is_joined(tag, field.field):
        values = tuple(part for text in field.values for part in text.split(JOINER))
        return StoredField(field=field.field, values=values)
    return field


def _is_joined(tag: Tag, name: str) -> bool:
    """Tell whether several values of a field are joined to one text, as in ID3v2.3."""
    is_list = name not in (*_ONE_TEXT, _ITUNES_GROUPING) and not name.startswith(_COMMENT)
    is_ours = name in _OWN.values() or name.upper() == _MOOD_TEXT or not name.startswith(USER_TEXT_FRAME)
    return tag.version == 3 and is_list and is_ours


def _is_opaque(tag: Tag, frame: RawFrame) -> bool:
    is_shared = frame.id not in (USER_TEXT_FRAME, COMMENT_FRAME)
    return is_shared and len(frame.content) > 1 and decode_text(tag, frame) is None


def _to_texts(tag: Tag, change: FieldChange) -> tuple[str, ...]:
    return (JOINER.join(change.new),) if _is_joined(tag, change.name) else change.new
