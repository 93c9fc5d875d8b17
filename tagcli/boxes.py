"""The boxes that MP4 and QuickTime files are made of: their kinds, and where they lie.

Sources: ISO/IEC 14496-12, section 4.2; QuickTime File Format Specification, "Atoms".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from tagcli.files import Span, read_at

HEADER_BYTES = 8
MAX_BOXES = 1 << 18
"""Side by side. So many empty ones are walked over in a second or so; a day in fragments of a second has fewer."""
_LONG_HEADER_BYTES = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """One box.

    Parameters
    ----------
    kind
        Its four letters.
    size_field
        Where its size is written; empty when it says that it goes on to the end.
    start, body_start, end
        Where it begins, where its header ends, and where it ends: as it says itself, even where nothing is any more.
    """

    kind: bytes
    size_field: Span
    start: int
    body_start: int
    end: int


def read_box(file: BinaryIO, span: Span) -> Box:
    """Read the header of the box at the start of a part of a file.

    Parameters
    ----------
    file
        The file.
    span
        From the box on, as far as the one goes that holds it.

    Raises
    ------
    ValueError
        When something is no box.
    """
    start, n_bytes = span.start, span.end - span.start
    header = read_at(file, start, min(_LONG_HEADER_BYTES, n_bytes))
    size, header_bytes = int.from_bytes(header[:4], "big"), HEADER_BYTES
    size_field = Span(start=start, end=start + 4)
    if size == 1:
        size, header_bytes = int.from_bytes(header[HEADER_BYTES:], "big"), _LONG_HEADER_BYTES
        size_field = Span(start=start + HEADER_BYTES, end=start + _LONG_HEADER_BYTES)
    elif size == 0:
        size, size_field = n_bytes, Span(start=start, end=start)
    if len(header) < header_bytes or size < header_bytes:
        message = "a box is smaller than its header"
        raise ValueError(message)
    body_start = start + header_bytes
    return Box(kind=header[4:8], size_field=size_field, start=start, body_start=body_start, end=start + size)


def walk_boxes(file: BinaryIO, span: Span) -> Iterator[Box]:
    """Walk over the boxes that fill a part of a file.

    Parameters
    ----------
    file
        The file.
    span
        The part. The last box may end behind it: of a file that was cut off.

    Yields
    ------
    Box
        The boxes in their order.

    Raises
    ------
    ValueError
        When something is no box, or there are too many.
    """
    position = span.start
    for _ in range(MAX_BOXES):
        if position >= span.end:
            return
        box = read_box(file, Span(start=position, end=span.end))
        yield box
        position = box.end
    message = "it has too many boxes"
    raise ValueError(message)
