"""The places in an MP4 file that are told by their distance from its start: found, shifted, compared.

Everything else that tells a place tells it relative to itself, such as ``sidx``, ``trun`` and a ``saio`` of a fragment.
Boxes of makers of cameras (``uuid``) may hold places that nobody else knows of.

Source: ISO/IEC 14496-12, sections 8.7.2 (dref), 8.7.5 (stco, co64), 8.7.9 (saio), 8.8.7 (tfhd), 8.8.10 (tfra), 8.11.3
(iloc).
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from tagcli.boxes import Box
from tagcli.files import Span, read_at
from tagcli.metadata.fields import BrokenTagError, UnwritableError
from tagcli.metadata.mp4_boxes import VERSION_BYTES, Edit, list_children

_HOLDERS: dict[bytes, tuple[bytes, ...]] = {
    b"moov": (b"trak", b"meta", b"udta"),
    b"trak": (b"mdia", b"meta"),
    b"mdia": (b"minf",),
    b"minf": (b"stbl",),
    b"udta": (b"meta",),
    b"moof": (b"traf", b"meta"),
    b"traf": (b"meta",),
    b"mfra": (),
    b"meta": (),
}
"""Which boxes in which ones may hold places at any depth."""
_MOST_BYTES = 1 << 26
"""Of one table: more than a day in chunks of one frame."""
_LONGEST_LOCATION_BYTES = 1 << 16
_SELF_CONTAINED = 1
"""Flag of a reference to media data that lie in the file itself."""


@dataclass(frozen=True, kw_only=True)
class OffsetTable:
    """Offsets from the start of the file.

    Parameters
    ----------
    place
        From the first byte of the first one to the last byte of the last one.
    width
        Of one offset, in bytes.
    stride
        From one to the next, in bytes.
    is_external
        Whether they are about another file.
    """

    place: Span
    width: int
    stride: int
    is_external: bool = False


def find_tables(file: BinaryIO, boxes: Iterable[Box]) -> Iterator[OffsetTable]:
    """Find all offsets of a file.

    Parameters
    ----------
    file
        The file.
    boxes
        The boxes of the file itself.

    Raises
    ------
    BrokenTagError
        When a table is longer than its box.
    UnwritableError
        When the file has places that are not understood.
    """
    for box in boxes:
        if box.kind in (b"moov", b"moof", b"mfra", b"meta"):
            yield from _find_in(file, box)


def shift_tables(file: BinaryIO, tables: Iterable[OffsetTable], area: Span, shift: int) -> list[Edit]:
    """Make offsets point to the same bytes as before.

    Parameters
    ----------
    file
        The file as it was.
    tables
        Its offsets.
    area
        What is rewritten.
    shift
        By how many bytes moves what lies behind it.

    Raises
    ------
    BrokenTagError
        When one of them points into what is rewritten.
    UnwritableError
        When one has no room for a number so large, or is about another file.
    """
    edits = []
    for table in tables:
        if table.is_external:
            if shift:
                message = "a track's media data lie in another file"
                raise UnwritableError(message)
            continue
        data = read_at(file, table.place.start, table.place.end - table.place.start)
        offsets = _read_offsets(data, table)
        if any(area.start <= offset < area.end for offset in offsets):
            message = "a track's media data lie in the middle of its metadata"
            raise BrokenTagError(message)
        shifted = [offset + shift if offset >= area.end else offset for offset in offsets]
        if max(shifted) >> 8 * table.width:
            message = f"the places of its media data do not fit into {8 * table.width} bits when they move"
            raise UnwritableError(message)
        if shifted != offsets:
            edits.append(Edit(place=table.place, pieces=(_put_offsets(data, table, shifted),)))
    return edits


def anchor_tables(file: BinaryIO, tables: Iterable[OffsetTable], landmarks: Sequence[int]) -> list[Edit]:
    """Tell offsets by the last landmark before each, and the distance from there: the same when all has moved.

    Parameters
    ----------
    file
        The file.
    tables
        Its offsets.
    landmarks
        Offsets of things that move as a whole, ascending.
    """
    edits = []
    for table in tables:
        if not table.is_external:
            data = read_at(file, table.place.start, table.place.end - table.place.start)
            offsets = _read_offsets(data, table)
            told = b"".join(_anchor(offset, landmarks) for offset in offsets)
            rest = _put_offsets(data, table, [0] * len(offsets))
            edits.append(Edit(place=table.place, pieces=(rest, told)))
    return edits


def _find_in(file: BinaryIO, box: Box) -> Iterator[OffsetTable]:
    children = list_children(file, box)
    is_external = box.kind == b"minf" and any(
        _refers_elsewhere(file, child) for child in children if child.kind == b"dinf"
    )
    for child in children:
        if child.kind in _HOLDERS[box.kind]:
            tables = _find_in_samples(file, child) if child.kind == b"stbl" else _find_in(file, child)
            yield from (replace(table, is_external=True) if is_external else table for table in tables)
        elif (box.kind, child.kind) == (b"traf", b"tfhd"):
            yield from _read_fragment_header(file, child)
        elif (box.kind, child.kind) == (b"mfra", b"tfra"):
            yield from _read_fragment_index(file, child)
        elif (box.kind, child.kind) == (b"meta", b"iloc"):
            message = "it has items with places of their own (iloc)"
            raise UnwritableError(message)


def _find_in_samples(file: BinaryIO, box: Box) -> Iterator[OffsetTable]:
    for child in list_children(file, box):
        head = child.body_start + VERSION_BYTES
        if child.kind in (b"stco", b"co64"):
            yield from _make_table(file, child, count_at=head, width=4 if child.kind == b"stco" else 8)
        elif child.kind == b"saio":
            version, has_type = read_at(file, child.body_start, 1), _read_number(file, head - 1, 1) & 1
            yield from _make_table(file, child, count_at=head + 8 * has_type, width=4 if version == b"\0" else 8)


def _read_fragment_header(file: BinaryIO, box: Box) -> Iterator[OffsetTable]:
    has_base = _read_number(file, box.body_start + VERSION_BYTES - 1, 1) & 1
    if has_base:
        start = box.body_start + VERSION_BYTES + 4  # behind the number of the track
        yield from _limit(box, OffsetTable(place=Span(start=start, end=start + 8), width=8, stride=8))


def _read_fragment_index(file: BinaryIO, box: Box) -> Iterator[OffsetTable]:
    width = 4 if read_at(file, box.body_start, 1) == b"\0" else 8
    lengths_at = box.body_start + VERSION_BYTES + 4  # behind the number of the track
    lengths = _read_number(file, lengths_at, 4)
    numbers = sum((lengths >> shift & 3) + 1 for shift in (0, 2, 4))
    yield from _make_table(file, box, count_at=lengths_at + 4, width=width, before=width, behind=numbers)


def _make_table(
    file: BinaryIO, box: Box, *, count_at: int, width: int, before: int = 0, behind: int = 0
) -> Iterator[OffsetTable]:
    """Make a table of entries, each an offset with so many bytes before and behind it."""
    start, stride = count_at + 4 + before, before + width + behind
    n_entries = _read_number(file, count_at, 4)
    if n_entries:
        end = start + (n_entries - 1) * stride + width
        yield from _limit(box, OffsetTable(place=Span(start=start, end=end), width=width, stride=stride))


def _limit(box: Box, table: OffsetTable) -> Iterator[OffsetTable]:
    if table.place.end > box.end or table.place.end - table.place.start > _MOST_BYTES:
        message = f"the table {box.kind.decode('latin-1')!r} is too long"
        raise BrokenTagError(message)
    yield table


def _refers_elsewhere(file: BinaryIO, box: Box) -> bool:
    """Tell whether the data information of a track names another file."""
    for child in list_children(file, box):
        if child.kind == b"dref":
            listed = replace(child, body_start=child.body_start + VERSION_BYTES + 4)  # behind the number of entries
            for entry in list_children(file, listed):
                body = read_at(file, entry.body_start, min(entry.end - entry.body_start, _LONGEST_LOCATION_BYTES))
                flags, location = int.from_bytes(body[1:VERSION_BYTES], "big"), body[VERSION_BYTES:]
                if not flags & _SELF_CONTAINED and any(location):
                    return True
    return False


def _anchor(offset: int, landmarks: Sequence[int]) -> bytes:
    number = bisect_right(landmarks, offset)
    distance = offset - landmarks[number - 1] if number else offset
    return number.to_bytes(8, "big") + distance.to_bytes(8, "big")


def _read_number(file: BinaryIO, offset: int, size: int) -> int:
    return int.from_bytes(read_at(file, offset, size), "big")


def _read_offsets(data: bytes, table: OffsetTable) -> list[int]:
    return [int.from_bytes(data[at : at + table.width], "big") for at in range(0, len(data), table.stride)]


def _put_offsets(data: bytes, table: OffsetTable, offsets: list[int]) -> bytes:
    new = bytearray(data)
    for at, offset in zip(range(0, len(data), table.stride), offsets, strict=True):
        new[at : at + table.width] = offset.to_bytes(table.width, "big")
    return bytes(new)
