"""An APEv2 tag, byte for byte: where it lies, and the items in it.

Source: "APEv2 specification", "APE Tags Header" and "APE Tag Item", Hydrogenaudio Knowledgebase.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO

from tagcli.files import Piece, Span, measure_pieces, read_at
from tagcli.metadata.fields import MOST_METADATA_BYTES, BrokenTagError, UnknownVersionError
from tagcli.outer_tags import APE_FOOTER_BYTES, find_content_of, find_end_tags_of

KIND_MASK = 0b110
"""Bits of an item's flags: 0 for UTF-8; the others are binary, or the address of something elsewhere."""
_MAGIC = b"APETAGEX"
_VERSION = 2000
_HAS_HEADER, _IS_HEADER = 1 << 31, 1 << 29
_ITEM_BYTES = 8
"""Of an item, before its key."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item of a tag.

    Parameters
    ----------
    key
        Its name, in the file's own case.
    flags
        What kind of value it has, and whether that is meant for reading only.
    value
        Its value.
    place
        Where all its bytes lie in the file; None when they do not.
    """

    key: bytes
    flags: int
    value: bytes
    place: Span | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The key in small letters, as case does not matter."""
        return self.key.decode("latin-1").lower()

    @property
    def texts(self) -> tuple[str, ...] | None:
        """Its texts; None when it holds none."""
        try:
            return tuple(self.value.decode().split("\0")) if not self.flags & KIND_MASK else None
        except UnicodeDecodeError:
            return None

    @property
    def raw(self) -> bytes:
        """All its bytes."""
        return struct.pack("<LL", len(self.value), self.flags) + self.key + b"\0" + self.value


@dataclass(frozen=True, kw_only=True)
class ApeTag:
    """A tag, or the lack of one.

    Parameters
    ----------
    place
        Where it lies in the file; where a new one would, when it is empty.
    header, footer
        What stands before and behind the items.
    items
        In their order.
    is_alone
        Whether no other APE tag stands before it.
    """

    place: Span
    header: bytes
    footer: bytes
    items: tuple[Item, ...] = ()
    is_alone: bool = True


def read_tag(file: BinaryIO, size: int) -> ApeTag:
    """Read the last APEv2 tag of a file.

    Parameters
    ----------
    file
        The file.
    size
        Its size in bytes.

    Returns
    -------
    ApeTag
        The tag; without items when there is none.

    Raises
    ------
    BrokenTagError
        When it cannot be walked to its end.
    UnknownVersionError
        When it is of another version.
    """
    content = find_content_of(file, size)
    tags = [tag for tag in find_end_tags_of(file, content.start, size) if _read_footer(file, tag.end)]
    if _read_footer(file, content.end):
        message = "the footer of its APE tag is wrong"
        raise BrokenTagError(message)
    if not tags:
        return make_tag(content.end)
    place = tags[0]
    footer = _read_footer(file, place.end)
    version, _, n_items, flags = struct.unpack("<LLLL", footer[8:24])
    if version != _VERSION:
        name = f"APEv{version // 1000}"
        raise UnknownVersionError(name)
    if place.end - place.start > MOST_METADATA_BYTES:
        message = "its APE tag is too large"
        raise BrokenTagError(message)
    header = read_at(file, place.start, APE_FOOTER_BYTES) if flags & _HAS_HEADER else b""
    if header and not header.startswith(_MAGIC):
        message = "its APE tag does not begin with its header"
        raise BrokenTagError(message)
    start = place.start + len(header)
    items = _parse_items(read_at(file, start, place.end - APE_FOOTER_BYTES - start), n_items, start)
    return ApeTag(place=place, header=header, footer=footer, items=items, is_alone=len(tags) == 1)


def _read_footer(file: BinaryIO, end: int) -> bytes:
    """Read the footer of an APE tag; nothing when there is none."""
    footer = read_at(file, max(0, end - APE_FOOTER_BYTES), APE_FOOTER_BYTES)
    return footer if footer.startswith(_MAGIC) else b""


def make_tag(position: int) -> ApeTag:
    """Make a tag without items, to be put somewhere in a file."""
    edge = _MAGIC + struct.pack("<LLL", _VERSION, 0, 0)
    return ApeTag(
        place=Span(start=position, end=position),
        header=edge + struct.pack("<L8x", _HAS_HEADER | _IS_HEADER),
        footer=edge + struct.pack("<L8x", _HAS_HEADER),
    )


def _parse_items(data: bytes, n_items: int, start: int) -> tuple[Item, ...]:
    items = []
    position = 0
    for _ in range(n_items):
        key_start = position + _ITEM_BYTES
        key_end = data.find(b"\0", key_start)
        n_bytes, flags = struct.unpack("<LL", data[position:key_start]) if key_end > 0 else (0, 0)
        end = key_end + 1 + n_bytes
        if key_end < 0 or end > len(data):
            message = "an item of its APE tag is longer than the tag"
            raise BrokenTagError(message)
        place = Span(start=start + position, end=start + end)
        items.append(Item(key=data[key_start:key_end], flags=flags, value=data[key_end + 1 : end], place=place))
        position = end
    if position < len(data):
        message = "its APE tag holds more than its items"
        raise BrokenTagError(message)
    return tuple(items)


def lay_out_tag(tag: ApeTag, items: Iterable[Item]) -> list[Piece]:
    """Put a tag together; without items there is none, unless that would bring another one to light."""
    items = tuple(items)
    if not items and tag.is_alone:
        return []
    body: list[Piece] = [item.place or item.raw for item in items]
    numbers = struct.pack("<LL", measure_pieces(body) + APE_FOOTER_BYTES, len(items))
    header, footer = (edge and edge[:12] + numbers + edge[20:] for edge in (tag.header, tag.footer))
    return [header, *body, footer]
