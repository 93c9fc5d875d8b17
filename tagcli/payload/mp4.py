"""The audio of an MP4 file: its media data boxes (ISO/IEC 14496-12, sections 4.2 and 8.1.1)."""

from collections.abc import Iterator
from typing import BinaryIO

from tagcli.files import Span, read_at

_HEADER_BYTES = 8
_LONG_HEADER_BYTES = 16
_MAX_BOXES = 1 << 18  # so many empty ones are walked over in a second or so; a day in fragments of a second has fewer


def find_audio(file: BinaryIO, content: Span) -> Iterator[Span] | None:
    """Find the parts that are audio.

    Parameters
    ----------
    file
        The file.
    content
        Where its first box and everything behind it lie.

    Returns
    -------
    iterator of Span or None
        The parts in order; None when the file does not parse, or lacks the media data or the box that describes them.
    """
    try:
        kinds = {kind for kind, _ in _walk(file, content) if kind in (b"mdat", b"moov")}
    except ValueError:
        return None
    if len(kinds) < 2:
        return None
    return (body for kind, body in _walk(file, content) if kind == b"mdat")  # fragments are many: no list of them


def _walk(file: BinaryIO, content: Span) -> Iterator[tuple[bytes, Span]]:
    """Walk over the boxes of the file itself, their kinds and bodies.

    The last one may end before it says: a file that was cut off counts as far as it goes.

    Raises
    ------
    ValueError
        When something is no box, or there are too many. A box too short may have more audio behind it, which would be
        played all the same: the description tells where it lies.
    """
    position = content.start
    for _ in range(_MAX_BOXES):
        if position == content.end:
            return
        header = read_at(file, position, min(_LONG_HEADER_BYTES, content.end - position))
        size, kind, header_bytes = int.from_bytes(header[:4], "big"), header[4:_HEADER_BYTES], _HEADER_BYTES
        if size == 1:
            size, header_bytes = int.from_bytes(header[_HEADER_BYTES:], "big"), _LONG_HEADER_BYTES
        elif size == 0:
            size = content.end - position
        if len(header) < header_bytes or size < header_bytes:
            raise ValueError(position)
        end = min(position + size, content.end)
        yield kind, Span(start=position + header_bytes, end=end)
        position = end
    raise ValueError(position)
