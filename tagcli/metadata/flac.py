"""FLAC files: the metadata blocks before the audio, and what changes in their Vorbis comments.

Source: RFC 9639 (FLAC), section 8. Every block that is not ours stays byte for byte, in its order.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutagen import MutagenError
from mutagen.flac import VCFLACDict

from tagcli.container import Container
from tagcli.errors import MetadataError
from tagcli.files import open_track
from tagcli.metadata.fields import BrokenTagError, FieldChange, Fields, GenrePolicy, Metadata, StoredField
from tagcli.metadata.vorbis import (
    Comments,
    build_comments,
    change_comments,
    describe_comments,
    foreign_entries,
    parse_comments,
    plan_comments,
)
from tagcli.outer_tags import find_content

FRESH_PADDING_BYTES = 8192
"""Left free behind blocks that had to grow, so that the next small change needs no moving of the audio."""
_MAGIC = b"fLaC"
_HEADER_BYTES = 4
_LAST = 0x80
_PADDING, _VORBIS_COMMENT, _PICTURE = 1, 4, 6
_MAX_BODY_BYTES = (1 << 24) - 1
_MOST_BYTES = 1 << 28
"""Of all blocks together: as much as an ID3v2 tag can hold."""
_VENDOR = b"tagcli"
_KINDS = {2: "APPLICATION", 3: "SEEKTABLE", 5: "CUESHEET", _PICTURE: "PICTURE"}


@dataclass(frozen=True, kw_only=True)
class Block:
    """A metadata block.

    Parameters
    ----------
    kind
        Its type, 0 to 126.
    body
        What it holds.
    """

    kind: int
    body: bytes


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
        bodies = [block.body for block in self.blocks if block.kind == _VORBIS_COMMENT]
        return bodies[0] if bodies else build_comments(Comments(vendor=_VENDOR))

    @property
    def comments(self) -> Comments:
        """The first comments, or none."""
        return parse_comments(self.comment_body)


def plan(path: Path, fields: Fields, genre: GenrePolicy) -> tuple[FieldChange, ...]:
    """Find what storing fields in a FLAC file would change.

    Parameters
    ----------
    path
        The file.
    fields
        What is to be stored.
    genre
        What happens to the genre.

    Raises
    ------
    MetadataError
        When its metadata are damaged, or the file cannot be read.
    """
    with _translate_broken(path):
        return plan_comments(_read_head(path).comments, fields, genre)


def splice(path: Path, changes: tuple[FieldChange, ...]) -> tuple[bytes, int]:
    """Build what stands before the audio after changes.

    Parameters
    ----------
    path
        The file.
    changes
        What changes.

    Returns
    -------
    tuple of bytes and int
        The new first bytes, and how many of the file they take the place of.

    Raises
    ------
    MetadataError
        When the metadata are damaged, or would grow larger than they can be.
    """
    with _translate_broken(path):
        old = _read_head(path)
        new = Block(kind=_VORBIS_COMMENT, body=build_comments(change_comments(old.comments, changes)))
        if len(new.body) > _MAX_BODY_BYTES:
            message = "its comments would be larger than 16 MB"
            raise BrokenTagError(message)
        kept = [block for block in old.blocks if block.kind != _PADDING]
        first = next((index for index, block in enumerate(kept) if block.kind == _VORBIS_COMMENT), None)
        kept[1 if first is None else first : 1 if first is None else first + 1] = [new]
        blocks = [*kept, *_pad(old.size - Head(front=old.front, blocks=tuple(kept)).size)]
        return _build_head(Head(front=old.front, blocks=tuple(blocks))), old.size


def verify(path: Path, original: Path, changes: tuple[FieldChange, ...]) -> None:
    """Prove that a rewritten file holds the changes, and every other block and comment of the original byte for byte.

    Parameters
    ----------
    path
        The rewritten file.
    original
        The file that it was made from.
    changes
        What was to change.

    Raises
    ------
    MetadataError
        When it does not.
    """
    with _translate_broken(original):
        new, old = _read_head(path), _read_head(original)
        is_same = new.front == old.front and _foreign_blocks(new) == _foreign_blocks(old)
        kept, had = new.comments, old.comments
        is_same = is_same and (kept.vendor, kept.rest) == (had.vendor, had.rest)
    if not is_same or foreign_entries(kept, changes) != foreign_entries(had, changes):
        message = f"A block or comment of {original} did not survive the write, which was undone; please report this."
        raise MetadataError(message, path=original)
    try:
        # from the copy's own bytes: what our parser makes of them proves nothing; mutagen has no types
        stored: Any = VCFLACDict(new.comment_body, errors="replace", framing=False)  # type: ignore[no-untyped-call]
    except MutagenError as error:
        message = f"The comments of {original} could not be read back ({error}), so the write was undone."
        raise MetadataError(message, path=original) from error
    for change in changes:
        wanted = [value.encode(errors="surrogateescape").decode(errors="replace") for value in change.new]
        if list(stored.get(change.field, [])) != wanted:
            message = f"The field {change.field} of {original} could not be read back, so the write was undone."
            raise MetadataError(message, path=original)


def read(path: Path) -> Metadata:
    """Read what the comments of a FLAC file say, and which other blocks there are.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    MetadataError
        When its metadata are damaged, or the file cannot be read.
    """
    with _translate_broken(path):
        head = _read_head(path)
        fields = describe_comments(head.comments)
    others = tuple(
        StoredField(field=_KINDS[block.kind], values=(f"<{len(block.body)} bytes>",))
        for block in head.blocks
        if block.kind in _KINDS
    )
    return Metadata(container=Container.FLAC, version="Vorbis comments", fields=fields + others)


def _read_head(path: Path) -> Head:
    """Read everything before the audio.

    Raises
    ------
    BrokenTagError
        When it cannot be walked to its end.
    """
    start = find_content(path).start
    with open_track(path) as (file, size):
        front = file.read(start + len(_MAGIC))
        blocks: list[Block] = []
        position, is_last = len(front), False
        while not is_last:
            header = file.read(_HEADER_BYTES)
            n_bytes = int.from_bytes(header[1:], "big")
            position += _HEADER_BYTES + n_bytes
            if len(header) < _HEADER_BYTES or position > min(size, _MOST_BYTES):
                message = "a metadata block ends behind the file" if position > size else "its metadata are too large"
                raise BrokenTagError(message)
            blocks.append(Block(kind=header[0] & ~_LAST, body=file.read(n_bytes)))
            is_last = bool(header[0] & _LAST)
    if blocks[0].kind != 0:
        message = "it does not begin with the description of the stream"
        raise BrokenTagError(message)
    return Head(front=front, blocks=tuple(blocks))


def _pad(room: int) -> list[Block]:
    """Fill what is left of the old blocks' room, so that the audio stays where it is; or make fresh room."""
    if room == 0:
        return []
    left = room if room >= _HEADER_BYTES else _HEADER_BYTES + FRESH_PADDING_BYTES
    blocks = []
    while left:
        n_bytes = min(left, _HEADER_BYTES + _MAX_BODY_BYTES)
        n_bytes -= _HEADER_BYTES if 0 < left - n_bytes < _HEADER_BYTES else 0  # what is left has room for a header
        blocks.append(Block(kind=_PADDING, body=bytes(n_bytes - _HEADER_BYTES)))
        left -= n_bytes
    return blocks


def _build_head(head: Head) -> bytes:
    parts = [head.front]
    for index, block in enumerate(head.blocks):
        last = _LAST if index == len(head.blocks) - 1 else 0
        parts += [bytes([block.kind | last]), len(block.body).to_bytes(3, "big"), block.body]
    return b"".join(parts)


def _foreign_blocks(head: Head) -> list[Block]:
    """Give the blocks that no write is about: all but the first comments and the padding."""
    blocks = [block for block in head.blocks if block.kind != _PADDING]
    first = next((block for block in blocks if block.kind == _VORBIS_COMMENT), None)
    return [block for block in blocks if block is not first]


@contextmanager
def _translate_broken(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenTagError as error:
        message = f"The metadata of {path} are damaged ({error}), so nothing is written; repair them with a tag editor."
        raise MetadataError(message, path=path) from error
