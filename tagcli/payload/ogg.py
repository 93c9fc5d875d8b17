"""The audio of an Ogg file: the packets of its streams without their comments (RFC 3533).

A comment that grows moves the packets behind it to other pages, and renumbers all further pages. So the pages' sequence
numbers and checksums do not count, nor where one page ends and the next begins. What counts is each stream for itself,
because a page of one may come to lie before or behind one of another.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader

from tagcli.files import Span, read_blocks
from tagcli.ogg import BEGINS_STREAM, ENDS_STREAM, MAX_BODY_BYTES, NO_PACKET_ENDS, Page, read_page

_SAY_NOTHING = (bytes(8), NO_PACKET_ENDS)
"""Granule positions of pages of headers, and of pages on which no packet ends."""
_MAX_STREAMS = 255  # side by side; one behind the other there may be more


@dataclass(frozen=True, kw_only=True)
class _Codec:
    """What tells the streams of a codec, and their comments.

    Parameters
    ----------
    magic
        How the first packet begins.
    comment
        How the second packet begins, which holds the comments.
    """

    magic: bytes
    comment: bytes


_CODECS = (
    _Codec(magic=b"\x01vorbis", comment=b"\x03vorbis"),  # Vorbis I specification, section 4.2.1
    _Codec(magic=b"OpusHead", comment=b"OpusTags"),  # RFC 7845, section 5
    _Codec(magic=b"Speex   ", comment=b""),  # The Speex Codec Manual, section 7: the packet has no magic number
    _Codec(magic=b"\x80theora", comment=b"\x81theora"),  # Theora specification, section 6.1
)
_FLAC_MAGIC = b"\x7fFLAC"  # RFC 9639, section 10.1: every metadata block behind the first is a packet of its own
_FLAC_BLOCK_TYPES = range(1, 7)


class _Stream:
    """One logical stream, hashed as its pages come."""

    def __init__(self) -> None:
        # Packets and their lengths by themselves: the lacing values of all pages, one behind the other, are the same
        # wherever a page ends (RFC 3533, section 5).
        self._packets = hashlib.sha256()
        self._lengths = hashlib.sha256()
        self._granules = hashlib.sha256()
        self._is_in_headers = True
        self._n_packets = 0
        self._is_inside = False
        self._is_counted = True
        self._codec: _Codec | None = None

    def take(self, page: Page, body: memoryview) -> None:
        """Hash a page and what it holds."""
        if self._is_in_headers:
            self._take_parts(page.lacing, body)
        else:
            self._packets.update(body)
            self._lengths.update(page.lacing)
        if page.granule not in _SAY_NOTHING:
            self._granules.update(bytes((page.flags & ENDS_STREAM,)) + page.granule)

    def digest(self) -> bytes:
        """Return the hashes of all that was taken."""
        return self._packets.digest() + self._lengths.digest() + self._granules.digest()

    def _take_parts(self, lacing: bytes, body: memoryview) -> None:
        """Hash the packets of a page, or their parts, that are no comments."""
        first = offset = n_bytes = 0
        for index, value in enumerate(lacing, 1):
            n_bytes += value
            if value == 255 and index < len(lacing):
                continue
            part = body[offset : offset + n_bytes]
            if not self._is_inside:
                self._is_counted = self._counts(bytes(part[:8]))
            if self._is_counted:
                self._packets.update(part)
                self._lengths.update(lacing[first:index])
            self._is_inside = value == 255
            if not self._is_inside:
                self._n_packets += 1
            first, offset, n_bytes = index, offset + n_bytes, 0

    def _counts(self, start: bytes) -> bool:
        """Tell from its first bytes whether a packet counts; see where the headers end."""
        if self._n_packets == 0:
            self._codec = next((codec for codec in _CODECS if start.startswith(codec.magic)), None)
            self._is_in_headers = self._codec is not None or start.startswith(_FLAC_MAGIC)
            return True
        if self._codec is None:
            self._is_in_headers = self._is_in_headers and bool(start) and start[0] & 0x7F in _FLAC_BLOCK_TYPES
            return not self._is_in_headers
        if self._n_packets > 1:
            self._is_in_headers = False
            return True
        return not start.startswith(self._codec.comment)


def digest_streams(file: BufferedReader, content: Span) -> Iterator[bytes | memoryview]:
    """Hash every stream of a file, page by page, in constant memory.

    Parameters
    ----------
    file
        The file.
    content
        Where its first page and everything behind it lie.

    Yields
    ------
    bytes or memoryview
        The hashes of the streams in order; then the bytes behind the last page, when something is no page.
    """
    streams: dict[bytes, _Stream] = {}
    is_beginning = True
    block = memoryview(bytearray(MAX_BODY_BYTES))
    position = content.start
    while len(streams) <= _MAX_STREAMS and (page := read_page(file, position, content.end)):
        begins_stream = bool(page.flags & BEGINS_STREAM)
        if begins_stream and (page.serial in streams or not is_beginning):  # streams chained behind the ones before
            yield _digest_side_by_side(streams)
            streams.clear()
        is_beginning = begins_stream
        body = page.body
        n_bytes = file.readinto(block[: min(body.end, content.end) - body.start])  # the last page may be cut off
        streams.setdefault(page.serial, _Stream()).take(page, block[:n_bytes])
        position = body.start + n_bytes
    if streams:
        yield _digest_side_by_side(streams)
    yield from read_blocks(file, Span(start=position, end=content.end))


def _digest_side_by_side(streams: dict[bytes, _Stream]) -> bytes:
    """Return the hashes of streams, and how many they are: others may follow in a chain."""
    return len(streams).to_bytes(2, "big") + b"".join(stream.digest() for stream in streams.values())
