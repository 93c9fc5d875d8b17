"""ASF files (WMA): what the attributes in their header say, and what changes in them.

Names match without case, as Windows has it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from mutagen.asf import ASF

from tagcli.files import Piece, Span, hash_pieces, open_track, read_at
from tagcli.metadata.asf_attributes import (
    ATTRIBUTE_LISTS,
    CONTENT_DESCRIPTION,
    CONTENT_NAMES,
    EXTENDED_DESCRIPTION,
    LIBRARY,
    MOST_VALUE_BYTES,
    TEXT,
    Attribute,
    build_text,
    encode_text,
)
from tagcli.metadata.asf_header import (
    EXTENSION_HEAD,
    FILE_PROPERTIES,
    HEADER_BYTES,
    HEADER_EXTENSION,
    PADDING,
    AsfObject,
    lay_out_header,
    list_attributes,
    mask_file_size,
    pad_header,
    parse_header,
    walk_objects,
)
from tagcli.metadata.fields import (
    MOST_METADATA_BYTES,
    OWN_NAMES,
    BrokenTagError,
    Dialect,
    Field,
    FieldChange,
    Held,
    Kind,
    StoredField,
)
from tagcli.outer_tags import find_content_of
from tagcli.payload.asf import find_audio

NAMES = {
    **{field: name.replace("_", "/", 1) for field, name in OWN_NAMES.items()},
    Field.GENRE: "WM/Genre",
    Field.MOOD: "WM/Mood",
    Field.GROUPING: "WM/ContentGroupDescription",
    Field.COMMENT: "Description",
}
_LONGEST_SHOWN_BYTES = 4000
"""A longer value is a picture or another binary thing, and is described."""
_NUMBERS = (2, 3, 4, 5)
"""Types of attributes that are a truth value or a number."""
_UNREADABLE = "<not a text>"


class AsfDocument:
    """The Header Object of an ASF file; see `tagcli.metadata.plan.Document`.

    Parameters
    ----------
    path
        The file.
    dialect
        Concerns other containers.
    """

    version = Kind.ASF.value

    def __init__(self, path: Path, dialect: Dialect) -> None:
        self._path = path
        with open_track(path) as (file, size):
            start = find_content_of(file, size).start
            self._front = read_at(file, 0, start)
            self._first_bytes = file.read(HEADER_BYTES)
            self._size = int.from_bytes(self._first_bytes[16:24], "little")
            if not HEADER_BYTES <= self._size <= min(size - start, MOST_METADATA_BYTES):
                message = "the size of its header is wrong"
                raise BrokenTagError(message)
            self._objects = parse_header(self._first_bytes + file.read(self._size - HEADER_BYTES), start)
            self._file_size = size

    def hold(self) -> Mapping[Field, Held]:
        """Read the fields that tagcli can store."""
        attributes = list_attributes(self._objects)
        held = {}
        for field, name in NAMES.items():
            texts = [_read_text(each) for each in attributes if _is_named(each, {name.casefold()})]
            values = tuple(text for text in texts if text is not None)
            if len(values) < len(texts):
                held[field] = Held(name=name, values=(_UNREADABLE,), is_opaque=True)
                continue
            held[field] = Held(name=name, values=values)
        return held

    def rewrite(self, changes: tuple[FieldChange, ...]) -> list[Piece]:
        """Put the file together after changes."""
        start = len(self._front)
        return [
            Span(start=0, end=start),
            *pad_header(self._first_bytes, change_objects(self._objects, changes), self._size),
            Span(start=start + self._size, end=self._file_size),
        ]

    def list_foreign(self, changes: tuple[FieldChange, ...]) -> list[bytes]:
        """Give the objects and attributes that changes are not about, and hashes of all else but the audio."""
        names = _names_of(changes)
        foreign = [self._front, *self._hash_behind(), self._first_bytes[28:]]
        for part in walk_objects(self._objects):
            attributes = [each for each in part.attributes if each.raw and not _is_named(each, names)]
            foreign += [each.name.encode() + each.raw for each in attributes]
            if part.guid == FILE_PROPERTIES:
                foreign.append(mask_file_size(part.body))
            elif part.guid in ATTRIBUTE_LISTS:
                foreign.append(part.body)
            elif part.guid != PADDING and (part.guid, part.body) != (HEADER_EXTENSION, EXTENSION_HEAD):
                foreign.append(part.guid + part.body)
        return [data for data in foreign if data]

    def list_misread(self, changes: tuple[FieldChange, ...]) -> list[str]:
        """Give the names of fields that mutagen does not find as changes say.

        It is given these attributes alone: it reads nothing of a file in which any text is not UTF-16.
        """
        lists = _keep_lists(self._objects, _names_of(changes))
        pieces = lay_out_header(self._first_bytes, lists)
        data = b"".join(piece for piece in pieces if isinstance(piece, bytes))
        stored: Any = ASF(BytesIO(data))  # type: ignore[no-untyped-call]  # mutagen has no types
        found: dict[str, list[str]] = {}
        for name, value in stored.tags:
            found.setdefault(name.casefold(), []).append(str(value))
        return [change.name for change in changes if found.get(change.name.casefold(), []) != list(change.new)]

    def describe(self) -> tuple[StoredField, ...]:
        """Make the attributes readable, the values of a name together."""
        values: dict[str, list[str]] = {}
        for attribute in list_attributes(self._objects):
            values.setdefault(attribute.name, []).append(_describe(attribute))
        return tuple(StoredField(field=name, values=tuple(shown)) for name, shown in values.items())

    def _hash_behind(self) -> list[bytes]:
        """Hash what lies between the header and the audio, and behind that, such as an index."""
        with open_track(self._path) as (file, size):
            spans = find_audio(file, find_content_of(file, size)) or (Span(start=size, end=size),)
            starts = (len(self._front) + self._size, *(span.end for span in spans))
            ends = (*(span.start for span in spans), size)
            between = [Span(start=start, end=end) for start, end in zip(starts, ends, strict=True)]
            return [hash_pieces(file, [span]) for span in between]


def change_objects(objects: tuple[AsfObject, ...], changes: tuple[FieldChange, ...]) -> tuple[AsfObject, ...]:
    """Make the changes; each stands where the first attribute of its name stood in its list, or at the end.

    The first value of a name goes into the extended description, a comment into the content description. The library
    takes further ones, as it is for attributes "that are defined more than once" (section 4.8), and long ones.

    Parameters
    ----------
    objects
        What the header holds.
    changes
        What changes.

    Returns
    -------
    tuple of AsfObject
        What it is to hold; objects that no change is about are the same.
    """
    added: dict[bytes, dict[str, list[Attribute]]] = {guid: {} for guid in ATTRIBUTE_LISTS}
    for change in changes:
        guid = CONTENT_DESCRIPTION if change.field is Field.COMMENT else EXTENDED_DESCRIPTION
        for text in change.new:
            guid = guid if len(encode_text(text)) <= MOST_VALUE_BYTES else LIBRARY
            added[guid].setdefault(change.name.casefold(), []).append(build_text(guid, change.name, text))
            guid = LIBRARY
    needed = [guid for guid, attributes in added.items() if attributes]
    return tuple(_change_lists(_with_lists(objects, needed), _names_of(changes), added))


def _with_lists(objects: tuple[AsfObject, ...], needed: Iterable[bytes]) -> tuple[AsfObject, ...]:
    """Add the lists of attributes that are missing."""
    for guid in needed:
        if any(part.guid == guid for part in walk_objects(objects)):
            continue
        if guid == CONTENT_DESCRIPTION:
            objects = (*objects, AsfObject(guid=guid, attributes=tuple(map(_make_absent, CONTENT_NAMES))))
        elif guid == EXTENDED_DESCRIPTION:
            objects = (*objects, AsfObject(guid=guid))
        else:
            extension = next((part for part in objects if part.guid == HEADER_EXTENSION), None)
            if extension is None:
                extension = AsfObject(guid=HEADER_EXTENSION, body=EXTENSION_HEAD)
                objects = (*objects[:1], extension, *objects[1:])
            larger = replace(extension, objects=(*extension.objects, AsfObject(guid=guid)), place=None)
            objects = tuple(larger if part is extension else part for part in objects)
    return objects


def _change_lists(
    objects: Iterable[AsfObject], names: set[str], added: dict[bytes, dict[str, list[Attribute]]]
) -> Iterator[AsfObject]:
    """Take the attributes of these names out of all lists, and put what is added into the first list of its kind."""
    for part in objects:
        if part.guid not in ATTRIBUTE_LISTS:
            inner = tuple(_change_lists(part.objects, names, added))
            yield part if inner == part.objects else replace(part, objects=inner, place=None)
            continue
        new = added.pop(part.guid, {})
        is_content = part.guid == CONTENT_DESCRIPTION
        attributes: list[Attribute] = []
        for attribute in part.attributes:
            if _is_named(attribute, names):
                absent = [_make_absent(attribute.name)] if is_content else []
                attributes += new.pop(attribute.name.casefold(), absent)
            else:
                attributes.append(attribute)
        attributes += (attribute for group in new.values() for attribute in group)
        is_same = tuple(attributes) == part.attributes
        yield part if is_same else replace(part, attributes=tuple(attributes), place=None)


def _keep_lists(objects: Iterable[AsfObject], names: set[str]) -> Iterator[AsfObject]:
    """Give the attributes of these names alone, in their lists."""
    for part in objects:
        if part.guid in ATTRIBUTE_LISTS:
            attributes = (each if _is_named(each, names) else _make_absent(each.name) for each in part.attributes)
            kept = (replace(each, place=None) for each in attributes if each.raw or part.guid == CONTENT_DESCRIPTION)
            yield AsfObject(guid=part.guid, attributes=tuple(kept))
        elif part.guid == HEADER_EXTENSION:
            yield AsfObject(guid=part.guid, body=EXTENSION_HEAD, objects=tuple(_keep_lists(part.objects, names)))


def _names_of(changes: Iterable[FieldChange]) -> set[str]:
    return {change.name.casefold() for change in changes}


def _is_named(attribute: Attribute, names: set[str]) -> bool:
    return attribute.is_common and attribute.name.casefold() in names


def _make_absent(name: str) -> Attribute:
    return Attribute(name=name, kind=TEXT, value=b"", raw=b"")


def _read_text(attribute: Attribute) -> str | None:
    """Read a text; None when it is none."""
    if attribute.kind != TEXT:
        return None
    try:
        return attribute.value.decode("utf-16-le").rstrip("\0")
    except UnicodeDecodeError:
        return None


def _describe(attribute: Attribute) -> str:
    if attribute.kind == TEXT and len(attribute.value) <= _LONGEST_SHOWN_BYTES:
        return attribute.value.decode("utf-16-le", errors="replace").rstrip("\0")
    if attribute.kind in _NUMBERS:
        return str(int.from_bytes(attribute.value, "little"))
    return f"<{len(attribute.value)} bytes>"
