"""WAV and AIFF files: the ID3v2 tag in a chunk of its own, among chunks that stay as they are.

A tag that outgrows its chunk grows where it lies, also before the samples: the order of the chunks stays, and a new
version of a file is written whole anyway. A file without such a chunk gets one at the end of its form.

What a list of INFO says counts as a genre or comment where the ID3 tag says nothing: so do TagLib and FFmpeg read the
two, field by field. A new tag repeats what the list says, as that of an mp3 file repeats its ID3v1 tag: the properties
of TagLib, which other programs show, leave the list out where there is an ID3 tag. The list itself is never changed.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from io import BufferedReader, BytesIO
from pathlib import Path

from tagcli.files import Piece, Span, hash_pieces, measure_pieces, open_track, read_at
from tagcli.metadata.fields import BrokenTagError, Dialect, Field, FieldChange, Held, StoredField, UnwritableError
from tagcli.metadata.forms import (
    HEADER_BYTES,
    ByteOrder,
    Chunk,
    Form,
    Text,
    is_info,
    list_chunks_behind,
    read_form,
    read_short_texts,
)
from tagcli.metadata.frames import COMMENT_FRAME, GENRE_FRAME, can_hold, copy_texts, read_texts
from tagcli.metadata.id3 import RawFrame, Tag, lay_out_tag, measure_tag, parse_tag
from tagcli.metadata.id3_fields import (
    change_frames,
    describe_frames,
    hold_frames,
    list_foreign_frames,
    list_misread_frames,
)
from tagcli.outer_tags import ID3V1_BYTES, ID3V2_HEADER_BYTES, find_content_of

_TAG_KINDS = (b"id3 ", b"ID3 ")
_NEW_TAG_KIND: dict[ByteOrder, bytes] = {"little": b"id3 ", "big": b"ID3 "}
"""As other programs know them; those that are there keep their own."""
_INFO_NAMES = {Field.GENRE: "INFO:IGNR", Field.COMMENT: "INFO:ICMT"}
_COPIED = {
    "INFO:INAM": "TIT2",
    "INFO:IART": "TPE1",
    "INFO:IPRD": "TALB",
    "INFO:IGNR": GENRE_FRAME,
    "INFO:ICMT": COMMENT_FRAME,
    "INFO:ITRK": "TRCK",
    "INFO:IPRT": "TRCK",
    "INFO:ICRD": "TDRC",
}
_NO_METADATA = (b"fmt ", b"fact", b"data", b"ds64", b"JUNK", b"PAD ", b"FLLR", b"COMM", b"FVER", b"SSND")


class ChunkDocument:
    """The chunk of a WAV or AIFF file that holds an ID3v2 tag; see `tagcli.metadata.plan.Document`.

    mutagen is given the tag alone for its proof: it knows no RF64 and no tag before the form, and stops at chunks with
    unusual names. That the tag lies in a chunk of the form, this class tells by walking over the copy's chunks.

    Parameters
    ----------
    path
        The file.
    dialect
        How fields are written.
    """

    def __init__(self, path: Path, dialect: Dialect) -> None:
        self._path = path
        self._dialect = dialect
        with open_track(path) as (file, size):
            self._file_size = size
            self._form = read_form(file, find_content_of(file, size).start, size)
            self._home = _find_home(file, self._form, size)
            self._data = b"" if self._home is None else _read_tag(file, self._home.body)
            self._texts = read_short_texts(file, self._form)
            self._lists = [chunk for chunk in self._form.chunks if is_info(file, self._form, chunk)]
        self._stored = parse_tag(self._data, start=self._home.body.start) if self._home and self._data else None
        version = dialect.new_version
        self._fresh = Tag(version=version, frames=_copy_info(self._texts, version))

    @property
    def _tag(self) -> Tag:
        return self._stored or self._fresh

    @property
    def version(self) -> str:
        """Such as ``ID3v2.3``; empty when there is no tag."""
        return f"ID3v2.{self._stored.version}" if self._stored else ""

    def hold(self) -> Mapping[Field, Held]:
        """Read the fields that tagcli can store."""
        held = hold_frames(self._tag, self._dialect)
        for field, name in _INFO_NAMES.items():
            texts = [text for text in self._texts if text.name == name]
            if texts and not any(value.strip() for value in held[field].values):
                held[field] = Held(
                    name=held[field].name,
                    values=tuple(text.value for text in texts),
                    is_opaque=any(text.is_opaque for text in texts),
                )
        return held

    def rewrite(self, changes: tuple[FieldChange, ...]) -> list[Piece]:
        """Put the file together after changes."""
        form, home = self._form, self._home
        place = Span(start=home.start, end=home.end) if home else Span(start=form.place.end, end=form.place.end)
        body = [*self._lay_out(change_frames(self._tag, changes)), self._rest]
        n_bytes = measure_pieces(body)
        chunk = [
            b"" if home else bytes(form.size % 2),  # padding that the last chunk lacked
            home.kind if home else _NEW_TAG_KIND[form.byte_order],
            _encode_size(n_bytes, 4, form.byte_order),
            *body,
            bytes(n_bytes % 2),
        ]
        new_size = form.size + measure_pieces([*chunk]) - (place.end - place.start)
        pieces: list[Piece] = []
        position = 0
        for size_place in form.size_places:
            size = _encode_size(new_size, size_place.end - size_place.start, form.byte_order)
            pieces += [Span(start=position, end=size_place.start), size]
            position = size_place.end
        return [
            *pieces,
            Span(start=position, end=place.start),
            *chunk,
            Span(start=place.end, end=self._file_size),
        ]

    def list_foreign(self, changes: tuple[FieldChange, ...]) -> list[bytes]:
        """Give the frames that changes are not about, and hashes of all else but the audio."""
        with open_track(self._path) as (file, _):
            hashes = [hash_pieces(file, [span]) for span in self._foreign_spans()]
        return [*hashes, *list_foreign_frames(self._tag, changes)]

    def list_misread(self, changes: tuple[FieldChange, ...]) -> list[str]:
        """Give the names of fields that mutagen does not find as changes say."""
        texts = read_texts(BytesIO(self._data)) if self._data else ()
        return list_misread_frames(texts, self._tag, changes)

    def describe(self) -> tuple[StoredField, ...]:
        """Make all frames and short texts readable, and tell of the other chunks."""
        texts: dict[str, list[str]] = {}
        for text in self._texts:
            texts.setdefault(text.name, []).append(text.value)
        others = [
            StoredField(field=name, values=(f"<{chunk.body.end - chunk.body.start} bytes>",))
            for chunk in self._form.chunks
            if chunk != self._home and chunk not in self._lists and chunk.kind not in _NO_METADATA
            if (name := chunk.kind.decode("ascii", errors="replace").strip()) not in texts
        ]
        frames = describe_frames(self._stored) if self._stored else ()
        return (*frames, *(StoredField(field=name, values=tuple(values)) for name, values in texts.items()), *others)

    @property
    def _rest(self) -> Span:
        """What lies behind the tag in its chunk."""
        if self._home is None:
            return Span(start=0, end=0)
        return Span(start=self._home.body.start + len(self._data), end=self._home.body.end)

    def _lay_out(self, frames: tuple[RawFrame, ...]) -> list[Piece]:
        """Put the tag together; one near the end of the file never without padding.

        "TAGCLI_TAGS" 128 bytes before the end would be an ID3v1 tag to other programs.
        """
        n_left = self._tag.space - sum(len(frame.raw) for frame in frames)
        is_last = self._home is not None and self._file_size - self._home.end < ID3V1_BYTES
        tag = replace(self._tag, space=0) if is_last and n_left < ID3V1_BYTES else self._tag
        return lay_out_tag(tag, frames)

    def _foreign_spans(self) -> Iterator[Span]:
        form = self._form
        yield Span(start=0, end=form.place.start + 4)
        yield Span(start=form.place.start + HEADER_BYTES, end=form.place.start + HEADER_BYTES + 4)
        for chunk in form.chunks:
            if chunk == self._home:
                continue
            start = next((size.end for size in form.size_places if size.start == chunk.body.start), chunk.start)
            yield Span(start=start, end=chunk.body.start if form.holds_samples(chunk) else chunk.body.end)
        yield self._rest
        yield Span(start=form.place.end, end=self._file_size)


def _find_home(file: BufferedReader, form: Form, n_bytes: int) -> Chunk | None:
    """Find the chunk of the ID3 tag.

    Raises
    ------
    BrokenTagError
        When there are several, of which every program reads another one.
    """
    homes = [chunk for chunk in form.chunks if chunk.kind in _TAG_KINDS]
    if len(homes) > 1:
        message = "it has several ID3 tags"
        raise BrokenTagError(message)
    if any(chunk.kind in _TAG_KINDS for chunk in list_chunks_behind(file, form, n_bytes)):
        message = "an ID3 tag lies behind its form"
        raise BrokenTagError(message)
    return homes[0] if homes else None


def _read_tag(file: BufferedReader, body: Span) -> bytes:
    """Read the tag in a chunk; nothing of an empty one, as some programs leave it behind."""
    n_bytes = body.end - body.start
    if n_bytes == 0:
        return b""
    n_tag_bytes = measure_tag(read_at(file, body.start, min(n_bytes, ID3V2_HEADER_BYTES)))
    if n_tag_bytes > n_bytes:
        message = "its ID3 tag claims more bytes than its chunk has"
        raise BrokenTagError(message)
    return read_at(file, body.start, n_tag_bytes)


def _copy_info(texts: Iterable[Text], version: int) -> tuple[RawFrame, ...]:
    """Say in ID3v2 what the list of INFO says and ID3v1 could say, too."""
    copied: dict[str, tuple[str]] = {}
    for text in texts:
        name = _COPIED.get(text.name)
        if name is not None and not text.is_opaque and can_hold(name, text.value):
            copied.setdefault(name, (text.value,))
    return copy_texts(copied, version)


def _encode_size(size: int, n_bytes: int, order: ByteOrder) -> bytes:
    if size > 256**n_bytes - 2:  # all bits mean that it is not known
        message = "it would be larger than 4 GB"
        raise UnwritableError(message)
    return size.to_bytes(n_bytes, order)
