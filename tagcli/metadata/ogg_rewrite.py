"""New pages in the place of those that hold the comments of an Ogg stream (RFC 3533, sections 5 and 6)."""

from io import BufferedReader

from tagcli.files import Piece, Span, measure_pieces, read_blocks
from tagcli.metadata.fields import UnwritableError
from tagcli.metadata.ogg_headers import HeaderPackets
from tagcli.ogg import (
    BEGINS_STREAM,
    CAPTURE_PATTERN,
    CONTINUES,
    ENDS_STREAM,
    HEADER_BYTES,
    MAX_SEGMENTS,
    NO_PACKET_ENDS,
    build_page,
    lace,
    shift_number,
    walk_pages,
)


def replace_packets(
    file: BufferedReader, content: Span, old: HeaderPackets, packets: tuple[bytes, ...], size: int
) -> list[Piece]:
    """Put a file together in which packets have taken the place of others.

    There are as many pages as before wherever possible. Otherwise all further pages of the stream are numbered anew, up
    to one that begins a stream of the same name in a chain.

    Parameters
    ----------
    file
        The file.
    content
        Where its pages lie.
    old
        The packets that go, as `read_packets` gave them.
    packets
        Those that come.
    size
        Of the file.

    Raises
    ------
    UnwritableError
        When further pages cannot be numbered anew, because something between them is no page, or when positions within
        the file would no longer be right.
    """
    built = _build_pages(old, packets)
    pieces: list[Piece] = []
    position, last = 0, len(old.pages) - 1
    for index, page in enumerate(old.pages):
        pieces += [
            Span(start=position, end=page.start),
            *(built[index:] if index == last else built[index : index + 1]),
        ]
        position = page.body.end
    shift = len(built) - len(old.pages)
    if shift:
        end = position
        for page in walk_pages(file, position, content.end):
            if page.serial == old.pages[0].serial:
                if page.flags & BEGINS_STREAM:
                    end = content.end
                    break
                pieces += [Span(start=position, end=page.number.start), shift_number(page, shift)]
                position = page.number.end
            end = page.body.end
        last_start = content.end - HEADER_BYTES  # what begins behind it is cut off and no page
        if _has_page(file, Span(start=end, end=max(end, last_start + len(CAPTURE_PATTERN)))):
            message = "something between its pages is no page, and those behind it cannot be numbered anew"
            raise UnwritableError(message)
    pieces.append(Span(start=position, end=size))
    if old.is_indexed and measure_pieces(pieces) != size:
        message = "its Skeleton stream holds positions in the file, which would no longer be right"
        raise UnwritableError(message)
    return pieces


def _build_pages(old: HeaderPackets, packets: tuple[bytes, ...]) -> list[bytes]:
    lacing, body = b"".join(lace(len(packet)) for packet in packets), b"".join(packets)
    last = old.pages[-1]
    behind = last.lacing[old.n_segments[-1] :]
    counts = _share_out(len(lacing), old.n_segments, len(behind))
    built: list[bytes] = []
    position, offset, is_continued = 0, 0, False
    for index, count in enumerate(counts):
        own = lacing[position : position + count]
        held = body[offset : offset + sum(own)]
        position, offset = position + count, offset + len(held)
        flags, granule = CONTINUES * is_continued, bytes(8) if min(own) < MAX_SEGMENTS else NO_PACKET_ENDS
        is_continued = own[-1] == MAX_SEGMENTS
        if index == len(counts) - 1:
            own, held, granule, flags = own + behind, held + old.rest, last.granule, flags | last.flags & ENDS_STREAM
        elif index < len(old.pages) and own == old.pages[index].lacing:
            granule = old.pages[index].granule
        built.append(
            build_page(
                held,
                lacing=own,
                flags=flags,
                granule=granule,
                serial=last.serial,
                sequence=old.pages[0].sequence + index,
            )
        )
    return built


def _share_out(n_segments: int, n_old_segments: tuple[int, ...], n_behind: int) -> tuple[int, ...]:
    """Say how many lacing values each page takes; the last one has room for others behind them.

    It takes one at least: the packet that ends there gives the page its granule position.
    """
    if n_segments == sum(n_old_segments):
        return n_old_segments
    n_needed = -(-(n_segments + n_behind) // MAX_SEGMENTS)
    left, counts = n_segments, []
    for n_pages_behind in reversed(range(max(n_needed, min(len(n_old_segments), n_segments)))):
        counts.append(min(MAX_SEGMENTS, left - n_pages_behind))
        left -= counts[-1]
    return tuple(counts)


def _has_page(file: BufferedReader, span: Span) -> bool:
    """Tell whether a page may begin in a part of a file."""
    before = b""
    for block in read_blocks(file, span):
        if CAPTURE_PATTERN in before + bytes(block):
            return True
        before = bytes(block[1 - len(CAPTURE_PATTERN) :])
    return False
