"""The items of an MP4 file's ``ilst`` box, taken apart.

Sources: iTunes Metadata Format Specification; QuickTime File Format Specification, "Metadata" (well-known types).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from tagcli.boxes import Box, walk_boxes
from tagcli.files import Span, read_at
from tagcli.metadata.fields import MOST_METADATA_BYTES, BrokenTagError, StoredField
from tagcli.metadata.frames import name_genres
from tagcli.metadata.mp4_boxes import VERSION_BYTES, build_box, list_children

FREEFORM = "----:com.apple.iTunes:"
"""Before the name of an item that everybody may name."""
GENRE = "©gen"
_NUMBERED_GENRE = "gnre"
UTF8 = 1
_IMPLICIT, _UTF16, _INTEGER = 0, 2, 21
_PICTURES = {12: "image/gif", 13: "image/jpeg", 14: "image/png", 27: "image/bmp"}
_PAIRS = ("trkn", "disk")
_TYPE_BYTES = 4
_LOCALE_BYTES = 4
_LONGEST_SHOWN_BYTES = 2000


@dataclass(frozen=True, kw_only=True)
class Datum:
    """One value of an item.

    Parameters
    ----------
    raw
        Its box.
    kind
        Type of what it holds; None when it is no box of data.
    content
        What it holds.
    text
        The same as text; None when it is none, or not as it should be.
    """

    raw: bytes
    kind: int | None
    content: bytes
    text: str | None

    @property
    def shown(self) -> str:
        """The text, or a description."""
        return f"<{len(self.content)} bytes>" if self.text is None else self.text


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item.

    Parameters
    ----------
    name
        Such as ``©nam`` or ``----:com.apple.iTunes:MOOD``.
    key
        Under which tagcli looks for it: the name of a free one in capitals, ``©gen`` for a numbered genre.
    data
        Its values.
    raw
        Its box.
    place
        Where that lies in the file.
    """

    name: str
    key: str
    data: tuple[Datum, ...]
    raw: bytes
    place: Span


def read_items(file: BinaryIO, box: Box) -> tuple[Item, ...]:
    """Read all items.

    Parameters
    ----------
    file
        The file.
    box
        The ``ilst`` box.

    Raises
    ------
    BrokenTagError
        When an item ends behind the box, or they are too large.
    """
    if box.end - box.start > MOST_METADATA_BYTES:
        message = "its metadata are too large"
        raise BrokenTagError(message)
    return tuple(_read_item(file, child) for child in list_children(file, box))


def to_key(name: str) -> str:
    """Give the name of an item as tagcli looks for it: the case of a free one does not matter."""
    is_free = name.startswith(FREEFORM) and name.isascii()
    return FREEFORM + name.removeprefix(FREEFORM).upper() if is_free else name


def build_datum(text: str) -> bytes:
    """Make the box of a text."""
    return build_box(b"data", UTF8.to_bytes(_TYPE_BYTES, "big") + bytes(_LOCALE_BYTES) + text.encode())


def describe_items(items: Iterable[Item]) -> tuple[StoredField, ...]:
    """Make all items readable, in their order.

    Parameters
    ----------
    items
        What the file holds.
    """
    return tuple(
        StoredField(field=item.name, values=tuple(_describe(item, datum) for datum in item.data)) for item in items
    )


def _read_item(file: BinaryIO, box: Box) -> Item:
    raw = read_at(file, box.start, box.end - box.start)
    body = raw[box.body_start - box.start :]
    name = box.kind.decode("latin-1")
    boxes = _split_boxes(body)
    kinds = [kind for kind, _, _ in boxes]
    if name == "----" and kinds[:2] == [b"mean", b"name"]:
        mean, free_name = (content[VERSION_BYTES:].decode(errors="replace") for _, _, content in boxes[:2])
        name = f"----:{mean}:{free_name}"
        boxes = boxes[2:]
    key = to_key(name)
    data = tuple(_read_datum(name, part, raw_part, content) for part, raw_part, content in boxes)
    if name == _NUMBERED_GENRE and data and all(datum.text is not None for datum in data):
        key = GENRE
    return Item(name=name, key=key, data=data, raw=raw, place=Span(start=box.start, end=box.end))


def _split_boxes(body: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Split the body of an item into boxes: kind, all of it, what it holds; one of no kind when there are none."""
    try:
        boxes = list(walk_boxes(BytesIO(body), Span(start=0, end=len(body))))
    except ValueError:
        return [(b"", body, body)]
    if boxes and boxes[-1].end > len(body):
        return [(b"", body, body)]
    return [(box.kind, body[box.start : box.end], body[box.body_start : box.end]) for box in boxes]


def _read_datum(name: str, part: bytes, raw: bytes, content: bytes) -> Datum:
    start = _TYPE_BYTES + _LOCALE_BYTES
    if part != b"data" or len(content) < start:
        return Datum(raw=raw, kind=None, content=content, text=None)
    kind, value = int.from_bytes(content[:_TYPE_BYTES], "big"), content[start:]
    return Datum(raw=raw, kind=kind, content=value, text=_decode(name, kind, value))


def _decode(name: str, kind: int, value: bytes) -> str | None:
    if name == _NUMBERED_GENRE:
        return _name_genre(value)
    is_text = kind == UTF8 or (kind == _IMPLICIT and name.startswith("©"))
    try:
        return value.decode() if is_text else value.decode("utf-16-be") if kind == _UTF16 else None
    except UnicodeDecodeError:
        return None


def _name_genre(value: bytes) -> str | None:
    """Give the genre of ID3v1 with a number that counts from one; None when there is none."""
    number = str(int.from_bytes(value, "big") - 1)
    genres = name_genres(number)
    return genres[0] if len(value) == 2 and genres != (number,) else None


def _describe(item: Item, datum: Datum) -> str:
    if datum.text is not None and len(datum.content) <= _LONGEST_SHOWN_BYTES:
        return datum.text
    if datum.kind == _INTEGER and datum.content:
        return str(int.from_bytes(datum.content, "big", signed=True))
    if datum.kind == _IMPLICIT and item.name in _PAIRS and len(datum.content) >= 6:
        number, total = (int.from_bytes(datum.content[start : start + 2], "big") for start in (2, 4))
        return f"{number}/{total}" if total else str(number)
    picture = _PICTURES.get(datum.kind or 0)
    return f"<{picture}, {len(datum.content)} bytes>" if picture else f"<{len(datum.content)} bytes>"
