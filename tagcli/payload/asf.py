"""The audio of an ASF file (WMA): its Data Object (Advanced Systems Format specification, sections 2 and 5)."""

from typing import BinaryIO

from tagcli.files import Span, read_at

_GUID_BYTES = 16
_HEADER_BYTES = _GUID_BYTES + 8
_DATA_OBJECT = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_MAX_OBJECTS = 1000  # there are three or four


def find_audio(file: BinaryIO, content: Span) -> tuple[Span, ...] | None:
    """Find the part that is audio.

    Parameters
    ----------
    file
        The file.
    content
        Where its Header Object and everything behind it lie.

    Returns
    -------
    tuple of Span or None
        The part; None when the file does not parse.
    """
    position = content.start
    for _ in range(_MAX_OBJECTS):
        if position + _HEADER_BYTES > content.end:
            return None
        header = read_at(file, position, _HEADER_BYTES)
        size = int.from_bytes(header[_GUID_BYTES:], "little")
        if header.startswith(_DATA_OBJECT):
            # a size of zero is written by programs that stream
            end = min(position + size, content.end) if size else content.end
            start = position + _HEADER_BYTES
            return None if end < start else (Span(start=start, end=end),)
        if size < _HEADER_BYTES:
            return None
        position += size
    return None
