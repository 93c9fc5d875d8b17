"""What an MPEG audio stream says of its own length: frame headers, and the Xing and Info headers."""

from dataclasses import dataclass
from pathlib import Path

from tagcli.payload import find_payload

# ISO/IEC 11172-3 and 13818-3: kbit/s by (version is 1, layer), Hz by version bits
_BITRATES_KBPS = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES_HZ = {0: (11025, 12000, 8000), 2: (22050, 24000, 16000), 3: (44100, 48000, 32000)}
_SEARCH_BYTES = 64 * 1024  # how far behind the tag the first frame may lie


@dataclass(frozen=True, kw_only=True)
class MpegFrame:
    """One frame header.

    Parameters
    ----------
    size
        Length of the frame in bytes, 0 for a free-format stream.
    length_header_offset
        Where a Xing or Info header would begin, counted from the frame.
    """

    size: int
    length_header_offset: int


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


def parse_frame(header: bytes) -> MpegFrame | None:
    """Read a 4-byte frame header; None when it is not one."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate_index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate_index == 15 or rate_index == 3:
        return None
    is_version_1 = version == 3
    is_mono = header[3] >> 6 == 3
    sample_rate = _SAMPLE_RATES_HZ[version][rate_index]
    bits_per_second = 1000 * _BITRATES_KBPS[is_version_1, layer][bitrate_index]
    if layer == 1:
        size = (12 * bits_per_second // sample_rate + padding) * 4
    else:
        samples_per_frame = 1152 if is_version_1 or layer == 2 else 576
        size = samples_per_frame // 8 * bits_per_second // sample_rate + padding
    if bits_per_second == 0:
        size = 0
    side_info = (17 if is_mono else 32) if is_version_1 else (9 if is_mono else 17)
    return MpegFrame(size=size, length_header_offset=4 + side_info)


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
    payload = find_payload(path)
    with path.open("rb") as file:
        file.seek(payload.start)
        head = file.read(min(_SEARCH_BYTES, payload.end - payload.start))
    position = head.find(b"\xff")
    while position >= 0:
        frame = parse_frame(head[position : position + 4])
        if frame and _is_frame_start(head, position, frame):
            return _parse_length_header(head[position:], frame, payload.end - payload.start - position)
        position = head.find(b"\xff", position + 1)
    return MpegLength(has_length=False, is_cut=False)


def _is_frame_start(head: bytes, position: int, frame: MpegFrame) -> bool:
    """Tell a frame from bytes that look like one: another frame follows it, or the file ends with it."""
    following = position + frame.size
    return following + 4 > len(head) or parse_frame(head[following : following + 4]) is not None


def _parse_length_header(frame_bytes: bytes, frame: MpegFrame, n_bytes_here: int) -> MpegLength:
    """Read the Xing or Info header of a first frame; `n_bytes_here` is what the file holds from it on."""
    xing = frame_bytes[frame.length_header_offset : frame.length_header_offset + 16]
    if xing[:4] in (b"Xing", b"Info"):
        flags = int.from_bytes(xing[4:8], "big")
        has_frames, has_bytes = bool(flags & 1), bool(flags & 2)
        start = 12 if has_frames else 8
        n_bytes = int.from_bytes(xing[start : start + 4], "big") if has_bytes else 0
        return MpegLength(has_length=has_frames, is_cut=n_bytes > n_bytes_here)
    return MpegLength(has_length=False, is_cut=False)
