"""Ogg files: the comments of their first Vorbis, Opus, Speex or FLAC stream.

Sources: Vorbis I specification, sections 4.2 and 5; RFC 7845 (Opus), section 5.2; The Speex Codec Manual, section 7;
RFC 9639 (FLAC), section 10.1.

Of streams side by side, such as a film, the first of these kinds is the one; of streams in a chain, such as recorded
radio, the first link. Other programs read the comments there.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mutagen.flac import VCFLACDict
from mutagen.ogg import OggPage

from tagcli.files import Piece, Span, hash_pieces, open_track
from tagcli.metadata.fields import BrokenTagError, Dialect, Field, FieldChange, Held, Kind, StoredField, UnwritableError
from tagcli.metadata.flac import KINDS, MAX_BODY_BYTES, PADDING, VORBIS_COMMENT
from tagcli.metadata.ogg_headers import find_stream, list_foreign_parts, read_packets
from tagcli.metadata.ogg_rewrite import replace_packets
from tagcli.metadata.vorbis import (
    Comments,
    build_comments,
    change_comments,
    describe_comments,
    hold_comments,
    list_foreign_entries,
    list_misread_entries,
    parse_comments,
)
from tagcli.outer_tags import find_content

FRESH_PADDING_BYTES = 1024
"""Left free behind comments that had to grow, so that the next small change leaves all other pages as they are."""
_VORBIS, _FLAC = b"\x01vorbis", b"\x7fFLAC"
_FRONTS = {_VORBIS: b"\x03vorbis", b"OpusHead": b"OpusTags", b"Speex   ": b"", _FLAC: b""}
"""How the first packet of a stream begins, and what stands before the comments in the second one.

Of FLAC that is the header of a metadata block: every packet up to the one marked as the last is such a block.
"""
_BLOCK_HEADER_BYTES = 4
_LAST = 0x80


class OggDocument:
    """The comments of an Ogg file; see `tagcli.metadata.plan.Document`.

    Zeros behind the comments are padding. Anything else there stays, and is then not padded: of Opus a set bit in the
    first byte asks for that (RFC 7845, section 5.2), of the others nobody says what it is. FLAC pads by a block.

    Parameters
    ----------
    path
        The file.
    dialect
        Concerns other containers.
    """

    version = Kind.VORBIS.value

    def __init__(self, path: Path, dialect: Dialect) -> None:
        self._path = path
        self._content = find_content(path)
        with open_track(path) as (file, _):
            self._first, packet = find_stream(file, self._content, tuple(_FRONTS))
            magic = next(magic for magic in _FRONTS if packet.startswith(magic))
            self._is_flac = magic == _FLAC
            are_all = _end_in_last_block if self._is_flac else bool
            self._headers = read_packets(file, self._content, self._first, are_all)
        comment, *self._others = self._headers.packets
        if self._is_flac:
            _check_blocks(self._headers.packets)
        self._front = comment[:_BLOCK_HEADER_BYTES] if self._is_flac else _FRONTS[magic]
        if not comment.startswith(self._front):
            message = "its second packet holds no comments"
            raise BrokenTagError(message)
        self._comments, self._is_padded = parse_comments(comment[len(self._front) :]), False
        if not self._is_flac:
            self._comments, self._is_padded = _set_padding_apart(self._comments, 1 if magic == _VORBIS else 0)

    def hold(self) -> Mapping[Field, Held]:
        """Read the fields that tagcli can store."""
        return hold_comments(self._comments)

    def rewrite(self, changes: tuple[FieldChange, ...]) -> list[Piece]:
        """Put the file together after changes."""
        body = build_comments(change_comments(self._comments, changes))
        if self._is_flac:
            packets = self._lay_out_blocks(body)
        else:
            comment = self._front + body
            room = len(self._headers.packets[0]) - len(comment)
            n_padding_bytes = room if room >= 0 else FRESH_PADDING_BYTES
            packets = [comment + bytes(n_padding_bytes if self._is_padded else 0)]
        with open_track(self._path) as (file, size):
            return replace_packets(file, self._content, self._headers, tuple(packets), size)

    def list_foreign(self, changes: tuple[FieldChange, ...]) -> list[bytes]:
        """Give the comments and metadata blocks that changes are not about, and hashes of all but this stream."""
        comments = self._comments
        blocks = [bytes([_kind_of(block)]) + block[1:] for block in self._others if _kind_of(block) != PADDING]
        with open_track(self._path) as (file, size):
            front = hash_pieces(file, [Span(start=0, end=self._headers.pages[0].start)])
            others = hash_pieces(file, list_foreign_parts(file, self._content, self._headers))
            behind = hash_pieces(file, [Span(start=self._content.end, end=size)])
        entries = list_foreign_entries(comments, changes)
        return [front, comments.vendor, comments.rest, *entries, *blocks, others, behind]

    def list_misread(self, changes: tuple[FieldChange, ...]) -> list[str]:
        """Give the names of fields that mutagen does not find as changes say."""
        # mutagen has no types
        pages: list[Any] = []
        with open_track(self._path) as (file, _):
            file.seek(self._first.body.end)
            while not pages or not (pages[-1].complete or len(pages[-1].packets) > 1):
                page: Any = OggPage(file)  # type: ignore[no-untyped-call]
                if page.serial.to_bytes(4, "little") == self._first.serial:
                    pages.append(page)
        comment = b"".join(page.packets[0] for page in pages)
        stored: Any = VCFLACDict(comment[len(self._front) :], errors="replace", framing=False)  # type: ignore[no-untyped-call]
        return list_misread_entries(stored, changes)

    def describe(self) -> tuple[StoredField, ...]:
        """Make the comments readable, and tell of the other metadata blocks."""
        others = tuple(
            StoredField(field=KINDS[_kind_of(block)], values=(f"<{len(block) - _BLOCK_HEADER_BYTES} bytes>",))
            for block in self._others
            if _kind_of(block) in KINDS
        )
        return describe_comments(self._comments) + others

    def _lay_out_blocks(self, body: bytes) -> list[bytes]:
        """Put metadata blocks together; the first one of padding takes up what the comments leave, or gets fresh room.

        None comes and none goes: the first packet of the stream tells their number.
        """
        old = self._headers.packets
        blocks = [_resize_block(old[0], body), *self._others]
        place = next((index for index, block in enumerate(blocks) if _kind_of(block) == PADDING), None)
        if place is not None:
            room = len(old[0]) + len(old[place]) - len(blocks[0]) - _BLOCK_HEADER_BYTES
            n_padding_bytes = min(room, MAX_BODY_BYTES) if room >= 0 else FRESH_PADDING_BYTES
            blocks[place] = _resize_block(old[place], bytes(n_padding_bytes))
        return blocks


def _set_padding_apart(comments: Comments, n_framing_bytes: int) -> tuple[Comments, bool]:
    """Leave out what is padding behind comments, and tell whether there may be any."""
    framing, behind = comments.rest[:n_framing_bytes], comments.rest[n_framing_bytes:]
    if n_framing_bytes and not (framing and framing[0] & 1):
        message = "the bit that ends its comments is not set"
        raise BrokenTagError(message)
    return (comments, False) if any(behind) else (replace(comments, rest=framing), True)


def _end_in_last_block(packets: list[bytes]) -> bool:
    return packets[-1][:1] >= bytes([_LAST])


def _check_blocks(blocks: tuple[bytes, ...]) -> None:
    for block in blocks:
        if len(block) != _BLOCK_HEADER_BYTES + int.from_bytes(block[1:4], "big"):
            message = "a metadata block is not as long as its packet"
            raise BrokenTagError(message)
    if _kind_of(blocks[0]) != VORBIS_COMMENT:
        message = "its second packet holds no comments"
        raise BrokenTagError(message)


def _kind_of(block: bytes) -> int:
    return block[0] & ~_LAST


def _resize_block(block: bytes, body: bytes) -> bytes:
    if len(body) > MAX_BODY_BYTES:
        message = "its comments would be larger than 16 MB"
        raise UnwritableError(message)
    return block[:1] + len(body).to_bytes(3, "big") + body
