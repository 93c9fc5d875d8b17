"""ID3v2.3 and ID3v2.4 tags as bytes: taken apart into frames and put together again, every frame verbatim.

Nothing here knows what a frame means. See the structure documents at id3.org (ID3v2.3.0 section 3, ID3v2.4.0
structure sections 3 to 6).
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from tagcli.files import Piece, Span
from tagcli.metadata.fields import MOST_METADATA_BYTES, BrokenTagError, UnknownVersionError, UnwritableError
from tagcli.outer_tags import ID3V2_HEADER_BYTES, decode_syncsafe

FRAME_HEADER_BYTES = 10
FRESH_PADDING_BYTES = 1024
"""Left free behind a tag that had to grow, so that the next small change needs no moving of the audio."""
MAX_BODY_BYTES = MOST_METADATA_BYTES - 1

UNSYNCHRONISATION = 0x80
EXTENDED_HEADER = 0x40
FOOTER = 0x10
_KNOWN_FLAGS = {3: 0xE0, 4: 0xF0}
# Old iTunes wrote names of ID3v2.2 into ID3v2.3 tags, filled up with a space or a NUL.
_FRAME_ID = re.compile(rb"[A-Za-z0-9]{3}[A-Za-z0-9 \0]")
_FALSE_SYNC = re.compile(rb"\xff(?=[\xe0-\xff])")
_TO_UNSYNCHRONISE = re.compile(rb"\xff(?=[\xe0-\xff\0]|\Z)")


@dataclass(frozen=True, kw_only=True)
class RawFrame:
    """One frame of a tag.

    Parameters
    ----------
    raw
        Its header and content as stored; an unsynchronisation of the whole tag is undone.
    place
        Where these very bytes lie in the file; None when they do not.
    """

    raw: bytes
    place: Span | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """Four characters, such as ``TCON``."""
        return self.raw[:4].decode("latin-1")

    @property
    def flags(self) -> bytes:
        """Two bytes of flags."""
        return self.raw[8:10]

    @property
    def content(self) -> bytes:
        """What follows the frame's header."""
        return self.raw[FRAME_HEADER_BYTES:]


@dataclass(frozen=True, kw_only=True)
class Tag:
    """One ID3v2 tag.

    Parameters
    ----------
    version
        3 or 4.
    revision
        As stored; 0 in every known file.
    flags
        Flags of the tag's header.
    frames
        In their order.
    space
        Bytes between the header and the end of the padding: what the frames may fill without moving the audio.
    has_plain_sizes
        Whether the sizes of an ID3v2.4 tag's frames are plain numbers, as iTunes wrote them for some years, and not
        syncsafe ones. Always true in ID3v2.3.
    is_unsynchronised
        Whether the bytes of the whole tag are unsynchronised, as ID3v2.3 does it. ID3v2.4 does it per frame.
    """

    version: int
    revision: int = 0
    flags: int = 0
    frames: tuple[RawFrame, ...] = ()
    space: int = 0
    has_plain_sizes: bool = False
    is_unsynchronised: bool = False

    @property
    def size(self) -> int:
        """Bytes that the tag takes in its file."""
        return ID3V2_HEADER_BYTES + self.space + (ID3V2_HEADER_BYTES if self.flags & FOOTER else 0)


def measure_tag(header: bytes) -> int:
    """Tell how many bytes the tag takes of which this is the header.

    Parameters
    ----------
    header
        The first ten bytes of a tag.

    Returns
    -------
    int
        Bytes of header, frames, padding and footer.

    Raises
    ------
    UnknownVersionError
        When the tag is neither of version 2.3 nor 2.4.
    BrokenTagError
        When the header is damaged.
    """
    version, flags, space = _parse_header(header)
    return Tag(version=version, flags=flags, space=space).size


def parse_tag(data: bytes, *, start: int | None = None) -> Tag:
    """Take a whole tag apart.

    Parameters
    ----------
    data
        The tag's bytes, as many as `measure_tag` says.
    start
        Where in the file they begin; None when they are of no file.

    Returns
    -------
    Tag
        Its frames, verbatim.

    Raises
    ------
    UnknownVersionError
        When the tag is neither of version 2.3 nor 2.4.
    BrokenTagError
        When the frames cannot be walked to the end of the tag or to padding of zeros.
    """
    version, flags, space = _parse_header(data[:ID3V2_HEADER_BYTES])
    body = data[ID3V2_HEADER_BYTES : ID3V2_HEADER_BYTES + space]
    if len(body) < space:
        message = "it claims more bytes than the file has"
        raise BrokenTagError(message)
    is_unsynchronised = version == 3 and bool(flags & UNSYNCHRONISATION)
    if is_unsynchronised:
        body = _undo_unsynchronisation(body)
    n_skipped = _measure_extended_header(body, version) if flags & EXTENDED_HEADER else 0
    body = body[n_skipped:]
    # A syncsafe reading goes first, as the standard has it. Where a plain reading leads to the end as well, the two
    # differ in how much padding the last frame takes.
    has_plain_sizes = version == 3
    frames = _walk(body, _read_plain_size if has_plain_sizes else decode_syncsafe)
    if frames is None and version == 4:
        has_plain_sizes = True
        frames = _walk(body, _read_plain_size)
    if frames is None:
        message = "its frames cannot be followed to its end"
        raise BrokenTagError(message)
    if start is not None and not is_unsynchronised:
        frames = _locate(frames, start + ID3V2_HEADER_BYTES + n_skipped)
    return Tag(
        version=version,
        revision=data[4],
        flags=flags,
        frames=frames,
        space=space,
        has_plain_sizes=has_plain_sizes,
        is_unsynchronised=is_unsynchronised,
    )


def build_tag(tag: Tag, frames: Iterable[RawFrame]) -> bytes:
    """Put a tag together with other frames, of the same size when they fit and larger otherwise.

    An extended header is left out: its checksum and its size of padding would be wrong. A footer stays, and then
    there is no padding, as the standard has it.

    Parameters
    ----------
    tag
        The tag whose version, flags and space are kept.
    frames
        The frames to put in.

    Returns
    -------
    bytes
        The whole tag.

    Raises
    ------
    UnwritableError
        When the frames are larger than a tag can be.
    """
    body = b"".join(frame.raw for frame in frames)
    if tag.is_unsynchronised:
        body = _TO_UNSYNCHRONISE.sub(b"\xff\0", body)
    has_footer = bool(tag.flags & FOOTER)
    if not has_footer:
        body = body.ljust(tag.space if len(body) <= tag.space else len(body) + FRESH_PADDING_BYTES, b"\0")
    if len(body) > MAX_BODY_BYTES:
        message = "it would be larger than an ID3v2 tag can be"
        raise UnwritableError(message)
    rest = bytes((tag.version, tag.revision, tag.flags & ~EXTENDED_HEADER)) + encode_syncsafe(len(body))
    return b"ID3" + rest + body + (b"3DI" + rest if has_footer else b"")


def lay_out_tag(tag: Tag, frames: Sequence[RawFrame]) -> list[Piece]:
    """Put a tag together as `build_tag` does, of the parts of the file that stay as they are and new bytes.

    Parameters
    ----------
    tag, frames
        As of `build_tag`.

    Returns
    -------
    list of Span or bytes
        The whole tag.

    Raises
    ------
    UnwritableError
        When the frames are larger than a tag can be.
    """
    data = build_tag(tag, frames)
    if tag.is_unsynchronised:
        return [data]
    pieces: list[Piece] = [data[:ID3V2_HEADER_BYTES]]
    position = ID3V2_HEADER_BYTES
    for frame in frames:
        end = position + len(frame.raw)
        pieces.append(frame.place or data[position:end])
        position = end
    return [*pieces, data[position:]]


def resize_frame(frame: RawFrame, *, plain: bool) -> RawFrame:
    """Write the size of a frame anew, as a plain or a syncsafe number.

    Parameters
    ----------
    frame
        The frame.
    plain
        Whether the size is a plain number.

    Returns
    -------
    RawFrame
        The same frame with its size rewritten.
    """
    size = len(frame.content)
    encoded = size.to_bytes(4, "big") if plain else encode_syncsafe(size)
    return RawFrame(raw=frame.raw[:4] + encoded + frame.raw[8:])


def encode_syncsafe(size: int) -> bytes:
    """Encode a size with seven bits a byte.

    Parameters
    ----------
    size
        Less than 2**28.

    Returns
    -------
    bytes
        Four bytes.
    """
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def _parse_header(header: bytes) -> tuple[int, int, int]:
    if len(header) < ID3V2_HEADER_BYTES or not header.startswith(b"ID3"):
        message = "its header is damaged"
        raise BrokenTagError(message)
    version, flags, space = header[3], header[5], decode_syncsafe(header[6:10])
    if version not in _KNOWN_FLAGS:
        name = f"ID3v2.{version}"
        raise UnknownVersionError(name)
    if space is None or flags & ~_KNOWN_FLAGS[version]:
        message = "its header is damaged"
        raise BrokenTagError(message)
    return version, flags, space


def _read_plain_size(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _walk(body: bytes, read_size: Callable[[bytes], int | None]) -> tuple[RawFrame, ...] | None:
    frames = []
    offset = 0
    while offset < len(body) and body[offset]:
        header = body[offset : offset + FRAME_HEADER_BYTES]
        if len(header) < FRAME_HEADER_BYTES or not _FRAME_ID.match(header):
            return None
        size = read_size(header[4:8])
        if size is None or size > len(body) - offset - FRAME_HEADER_BYTES:
            return None
        end = offset + FRAME_HEADER_BYTES + size
        frames.append(RawFrame(raw=body[offset:end]))
        offset = end
    return None if body[offset:].strip(b"\0") else tuple(frames)


def _locate(frames: Iterable[RawFrame], start: int) -> tuple[RawFrame, ...]:
    located = []
    for frame in frames:
        end = start + len(frame.raw)
        located.append(RawFrame(raw=frame.raw, place=Span(start=start, end=end)))
        start = end
    return tuple(located)


def _measure_extended_header(body: bytes, version: int) -> int:
    size = decode_syncsafe(body[:4]) if version == 4 else _read_plain_size(body[:4])
    # Six bytes, or ten with a checksum, that do not count the size itself; in ID3v2.4 the size counts itself.
    if version == 3 and size in (6, 10) and size + 4 <= len(body):
        return size + 4
    if version == 4 and size is not None and 6 <= size <= len(body):
        return size
    if _FRAME_ID.match(body):
        return 0  # Some programs set the flag and write no extended header (quodlibet issue 126).
    message = "its extended header is damaged"
    raise BrokenTagError(message)


def _undo_unsynchronisation(body: bytes) -> bytes:
    if _FALSE_SYNC.search(body):
        message = "it is marked as unsynchronised and is not"
        raise BrokenTagError(message)
    return body.replace(b"\xff\0", b"\xff")
