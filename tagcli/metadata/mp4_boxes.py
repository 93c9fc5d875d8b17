"""The boxes of an MP4 file that must all be as they say, new ones, and what replaces a part of the file.

Sources: ISO/IEC 14496-12, sections 4.2, 8.1.2 and 8.11; QuickTime File Format Specification, "User Data Atoms" and
"Metadata".
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from tagcli.boxes import HEADER_BYTES, MAX_BOXES, Box, read_box, walk_boxes
from tagcli.files import Piece, Span, read_at
from tagcli.metadata.fields import BrokenTagError, UnwritableError

VERSION_BYTES = 4
"""One byte of version and three of flags, before what a full box holds."""
_LONGEST_SHORT_BOX = (1 << 32) - 1
_END_OF_USER_DATA = bytes(4)


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What replaces a part of a file.

    Parameters
    ----------
    place
        The part; empty where something is put in.
    pieces
        What stands there then.
    """

    place: Span
    pieces: tuple[Piece, ...] = ()


def splice(edits: Iterable[Edit], size: int) -> list[Piece]:
    """Put a file together after edits that do not overlap; those of one place in the order given.

    Parameters
    ----------
    edits
        In any order.
    size
        Of the file, in bytes.
    """
    pieces: list[Piece] = []
    position = 0
    for edit in sorted(edits, key=lambda edit: edit.place.start):
        pieces += [Span(start=position, end=edit.place.start), *edit.pieces]
        position = edit.place.end
    return [*pieces, Span(start=position, end=size)]


def list_boxes(file: BinaryIO, content: Span) -> list[Box]:
    """List the boxes of the file itself.

    Parameters
    ----------
    file
        The file.
    content
        Where they lie.

    Raises
    ------
    BrokenTagError
        When something is no box, or the last one ends behind the file.
    """
    try:
        boxes = list(walk_boxes(file, content))
    except ValueError as error:
        raise BrokenTagError(str(error)) from error
    if boxes and boxes[-1].end > content.end:
        raise _broken(boxes[-1], "ends behind the file")
    return boxes


def find_inside(file: BinaryIO, box: Box) -> Span:
    """Find where the boxes in a box lie.

    Parameters
    ----------
    file
        The file.
    box
        A box that holds nothing but boxes. A ``meta`` box has a version before them, but not in QuickTime files: there
        the box of the handler comes at once.
    """
    start = box.body_start
    if box.kind == b"meta" and read_at(file, start, HEADER_BYTES)[4:] != b"hdlr":
        start += VERSION_BYTES
    if start > box.end:
        raise _broken(box, "is too short")
    return Span(start=start, end=box.end)


def list_children(file: BinaryIO, box: Box) -> list[Box]:
    """List the boxes in a box.

    Parameters
    ----------
    file
        The file.
    box
        A box that holds nothing but boxes; user data may end in four zeros.

    Raises
    ------
    BrokenTagError
        When something is no box, or one ends behind the one that holds it.
    """
    return list(_walk_children(file, box))


def build_box(kind: bytes, body: bytes) -> bytes:
    """Put a box together."""
    return build_header(kind, len(body)) + body


def build_header(kind: bytes, n_bytes: int) -> bytes:
    """Make the header of a box that holds so many bytes."""
    size = HEADER_BYTES + n_bytes
    if size <= _LONGEST_SHORT_BOX:
        return size.to_bytes(4, "big") + kind
    return (1).to_bytes(4, "big") + kind + (size + 8).to_bytes(8, "big")


def resize_box(box: Box, growth: int) -> list[Edit]:
    """Make a box say that it has grown; one that goes on to the end of the file need not.

    Raises
    ------
    UnwritableError
        When there is no room for a size so large.
    """
    n_bytes = box.size_field.end - box.size_field.start
    if not growth or not n_bytes:
        return []
    size = box.end - box.start + growth
    if size >> 8 * n_bytes:
        message = f"the box {_name(box)} would be too large"
        raise UnwritableError(message)
    return [Edit(place=box.size_field, pieces=(size.to_bytes(n_bytes, "big"),))]


def _walk_children(file: BinaryIO, box: Box) -> Iterator[Box]:
    inside = find_inside(file, box)
    position = inside.start
    for _ in range(MAX_BOXES):
        left = inside.end - position
        is_at_end = box.kind == b"udta" and left == len(_END_OF_USER_DATA)
        if not left or (is_at_end and read_at(file, position, left) == _END_OF_USER_DATA):
            return
        try:
            child = read_box(file, Span(start=position, end=inside.end))
        except ValueError as error:
            raise BrokenTagError(str(error)) from error
        if child.end > inside.end or child.size_field.end == child.size_field.start:
            raise _broken(child, "ends behind the one that holds it")
        yield child
        position = child.end
    raise _broken(box, "holds too many boxes")


def _broken(box: Box, what: str) -> BrokenTagError:
    return BrokenTagError(f"the box {_name(box)} {what}")


def _name(box: Box) -> str:
    return repr(box.kind.decode("latin-1"))
