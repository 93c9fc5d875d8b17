"""What an MPEG audio stream says of its own length: the Xing and Info headers."""

from dataclasses import dataclass
from pathlib import Path

from tagcli.mpeg import HEADER_BYTES, LONGEST_FRAME_BYTES, SYNC_SEARCH_BYTES, MpegFrame, find_first_frame, parse_frame
from tagcli.outer_tags import find_content

# what a header may leave out of its count before the file is taken for several streams, one behind the other
_UNCOUNTED_SHARE = 0.01
_UNCOUNTED_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class MpegLength:
    """What a stream promises.

    A VBRI header promises as much, but libsndfile does not know it, and guesses the length from the first bit rate.

    Parameters
    ----------
    has_length
        Whether a Xing or Info header gives the number of frames.
    is_cut
        Whether the file ends before the number of bytes that the header gives.
    """

    has_length: bool
    is_cut: bool


def read_length(path: Path) -> MpegLength:
    """Look for a length header in the first frame.

    Parameters
    ----------
    path
        An MPEG audio file, with or without tags around the audio.

    Raises
    ------
    OSError
        When the file cannot be read.
    """
    content = find_content(path)
    n_bytes = content.end - content.start
    with path.open("rb") as file:
        file.seek(content.start)
        head = file.read(min(SYNC_SEARCH_BYTES + LONGEST_FRAME_BYTES + HEADER_BYTES, n_bytes))
    start = find_first_frame(head, n_bytes)
    frame = None if start is None else parse_frame(head[start : start + HEADER_BYTES])
    if start is None or frame is None:
        return MpegLength(has_length=False, is_cut=False)
    return _parse_length_header(head[start:], frame, n_bytes - start)


def _parse_length_header(frame_bytes: bytes, frame: MpegFrame, n_bytes_here: int) -> MpegLength:
    """Read the Xing or Info header of a first frame; `n_bytes_here` is what the file holds from it on."""
    xing = frame_bytes[frame.length_header_offset : frame.length_header_offset + 16]
    if xing[:4] in (b"Xing", b"Info"):
        flags = int.from_bytes(xing[4:8], "big")
        has_frames, has_bytes = bool(flags & 1), bool(flags & 2)
        start = 12 if has_frames else 8
        n_bytes = int.from_bytes(xing[start : start + 4], "big") if has_bytes else 0
        is_joined = 0 < n_bytes < (1 - _UNCOUNTED_SHARE) * n_bytes_here - _UNCOUNTED_BYTES
        return MpegLength(has_length=has_frames and not is_joined, is_cut=n_bytes > n_bytes_here)
    return MpegLength(has_length=False, is_cut=False)
