"""FLAC files: the metadata blocks before the audio, and what changes in their Vorbis comments.

Source: RFC 9639 (FLAC), section 8. Every block that is not ours stays byte for byte, in its order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutagen.flac import VCFLACDict

from tagcli.files import Piece, Span, hash_pieces, open_track
from tagcli.metadata.fields import (
    MOST_METADATA_BYTES,
    BrokenTagError,
    Dialect,
    Field,
    FieldChange,
    Held,
    Kind,
    StoredField,
    UnwritableError,
)
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

FRESH_PADDING_BYTES = 8192
"""Left free behind blocks that had to grow, so that the next small change needs no moving of the audio."""
PADDING, VORBIS_COMMENT = 1, 4
MAX_BODY_BYTES = (1 << 24) - 1
KINDS = {2: "APPLICATION", 3: "SEEKTABLE", 5: "CUESHEET", 6: "PICTURE"}
"""Other types of blocks that are worth telling of."""
_MAGIC = b"fLaC"
_HEADER_BYTES = 4
_LAST = 0x80
_VENDOR = b"tagcli"


@dataclass(frozen=True, kw_only=True)
class Block:
    """A metadata block.

    Parameters
    ----------
    kind
        Its type, 0 to 126.
    body
        What it holds.
    place
        Where these very bytes lie in the file; None when they do not.
    """

    kind: int
    body: bytes
    place: Span | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class Head:
    """Everything before the audio.

    Parameters
    ----------
    front
        What stands before the blocks: ID3v2 tags, the four letters.
    blocks
        In their order; the first one is the stream's description.
    """

    front: bytes
    blocks: tuple[Block, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.front) + sum(_HEADER_BYTES + len(block.body) for block in self.blocks)

    @property
    def comment_body(self) -> bytes:
        """The first block of comments as it is; one without entries when there is none."""
        bodies = [block.body for block in self.blocks if block.kind == VORBIS_COMMENT]
        return bodies[0] if bodies else build_comments(Comments(vendor=_VENDOR))

    @property
    def comments(self) -> Comments:
        """The first comments, or none."""
        return parse_comments(self.comment_body)


class FlacDocument:
    """The metadata blocks of a FLAC file; see `tagcli.metadata.plan.Document`.

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
        self._head, self._file_size = _read_head(path, self._content.start)

    def hold(self) -> Mapping[Field, Held]:
        """Read the fields that tagcli can store."""
        return hold_comments(self._head.comments)

    def rewrite(self, changes: tuple[FieldChange, ...]) -> list[Piece]:
        """Put the file together after changes."""
        old = self._head
        new = Block(kind=VORBIS_COMMENT, body=build_comments(change_comments(old.comments, changes)))
        if len(new.body) > MAX_BODY_BYTES:
            message = "its comments would be larger than 16 MB"
            raise UnwritableError(message)
        kept = [block for block in old.blocks if block.kind != PADDING]
        first = next((index for index, block in enumerate(kept) if block.kind == VORBIS_COMMENT), None)
        kept[1 if first is None else first : 1 if first is None else first + 1] = [new]
        blocks = [*kept, *_pad(old.size - Head(front=old.front, blocks=tuple(kept)).size)]
        return [
            Span(start=0, end=len(old.front)),
            *_lay_out(blocks),
            Span(start=old.size, end=self._file_size),
        ]

    def list_foreign(self, changes: tuple[FieldChange, ...]) -> list[bytes]:
        """Give the blocks and comments that changes are not about, what stands before, and a hash of what is behind."""
        comments = self._head.comments
        blocks = [bytes([block.kind]) + block.body for block in _foreign_blocks(self._head)]
        with open_track(self._path) as (file, size):
            behind = hash_pieces(file, [Span(start=self._content.end, end=size)])
        front = [self._head.front, comments.vendor, comments.rest]
        return [*front, *list_foreign_entries(comments, changes), *blocks, behind]

    def list_misread(self, changes: tuple[FieldChange, ...]) -> list[str]:
        """Give the names of fields that mutagen does not find as changes say."""
        # mutagen has no types
        stored: Any = VCFLACDict(self._head.comment_body, errors="replace", framing=False)  # type: ignore[no-untyped-call]
        return list_misread_entries(stored, changes)

    def describe(self) -> tuple[StoredField, ...]:
        """Make the comments readable, and tell of the other blocks."""
        others = tuple(
            StoredField(field=KINDS[block.kind], values=(f"<{len(block.body)} bytes>",))
            for block in self._head.blocks
            if block.kind in KINDS
        )
        return describe_comments(self._head.comments) + others


def _read_head(path: Path, start: int) -> tuple[Head, int]:
    """Read everything before the audio; say how large the file is.

    Parameters
    ----------
    path
        The file.
    start
        Where the four letters stand.

    Raises
    ------
    BrokenTagError
        When it cannot be walked to its end.
    """
    with open_track(path) as (file, size):
        front = file.read(start + len(_MAGIC))
        blocks: list[Block] = []
        position, is_last = len(front), False
        while not is_last:
            header = file.read(_HEADER_BYTES)
            n_bytes = int.from_bytes(header[1:], "big")
            position += _HEADER_BYTES + n_bytes
            if len(header) < _HEADER_BYTES or position > min(size, MOST_METADATA_BYTES):
                message = "a metadata block ends behind the file" if position > size else "its metadata are too large"
                raise BrokenTagError(message)
            place = Span(start=position - n_bytes, end=position)
            blocks.append(Block(kind=header[0] & ~_LAST, body=file.read(n_bytes), place=place))
            is_last = bool(header[0] & _LAST)
    if blocks[0].kind != 0:
        message = "it does not begin with the description of the stream"
        raise BrokenTagError(message)
    return Head(front=front, blocks=tuple(blocks)), size


def _pad(room: int) -> list[Block]:
    """Fill what is left of the old blocks' room, so that the audio stays where it is; or make fresh room."""
    if room == 0:
        return []
    left = room if room >= _HEADER_BYTES else _HEADER_BYTES + FRESH_PADDING_BYTES
    blocks = []
    while left:
        n_bytes = min(left, _HEADER_BYTES + MAX_BODY_BYTES)
        n_bytes -= _HEADER_BYTES if 0 < left - n_bytes < _HEADER_BYTES else 0  # what is left has room for a header
        blocks.append(Block(kind=PADDING, body=bytes(n_bytes - _HEADER_BYTES)))
        left -= n_bytes
    return blocks


def _lay_out(blocks: list[Block]) -> list[Piece]:
    """Put blocks together, with what of them lies in the file already."""
    pieces: list[Piece] = []
    for index, block in enumerate(blocks):
        last = _LAST if index == len(blocks) - 1 else 0
        pieces += [bytes([block.kind | last]) + len(block.body).to_bytes(3, "big"), block.place or block.body]
    return pieces


def _foreign_blocks(head: Head) -> list[Block]:
    """Give the blocks that no write is about: all but the first comments and the padding."""
    blocks = [block for block in head.blocks if block.kind != PADDING]
    first = next((block for block in blocks if block.kind == VORBIS_COMMENT), None)
    return [block for block in blocks if block is not first]
