"""The packets of comments of an Ogg stream, and the pages on which they lie (RFC 3533, sections 5 and 6).

Readers skip a page whose checksum is wrong, and take a gap in the numbers of pages for a loss. So both are damage.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader

from tagcli.files import Span, read_at
from tagcli.metadata.fields import MOST_METADATA_BYTES, BrokenTagError, UnwritableError
from tagcli.ogg import (
    BEGINS_STREAM,
    CONTINUES,
    ENDS_STREAM,
    MAX_SEGMENTS,
    Page,
    has_right_checksum,
    lace,
    walk_pages,
)

_SKELETON = b"fishead\0"
_FIRST_INDEXED_VERSION = 4  # Ogg Skeleton 4.0: keeps positions and the size in bytes


@dataclass(frozen=True, kw_only=True)
class HeaderPackets:
    """Packets behind the first one of a stream, and the pages that hold them.

    Parameters
    ----------
    packets
        The packets; the first one begins the first page.
    pages
        The pages, in order; between them there may be pages of other streams.
    n_segments
        How many lacing values of the packets each page holds.
    rest
        What else is on the last page, behind the packets.
    is_indexed
        Whether the file keeps a list of positions within it.
    """

    packets: tuple[bytes, ...]
    pages: tuple[Page, ...]
    n_segments: tuple[int, ...]
    rest: bytes
    is_indexed: bool


def find_stream(file: BufferedReader, content: Span, magics: tuple[bytes, ...]) -> tuple[Page, bytes]:
    """Find the first stream of a file whose first packet begins in one of several ways.

    Of chained streams, only those at the start of the file are looked at.

    Parameters
    ----------
    file
        The file.
    content
        Where its pages lie.
    magics
        The beginnings.

    Returns
    -------
    tuple of Page and bytes
        The first page of the stream, and the packet on it.

    Raises
    ------
    BrokenTagError
        When its first page is damaged.
    UnwritableError
        When there is none.
    """
    for page in walk_pages(file, content.start, content.end):
        if not page.flags & BEGINS_STREAM:
            break
        packet = read_at(file, page.body.start, sum(page.lacing))
        if packet.startswith(magics):
            _check(page, packet, content)
            if page.lacing != lace(len(packet)):
                message = "its first page holds more or less than one packet"
                raise BrokenTagError(message)
            return page, packet
    message = "no stream at its start is Vorbis, Opus, Speex or FLAC"
    raise UnwritableError(message)


def read_packets(
    file: BufferedReader, content: Span, first: Page, are_all: Callable[[list[bytes]], bool]
) -> HeaderPackets:
    """Read the packets that follow the first one of a stream.

    Parameters
    ----------
    file
        The file.
    content
        Where its pages lie.
    first
        The first page of the stream, with its first packet only.
    are_all
        Whether packets are all that is to be read.

    Raises
    ------
    BrokenTagError
        When a page is missing or damaged, or the stream ends before the packets do.
    """
    packets: list[bytes] = []
    pages: list[Page] = []
    n_segments: list[int] = []
    begun, n_bytes = bytearray(), 0  # of the packet that the page before did not end
    is_begun = False
    for page in walk_pages(file, first.body.end, content.end):
        if page.serial != first.serial:
            continue
        body = read_at(file, page.body.start, sum(page.lacing))
        _check(page, body, content)
        n_bytes += len(body)
        pages.append(page)
        if page.flags & BEGINS_STREAM:
            break
        if (page.sequence - first.sequence - len(pages)) & 0xFFFFFFFF or not page.lacing:
            message = "a page of its headers is missing"
            raise BrokenTagError(message)
        if bool(page.flags & CONTINUES) != is_begun:
            message = "a page of its headers does not go on where the one before ends"
            raise BrokenTagError(message)
        if n_bytes > MOST_METADATA_BYTES:
            message = "its headers are too large"
            raise BrokenTagError(message)
        position = 0
        for index, value in enumerate(page.lacing, 1):
            begun += body[position : position + value]
            position += value
            is_begun = value == MAX_SEGMENTS
            if is_begun:
                continue
            packets.append(bytes(begun))
            begun.clear()
            if are_all(packets):
                return HeaderPackets(
                    packets=tuple(packets),
                    pages=tuple(pages),
                    n_segments=(*n_segments, index),
                    rest=body[position:],
                    is_indexed=_is_indexed(file, content),
                )
        n_segments.append(len(page.lacing))
        if page.flags & ENDS_STREAM:
            break
    message = "its headers end too early"
    raise BrokenTagError(message)


def list_foreign_parts(file: BufferedReader, content: Span, headers: HeaderPackets) -> Iterator[Span]:
    """Find the pages that a change of comments leaves as they are: those of other streams, side by side or chained.

    Parameters
    ----------
    file
        The file; it may be read elsewhere meanwhile.
    content
        Where its pages lie.
    headers
        Those of the stream whose comments may change; its first page is not looked at.

    Yields
    ------
    Span
        A page; behind a page that begins a stream of the same name in a chain, all that is left.
    """
    serial = headers.pages[0].serial
    for page in walk_pages(file, headers.pages[0].start, content.end):
        if page.serial != serial:
            yield Span(start=page.start, end=min(page.body.end, content.end))
        elif page.flags & BEGINS_STREAM:
            yield Span(start=page.start, end=content.end)
            return


def _check(page: Page, body: bytes, content: Span) -> None:
    if page.body.end > content.end:
        message = "a page of its headers ends behind the file"
        raise BrokenTagError(message)
    if not has_right_checksum(page, body):
        message = "a page of its headers has a wrong checksum"
        raise BrokenTagError(message)


def _is_indexed(file: BufferedReader, content: Span) -> bool:
    first = next(walk_pages(file, content.start, content.end))  # a Skeleton stream begins before all others
    packet = read_at(file, first.body.start, len(_SKELETON) + 2)
    return packet.startswith(_SKELETON) and int.from_bytes(packet[-2:], "little") >= _FIRST_INDEXED_VERSION
