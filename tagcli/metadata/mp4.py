"""MP4 files: the items in moov/udta/meta/ilst, the free boxes behind them, and the media data that they push about.

Sources: ISO/IEC 14496-12, sections 4.2, 8.1.2 and 8.11; iTunes Metadata Format Specification.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, takewhile
from pathlib import Path
from typing import BinaryIO

from tagcli.boxes import HEADER_BYTES, Box
from tagcli.files import Piece, Span, hash_pieces, measure_pieces, open_track, read_at
from tagcli.metadata.fields import BrokenTagError, Dialect, Field, FieldChange, Held, Kind, StoredField, UnwritableError
from tagcli.metadata.mp4_boxes import (
    VERSION_BYTES,
    Edit,
    build_box,
    build_header,
    find_inside,
    list_boxes,
    list_children,
    resize_box,
    splice,
)
from tagcli.metadata.mp4_fields import change_items, hold_items, list_misread_items
from tagcli.metadata.mp4_items import describe_items, read_items
from tagcli.metadata.mp4_offsets import anchor_tables, find_tables, shift_tables
from tagcli.outer_tags import find_content_of, gains_id3v1

FRESH_PADDING_BYTES = 2048
"""Left free behind items that had to grow, so that the next small change needs no moving of the audio."""
_PATH = (b"moov", b"udta", b"meta", b"ilst")
_FREE = (b"free", b"skip")
_HANDLER_BYTES = Span(start=8, end=12)
_HANDLER = b"mdir"
_HANDLER_BOX = build_box(b"hdlr", bytes(8) + _HANDLER + b"appl" + bytes(9))


@dataclass(frozen=True, kw_only=True)
class Level:
    """A box on the way to the items, and the room behind it.

    Parameters
    ----------
    kind
        Its four letters.
    box
        The box; None when there is none.
    room
        The free boxes directly behind it, or behind where it would be.
    """

    kind: bytes
    box: Box | None
    room: Span


class Mp4Document:
    """The items of an MP4 file; see `tagcli.metadata.plan.Document`.

    Parameters
    ----------
    path
        The file.
    dialect
        Concerns other containers.
    """

    def __init__(self, path: Path, dialect: Dialect) -> None:
        self._path = path
        with open_track(path) as (file, self._size):
            content = find_content_of(file, self._size)
            self._boxes = list_boxes(file, content)
            self._levels = _find_levels(file, self._boxes)
            self._handler = _read_handler(file, self._levels)
            box = self._levels[0].box
            self._items = () if box is None else read_items(file, box)

    @property
    def version(self) -> str:
        """Empty when there is no list of items."""
        return Kind.MP4.value if self._levels[0].box else ""

    def hold(self) -> Mapping[Field, Held]:
        """Read the fields that tagcli can store."""
        return hold_items(self._items)

    def rewrite(self, changes: tuple[FieldChange, ...]) -> list[Piece]:
        """Put the file together after changes."""
        if self._handler != _HANDLER:
            message = f"its metadata are of the kind {self._handler.decode('latin-1')!r}, which tagcli does not know"
            raise UnwritableError(message)
        pieces = self._lay_out(changes)
        with open_track(self._path) as (file, size):
            looks_wrong = gains_id3v1(file, size, pieces)
        return self._lay_out(changes, is_roomy=True) if looks_wrong else pieces

    def list_foreign(self, changes: tuple[FieldChange, ...]) -> list[bytes]:
        """Give a hash of the file without what changes are about, sizes, room and media data.

        A box on the way to the items counts as one bracket before what it holds and one behind, whether it is there
        or has yet to be made, and an offset by what it points to.
        """
        names = {change.name for change in changes}
        edits = [Edit(place=item.place) for item in self._items if item.key in names]
        for level in self._levels:
            if level.box is None:
                edits.append(Edit(place=level.room, pieces=(_bracket(_PATH[_PATH.index(level.kind) :]),)))
            else:
                header = Span(start=level.box.start, end=level.box.body_start)
                opening = b"<" + level.kind + bytes([header.end - header.start])
                edits += [Edit(place=header, pieces=(opening,)), Edit(place=level.room, pieces=(b">",))]
        for box in self._boxes:
            if box.kind == b"mdat":
                place = Span(start=box.body_start, end=box.end)
                edits.append(Edit(place=place, pieces=((box.end - box.body_start).to_bytes(8, "big"),)))
        room = self._levels[-1].room
        starts = [box.start for box in self._boxes if not room.start <= box.start < room.end]
        landmarks = sorted([*starts, room.start, self._boxes[-1].end])
        with open_track(self._path) as (file, _):
            edits += anchor_tables(file, find_tables(file, self._boxes), landmarks)
            return [hash_pieces(file, splice(edits, self._size))]

    def list_misread(self, changes: tuple[FieldChange, ...]) -> list[str]:
        """Give the names of fields that mutagen does not find as changes say."""
        return list_misread_items(self._items, changes)

    def describe(self) -> tuple[StoredField, ...]:
        """Make all items readable."""
        return describe_items(self._items)

    def _lay_out(self, changes: tuple[FieldChange, ...], *, is_roomy: bool = False) -> list[Piece]:
        """Put the file together; on request with fresh padding, even where the room suffices.

        "TAGCLI_TAGS" 128 bytes before the end would be an ID3v1 tag to other programs.
        """
        items, innermost = change_items(self._items, changes), self._levels[0]
        if innermost.box is None:
            old, new = Span(start=innermost.room.start, end=innermost.room.start), self._wrap(items)
        else:
            old, new = Span(start=innermost.box.body_start, end=innermost.box.end), items
        last, left = (0, -1) if is_roomy else self._find_room(measure_pieces(new) - (old.end - old.start))
        if left < 0 and innermost.box is None:
            new, left = self._wrap(items, build_box(b"free", bytes(FRESH_PADDING_BYTES))), 0
        elif left < 0:
            left = HEADER_BYTES + FRESH_PADDING_BYTES
        edits = [Edit(place=old, pieces=tuple(new))]
        growth = measure_pieces(new) - (old.end - old.start)
        for index, level in enumerate(self._levels):
            edits += resize_box(level.box, growth) if level.box else []
            if index <= last:
                padding = _pad(level.room, left) if index == last else []
                edits.append(Edit(place=level.room, pieces=tuple(padding)))
                growth += measure_pieces(padding) - (level.room.end - level.room.start)
        area = Span(start=old.start, end=self._levels[last].room.end)
        with open_track(self._path) as (file, _):
            edits += shift_tables(file, find_tables(file, self._boxes), area, growth)
        if growth and any(box.kind == b"sidx" and box.start < area.start for box in self._boxes):
            message = "an index of segments (sidx) stands before what describes them (moov)"
            raise UnwritableError(message)
        return splice(edits, self._size)

    def _wrap(self, items: list[Piece], padding: bytes = b"") -> list[Piece]:
        """Put the box of the items together, and those around it that have yet to be made."""
        pieces = [build_header(b"ilst", measure_pieces(items)), *items, padding]
        for kind in reversed(_PATH[_PATH.index(self._levels[0].kind) : -1]):
            if kind == b"meta":
                pieces = [bytes(VERSION_BYTES) + _HANDLER_BOX, *pieces]
            pieces = [build_header(kind, measure_pieces(pieces)), *pieces]
        return pieces

    def _find_room(self, growth: int) -> tuple[int, int]:
        """Find how far out the free boxes must be used up, and how much is left of the last ones.

        When they do not suffice, the innermost ones alone go, and -1 is left.
        """
        rooms = accumulate(level.room.end - level.room.start for level in self._levels)
        for index, n_bytes in enumerate(rooms):
            if n_bytes == growth or n_bytes - growth >= HEADER_BYTES:
                return index, n_bytes - growth
        return 0, -1


def _find_levels(file: BinaryIO, boxes: list[Box]) -> list[Level]:
    """Find the way to the items, the innermost box first; it ends where a box is missing.

    Of several boxes mutagen and TagLib take the first one, while FFmpeg takes the first ``moov`` but reads every other
    one, so that the last item counts: nothing that is written would be right for all.
    """
    levels: list[Level] = []
    siblings, start = boxes, 0
    for kind in _PATH:
        found = [index for index, box in enumerate(siblings) if box.kind == kind]
        if len(found) > 1:
            message = f"it has several boxes {kind.decode()!r}, of which programs read different ones"
            raise BrokenTagError(message)
        box = siblings[found[0]] if found else None
        if box is None:
            behind = [*takewhile(lambda sibling: sibling.kind in _FREE, reversed(siblings))][::-1]
            before = siblings[: len(siblings) - len(behind)]
            room_start = before[-1].end if before else start
        else:
            behind = [*takewhile(lambda sibling: sibling.kind in _FREE, siblings[found[0] + 1 :])]
            room_start = box.end
        room = Span(start=room_start, end=behind[-1].end if behind else room_start)
        levels.insert(0, Level(kind=kind, box=box, room=room))
        if box is None:
            break
        siblings, start = list_children(file, box), find_inside(file, box).start
        if any(child.kind == b"cmov" for child in siblings):
            message = "the description of its tracks is compressed (cmov)"
            raise UnwritableError(message)
    if levels[-1].box is None:
        message = "the description of its tracks (moov) is missing"
        raise BrokenTagError(message)
    return levels


def _read_handler(file: BinaryIO, levels: list[Level]) -> bytes:
    """Read what kind of metadata there are; where there are none yet, those to be made."""
    for level in levels:
        if level.kind == b"meta" and level.box:
            for box in list_children(file, level.box):
                if box.kind == b"hdlr":
                    return read_at(file, box.body_start, _HANDLER_BYTES.end)[_HANDLER_BYTES.start :]
            return b""
    return _HANDLER


def _pad(room: Span, n_bytes: int) -> list[Piece]:
    """Make one free box of so many bytes; it holds what stood at its place."""
    if not n_bytes:
        return []
    n_header_bytes = len(build_header(b"free", n_bytes - HEADER_BYTES))
    header = build_header(b"free", n_bytes - n_header_bytes)
    kept = min(n_bytes - len(header), room.end - room.start)
    return [header + bytes(n_bytes - len(header) - kept), Span(start=room.end - kept, end=room.end)]


def _bracket(kinds: tuple[bytes, ...]) -> bytes:
    """Make the brackets of boxes in one another that have yet to be made."""
    opened = b"".join(
        b"<" + kind + bytes([HEADER_BYTES]) + (bytes(VERSION_BYTES) + _HANDLER_BOX if kind == b"meta" else b"")
        for kind in kinds
    )
    return opened + b">" * len(kinds)
