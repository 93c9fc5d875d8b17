"""The audio of WAV and AIFF files: the chunks of samples and of their format.

Sources: Multimedia Programming Interface and Data Specifications 1.0 (RIFF); EBU Tech 3306 and ITU-R BS.2088 (RF64,
BW64); Audio Interchange File Format 1.3.
"""

from typing import BinaryIO

from tagcli.files import Span, read_at

_FORM_BYTES = 12
_HEADER_BYTES = 8
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)  # written by programs that stream: the samples go on to the end
_MAX_CHUNKS = 1000  # a file of zeros is a chain of empty chunks


def find_audio(file: BinaryIO, content: Span) -> tuple[Span, ...] | None:
    """Find the parts that are audio.

    Parameters
    ----------
    file
        The file.
    content
        Where its form and everything behind it lie.

    Returns
    -------
    tuple of Span or None
        The parts in order; None when the samples or their format are missing. Samples that were cut off count as far as
        they go. What lies behind the form's chunks does not count: no decoder looks there.
    """
    is_aiff = read_at(file, content.start, 4) == b"FORM"
    format_kind, samples_kind = (b"COMM", b"SSND") if is_aiff else (b"fmt ", b"data")
    position = content.start + _FORM_BYTES
    long_size = None
    kinds, spans = set(), []
    for _ in range(_MAX_CHUNKS):
        if position + _HEADER_BYTES > content.end:
            break
        header = read_at(file, position, _HEADER_BYTES)
        position += _HEADER_BYTES
        kind, size = header[:4], int.from_bytes(header[4:], "big" if is_aiff else "little")
        if kind == b"ds64":
            long_size = int.from_bytes(read_at(file, position + 8, 8), "little")
        elif kind == samples_kind and size in _UNKNOWN_SIZES:
            size = long_size or content.end - position
        if kind in (format_kind, samples_kind):
            kinds.add(kind)
            spans.append(Span(start=position, end=min(position + size, content.end)))
        position += size + size % 2
    return tuple(spans) if len(kinds) == 2 else None
