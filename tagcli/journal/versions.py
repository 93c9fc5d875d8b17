"""Two versions of a file, byte against byte: what of the old one is not in the new one, and where the rest of it is.

A shift is how much further back a byte of the old version stands in the new one. An edit of tags leaves long stretches
of one shift: audio behind a tag that grew, a picture that moved inside the tag. Inside a stretch few bytes differ:
chunk offsets of MP4, page numbers and checksums of Ogg.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from tagcli.errors import JournalError

BLOCK_BYTES = 1 << 18
"""How much of a version is held in memory at a time."""
FIRST_BLOCK_BYTES = 1 << 14
"""Block behind a change of shift; blocks double from there, so that many changes do not mean many big blocks."""
WINDOW_BYTES = 1 << 12
"""In a stretch of this length one change of shift is looked for."""
SWITCH_BYTES = 32
"""How many bytes a change of shift must save; so many are equal by chance in two windows of unrelated audio."""
MERGED_BYTES = 4
"""Equal bytes between two runs that are stored all the same: a run of its own costs three bytes or four."""
FINGERPRINT_BYTES = 32
MAX_FINGERPRINTS = 1 << 16
MAX_SHIFTS = 16

# Odd numbers without a pattern (splitmix64, xxHash): products spread a word over all upper bits.
_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64
)


class Version:
    """One version of a file, open for reading at any place.

    Parameters
    ----------
    file
        The file; it can be sought.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)

    @property
    def path(self) -> Path | None:
        """Path of the file, when it was opened by one."""
        name = getattr(self._file, "name", None)
        return Path(name) if isinstance(name, str) else None

    def __str__(self) -> str:
        return str(self.path or "The file")

    def read(self, offset: int, size: int) -> bytes:
        """Read bytes of the file.

        Parameters
        ----------
        offset
            Of the first byte.
        size
            How many; all of them are in the file.

        Returns
        -------
        bytes
            All of them.

        Raises
        ------
        JournalError
            When the file has become shorter.
        """
        self._file.seek(offset)
        data = self._file.read(size)
        while len(data) < size:  # A file without a buffer may give less than it has.
            more = self._file.read(size - len(data))
            if not more:
                message = f"{self} became shorter while it was read; run again when nothing else writes to it."
                raise JournalError(message, path=self.path)
            data += more
        return data

    def blocks(self) -> Iterator[bytes]:
        """Read the file from end to end.

        Yields
        ------
        bytes
            The next bytes, a block at most.
        """
        for offset in range(0, self.size, BLOCK_BYTES):
            yield self.read(offset, min(BLOCK_BYTES, self.size - offset))


@dataclass(frozen=True, kw_only=True)
class Run:
    """Bytes of the old version that the new one does not have at their place, or a change of shift, or both.

    Parameters
    ----------
    start
        Offset in the old version.
    literal
        Its bytes from there on; none for a mere change of shift.
    shift
        That of the bytes behind them, up to the next run.
    """

    start: int
    literal: bytes
    shift: int


@dataclass(frozen=True, kw_only=True)
class _Span:
    """Bytes of one version, from `start` to before `end`."""

    start: int
    end: int


def find_shifts(old: Version, new: Version) -> list[int]:
    """Find the shifts at which the new version has bytes of the old one.

    The two that every edit at one place has come first: none, and the difference of the sizes. Only what these leave
    unexplained is searched for others, by fingerprints.

    Parameters
    ----------
    old, new
        The versions.

    Returns
    -------
    list of int
        The shifts, all different; the first is 0.
    """
    shifts = list(dict.fromkeys((0, new.size - old.size)))
    old_gaps, new_gaps = _find_gaps(old, new, compare(old, new, shifts))
    if not old_gaps or not new_gaps:
        return shifts
    n_bytes = max(sum(span.end - span.start for span in gaps) for gaps in (old_gaps, new_gaps))
    one_in = 1 << max(0, (n_bytes - 1) // MAX_FINGERPRINTS).bit_length()
    old_prints, old_offsets = _take_fingerprints(old, old_gaps, one_in)
    new_prints, new_offsets = _take_fingerprints(new, new_gaps, one_in)
    _, in_old, in_new = np.intersect1d(old_prints, new_prints, assume_unique=True, return_indices=True)
    found, n_votes = np.unique(new_offsets[in_new] - old_offsets[in_old], return_counts=True)
    best = found[np.argsort(-n_votes, kind="stable")][:MAX_SHIFTS]
    return list(dict.fromkeys((*shifts, *best.tolist())))


def compare(old: Version, new: Version, shifts: list[int]) -> Iterator[Run]:
    """Tell the old version by the new one: which bytes are to be stored, and the shift of those between them.

    Shifts are changed where that saves bytes within the next window, so the result is always right and nearly always
    the smallest.

    Parameters
    ----------
    old, new
        The versions.
    shifts
        Shifts to choose from. The one at the start of the file is 0.

    Yields
    ------
    Run
        The next run, in the order of the old version. The literal of one is no longer than a block.
    """
    position, shift, size = 0, 0, BLOCK_BYTES
    while position < old.size:
        block = old.read(position, min(size, old.size - position))
        if _read_shifted(new, position + shift, len(block)) == block:
            position, size = position + len(block), min(2 * size, BLOCK_BYTES)
            continue
        masks = {shift: _differ(block, new, position + shift)}
        stop, next_shift = len(block), shift
        for start in _dense_windows(masks[shift]):
            if len(masks) == 1:
                masks |= {other: _differ(block, new, position + other) for other in shifts if other != shift}
            split, next_shift = _choose_split(masks, shift, slice(start, start + WINDOW_BYTES))
            if next_shift != shift:
                stop = start + split
                break
        for first, last in _find_runs(masks[shift][:stop]):
            yield Run(start=position + first, literal=block[first:last], shift=shift)
        position, size = position + stop, min(2 * size, BLOCK_BYTES)
        if next_shift != shift:
            shift, size = next_shift, FIRST_BLOCK_BYTES
            yield Run(start=position, literal=b"", shift=shift)


def _read_shifted(new: Version, offset: int, size: int) -> bytes:
    """Read what there is of `size` bytes; an offset may lie outside of the file."""
    start, end = max(0, offset), min(offset + size, new.size)
    return new.read(start, end - start) if start < end else b""


def _differ(block: bytes, new: Version, offset: int) -> npt.NDArray[np.bool_]:
    """Tell which bytes of a block differ from those of the new version [shape=(n_bytes,)]; outside of it all do."""
    mask = np.ones(len(block), np.bool_)
    there = np.frombuffer(_read_shifted(new, offset, len(block)), np.uint8)
    inside = slice(max(0, -offset), max(0, -offset) + len(there))
    mask[inside] = np.frombuffer(block, np.uint8)[inside] != there
    return mask


def _dense_windows(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Give the starts of the windows in which another shift could save enough."""
    starts = np.arange(0, len(mask), WINDOW_BYTES)
    counts = np.add.reduceat(mask, starts, dtype=np.int64)
    return [int(start) for start in starts[counts > SWITCH_BYTES]]


def _choose_split(masks: dict[int, npt.NDArray[np.bool_]], shift: int, window: slice) -> tuple[int, int]:
    """Choose from where on in a window which shift is best; the one in use when none saves enough."""
    mine = masks[shift][window]
    least, split, chosen = int(np.count_nonzero(mine)) - SWITCH_BYTES, len(mine), shift
    for other, mask in masks.items():
        theirs = mask[window]
        n_theirs = np.count_nonzero(theirs)
        if other == shift or len(theirs) - n_theirs <= SWITCH_BYTES:  # It cannot save more than it has right.
            continue
        costs = np.full(len(mine) + 1, n_theirs)
        costs[1:] += np.cumsum(np.subtract(mine, theirs, dtype=np.int8), dtype=np.int64)
        best = int(np.argmin(costs))
        if costs[best] < least:
            least, split, chosen = int(costs[best]), best, other
    return split, chosen


def _find_runs(mask: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield start and end of each run of differing bytes, near ones in one."""
    places = np.flatnonzero(mask)
    if len(places):
        breaks = np.flatnonzero(np.diff(places) > MERGED_BYTES)
        starts = places[np.concatenate(([0], breaks + 1))]
        ends = places[np.concatenate((breaks, [-1]))] + 1
        yield from zip(starts.tolist(), ends.tolist(), strict=True)


def _find_gaps(old: Version, new: Version, runs: Iterable[Run]) -> tuple[list[_Span], list[_Span]]:
    """Find the bytes of each version to which none of the other answer. Few together do not count, either way."""
    in_old, in_new = [], []
    start = shift = 0
    for run in chain(runs, [Run(start=old.size, literal=b"", shift=0)]):
        if run.shift == shift and len(run.literal) < FINGERPRINT_BYTES and run.start < old.size:
            continue
        if run.start - start >= FINGERPRINT_BYTES:
            in_old.append(_Span(start=start, end=run.start))
            in_new.append(_Span(start=max(0, start + shift), end=min(run.start + shift, new.size)))
        start, shift = run.start + len(run.literal), run.shift
    return _invert(in_old, old.size), _invert(in_new, new.size)


def _invert(spans: list[_Span], size: int) -> list[_Span]:
    """Give what lies between spans, where a fingerprint fits in."""
    gaps, end = [], 0
    for span in (*sorted(spans, key=lambda span: span.start), _Span(start=size, end=size)):
        if span.start - end >= FINGERPRINT_BYTES:
            gaps.append(_Span(start=end, end=span.start))
        end = max(end, span.end)
    return gaps


def _take_fingerprints(
    version: Version, spans: list[_Span], one_in: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Take fingerprints, each with the offset where it occurs first; one place in `one_in`, chosen by its bytes.

    What is repeated, or silence, has the same first occurrence in both versions as a rule, and takes no memory.
    """
    prints, offsets = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for span in spans:
        for start in range(span.start, span.end - FINGERPRINT_BYTES + 1, BLOCK_BYTES):
            data = version.read(start, min(BLOCK_BYTES + FINGERPRINT_BYTES - 1, span.end - start))
            # The eight bytes at every offset as one number: both versions choose the same places whatever the shift.
            words = np.ndarray((len(data) - 7,), np.uint64, data, strides=(1,))
            mixed = words[: len(data) - FINGERPRINT_BYTES + 1] * _FACTORS[4] >> np.uint64(32)
            places = np.flatnonzero(mixed & np.uint64(one_in - 1) == 0)
            found = np.zeros(len(places), np.uint64)
            for number in range(FINGERPRINT_BYTES // 8):
                word = words[places + 8 * number] * _FACTORS[number]
                found = (found ^ word ^ word >> np.uint64(29)) * _FACTORS[4]
            found, kept = np.unique(found, return_index=True)
            prints.append(found)
            offsets.append(places[kept] + start)
    all_prints, kept = np.unique(np.concatenate(prints), return_index=True)
    return all_prints, np.concatenate(offsets)[kept]
