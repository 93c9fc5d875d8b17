"""Which items of an MP4 file tagcli's fields are, and what changes when they are written."""

from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any

from mutagen.mp4 import MP4

from tagcli.files import Piece
from tagcli.metadata.fields import OWN_NAMES, Field, FieldChange, Held, UnwritableError
from tagcli.metadata.mp4_boxes import VERSION_BYTES, build_box
from tagcli.metadata.mp4_items import FREEFORM, GENRE, UTF8, Datum, Item, build_datum, to_key

NAMES = {field: FREEFORM + name for field, name in OWN_NAMES.items()} | {
    Field.GENRE: GENRE,
    Field.MOOD: f"{FREEFORM}MOOD",
    Field.GROUPING: "©grp",
    Field.COMMENT: "©cmt",
}
_ONE_TEXT = (Field.GROUPING, Field.COMMENT)
"""Players show the first text only."""


def hold_items(items: Sequence[Item]) -> dict[Field, Held]:
    """Read the fields that tagcli can store.

    Parameters
    ----------
    items
        What the file holds.

    Returns
    -------
    dict of Field to Held
        All fields, also those that are absent.
    """
    held = {}
    for field, name in NAMES.items():
        mine = [item for item in items if item.key == name]
        data = [datum for item in mine for datum in item.data]
        values = tuple(datum.shown for datum in data)
        held[field] = Held(
            name=name,
            values=values,
            is_tidy=len(mine) < 2 and all(datum.kind == UTF8 and datum.text is not None for datum in data),
            is_opaque=any(datum.text is None for datum in data),
            is_text=field in _ONE_TEXT,
        )
    return held


def change_items(items: Sequence[Item], changes: Sequence[FieldChange]) -> list[Piece]:
    """Make the changes; each stands where the first item of its name stood, or at the end.

    Parameters
    ----------
    items
        What the file holds.
    changes
        What changes.

    Returns
    -------
    list of Span or bytes
        All items; those that no change is about are parts of the file.

    Raises
    ------
    UnwritableError
        When a value is to be kept that cannot be read.
    """
    new = {
        change.name: _build_item(change, [datum for item in items if item.key == change.name for datum in item.data])
        for change in changes
    }
    pieces: list[Piece] = []
    for item in items:
        if item.key in new:
            pieces.append(new[item.key])
            new[item.key] = b""
        else:
            pieces.append(item.place)
    return [*pieces, *new.values()]


def list_misread_items(items: Iterable[Item], changes: Sequence[FieldChange]) -> list[str]:
    """Give the names of fields that mutagen does not find as changes say.

    mutagen gets the items that changes are about, and not the boxes around them: it cannot read a file in which any
    other item is damaged, user data end in zeros, or a ``meta`` box is as in QuickTime files.

    Parameters
    ----------
    items
        What the file holds.
    changes
        What was to change.
    """
    names = {change.name for change in changes}
    body = b"".join(item.raw for item in items if item.key in names)
    meta = build_box(b"meta", bytes(VERSION_BYTES) + build_box(b"ilst", body))
    # mutagen has no types
    stored: Any = MP4(BytesIO(build_box(b"moov", build_box(b"udta", meta)))).tags  # type: ignore[no-untyped-call]
    misread = []
    for change in changes:
        found = [value for name, values in stored.items() if to_key(name) == change.name for value in values]
        texts = [value.decode(errors="replace") if isinstance(value, bytes) else value for value in found]
        if texts != list(change.new):
            misread.append(change.name)
    return misread


def _build_item(change: FieldChange, data: Iterable[Datum]) -> bytes:
    if any(datum.text is None and datum.shown in change.new for datum in data):
        message = f"its {change.field} cannot be read, and nothing taken from it"
        raise UnwritableError(message)
    if not change.new:
        return b""
    boxes = [build_datum(text) for text in change.new]
    if not change.name.startswith(FREEFORM):
        return build_box(change.name.encode("latin-1"), b"".join(boxes))
    _, mean, name = change.name.split(":")
    named = [build_box(kind, bytes(VERSION_BYTES) + text.encode()) for kind, text in ((b"mean", mean), (b"name", name))]
    return build_box(b"----", b"".join([*named, *boxes]))
