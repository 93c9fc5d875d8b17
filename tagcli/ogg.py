"""Ogg pages: read, built, numbered anew (RFC 3533, section 6)."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader

from tagcli.files import Span, read_at

CAPTURE_PATTERN = b"OggS"
HEADER_BYTES = 27
"""Of a page, without its lacing values."""
MAX_SEGMENTS = 255
"""How many lacing values a page has room for."""
MAX_BODY_BYTES = MAX_SEGMENTS * 255
CONTINUES, BEGINS_STREAM, ENDS_STREAM = 0x01, 0x02, 0x04
NO_PACKET_ENDS = b"\xff" * 8
"""Granule position of a page on which no packet ends."""

_START = CAPTURE_PATTERN + b"\0"  # the version behind it is always zero
_GRANULE, _SERIAL, _SEQUENCE, _CHECKSUM = slice(6, 14), slice(14, 18), slice(18, 22), slice(22, 26)
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Every byte with its bits in reverse order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A page.

    Parameters
    ----------
    start
        Offset of its first byte in the file.
    header
        All before the lacing values.
    lacing
        The lacing values: sizes of segments, of which each below 255 ends a packet.
    """

    start: int
    header: bytes
    lacing: bytes

    @property
    def flags(self) -> int:
        """`CONTINUES`, `BEGINS_STREAM`, `ENDS_STREAM`."""
        return self.header[5]

    @property
    def granule(self) -> bytes:
        """The granule position."""
        return self.header[_GRANULE]

    @property
    def serial(self) -> bytes:
        """What tells its stream from those beside it."""
        return self.header[_SERIAL]

    @property
    def sequence(self) -> int:
        """Its number within the stream."""
        return int.from_bytes(self.header[_SEQUENCE], "little")

    @property
    def body(self) -> Span:
        """Where the segments lie; behind the end of a file that was cut off within."""
        start = self.start + HEADER_BYTES + len(self.lacing)
        return Span(start=start, end=start + sum(self.lacing))

    @property
    def number(self) -> Span:
        """Where the sequence number and the checksum lie."""
        return Span(start=self.start + _SEQUENCE.start, end=self.start + _CHECKSUM.stop)


def read_page(file: BufferedReader, position: int, end: int) -> Page | None:
    """Read the header of a page; the file then stands where its segments begin.

    Of a file that was cut off within the lacing values, those that are there count.

    Parameters
    ----------
    file
        The file.
    position
        Where the page begins.
    end
        Where the last page ends.

    Returns
    -------
    Page or None
        The page; None when there is none.
    """
    if end - position < HEADER_BYTES:
        return None
    header = read_at(file, position, HEADER_BYTES)
    if len(header) < HEADER_BYTES or not header.startswith(_START):
        return None
    lacing = file.read(header[-1])
    return None if position + HEADER_BYTES + len(lacing) > end else Page(start=position, header=header, lacing=lacing)


def walk_pages(file: BufferedReader, position: int, end: int) -> Iterator[Page]:
    """Walk over pages to the first place where there is none, in constant memory.

    Parameters
    ----------
    file
        The file; it may be read elsewhere meanwhile.
    position
        Where the first page begins.
    end
        Where the last one ends.

    Yields
    ------
    Page
        The next page.
    """
    while page := read_page(file, position, end):
        yield page
        position = page.body.end


def build_page(body: bytes, *, lacing: bytes, flags: int, granule: bytes, serial: bytes, sequence: int) -> bytes:
    """Build a page.

    Parameters
    ----------
    body
        Its segments.
    lacing
        Their sizes, at most `MAX_SEGMENTS`.
    flags, granule, serial, sequence
        As in `Page`; of the sequence number only the lowest 32 bits count.

    Returns
    -------
    bytes
        The page, with its checksum.
    """
    number = (sequence & 0xFFFFFFFF).to_bytes(4, "little")
    front = _START + bytes([flags]) + granule + serial + number
    behind = bytes([len(lacing)]) + lacing + body
    return front + _compute_checksum(front + bytes(4) + behind) + behind


def has_right_checksum(page: Page, body: bytes) -> bool:
    """Tell whether the checksum of a page is that of its header and segments."""
    front, behind = page.header[: _CHECKSUM.start], page.header[_CHECKSUM.stop :]
    return _compute_checksum(front + bytes(4) + behind + page.lacing + body) == page.header[_CHECKSUM]


def shift_number(page: Page, shift: int) -> bytes:
    """Give a page another number, without a look at its segments.

    The checksum is linear: it changes by the checksum of what changes, with zeros for all that stays. That of a damaged
    page stays as wrong as it was.

    Parameters
    ----------
    page
        The page.
    shift
        How much is added to its number; may be negative.

    Returns
    -------
    bytes
        The new number and checksum, which belong at `Page.number`.
    """
    number = ((page.sequence + shift) & 0xFFFFFFFF).to_bytes(4, "little")
    change = _xor(number, page.header[_SEQUENCE])
    n_behind = page.body.end - page.number.start - len(change)
    return number + _xor(page.header[_CHECKSUM], _compute_checksum(change + bytes(n_behind)))


def lace(n_bytes: int) -> bytes:
    """Give the lacing values of a packet."""
    return b"\xff" * (n_bytes // 255) + bytes([n_bytes % 255])


def _compute_checksum(data: bytes) -> bytes:
    """Compute a checksum as it is stored: polynomial 0x04c11db7, from zero on, most significant bit first.

    zlib has the same polynomial, but takes the least significant bit first and inverts before and after.
    """
    mirrored = zlib.crc32(data.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return mirrored.to_bytes(4, "big").translate(_MIRRORED)


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
