"""Vorbis comments, byte for byte: which entries tagcli's fields are, and what changes when they are written.

Source: "Ogg Vorbis I format specification: comment field and header specification", Xiph.Org.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tagcli.metadata.fields import OWN_NAMES, BrokenTagError, Field, FieldChange, Held, StoredField

KEYS = {**OWN_NAMES, Field.GENRE: "GENRE", Field.MOOD: "MOOD", Field.GROUPING: "GROUPING", Field.COMMENT: "COMMENT"}
_SIZE_BYTES = 4
_LONGEST_SHOWN_BYTES = 2000
"""A longer value is a picture or another binary thing, and is described."""


@dataclass(frozen=True, kw_only=True)
class Comments:
    """A comment header.

    Parameters
    ----------
    vendor
        Who wrote the stream.
    entries
        ``KEY=value`` each, in their order, as they are: also such that are not UTF-8 or have no key.
    rest
        What stands behind the last entry.
    """

    vendor: bytes
    entries: tuple[bytes, ...] = ()
    rest: bytes = b""


def parse_comments(data: bytes) -> Comments:
    """Take a comment header apart.

    Parameters
    ----------
    data
        The header, from the length of the vendor on.

    Raises
    ------
    BrokenTagError
        When a length leads beyond the end.
    """
    vendor, position = _take(data, 0)
    n_entries = int.from_bytes(data[position : position + _SIZE_BYTES], "little")
    if len(data) - position < _SIZE_BYTES:
        message = "the number of its comments is missing"
        raise BrokenTagError(message)
    position += _SIZE_BYTES
    entries = []
    for _ in range(n_entries):
        entry, position = _take(data, position)
        entries.append(entry)
    return Comments(vendor=vendor, entries=tuple(entries), rest=data[position:])


def build_comments(comments: Comments) -> bytes:
    """Put a comment header together; the reverse of `parse_comments`."""
    parts = [_with_size(comments.vendor), len(comments.entries).to_bytes(_SIZE_BYTES, "little")]
    return b"".join([*parts, *map(_with_size, comments.entries), comments.rest])


def hold_comments(comments: Comments) -> dict[Field, Held]:
    """Read the fields that tagcli can store.

    Parameters
    ----------
    comments
        What the file holds.

    Returns
    -------
    dict of Field to Held
        All fields, also those that are absent.
    """
    held = {}
    for field, key in KEYS.items():
        held[field] = Held(name=key, values=read_values(comments, key))
    return held


def change_comments(comments: Comments, changes: Sequence[FieldChange]) -> Comments:
    """Make the changes; each stands where the first entry of its key stood, or at the end."""
    new = {change.name: [_build_entry(change.name, value) for value in change.new] for change in changes}
    entries: list[bytes] = []
    for entry in comments.entries:
        key = key_of(entry)
        if key in new:
            entries += new[key]
            new[key] = []
        else:
            entries.append(entry)
    return replace(comments, entries=(*entries, *(entry for added in new.values() for entry in added)))


def list_foreign_entries(comments: Comments, changes: Sequence[FieldChange]) -> list[bytes]:
    """Give the entries that changes are not about."""
    keys = {change.name for change in changes}
    return [entry for entry in comments.entries if key_of(entry) not in keys]


def list_misread_entries(stored: Any, changes: Sequence[FieldChange]) -> list[str]:
    """Give the keys under which mutagen does not find what changes say.

    Parameters
    ----------
    stored
        Comments as mutagen has read them, with replacement characters where they are not UTF-8.
    changes
        What was to change.
    """
    misread = []
    for change in changes:
        wanted = [text.encode(errors="surrogateescape").decode(errors="replace") for text in change.new]
        if list(stored.get(change.name, [])) != wanted:
            misread.append(change.name)
    return misread


def read_values(comments: Comments, key: str) -> tuple[str, ...]:
    """Give the values of a key in their order; bytes that are not UTF-8 come back as they were when written."""
    return tuple(
        entry.partition(b"=")[2].decode(errors="surrogateescape") for entry in comments.entries if key_of(entry) == key
    )


def describe_comments(comments: Comments) -> tuple[StoredField, ...]:
    """Make the comments readable, the values of a key together."""
    values: dict[str, list[str]] = {}
    for entry in comments.entries:
        key = key_of(entry)
        value = entry if key is None else entry.partition(b"=")[2]
        is_short = len(value) <= _LONGEST_SHOWN_BYTES
        shown = value.decode(errors="replace") if is_short else f"<{len(value)} bytes>"
        values.setdefault(key or "", []).append(shown)
    return tuple(StoredField(field=key, values=tuple(shown)) for key, shown in values.items())


def key_of(entry: bytes) -> str | None:
    """Give the key of an entry, in capitals, as case does not matter; None when it has none."""
    key, equals, _ = entry.partition(b"=")
    return key.decode("ascii", errors="replace").upper() if equals else None


def _build_entry(key: str, value: str) -> bytes:
    return f"{key}={value}".encode(errors="surrogateescape")


def _take(data: bytes, position: int) -> tuple[bytes, int]:
    """Read a length and that many bytes; give them and where they end."""
    start = position + _SIZE_BYTES
    size = int.from_bytes(data[position:start], "little")
    if start > len(data) or size > len(data) - start:
        message = "a comment is longer than the header"
        raise BrokenTagError(message)
    return data[start : start + size], start + size


def _with_size(data: bytes) -> bytes:
    return len(data).to_bytes(_SIZE_BYTES, "little") + data
