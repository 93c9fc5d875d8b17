"""Which container a file is, told by its bytes and not by its name."""

from enum import StrEnum
from pathlib import Path

from tagcli.payload import find_payload, open_track

SYNC_SEARCH_BYTES = 64 << 10
"""How much junk between the tag and the first MPEG frame is forgiven."""
MPEG_HEADER_BYTES = 4
LONGEST_FRAME_BYTES = 1441
"""MPEG-1 layer III at 320 kbit/s and 32 kHz, with its padding byte."""

# Layer III bit rates in kbit/s (ISO/IEC 11172-3, 2.4.2.3; ISO/IEC 13818-3, 2.4.2.3). 0: free format, 15: forbidden.
_BIT_RATES_MPEG1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BIT_RATES_MPEG2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_SAMPLE_RATES_MPEG1 = (44100, 48000, 32000)
_MPEG_VERSION_DIVISORS = {3: 1, 2: 2, 0: 4}
_MPEG_SAME_STREAM_MASK = 0xFFFE0C00
"""Sync, version, layer and sample rate: what two frames of one stream share."""


class Container(StrEnum):
    """What kind of file it is, by its bytes and not by its name."""

    MP3 = "mp3"
    AAC = "aac"
    FLAC = "flac"
    OGG = "ogg"
    MP4 = "mp4"
    ASF = "asf"
    WAV = "wav"
    AIFF = "aiff"
    APE = "ape"
    WAVPACK = "wavpack"
    MUSEPACK = "musepack"
    TTA = "tta"
    DSF = "dsf"
    MATROSKA = "matroska"
    UNKNOWN = "unknown"


# (container, offset, magic bytes); the first match of all its parts wins.
_MAGICS: tuple[tuple[Container, int, bytes], ...] = (
    (Container.FLAC, 0, b"fLaC"),
    (Container.OGG, 0, b"OggS"),
    (Container.MP4, 4, b"ftyp"),
    (Container.ASF, 0, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")),
    (Container.WAV, 8, b"WAVE"),
    (Container.AIFF, 8, b"AIFF"),
    (Container.AIFF, 8, b"AIFC"),
    (Container.APE, 0, b"MAC "),
    (Container.WAVPACK, 0, b"wvpk"),
    (Container.MUSEPACK, 0, b"MPCK"),
    (Container.MUSEPACK, 0, b"MP+"),
    (Container.TTA, 0, b"TTA1"),
    (Container.DSF, 0, b"DSD "),
    (Container.MATROSKA, 0, bytes.fromhex("1a45dfa3")),
    (Container.AAC, 0, b"ADIF"),
)
_CHUNK_FORMS = {Container.WAV: (b"RIFF", b"RF64", b"BW64"), Container.AIFF: (b"FORM",)}


def find_container(path: Path) -> Container:
    """Tell the kind of a file by its bytes, looking behind ID3v2 tags.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Container
        The kind; MP3 is MPEG audio of layer III only.

    Raises
    ------
    MetadataError
        When the file cannot be read.
    """
    payload = find_payload(path)
    size = payload.end - payload.start
    with open_track(path) as (file, _):
        file.seek(payload.start)
        head = file.read(min(size, SYNC_SEARCH_BYTES + LONGEST_FRAME_BYTES + MPEG_HEADER_BYTES))
    for container, offset, magic in _MAGICS:
        forms = _CHUNK_FORMS.get(container, (b"",))
        if head.startswith(magic, offset) and head.startswith(forms):
            return container
    # ADTS shares the sync word of MPEG audio; its layer is always 00 (ISO/IEC 13818-7, 6.2.1).
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return Container.AAC
    return Container.MP3 if _has_mpeg_layer3(head, size) else Container.UNKNOWN


def _has_mpeg_layer3(head: bytes, payload_bytes: int) -> bool:
    """Whether two frames of one stream follow each other, or the payload is one frame only."""
    position = head.find(b"\xff")
    while 0 <= position < SYNC_SEARCH_BYTES:
        header = int.from_bytes(head[position : position + MPEG_HEADER_BYTES], "big")
        size = _mpeg_layer3_frame_bytes(header)
        following = head[position + size : position + size + MPEG_HEADER_BYTES]
        if size and len(following) == MPEG_HEADER_BYTES:
            if (header ^ int.from_bytes(following, "big")) & _MPEG_SAME_STREAM_MASK == 0:
                return True
        elif size and position == 0 and size + MPEG_HEADER_BYTES > payload_bytes:
            return True
        position = head.find(b"\xff", position + 1)
    return False


def _mpeg_layer3_frame_bytes(header: int) -> int:
    """Return the length of an MPEG layer III frame, 0 when the header is none (ISO/IEC 11172-3, 2.4.1.3)."""
    version, layer = header >> 19 & 3, header >> 17 & 3
    bit_rate_index, sample_rate_index, padding = header >> 12 & 15, header >> 10 & 3, header >> 9 & 1
    is_valid = header >> 21 == 0x7FF and version in _MPEG_VERSION_DIVISORS and layer == 1
    if not is_valid or bit_rate_index in (0, 15) or sample_rate_index == 3:
        return 0
    bit_rates = _BIT_RATES_MPEG1 if version == 3 else _BIT_RATES_MPEG2
    sample_rate = _SAMPLE_RATES_MPEG1[sample_rate_index] // _MPEG_VERSION_DIVISORS[version]
    bytes_per_second = bit_rates[bit_rate_index - 1] * 1000 // 8
    return (1152 if version == 3 else 576) * bytes_per_second // sample_rate + padding
