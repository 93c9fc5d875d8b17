"""The Header Object of an ASF file, byte for byte: its objects, the attributes in them, and its padding.

Source: Advanced Systems Format (ASF) specification, revision 01.20.05, sections 2.1, 3 and 4. Whatever lies behind the
header counts in packets, or in bytes from the first packet on (sections 3.7 and 6), so a header may grow.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from uuid import UUID

from tagcli.files import Piece, Span, measure_pieces
from tagcli.metadata.asf_attributes import (
    ATTRIBUTE_LISTS,
    CONTENT_DESCRIPTION,
    Attribute,
    parse_attributes,
    read_number,
    to_word,
)
from tagcli.metadata.fields import BrokenTagError

HEADER_BYTES = 30
"""Of the Header Object, before its objects."""
FRESH_PADDING_BYTES = 8192
"""Left free behind a header that had to grow, so that the next small change needs no moving of the audio."""

FILE_PROPERTIES = UUID("8cabdca1-a947-11cf-8ee4-00c00c205365").bytes_le
HEADER_EXTENSION = UUID("5fbf03b5-a92e-11cf-8ee3-00c00c205365").bytes_le
PADDING = UUID("1806d474-cadf-4509-a4ba-9aabcb96aae8").bytes_le
EXTENSION_HEAD = UUID("abd3d211-a9ba-11cf-8ee6-00c00c205365").bytes_le + b"\6\0"
"""What every Header Extension Object begins with."""

_GUID_BYTES = 16
_OBJECT_BYTES = _GUID_BYTES + 8
_FILE_SIZE = slice(16, 24)
_FLAGS = slice(64, 68)
_IS_BROADCAST = 1


@dataclass(frozen=True, kw_only=True)
class AsfObject:
    """An object of the header.

    Parameters
    ----------
    guid
        What it is.
    body
        What it holds; of a list of attributes what stands behind these, of a header extension its first fields.
    attributes
        Of a list of attributes.
    objects
        Of a header extension.
    place
        Where these very bytes lie in the file; None when they do not.
    """

    guid: bytes
    body: bytes = b""
    attributes: tuple[Attribute, ...] = ()
    objects: tuple["AsfObject", ...] = ()
    place: Span | None = field(default=None, compare=False)


def parse_header(data: bytes, start: int) -> tuple[AsfObject, ...]:
    """Take a Header Object apart.

    Parameters
    ----------
    data
        All its bytes.
    start
        Where it lies in the file.

    Returns
    -------
    tuple of AsfObject
        What it holds.

    Raises
    ------
    BrokenTagError
        When a size leads beyond the end of what is around it, or the objects are not as many as it says.
    """
    objects = _parse_objects(data, HEADER_BYTES, start)
    if len(objects) != int.from_bytes(data[24:28], "little"):
        message = "the number of objects in its header is wrong"
        raise BrokenTagError(message)
    return objects


def lay_out_header(first_bytes: bytes, objects: Iterable[AsfObject]) -> list[Piece]:
    """Put a Header Object together; the reverse of `parse_header`.

    Parameters
    ----------
    first_bytes
        Those of the old one before its objects.
    objects
        What it is to hold.

    Raises
    ------
    UnwritableError
        When a list of attributes would be longer than it can be.
    """
    objects = tuple(objects)
    body = [piece for part in objects for piece in _lay_out_object(part)]
    size = (HEADER_BYTES + measure_pieces(body)).to_bytes(8, "little")
    return [first_bytes[:_GUID_BYTES] + size + len(objects).to_bytes(4, "little") + first_bytes[28:], *body]


def pad_header(first_bytes: bytes, objects: tuple[AsfObject, ...], old_size: int) -> list[Piece]:
    """Put a Header Object together that is as large as it was; when that is not possible, make fresh room in it.

    The file size that it tells follows; a broadcast tells none (section 3.2).

    Parameters
    ----------
    first_bytes
        Those of the old one before its objects.
    objects
        What it is to hold; padding is left out.
    old_size
        What it was.

    Raises
    ------
    UnwritableError
        When a list of attributes would be longer than it can be.
    """
    kept = tuple(_without_padding(objects))
    size = measure_pieces(lay_out_header(first_bytes, kept))
    room = old_size - size
    if room != 0:
        n_bytes = room - _OBJECT_BYTES if room >= _OBJECT_BYTES else FRESH_PADDING_BYTES
        kept = (*kept, AsfObject(guid=PADDING, body=bytes(n_bytes)))
        n_more = size + _OBJECT_BYTES + n_bytes - old_size
        kept = tuple(_with_file_size(part, n_more) if n_more else part for part in kept)
    return lay_out_header(first_bytes, kept)


def walk_objects(objects: Iterable[AsfObject]) -> Iterator[AsfObject]:
    """Give all objects, those of a header extension behind it."""
    for part in objects:
        yield part
        yield from part.objects


def list_attributes(objects: tuple[AsfObject, ...]) -> list[Attribute]:
    """Give all attributes, those of the content descriptions first."""
    parts = tuple(walk_objects(objects))
    return [
        each for guid in ATTRIBUTE_LISTS for part in parts if part.guid == guid for each in part.attributes if each.raw
    ]


def mask_file_size(body: bytes) -> bytes:
    """Give the File Properties without the size of the file."""
    return body[: _FILE_SIZE.start] + body[_FILE_SIZE.stop :]


def _parse_objects(data: bytes, first: int, start: int, *, is_extension: bool = False) -> tuple[AsfObject, ...]:
    objects: list[AsfObject] = []
    position = first
    while position < len(data):
        guid, size = data[position : position + _GUID_BYTES], read_number(data, position + _GUID_BYTES, 8)
        if size < _OBJECT_BYTES or size > len(data) - position:
            message = "an object of its header is longer than the header"
            raise BrokenTagError(message)
        part = AsfObject(guid=guid, place=Span(start=start + position, end=start + position + size))
        body = data[position + _OBJECT_BYTES : position + size]
        objects.append(_with_body(part, body, start + position + _OBJECT_BYTES, is_extension=is_extension))
        position += size
    return tuple(objects)


def _with_body(part: AsfObject, body: bytes, start: int, *, is_extension: bool) -> AsfObject:
    if part.guid in ATTRIBUTE_LISTS:
        attributes, end = parse_attributes(body, part.guid, start)
        return replace(part, attributes=attributes, body=body[end:])
    if part.guid == HEADER_EXTENSION and not is_extension:
        n_head_bytes = len(EXTENSION_HEAD)
        if read_number(body, n_head_bytes, 4) != len(body) - n_head_bytes - 4:
            message = "the size of its header extension is wrong"
            raise BrokenTagError(message)
        objects = _parse_objects(body, n_head_bytes + 4, start, is_extension=True)
        return replace(part, body=body[:n_head_bytes], objects=objects)
    return replace(part, body=body)


def _lay_out_object(part: AsfObject) -> list[Piece]:
    if part.place is not None:
        return [part.place]
    body: list[Piece] = [part.body]
    if part.guid in ATTRIBUTE_LISTS:
        is_content = part.guid == CONTENT_DESCRIPTION
        numbers = [len(each.raw) for each in part.attributes] if is_content else [len(part.attributes)]
        body = [*map(to_word, numbers), *(each.place or each.raw for each in part.attributes), part.body]
    elif part.guid == HEADER_EXTENSION:
        inner = [piece for each in part.objects for piece in _lay_out_object(each)]
        body = [part.body + measure_pieces(inner).to_bytes(4, "little"), *inner]
    return [part.guid + (_OBJECT_BYTES + measure_pieces(body)).to_bytes(8, "little"), *body]


def _without_padding(objects: Iterable[AsfObject]) -> Iterator[AsfObject]:
    for part in objects:
        if any(each.guid == PADDING for each in part.objects):
            yield replace(part, objects=tuple(_without_padding(part.objects)), place=None)
        elif part.guid != PADDING:
            yield part


def _with_file_size(part: AsfObject, n_more: int) -> AsfObject:
    body = part.body
    if part.guid != FILE_PROPERTIES or len(body) < _FLAGS.stop or body[_FLAGS][0] & _IS_BROADCAST:
        return part
    size = int.from_bytes(body[_FILE_SIZE], "little") + n_more
    return replace(part, body=body[:16] + (size % (1 << 64)).to_bytes(8, "little") + body[24:], place=None)
