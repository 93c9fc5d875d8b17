"""What single ID3v2 frames say: decoded and encoded by mutagen."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

from mutagen import MutagenError
from mutagen import id3 as mutagen_id3

from tagcli.metadata.fields import JOINER, StoredField
from tagcli.metadata.id3 import UNSYNCHRONISATION, RawFrame, Tag, build_tag, parse_tag, resize_frame

# Mutagen says that it is typed, and is so in part only.
id3: Any = mutagen_id3

GENRE_FRAME = "TCON"
MOOD_FRAME = "TMOO"
USER_TEXT_FRAME = "TXXX"
COMMENT_FRAME = "COMM"
_COMMENT_KEYS = {COMMENT_FRAME: {"lang": "eng", "desc": ""}}
_DATE_FRAME = "TDRC"
_SHAPES = {"TRCK": re.compile(r"\d+(/\d+)?"), _DATE_FRAME: re.compile(r"\d{4}(-\d\d){0,2}")}

_TEXT_FRAMES = {
    name: id3.Frames[name] for name in (GENRE_FRAME, MOOD_FRAME, "TIT1", "GRP1", USER_TEXT_FRAME, COMMENT_FRAME)
}
# Mutagen stumbles over some other frames when they are damaged.
_SHOWN_KINDS = (id3.TextFrame, id3.PairedTextFrame, id3.UrlFrame, id3.USLT, id3.APIC, id3.PRIV, id3.UFID, id3.GEOB)
_SHOWN_FRAMES = {name: kind for name, kind in id3.Frames.items() if issubclass(kind, _SHOWN_KINDS)}
# A write reads the same frames again and again, to plan and to prove, and many are the same in the next file.
_REMEMBERED_FRAMES = 256
_REMEMBERED_BYTES = 1 << 12  # of one frame that is not packed, so that no hostile file fills the memory


def decode_text(tag: Tag, frame: RawFrame) -> StoredField | None:
    """Read a frame of a kind that tagcli can write.

    Parameters
    ----------
    tag
        The tag that holds the frame.
    frame
        The frame.

    Returns
    -------
    StoredField or None
        Its name, such as ``TXXX:TAGCLI_TAGS``, ``TCON`` or ``COMM::eng``, and its texts; None when it is another kind
        of frame, encrypted, or damaged.
    """
    if frame.id not in _TEXT_FRAMES:
        return None
    is_small = len(frame.raw) <= _REMEMBERED_BYTES and not any(frame.flags)
    read = _read_text if is_small else _read_text.__wrapped__
    return read(_without_frames(tag), frame)


def encode_text(tag: Tag, stored: StoredField) -> RawFrame:
    """Write a frame of such a kind, fit for a given tag.

    Parameters
    ----------
    tag
        The tag that will hold the frame.
    stored
        The frame's name, such as ``TXXX:TAGCLI_TAGS`` or ``TCON``, and its texts; not empty.

    Returns
    -------
    RawFrame
        The frame: UTF-8 in ID3v2.4; Latin-1 where that will do and UTF-16 elsewhere in ID3v2.3.
    """
    texts = list(stored.values)
    encoding = _choose_encoding("".join(texts), tag.version)
    frame_id, _, description = stored.field.partition(":")
    if frame_id == USER_TEXT_FRAME:
        frame = id3.TXXX(encoding=encoding, desc=description, text=texts)
    elif frame_id == COMMENT_FRAME:
        description, _, language = description.rpartition(":")
        frame = id3.COMM(encoding=encoding, desc=description, lang=language, text=texts)
    else:
        frame = _TEXT_FRAMES[frame_id](encoding=encoding, text=texts)
    (encoded,) = _encode([frame], tag.version)
    return resize_frame(encoded, plain=tag.has_plain_sizes)


def read_texts(file: Path | BytesIO) -> tuple[StoredField, ...]:
    """Read the frames of such kinds as any other program that uses mutagen does.

    Parameters
    ----------
    file
        A file, or a tag alone.

    Returns
    -------
    tuple of StoredField
        Names, such as ``TXXX:TAGCLI_TAGS`` or ``TCON``, and texts.

    Raises
    ------
    mutagen.MutagenError
        When mutagen does not understand the tag.
    """
    tags = id3.ID3(file, known_frames=_TEXT_FRAMES, translate=False, load_v1=False)
    return tuple(StoredField(field=frame.HashKey, values=tuple(frame.text)) for frame in tags.values())


def is_text_frame(frame: RawFrame) -> bool:
    """Tell whether a frame is of a kind that tagcli can write.

    Parameters
    ----------
    frame
        The frame.
    """
    return frame.id in _TEXT_FRAMES


def copy_id3v1(trailer: bytes, version: int) -> tuple[RawFrame, ...]:
    """Say in ID3v2 what an ID3v1 tag says.

    Parameters
    ----------
    trailer
        The last bytes of a file; what is not an ID3v1 tag says nothing.
    version
        3 or 4, for ID3v2.3 or ID3v2.4.

    Returns
    -------
    tuple of RawFrame
        Title, artist, album, year, comment, track and genre, as far as they are there; the genre by its name.
    """
    frames = id3.ParseID3v1(trailer, v2_version=version) or {}
    if GENRE_FRAME in frames:
        frames[GENRE_FRAME].text = [name for text in frames[GENRE_FRAME].text for name in name_genres(text)]
    for frame in frames.values():
        frame.encoding = id3.Encoding.UTF8 if version == 4 else id3.Encoding.LATIN1
    return _encode(frames.values(), version)


def can_hold(name: str, text: str) -> bool:
    """Tell whether a text is worth a frame: not empty, and a number where only numbers count.

    Parameters
    ----------
    name
        The frame's name in ID3v2.4, such as ``TIT2`` or ``TDRC``.
    text
        The text.
    """
    return bool(text.strip()) and (name not in _SHAPES or _SHAPES[name].fullmatch(text) is not None)


def copy_texts(texts: Mapping[str, tuple[str, ...]], version: int) -> tuple[RawFrame, ...]:
    """Say in ID3v2 what texts of another kind of tag say.

    Parameters
    ----------
    texts
        By the frames' names in ID3v2.4, such as ``TIT2`` or ``COMM``; those that `can_hold` is true of. Several are one
        text in ID3v2.3, and in a comment.
    version
        3 or 4, for ID3v2.3 or ID3v2.4.

    Returns
    -------
    tuple of RawFrame
        One for each text.
    """
    frames = []
    for name, values in texts.items():
        new_name, new_values = name, values
        if name == _DATE_FRAME and version == 3:
            new_name, new_values = "TYER", tuple(value[:4] for value in values)
        if name == COMMENT_FRAME or version == 3:
            new_values = (JOINER.join(new_values),)
        encoding = _choose_encoding("".join(new_values), version)
        frames.append(id3.Frames[new_name](encoding=encoding, text=[*new_values], **_COMMENT_KEYS.get(name, {})))
    return _encode(frames, version)


def name_genres(text: str) -> tuple[str, ...]:
    """Resolve references to the genre list of ID3v1, such as ``(17)``, ``17`` or ``(4)Eurodisco``.

    Parameters
    ----------
    text
        One text of a genre frame.

    Returns
    -------
    tuple of str
        The genres meant; the text itself when it is no such reference.
    """
    is_reference = text.isdecimal() or text in ("RX", "CR") or (text.startswith("(") and not text.startswith("(("))
    if not is_reference or "\n" in text:
        return (text,)
    genres = tuple(id3.TCON(encoding=id3.Encoding.UTF8, text=[text]).genres)
    return (text,) if "Unknown" in genres else genres


def describe_frame(tag: Tag, frame: RawFrame) -> StoredField:
    """Make a frame readable.

    Parameters
    ----------
    tag
        The tag that holds the frame.
    frame
        The frame.

    Returns
    -------
    StoredField
        Its name and values; binary content is described by its kind and size.
    """
    opaque = StoredField(field=frame.id.rstrip(" \0"), values=(f"<{len(frame.content)} bytes>",))
    decoded = _decode(_without_frames(tag), frame, known_frames=_SHOWN_FRAMES)
    match decoded:
        case id3.APIC():
            return StoredField(field=decoded.HashKey, values=(f"<{decoded.mime}, {len(decoded.data)} bytes>",))
        case id3.PRIV() | id3.UFID():
            return StoredField(field=f"{frame.id}:{decoded.owner}", values=(f"<{len(decoded.data)} bytes>",))
        case id3.GEOB():
            return StoredField(field=decoded.HashKey, values=(f"<{decoded.mime}, {len(decoded.data)} bytes>",))
        case id3.PairedTextFrame():
            return StoredField(field=decoded.HashKey, values=tuple(": ".join(pair) for pair in decoded.people))
        case id3.TextFrame():
            return StoredField(field=decoded.HashKey, values=tuple(str(text) for text in decoded.text))
        case id3.USLT():
            return StoredField(field=decoded.HashKey, values=(decoded.text,))
        case id3.UrlFrame():
            name = decoded.HashKey if frame.id == "WXXX" else frame.id
            return StoredField(field=name, values=(decoded.url,))
        case _:
            return opaque


@lru_cache(_REMEMBERED_FRAMES)
def _read_text(alone: Tag, frame: RawFrame) -> StoredField | None:
    decoded = _decode(alone, frame, known_frames=_TEXT_FRAMES)
    return None if decoded is None else StoredField(field=decoded.HashKey, values=tuple(decoded.text))


def _without_frames(tag: Tag) -> Tag:
    """Give what of a tag decides how a frame is read."""
    return Tag(version=tag.version, flags=tag.flags & UNSYNCHRONISATION if tag.version == 4 else 0)


def _decode(alone: Tag, frame: RawFrame, *, known_frames: dict[str, Any]) -> Any:
    """Let mutagen read a tag of this one frame; None when it cannot."""
    data = build_tag(alone, [resize_frame(frame, plain=alone.version == 3)])
    try:
        tags = id3.ID3(BytesIO(data), known_frames=known_frames, translate=False, load_v1=False)
    except MutagenError:
        return None
    return next(iter(tags.values()), None)


def _encode(frames: Iterable[Any], version: int) -> tuple[RawFrame, ...]:
    """Let mutagen write a tag of these frames."""
    tags = id3.ID3()
    for frame in frames:
        tags.add(frame)
    if not tags:
        return ()
    buffer = BytesIO()
    # A v23_sep of None keeps mutagen from joining texts with a slash.
    tags.save(buffer, v1=id3.ID3v1SaveOptions.REMOVE, v2_version=version, v23_sep=None)
    return parse_tag(buffer.getvalue()).frames


def _choose_encoding(text: str, version: int) -> Any:
    if version == 4:
        return id3.Encoding.UTF8
    return id3.Encoding.LATIN1 if all(ord(character) < 0x100 for character in text) else id3.Encoding.UTF16
