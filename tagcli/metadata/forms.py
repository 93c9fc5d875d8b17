"""The form that a WAV or AIFF file is: where its chunks lie, and the short texts among them. No samples are read.

Sources: Multimedia Programming Interface and Data Specifications 1.0 (RIFF), "Resource Interchange File Format"; EBU
Tech 3306 and ITU-R BS.2088 (RF64 and BW64: a chunk ds64 says what 32 bits cannot); Audio Interchange File Format 1.3.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Literal, TypeAlias

from tagcli.files import Span, read_at
from tagcli.metadata.fields import BrokenTagError, UnwritableError

ByteOrder: TypeAlias = Literal["little", "big"]
HEADER_BYTES = 8
_FORM_BYTES = 12
_LONG_FORMS = (b"RF64", b"BW64")
_UNKNOWN = 0xFFFFFFFF
"""A size of 32 bits that stands elsewhere; programs that stream leave it, or 0, behind."""
_IS_UNKNOWN = "is unknown, as when it is streamed, so nothing can be put behind its samples"
_AUDIO: dict[ByteOrder, tuple[bytes, bytes]] = {"little": (b"fmt ", b"data"), "big": (b"COMM", b"SSND")}
_AIFF_TEXTS = (b"NAME", b"AUTH", b"(c) ", b"ANNO")
_DS64_BYTES = 24
_MAX_CHUNKS = 1000  # as many as payload walks over; a file of zeros is a chain of empty chunks
_LONGEST_TEXT_BYTES = 2000


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A chunk of a form.

    Parameters
    ----------
    kind
        Its four letters.
    body
        Where what it holds lies.
    end
        Where the next chunk begins: behind a byte of padding when the size of the body is odd.
    """

    kind: bytes
    body: Span
    end: int

    @property
    def start(self) -> int:
        """Where its header begins."""
        return self.body.start - HEADER_BYTES


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form.

    Parameters
    ----------
    place
        Where it lies, from its first letters to its last chunk's end.
    size_places
        Where its size stands: behind the letters, in the chunk ds64, or in both.
    byte_order
        That of WAV is little, that of AIFF big.
    chunks
        In their order; those of the samples and of their format are there.
    """

    place: Span
    size_places: tuple[Span, ...]
    byte_order: ByteOrder
    chunks: tuple[Chunk, ...]

    @property
    def size(self) -> int:
        """In bytes, as it is to be written: without letters and size."""
        return self.place.end - self.place.start - HEADER_BYTES

    def holds_samples(self, chunk: Chunk) -> bool:
        """Tell whether a chunk holds the samples."""
        return chunk.kind == _AUDIO[self.byte_order][1]


@dataclass(frozen=True, kw_only=True)
class Text:
    """A short text outside of the ID3 tag.

    Parameters
    ----------
    name
        Such as ``INFO:IGNR`` in WAV or ``NAME`` in AIFF.
    value
        Readable; described when it is long or not UTF-8, as no encoding is stated.
    is_opaque
        Whether it is only described.
    """

    name: str
    value: str
    is_opaque: bool


def read_form(file: BinaryIO, start: int, n_bytes: int) -> Form:
    """Walk over the chunks of a form.

    Parameters
    ----------
    file
        The file.
    start
        Where the form begins.
    n_bytes
        Size of the whole file; there may be something behind the form.

    Returns
    -------
    Form
        Where everything lies.

    Raises
    ------
    BrokenTagError
        When the chunks do not lead to the end of the form, or the samples, their format or their size are missing.
    UnwritableError
        When the size of the form or of a chunk is left open.
    """
    letters = read_at(file, start, 4)
    order: ByteOrder = "big" if letters == b"FORM" else "little"
    size_places = [Span(start=start + 4, end=start + HEADER_BYTES)]
    size, n_sample_bytes = _read_number(file, size_places[0], order), 0
    is_long = letters in _LONG_FORMS
    long_sizes = _read_long_sizes(file, start + _FORM_BYTES) if is_long else None
    if size == _UNKNOWN and is_long and long_sizes is None:
        message = "the chunk that states its sizes is missing"
        raise BrokenTagError(message)
    if size == 0 or (size == _UNKNOWN and not is_long):
        message = f"the size of its form {_IS_UNKNOWN}"
        raise UnwritableError(message)
    if long_sizes is not None:
        long_place, long_size, n_sample_bytes = long_sizes
        if size == _UNKNOWN:
            size_places, size = [long_place], long_size
        elif size == long_size:
            size_places.append(long_place)
    end = start + HEADER_BYTES + size
    if size % 2 and end < n_bytes and read_at(file, end, 1) == b"\0":
        end += 1  # padding of the form itself, which it need not count
    inside = Span(start=start + _FORM_BYTES, end=min(end, n_bytes))
    chunks = tuple(_walk(file, inside, order, n_sample_bytes))
    # all that may be missing at the end of a file is the padding of its last chunk
    if end > inside.end and (not chunks or end > chunks[-1].body.end + _padding(chunks[-1].body)):
        message = "its form claims more bytes than the file has"
        raise BrokenTagError(message)
    if {chunk.kind for chunk in chunks}.issuperset(_AUDIO[order]):
        place = Span(start=start, end=inside.end)
        return Form(place=place, size_places=tuple(size_places), byte_order=order, chunks=chunks)
    message = "its samples or their format are missing"
    raise BrokenTagError(message)


def read_short_texts(file: BinaryIO, form: Form) -> tuple[Text, ...]:
    """Read the texts of lists of INFO in WAV files, and of such chunks in AIFF files.

    Parameters
    ----------
    file
        The file.
    form
        Where its chunks lie.

    Returns
    -------
    tuple of Text
        In their order. A damaged list is read as far as it goes: it stays as it is.
    """
    found = []
    for chunk in form.chunks:
        if form.byte_order == "big" and chunk.kind in _AIFF_TEXTS:
            found.append(_read_text(file, "", chunk))
        elif is_info(file, form, chunk):
            entries = _walk_leniently(file, Span(start=chunk.body.start + 4, end=chunk.body.end), form.byte_order)
            found += [_read_text(file, "INFO:", entry) for entry in entries]
    return tuple(found)


def is_info(file: BinaryIO, form: Form, chunk: Chunk) -> bool:
    """Tell whether a chunk is a list of INFO."""
    return form.byte_order == "little" and chunk.kind == b"LIST" and read_at(file, chunk.body.start, 4) == b"INFO"


def list_chunks_behind(file: BinaryIO, form: Form, n_bytes: int) -> list[Chunk]:
    """Find chunks behind a form, where a size that was not brought up to date leaves them; some programs look there."""
    return _walk_leniently(file, Span(start=form.place.end, end=n_bytes), form.byte_order)


def _read_long_sizes(file: BinaryIO, start: int) -> tuple[Span, int, int] | None:
    """Read the chunk ds64, if there is one: where the size of the form stands, this size, and that of the samples."""
    header, body = read_at(file, start, HEADER_BYTES), start + HEADER_BYTES
    if not header.startswith(b"ds64") or int.from_bytes(header[4:], "little") < _DS64_BYTES:
        return None
    place, samples = Span(start=body, end=body + 8), Span(start=body + 8, end=body + 16)
    return place, _read_number(file, place, "little"), _read_number(file, samples, "little")


def _walk_leniently(file: BinaryIO, inside: Span, order: ByteOrder) -> list[Chunk]:
    """Walk over chunks as far as they are chunks."""
    chunks = []
    with suppress(BrokenTagError, UnwritableError):
        for chunk in _walk(file, inside, order):
            chunks.append(chunk)  # noqa: PERF402  (those before a damage or an open size count)
    return chunks


def _walk(file: BinaryIO, inside: Span, order: ByteOrder, n_sample_bytes: int = 0) -> Iterator[Chunk]:
    """Walk over chunks; samples whose size is left open have so many bytes."""
    position = inside.start
    for _ in range(_MAX_CHUNKS):
        if position >= inside.end:
            return
        body = position + HEADER_BYTES
        kind, size = read_at(file, position, 4), _read_number(file, Span(start=position + 4, end=body), order)
        is_samples = kind == _AUDIO[order][1]
        if is_samples and size == _UNKNOWN and n_sample_bytes:
            size = n_sample_bytes
        elif size == _UNKNOWN or (is_samples and not size):
            message = f"the size of a chunk {_IS_UNKNOWN}"
            raise UnwritableError(message)
        if body + size > inside.end:
            message = "a chunk claims more bytes than there are"
            raise BrokenTagError(message)
        place = Span(start=body, end=body + size)
        position = place.end + _padding(place)
        yield Chunk(kind=kind, body=place, end=min(position, inside.end))
    message = "it has too many chunks"
    raise BrokenTagError(message)


def _padding(body: Span) -> int:
    return (body.end - body.start) % 2


def _read_number(file: BinaryIO, place: Span, order: ByteOrder) -> int:
    return int.from_bytes(read_at(file, place.start, place.end - place.start), order)


def _read_text(file: BinaryIO, prefix: str, chunk: Chunk) -> Text:
    name = prefix + chunk.kind.decode("ascii", errors="replace").strip()
    size = chunk.body.end - chunk.body.start
    described = Text(name=name, value=f"<{size} bytes>", is_opaque=True)
    if size > _LONGEST_TEXT_BYTES:
        return described
    text, _, _ = read_at(file, chunk.body.start, size).partition(b"\0")
    try:
        return Text(name=name, value=text.decode(), is_opaque=False)
    except UnicodeDecodeError:
        return described
