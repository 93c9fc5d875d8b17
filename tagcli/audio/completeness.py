"""Tell from the container's own frame whether a file has been cut off, without decoding it."""

from pathlib import Path
from typing import BinaryIO

from tagcli.container import Container

_OGG_MAX_PAGE_BYTES = 27 + 255 + 255 * 255
_OGG_END_OF_STREAM = 0x04
_CHUNK_HEADER_BYTES = 8
_MAX_CHUNKS = 1000  # a file of zeros is a chain of empty chunks
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)  # written by programs that stream
_ASF_DATA_OBJECT = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_EBML_SEGMENT = bytes.fromhex("18538067")


def is_cut_short(path: Path, container: Container) -> bool:
    """Tell whether a WAV, AIFF, Ogg, ASF or Matroska file ends before its audio does.

    Parameters
    ----------
    path
        The file.
    container
        Its container; for others than these the answer is False, as their decoders know better.

    Raises
    ------
    OSError
        When the file cannot be read.
    """
    with path.open("rb") as file:
        n_bytes = file.seek(0, 2)
        file.seek(0)
        match container:
            case Container.WAV | Container.AIFF:
                end = _find_chunk_end(file)
            case Container.ASF:
                end = _find_asf_data_end(file, n_bytes)
            case Container.MATROSKA:
                end = _find_segment_end(file, n_bytes)
            case Container.OGG:
                return _is_ogg_cut_short(file)
            case _:
                return False
        return end is not None and end > n_bytes


def _find_chunk_end(file: BinaryIO) -> int | None:
    """Find where the chunk of samples ends: `data` of a WAV, `SSND` of an AIFF file; None when it does not say.

    The size of the whole form is no witness: too many programs miscount it.
    """
    is_little_endian = file.read(12).startswith(b"RIFF")
    for _ in range(_MAX_CHUNKS):
        header = file.read(_CHUNK_HEADER_BYTES)
        if len(header) < _CHUNK_HEADER_BYTES:
            break
        size = int.from_bytes(header[4:], "little" if is_little_endian else "big")
        if header[:4] in (b"data", b"SSND"):
            return None if size in _UNKNOWN_SIZES else file.tell() + size
        file.seek(size + size % 2, 1)
    return None


def _find_asf_data_end(file: BinaryIO, n_bytes: int) -> int | None:
    """Find where the Data Object ends, which follows the Header Object (ASF specification, section 5)."""
    start = int.from_bytes(file.read(24)[16:], "little")
    if start > n_bytes:
        return start
    file.seek(start)
    header = file.read(24)
    size = int.from_bytes(header[16:], "little")
    return start + size if header.startswith(_ASF_DATA_OBJECT) and size else None


def _find_segment_end(file: BinaryIO, n_bytes: int) -> int | None:
    """Find where the Segment ends, which follows the EBML header (RFC 8794, section 4; RFC 9559)."""
    file.seek(4)
    header_size = _read_ebml_size(file)
    if header_size is None or header_size > n_bytes:
        return header_size
    file.seek(header_size, 1)
    size = _read_ebml_size(file) if file.read(4) == _EBML_SEGMENT else None
    return None if size is None else file.tell() + size


def _read_ebml_size(file: BinaryIO) -> int | None:
    """Read a size whose leading zero bits tell its length; None when it is unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    n_more = 8 - first[0].bit_length()
    bits = 7 * (n_more + 1)
    size = int.from_bytes(first + file.read(n_more), "big") & ((1 << bits) - 1)
    return None if size == (1 << bits) - 1 else size


def _is_ogg_cut_short(file: BinaryIO) -> bool:
    """Tell whether the last Ogg page is incomplete or does not end its stream (RFC 3533, section 6)."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 2 * _OGG_MAX_PAGE_BYTES))
    tail = file.read()
    position = tail.rfind(b"OggS")
    if position < 0 or len(tail) < position + 27:
        return True
    page = tail[position:]
    n_segments = page[26]
    page_size = 27 + n_segments + sum(page[27 : 27 + n_segments])
    return len(page) < page_size or not page[5] & _OGG_END_OF_STREAM
