"""Which container a file is, told by its bytes and not by its name."""

from enum import StrEnum
from pathlib import Path

from tagcli.files import open_track, read_at
from tagcli.mpeg import HEADER_BYTES, LONGEST_FRAME_BYTES, SYNC_SEARCH_BYTES, find_first_frame, parse_frame
from tagcli.outer_tags import find_content_of


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
MAGIC_BYTES = max(offset + len(magic) for _, offset, magic in _MAGICS)
"""How many first bytes tell a container that has a magic number."""
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
    with open_track(path) as (file, n_bytes):
        content = find_content_of(file, n_bytes)
        size = content.end - content.start
        head = read_at(file, content.start, min(size, SYNC_SEARCH_BYTES + LONGEST_FRAME_BYTES + HEADER_BYTES))
    container = find_container_by_magic(head)
    if container is not None:
        return container
    # ADTS shares the sync word of MPEG audio; its layer is always 00 (ISO/IEC 13818-7, 6.2.1).
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return Container.AAC
    start = find_first_frame(head, size)
    frame = None if start is None else parse_frame(head[start : start + HEADER_BYTES])
    return Container.MP3 if frame is not None and frame.layer == 3 else Container.UNKNOWN


def find_container_by_magic(head: bytes) -> Container | None:
    """Tell the kind of a file by its magic number; MPEG audio has none.

    Parameters
    ----------
    head
        The first bytes behind the outer tags, `MAGIC_BYTES` of them or more.

    Returns
    -------
    Container or None
        The kind; None when no magic number is known.
    """
    for container, offset, magic in _MAGICS:
        forms = _CHUNK_FORMS.get(container, (b"",))
        if head.startswith(magic, offset) and head.startswith(forms):
            return container
    return None
