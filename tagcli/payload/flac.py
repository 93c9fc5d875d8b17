"""The audio of a FLAC file: STREAMINFO and the frames behind the last metadata block (RFC 9639, sections 7 to 9)."""

from typing import BinaryIO

from tagcli.files import Span, read_at

_MAGIC_BYTES = 4
_BLOCK_HEADER_BYTES = 4
_STREAMINFO_BYTES = 34
_LAST_BLOCK = 0x80
_FORBIDDEN_TYPE = 127  # its first byte would look like that of a frame
_FRAME_SYNC, _FRAME_SYNC_MASK = 0xFFF8, 0xFFFC
_MAX_BLOCKS = 10_000  # a file of zeros is a chain of empty blocks


def find_audio(file: BinaryIO, content: Span) -> tuple[Span, ...] | None:
    """Find the parts that are audio.

    Parameters
    ----------
    file
        The file.
    content
        Where its magic number and everything behind it lie.

    Returns
    -------
    tuple of Span or None
        The parts in order; None when the file does not parse.
    """
    position = content.start + _MAGIC_BYTES
    stream_info = Span(start=position + _BLOCK_HEADER_BYTES, end=position + _BLOCK_HEADER_BYTES + _STREAMINFO_BYTES)
    if read_at(file, position, _BLOCK_HEADER_BYTES)[1:] != _STREAMINFO_BYTES.to_bytes(3, "big"):
        return None
    for number in range(_MAX_BLOCKS):
        header = read_at(file, position, _BLOCK_HEADER_BYTES)
        if len(header) < _BLOCK_HEADER_BYTES:
            return None
        kind = header[0] & ~_LAST_BLOCK
        if kind == _FORBIDDEN_TYPE or (number == 0) != (kind == 0):
            return None
        position += _BLOCK_HEADER_BYTES + int.from_bytes(header[1:], "big")
        if position > content.end:
            return None
        if header[0] & _LAST_BLOCK:
            break
    else:
        return None
    # blocks that miscount their length are known; behind one of them no frame begins
    sync = int.from_bytes(read_at(file, position, 2), "big")
    if position < content.end and sync & _FRAME_SYNC_MASK != _FRAME_SYNC:
        return None
    return stream_info, Span(start=position, end=content.end)
