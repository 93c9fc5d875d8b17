"""What the user's own fields of a file say, without what tagcli added to them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tagcli.metadata.fields import JOINER, Field, Metadata
from tagcli.metadata.frames import GENRE_FRAME, name_genres
from tagcli.metadata.plan import read_metadata
from tagcli.metadata.players import STORED_NAMES
from tagcli.metadata.seen import find_fields

_TITLE = ("TIT2", "TITLE", "©nam")
_ARTIST = ("TPE1", "ARTIST", "©ART", "Author")
_ADDED = ("TXXX:TAGCLI_ADDED", "TAGCLI_ADDED", "----:com.apple.iTunes:TAGCLI_ADDED", "TAGCLI/ADDED")
_GENRE_ADDED = f"{Field.GENRE}="


@dataclass(frozen=True, kw_only=True)
class UserValues:
    """What the user says of a track.

    Parameters
    ----------
    title
        Empty when there is none.
    artist
        The first one; empty when none is named.
    genres
        Without those that tagcli added.
    """

    title: str
    artist: str
    genres: tuple[str, ...]


def read_user_values(path: Path) -> UserValues:
    """Read title, artist and genres of a file.

    A text with semicolons holds several genres, as players and tagcli write them into ID3v2.3; other characters may
    belong to a genre's name, as in ``R&B/Soul``.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    MetadataError
        When its metadata cannot be read.
    """
    metadata = read_metadata(path)
    added = {
        entry.removeprefix(_GENRE_ADDED)
        for entry in _split(_list_values(metadata, _ADDED))
        if entry.startswith(_GENRE_ADDED)
    }
    genres = dict.fromkeys(_split(_list_values(metadata, STORED_NAMES[Field.GENRE])))
    return UserValues(
        title=_find_first(metadata, _TITLE),
        artist=_find_first(metadata, _ARTIST),
        genres=tuple(genre for genre in genres if genre not in added),
    )


def _list_values(metadata: Metadata, names: Iterable[str]) -> list[str]:
    """Give the values of a field under whatever name, numbered genres by their names."""
    return [
        text
        for stored in find_fields(metadata.fields, names)
        for value in stored.values
        for text in (name_genres(value) if stored.field == GENRE_FRAME else (value,))
    ]


def _find_first(metadata: Metadata, names: Iterable[str]) -> str:
    """Give the first value of a field that is not empty; an empty text when there is none."""
    return next(filter(None, (value.strip() for value in _list_values(metadata, names))), "")


def _split(values: Iterable[str]) -> list[str]:
    parts = (part.strip() for value in values for part in value.split(JOINER.strip()))
    return [part for part in parts if part]
