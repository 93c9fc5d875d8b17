"""What a player makes of a file's metadata, and what gets lost on the way."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tagcli.container import Container
from tagcli.metadata.fields import JOINER, Field, Kind, Metadata, StoredField
from tagcli.metadata.frames import GENRE_FRAME, name_genres
from tagcli.metadata.players import PLAYERS, STORED_NAMES, Player

_KINDS = {
    Container.FLAC: Kind.VORBIS,
    Container.OGG: Kind.VORBIS,
    Container.MP4: Kind.MP4,
    Container.ASF: Kind.ASF,
    Container.APE: Kind.APEV2,
    Container.WAVPACK: Kind.APEV2,
    Container.MUSEPACK: Kind.APEV2,
    Container.TTA: Kind.APEV2,
}
"""Where the version does not tell; all others have ID3."""


@dataclass(frozen=True, kw_only=True)
class SeenField:
    """One field as a player shows it.

    Parameters
    ----------
    field
        Which one.
    values
        What the player makes of it; empty when it does not read it.
    warnings
        What gets lost or altered on the way, one sentence each.
    """

    field: Field
    values: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_as(metadata: Metadata, player: Player) -> tuple[SeenField, ...]:
    """Tell what a player makes of a file's metadata.

    Parameters
    ----------
    metadata
        What the file holds.
    player
        The player, as it is when nobody has configured it.

    Returns
    -------
    tuple of SeenField
        Genre, mood, grouping, comment and tagcli's tags, as far as the file has them.
    """
    kind = next((kind for kind in Kind if kind == metadata.version), _KINDS.get(metadata.container, Kind.ID3V24))
    seen = []
    for shown, names in STORED_NAMES.items():
        stored = [one for one in find_fields(metadata.fields, names) if any(one.values)]
        if stored:
            seen.append(_see(stored, kind, shown, player))
    return tuple(seen)


def _see(stored: list[StoredField], kind: Kind, shown: Field, player: Player) -> SeenField:
    """Tell what a player makes of one field, under whatever names it is stored."""
    facts = PLAYERS[player]
    if kind not in facts.kinds:
        return SeenField(field=shown, warnings=(f"{player} does not read {kind}.",))
    if shown not in facts.names:
        return SeenField(field=shown, warnings=(f"{player} does not read the {shown}.",))
    read = find_fields(stored, facts.names[shown])
    unread = dict.fromkeys(one.field for one in stored if one not in read)
    warnings = [f"{player} does not read the {shown} in {name}." for name in unread]
    names = list(dict.fromkeys(one.field for one in read))
    if len(names) > 1:
        warnings.append(f"{player} puts the {shown} of {' and '.join(names)} together.")
    texts = [text for one in read for text in _list_texts(one, kind, shown)]
    if kind in facts.cuts and len(texts) > 1:
        warnings.append(f"{player} cuts the {shown} behind its first value.")
        texts = texts[:1]
    separators = facts.separators.get((shown, kind), "")
    values = []
    for text in texts:
        parts = _split(text, separators)
        if parts != [text] and not (kind is Kind.ID3V23 and parts == text.split(JOINER)):
            cut = next(character for character in text if character in separators)
            warnings.append(f"{player} splits the {shown} {text!r} at {cut!r}.")
        elif parts == [text] and kind is Kind.ID3V23 and shown in (Field.GENRE, Field.MOOD) and JOINER in text:
            warnings.append(f"{player} shows the {shown} {text!r} as one value.")
        values += parts
    return SeenField(field=shown, values=tuple(dict.fromkeys(values)), warnings=tuple(warnings))


def find_fields(fields: Sequence[StoredField], names: Iterable[str]) -> list[StoredField]:
    """Find the fields of some names, in the order of the names.

    Parameters
    ----------
    fields
        What a file holds.
    names
        As `players.STORED_NAMES` has them: in capitals for any letters, with a colon at the end for all that begin so.
    """
    return [one for name in names for one in fields if _is_called(one.field, name)]


def _is_called(stored: str, name: str) -> bool:
    if name.endswith(":"):
        return stored.startswith(name)
    return (stored.upper() if name.isupper() else stored) == name


def _list_texts(one: StoredField, kind: Kind, shown: Field) -> list[str]:
    """Give the texts of a field as they are stored, numbered genres by their names."""
    if shown is Field.TAGS and kind is Kind.ID3V23:
        return [JOINER.join(one.values)]  # what is tagcli's own is shown taken apart
    if one.field == GENRE_FRAME:
        return [genre for value in one.values for genre in name_genres(value)]
    return [value for value in one.values if value]


def _split(text: str, separators: str) -> list[str]:
    if not any(separator in text for separator in separators):
        return [text]
    parts = (part.strip() for part in re.split(f"[{re.escape(separators)}]", text))
    return [part for part in parts if part]
