"""The tags around a file's content, whatever its container: ID3v2 in front; ID3, APEv2 and Lyrics3 behind."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from tagcli.files import Piece, Span, open_track, read_at

ID3V2_HEADER_BYTES = 10
"""Header of an ID3v2 tag; the footer of ID3v2.4 is as long (ID3v2.4 structure, sections 3.1 and 3.4)."""
ID3V1_BYTES = 128
ID3V1_EXTENDED_BYTES = 227
_ID3V1_MAGIC = b"TAG"
_OWN_NAMES = (b"TAGCLI_", b"TAGCLI/")
"""What tagcli's own fields begin with; no title begins with the rest of it."""
_APE_MAGIC = b"APETAGEX"
APE_FOOTER_BYTES = 32
LYRICS3V2_END_BYTES = 6 + 9
"""Six digits of size and the word LYRICS200."""
LYRICS3V1_MAX_BYTES = 5100 + 9


def decode_syncsafe(data: bytes) -> int | None:
    """Decode an ID3v2 size, seven bits a byte; None when a byte has its eighth bit set.

    Parameters
    ----------
    data
        The bytes of the size, most significant first.

    Returns
    -------
    int or None
        The size.
    """
    size = 0
    for byte in data:
        if byte & 0x80:
            return None
        size = size << 7 | byte
    return size


def find_content(path: Path) -> Span:
    """Find what lies between the tags at the start of a file and those at its end.

    A header that claims more bytes than the file has is no tag: its bytes are content.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Span
        Where it lies.

    Raises
    ------
    MetadataError
        When the file cannot be read.
    """
    with open_track(path) as (file, size):
        return find_content_of(file, size)


def find_content_of(file: BinaryIO, size: int) -> Span:
    """Find what lies between the outer tags of an open file; as `find_content`.

    Parameters
    ----------
    file
        The file.
    size
        Its size in bytes.

    Returns
    -------
    Span
        Where it lies.
    """
    start = _skip_id3v2(file, size)
    tags = find_end_tags_of(file, start, size)
    return Span(start=start, end=tags[-1].start if tags else size)


def find_end_tags_of(file: BinaryIO, start: int, size: int) -> tuple[Span, ...]:
    """Find the tags at the end of an open file.

    Parameters
    ----------
    file
        The file.
    start
        Where the tags at its start end.
    size
        Its size in bytes.

    Returns
    -------
    tuple of Span
        Where they lie, the last one first.
    """
    tags = []
    end = size
    while (shorter := _skip_last_tag(file, start, end)) < end:
        tags.append(Span(start=shorter, end=end))
        end = shorter
    return tuple(tags)


def gains_id3v1(file: BinaryIO, size: int, pieces: Sequence[Piece]) -> bool:
    """Tell whether programs would take the end of a new version of a file, but not of the old one, for an ID3v1 tag.

    They take any 128 bytes for one that begin with TAG, unless that is part of APETAGEX.

    Parameters
    ----------
    file
        The old version.
    size
        Its size in bytes.
    pieces
        What the new one is made of.

    Returns
    -------
    bool
        Whether it begins so, and is not the end of the old version byte for byte.
    """
    n_before = _APE_MAGIC.index(_ID3V1_MAGIC)
    ending = _read_end(file, pieces, n_before + ID3V1_BYTES)
    trailer = ending[-ID3V1_BYTES:]
    if len(trailer) < ID3V1_BYTES or not trailer.startswith(_ID3V1_MAGIC) or ending.startswith(_APE_MAGIC):
        return False
    return trailer != _read_end(file, [Span(start=0, end=size)], ID3V1_BYTES)


def _read_end(file: BinaryIO, pieces: Sequence[Piece], n_bytes: int) -> bytes:
    """Read the last bytes that pieces make up."""
    data = b""
    for piece in reversed(pieces):
        missing = n_bytes - len(data)
        if not missing:
            break
        if isinstance(piece, Span):
            start = max(piece.start, piece.end - missing)
            data = read_at(file, start, piece.end - start) + data
        else:
            data = piece[-missing:] + data
    return data


def _skip_id3v2(file: BinaryIO, size: int) -> int:
    start = 0
    while (tag := _id3v2_bytes(read_at(file, start, ID3V2_HEADER_BYTES), b"ID3")) and start + tag <= size:
        start += tag
    return start


def _id3v2_bytes(header: bytes, magic: bytes) -> int:
    if len(header) < ID3V2_HEADER_BYTES or not header.startswith(magic) or 0xFF in header[3:5]:
        return 0
    body = decode_syncsafe(header[6:10])
    if body is None:
        return 0
    footer = ID3V2_HEADER_BYTES if header[3] >= 4 and header[5] & 0x10 else 0
    return ID3V2_HEADER_BYTES + body + footer


def _skip_last_tag(file: BinaryIO, start: int, end: int) -> int:
    """Return where the last tag before `end` starts, or `end` when there is none."""
    id3v2_footer = _read_before(file, start, end, ID3V2_HEADER_BYTES)
    sizes = (
        _ape_bytes(file, start, end),
        _lyrics3_bytes(file, start, end),
        _id3v2_bytes(id3v2_footer, b"3DI"),
        _id3v1_bytes(file, start, end),  # the only one without a mark at its end: any text may begin with TAG
    )
    return next((end - size for size in sizes if size and end - size >= start), end)


def _id3v1_bytes(file: BinaryIO, start: int, end: int) -> int:
    trailer = _read_before(file, start, end, ID3V1_BYTES)
    if not trailer.startswith(_ID3V1_MAGIC) or trailer.startswith(_OWN_NAMES):
        return 0
    extended = _read_before(file, start, end - ID3V1_BYTES, ID3V1_EXTENDED_BYTES)
    return ID3V1_BYTES + (ID3V1_EXTENDED_BYTES if extended.startswith(b"TAG+") else 0)


def _ape_bytes(file: BinaryIO, start: int, end: int) -> int:
    footer = _read_before(file, start, end, APE_FOOTER_BYTES)
    if not footer.startswith(_APE_MAGIC):
        return 0
    body, flags = int.from_bytes(footer[12:16], "little"), int.from_bytes(footer[20:24], "little")
    has_header, is_header = flags >> 31 & 1, flags >> 29 & 1
    if is_header or body < APE_FOOTER_BYTES:
        return 0
    return body + (APE_FOOTER_BYTES if has_header else 0)


def _lyrics3_bytes(file: BinaryIO, start: int, end: int) -> int:
    ending = _read_before(file, start, end, LYRICS3V2_END_BYTES)
    if ending.endswith(b"LYRICS200") and ending[:6].isdigit():
        size = int(ending[:6]) + LYRICS3V2_END_BYTES
        return size if _read_before(file, start, end, size).startswith(b"LYRICSBEGIN") else 0
    if ending.endswith(b"LYRICSEND"):
        first = max(start, end - LYRICS3V1_MAX_BYTES)
        begin = read_at(file, first, end - first).rfind(b"LYRICSBEGIN")
        return end - first - begin if begin >= 0 else 0
    return 0


def _read_before(file: BinaryIO, start: int, end: int, size: int) -> bytes:
    return read_at(file, end - size, size) if end - size >= start else b""
