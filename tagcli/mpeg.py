"""MPEG audio frames: what a frame header says, and where the first frame of a stream lies."""

from dataclasses import dataclass

SYNC_SEARCH_BYTES = 64 << 10
"""How much junk between the tag and the first frame is forgiven."""
HEADER_BYTES = 4
LONGEST_FRAME_BYTES = 1441
"""MPEG-1 layer III at 320 kbit/s and 32 kHz, with its padding byte."""

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


@dataclass(frozen=True, kw_only=True)
class MpegFrame:
    """One frame header (ISO/IEC 11172-3, 2.4.1.3; ISO/IEC 13818-3).

    Parameters
    ----------
    version_bits, layer, sample_rate
        What all frames of a stream share; 3 stands for MPEG-1, 2 for MPEG-2, 0 for MPEG-2.5; the rate in Hz.
    size
        Length of the frame in bytes, 0 for a free-format stream.
    length_header_offset
        Where a Xing or Info header would begin, counted from the frame.
    """

    version_bits: int
    layer: int
    sample_rate: int
    size: int
    length_header_offset: int

    def is_of_stream(self, other: "MpegFrame") -> bool:
        """Tell whether two frames can belong to one stream."""
        mine = (self.version_bits, self.layer, self.sample_rate)
        return mine == (other.version_bits, other.layer, other.sample_rate)


def parse_frame(header: bytes) -> MpegFrame | None:
    """Read a 4-byte frame header; None when it is not one."""
    if len(header) < HEADER_BYTES or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version_bits, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate_index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version_bits == 1 or layer == 4 or bitrate_index == 15 or rate_index == 3:
        return None
    is_version_1 = version_bits == 3
    is_mono = header[3] >> 6 == 3
    sample_rate = _SAMPLE_RATES_HZ[version_bits][rate_index]
    bits_per_second = 1000 * _BITRATES_KBPS[is_version_1, layer][bitrate_index]
    if layer == 1:
        size = (12 * bits_per_second // sample_rate + padding) * 4
    else:
        samples_per_frame = 1152 if is_version_1 or layer == 2 else 576
        size = samples_per_frame // 8 * bits_per_second // sample_rate + padding
    if bits_per_second == 0:
        size = 0
    side_info = (17 if is_mono else 32) if is_version_1 else (9 if is_mono else 17)
    return MpegFrame(
        version_bits=version_bits,
        layer=layer,
        sample_rate=sample_rate,
        size=size,
        length_header_offset=HEADER_BYTES + side_info,
    )


def find_first_frame(head: bytes, payload_bytes: int) -> int | None:
    """Find where a stream begins.

    Parameters
    ----------
    head
        The first bytes of the payload.
    payload_bytes
        Length of the whole payload.

    Returns
    -------
    int or None
        Offset of the first frame that another one of the same stream follows, or that is the whole payload; None when
        there is none within `SYNC_SEARCH_BYTES`.
    """
    position = head.find(b"\xff")
    while 0 <= position < SYNC_SEARCH_BYTES:
        frame = parse_frame(head[position : position + HEADER_BYTES])
        if frame is not None and frame.size:
            following = parse_frame(head[position + frame.size : position + frame.size + HEADER_BYTES])
            is_alone = position == 0 and frame.size + HEADER_BYTES > payload_bytes
            if is_alone or (following is not None and frame.is_of_stream(following)):
                return position
        position = head.find(b"\xff", position + 1)
    return None
