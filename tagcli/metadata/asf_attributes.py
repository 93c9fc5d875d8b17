"""The attributes in the header of an ASF file, byte for byte, and the four kinds of objects that list them.

Source: Advanced Systems Format (ASF) specification, revision 01.20.05, sections 3.10, 3.11, 4.7, 4.8 and 7.4.
"""

from dataclasses import dataclass, field
from uuid import UUID

from tagcli.files import Span
from tagcli.metadata.fields import BrokenTagError, UnwritableError

MOST_VALUE_BYTES = (1 << 16) - 1
"""Of a text in the content descriptions; a library takes longer ones."""
TEXT = 0
"""Type of an attribute that is UTF-16, little-endian."""

CONTENT_DESCRIPTION = UUID("75b22633-668e-11cf-a6d9-00aa0062ce6c").bytes_le
EXTENDED_DESCRIPTION = UUID("d2d0a440-e307-11d2-97f0-00a0c95ea850").bytes_le
METADATA = UUID("c5f8cbea-5baf-4877-8467-aa8c44fa4cca").bytes_le
LIBRARY = UUID("44231c94-9498-49d1-a141-1d134e457054").bytes_le
ATTRIBUTE_LISTS = (CONTENT_DESCRIPTION, EXTENDED_DESCRIPTION, METADATA, LIBRARY)
CONTENT_NAMES = ("Title", "Author", "Copyright", "Description", "Rating")
"""What a Content Description Object always holds; absent ones are empty."""


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """A named value.

    Parameters
    ----------
    name
        Its name.
    kind
        Type of its value, 0 for text.
    value
        Its value.
    is_common
        Whether it is about the file as a whole: of no stream and of no language but the first.
    raw
        All its bytes.
    place
        Where these very bytes lie in the file; None when they do not.
    """

    name: str
    kind: int
    value: bytes
    is_common: bool = True
    raw: bytes
    place: Span | None = field(default=None, compare=False)


def parse_attributes(body: bytes, guid: bytes, start: int) -> tuple[tuple[Attribute, ...], int]:
    """Read the attributes of a list.

    Parameters
    ----------
    body
        What an object of such a kind holds.
    guid
        The kind.
    start
        Where the body lies in the file.

    Returns
    -------
    tuple of tuple and int
        The attributes, those without content too, and where in the body the last one ends.

    Raises
    ------
    BrokenTagError
        When one is longer than the list.
    """
    attributes = []
    is_content = guid == CONTENT_DESCRIPTION
    position = 2 * len(CONTENT_NAMES) if is_content else 2
    for number in range(len(CONTENT_NAMES) if is_content else read_number(body, 0, 2)):
        first = position
        if is_content:
            is_common, kind, n_bytes = True, TEXT, read_number(body, 2 * number, 2)
            name_start = name_end = value_start = first
        elif guid == EXTENDED_DESCRIPTION:
            is_common, name_start = True, first + 2
            name_end = name_start + read_number(body, first, 2)
            kind, n_bytes = read_number(body, name_end, 2), read_number(body, name_end + 2, 2)
            value_start = name_end + 4
        else:
            is_common, name_start = read_number(body, first, 4) == 0, first + 12
            name_end = value_start = name_start + read_number(body, first + 4, 2)
            kind, n_bytes = read_number(body, first + 6, 2), read_number(body, first + 8, 4)
        position = value_start + n_bytes
        if position > len(body):
            message = "an attribute is longer than the list that holds it"
            raise BrokenTagError(message)
        name = body[name_start:name_end].decode("utf-16-le", errors="replace").rstrip("\0")
        attributes.append(
            Attribute(
                name=CONTENT_NAMES[number] if is_content else name,
                kind=kind,
                value=body[value_start:position],
                is_common=is_common,
                raw=body[first:position],
                place=Span(start=start + first, end=start + position),
            )
        )
    return tuple(attributes), position


def build_text(guid: bytes, name: str, text: str) -> Attribute:
    """Write an attribute that is a text.

    Parameters
    ----------
    guid
        What will hold it: any of the lists but `METADATA`.
    name, text
        What it says.
    """
    key, value = encode_text(name), encode_text(text)
    if guid == CONTENT_DESCRIPTION:
        raw = value
    elif guid == EXTENDED_DESCRIPTION:
        raw = to_word(len(key)) + key + to_word(TEXT) + to_word(len(value)) + value
    else:
        raw = bytes(4) + to_word(len(key)) + to_word(TEXT) + len(value).to_bytes(4, "little") + key + value
    return Attribute(name=name, kind=TEXT, value=value, raw=raw)


def encode_text(text: str) -> bytes:
    """Write a text as ASF has it, with a NUL behind it."""
    return text.encode("utf-16-le") + b"\0\0"


def read_number(data: bytes, position: int, size: int) -> int:
    """Read a number.

    Raises
    ------
    BrokenTagError
        When it lies behind the end.
    """
    if position + size > len(data):
        message = "its header ends in the middle of an object"
        raise BrokenTagError(message)
    return int.from_bytes(data[position : position + size], "little")


def to_word(number: int) -> bytes:
    """Write a number into two bytes.

    Raises
    ------
    UnwritableError
        When it is larger, as only the number of attributes can be.
    """
    if number > MOST_VALUE_BYTES:
        message = "it would have more than 65,535 attributes"
        raise UnwritableError(message)
    return number.to_bytes(2, "little")
