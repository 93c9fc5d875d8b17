"""WavPack, Monkey's Audio and Musepack files: the APEv2 tag at their end.

Source: "APEv2 specification", "APE Tags Header" and "APE Tag Item", Hydrogenaudio Knowledgebase. Every item that is not
ours stays byte for byte, in its order, and so does all around the tag: ID3v2, Lyrics3, ID3v1.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from mutagen.apev2 import APEv2

from tagcli.files import Piece, Span, hash_pieces, open_track
from tagcli.metadata.ape_tag import KIND_MASK, Item, lay_out_tag, make_tag, read_tag
from tagcli.metadata.fields import OWN_NAMES, Dialect, Field, FieldChange, Held, Kind, StoredField, UnwritableError
from tagcli.outer_tags import find_content_of, gains_id3v1

KEYS = {**OWN_NAMES, Field.GENRE: "Genre", Field.MOOD: "Mood", Field.GROUPING: "Grouping", Field.COMMENT: "Comment"}
_OWN_KEYS = {key.lower() for key in OWN_NAMES.values()}
_LONGEST_SHOWN_BYTES = 2000
"""A longer value is a picture or another binary thing, and is described."""
_UNREADABLE = "<not a text>"


class ApeDocument:
    """The last APEv2 tag of a file; see `tagcli.metadata.plan.Document`.

    Parameters
    ----------
    path
        The file.
    dialect
        Concerns other containers.
    """

    def __init__(self, path: Path, dialect: Dialect) -> None:
        self._path = path
        with open_track(path) as (file, size):
            self._file_size = size
            self._tag = read_tag(file, size)
            place = self._tag.place
            content = find_content_of(file, size)
            behind = [Span(start=content.end, end=place.start), Span(start=place.end, end=size)]
            self._around = [hash_pieces(file, [Span(start=0, end=content.start)]), hash_pieces(file, behind)]

    @property
    def version(self) -> str:
        """``APEv2``; empty when there is no tag."""
        return Kind.APEV2.value if self._tag.place.end > self._tag.place.start else ""

    def hold(self) -> Mapping[Field, Held]:
        """Read the fields that tagcli can store."""
        held = {}
        for kind, key in KEYS.items():
            items = [item for item in self._tag.items if item.name == key.lower()]
            texts = [item.texts for item in items]
            values = tuple(text for group in texts if group is not None for text in group)
            if None in texts:
                held[kind] = Held(name=key, values=(_UNREADABLE,), is_opaque=True)
                continue
            held[kind] = Held(name=key, values=values, is_tidy=len(items) < 2)
        return held

    def rewrite(self, changes: tuple[FieldChange, ...]) -> list[Piece]:
        """Put the file together after changes.

        "TAGCLI_TAGS" 128 bytes before the end would be an ID3v1 tag to other programs.
        """
        place = self._tag.place
        items, movable = change_items(self._tag.items, changes), _names_of(changes) | _OWN_KEYS
        with open_track(self._path) as (file, size):
            for order in _list_orders(items, movable):
                pieces = [Span(start=0, end=place.start), *lay_out_tag(self._tag, order)]
                pieces.append(Span(start=place.end, end=self._file_size))
                if not gains_id3v1(file, size, pieces) or all(item.name not in movable for item in items):
                    return pieces
        message = "its end would look like an ID3v1 tag"
        raise UnwritableError(message)

    def list_foreign(self, changes: tuple[FieldChange, ...]) -> list[bytes]:
        """Give the items that changes are not about, the user's in their order, and the tags around."""
        kept = [item for item in self._tag.items if item.name not in _names_of(changes)]
        own = (replace(item, key=item.key.lower()).raw for item in kept if item.name in _OWN_KEYS)
        return [*self._around, *(item.raw for item in kept if item.name not in _OWN_KEYS), *sorted(own)]

    def list_misread(self, changes: tuple[FieldChange, ...]) -> list[str]:
        """Give the names of fields that mutagen does not find as changes say.

        It is given these items alone: it reads nothing of a tag in which any text is not UTF-8, and finds no tag before
        some others.
        """
        names = _names_of(changes)
        items = [replace(item, place=None) for item in self._tag.items if item.name in names]
        stored: Any = {}
        if items:
            data = b"".join(piece for piece in lay_out_tag(make_tag(0), items) if isinstance(piece, bytes))
            stored = APEv2(BytesIO(data))  # type: ignore[no-untyped-call]  # mutagen has no types
        return [change.name for change in changes if list(stored.get(change.name, [])) != list(change.new)]

    def describe(self) -> tuple[StoredField, ...]:
        """Make all items readable."""
        return tuple(map(_describe, self._tag.items))


def change_items(items: tuple[Item, ...], changes: tuple[FieldChange, ...]) -> tuple[Item, ...]:
    """Make the changes; each stands where the first item of its key stood, or at the end.

    Parameters
    ----------
    items
        What the tag holds.
    changes
        What changes.

    Returns
    -------
    tuple of Item
        What it is to hold. A changed item keeps its key as it is, and the mark that it is meant for reading only.
    """
    new = {change.name.lower(): change for change in changes if change.new}
    names = _names_of(changes)
    changed: list[Item] = []
    for item in items:
        if item.name not in names:
            changed.append(item)
        elif item.name in new:
            value = _build_value(new.pop(item.name))
            changed.append(Item(key=item.key, flags=item.flags & ~KIND_MASK, value=value))
    added = (Item(key=change.name.encode(), flags=0, value=_build_value(change)) for change in new.values())
    return (*changed, *added)


def _list_orders(items: tuple[Item, ...], movable: set[str]) -> Iterator[tuple[Item, ...]]:
    """List the orders that items can stand in, the best one first; only some may move.

    A tag of own items only begins with one of theirs in every order, and then small letters help: case does not matter.
    """
    yield items
    others = [item for item in items if item.name not in movable]
    # As new bytes: what an undo needs stays small only as long as parts of the old file keep their order.
    ours = [replace(item, place=None) for item in items if item.name in movable]
    small = [replace(item, key=item.key.lower()) if item.name in _OWN_KEYS else item for item in ours]
    for group in (ours, small):
        for first in range(len(group)):
            turned = (*group[first:], *group[:first])
            yield (*others, *turned)
            yield (*turned, *others)


def _build_value(change: FieldChange) -> bytes:
    return "\0".join(change.new).encode()


def _names_of(changes: Iterable[FieldChange]) -> set[str]:
    return {change.name.lower() for change in changes}


def _describe(item: Item) -> StoredField:
    is_short = len(item.value) <= _LONGEST_SHOWN_BYTES
    shown = item.texts if item.texts is not None and is_short else (f"<{len(item.value)} bytes>",)
    return StoredField(field=item.key.decode("latin-1"), values=shown)
