"""The audio of an MP4 file: its media data boxes (ISO/IEC 14496-12, section 8.1.1)."""

from collections.abc import Iterator
from typing import BinaryIO

from tagcli.boxes import walk_boxes
from tagcli.files import Span


def find_audio(file: BinaryIO, content: Span) -> Iterator[Span] | None:
    """Find the parts that are audio.

    Parameters
    ----------
    file
        The file.
    content
        Where its first box and everything behind it lie.

    Returns
    -------
    iterator of Span or None
        The parts in order; None when the file does not parse, or lacks the media data or the box that describes them.
        A box too short may have more audio behind it, which would be played all the same: the description tells where
        it lies. The last box may end before it says: a file that was cut off counts as far as it goes.
    """
    try:
        kinds = {box.kind for box in walk_boxes(file, content) if box.kind in (b"mdat", b"moov")}
    except ValueError:
        return None
    if len(kinds) < 2:
        return None
    return (  # fragments are many: no list of them
        Span(start=box.body_start, end=min(box.end, content.end))
        for box in walk_boxes(file, content)
        if box.kind == b"mdat"
    )
